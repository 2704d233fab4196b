//! A service's schema: numbered SQL files, each applied once.

use std::time::Duration;

use super::{
    Access, DatabaseError,
    connection::{Connection, Statement},
    pause,
};
use crate::{Deadline, batch::MAX_WAIT, clock};

/// One step of a schema. See [`migrations!`](crate::migrations).
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The file's name without `.sql`.
    pub name: &'static str,
    /// The file's content.
    pub sql: &'static str,
}

/// The migrations of a service, in order, read from its `migrations` folder at compile time.
///
/// `migrations!["0001_credentials"]` is the text of `migrations/0001_credentials.sql` as version 1, and so on.
#[macro_export]
macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        &[$($crate::Migration { name: $name, sql: include_str!(concat!("../migrations/", $name, ".sql")) }),+]
    };
}

impl Migration {
    /// The statements of the file, as Spin runs one at a time. Each ends with `;` at the end of a line.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
    }
}

/// Brings the schema up to date. Idempotent, and safe for several instances and replicas at once.
pub(super) async fn migrate(
    connection: &Connection,
    label: &'static str,
    migrations: &'static [Migration],
) -> Result<(), DatabaseError> {
    /// How long to retry. An attempt itself waits for locks, up to 5 s.
    const MAX_RETRY: Duration = Duration::from_secs(2);

    let deadline = Deadline::after(MAX_RETRY);
    loop {
        let reason = match try_to_migrate(connection, label, migrations).await {
            Err(
                DatabaseError::Statement(reason)
                | DatabaseError::Locked(reason)
                | DatabaseError::Disconnected(reason),
            ) if !deadline.has_passed() => reason,
            result => return result,
        };
        // When instances start at once, they collide: all but one find a version inserted before theirs, or a database
        // that is being switched to WAL without SQLite waiting for it.
        tracing::debug!(database = label, reason, "migration will be tried again");
        pause(Duration::from_millis(10)).await;
    }
}

async fn try_to_migrate(
    connection: &Connection,
    label: &'static str,
    migrations: &'static [Migration],
) -> Result<(), DatabaseError> {
    // The usual case costs this one read.
    let found = schema_version(connection).await?;
    let known = migrations.len() as u64;
    if found > known {
        return Err(DatabaseError::NewerSchema { found, known });
    }
    if found == known {
        return Ok(());
    }
    let mut statements = vec![Statement::from(
        "CREATE TABLE IF NOT EXISTS schema_migrations \
         (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)",
    )];
    let now = clock::now().map_or(0, |now| now.as_millis());
    let missing = (1_i64..).zip(migrations).skip(usize::try_from(found).unwrap_or(usize::MAX));
    for (version, migration) in missing.clone() {
        // First, so that it fails if another instance was faster, before anything is done twice.
        statements.push(Statement {
            sql: "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
            parameters: vec![version.into(), migration.name.into(), now.into()],
        });
        statements.extend(migration.statements().map(Statement::from));
    }
    connection.transaction(statements).await?;
    for (_, migration) in missing {
        tracing::info!(database = label, migration = migration.name, "migrated");
    }
    Ok(())
}

/// The number of migrations applied so far.
async fn schema_version(connection: &Connection) -> Result<u64, DatabaseError> {
    let statement = "SELECT coalesce(max(version), 0) AS version FROM schema_migrations";
    match connection.execute(Access::Read, statement, vec![], Deadline::after(MAX_WAIT)).await {
        Ok(rows) => rows.first().ok_or(DatabaseError::UnexpectedRow { column: "version" })?.get("version"),
        Err(DatabaseError::Statement(reason)) if reason.contains("no such table: schema_migrations") => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_split_into_its_statements() {
        let migration = Migration {
            name: "0001_two",
            sql: "-- A comment; with a semicolon.\nCREATE TABLE a (\n  b TEXT\n);\n\nCREATE INDEX c ON a (b);\n",
        };
        let statements: Vec<_> = migration.statements().collect();
        assert_eq!(statements.len(), 2);
        let database = rusqlite::Connection::open_in_memory().unwrap();
        for statement in statements {
            database.execute(statement, []).unwrap();
        }
    }
}
