//! A service's schema: numbered SQL files, each applied once.

use std::time::Duration;

use super::{
    Access, DatabaseError,
    connection::{Connection, Statement},
    pause,
};
use crate::{Deadline, clock};

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
    /// The statements of the file, as Spin runs one at a time. Each ends with `;` and is followed by an empty line.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql.split(";\n\n").map(|statement| statement.trim().trim_end_matches(';'))
    }
}

/// Brings the schema up to date. Idempotent, and safe for several instances and replicas at once.
pub(super) async fn migrate(
    connection: &Connection,
    label: &'static str,
    migrations: &'static [Migration],
    request: Deadline,
) -> Result<(), DatabaseError> {
    /// How long to retry. An attempt itself waits for locks, up to 5 s.
    const MAX_RETRY: Duration = Duration::from_secs(2);

    let deadline = Deadline::after(MAX_RETRY);
    let mut last = Ok(());
    loop {
        let late = deadline.has_passed();
        // The usual case costs one read. After a failure it comes first too: another instance may have been faster.
        let attempt = match missing(connection, migrations, request).await {
            Ok([]) => return Ok(()),
            Ok(missing) if !late => apply(connection, label, migrations.len() - missing.len(), missing).await,
            Ok(_) => return last,
            Err(error) => Err(error),
        };
        let reason = match &attempt {
            Err(
                DatabaseError::Statement(reason)
                | DatabaseError::Transient(reason)
                | DatabaseError::Disconnected(reason),
            ) if !late => reason,
            _ => return attempt,
        };
        // When instances start at once, they collide: all but one find a version inserted before theirs, or a database
        // that is being switched to WAL without SQLite waiting for it.
        tracing::debug!(database = label, reason, "migration will be tried again");
        last = attempt;
        pause(Duration::from_millis(10)).await;
    }
}

/// The migrations that have not been applied.
async fn missing(
    connection: &Connection,
    migrations: &'static [Migration],
    deadline: Deadline,
) -> Result<&'static [Migration], DatabaseError> {
    let found = schema_version(connection, deadline).await?;
    usize::try_from(found)
        .ok()
        .and_then(|found| migrations.get(found..))
        .ok_or(DatabaseError::NewerSchema { found, known: migrations.len() as u64 })
}

/// Applies migrations after the first `applied` ones, all or none.
async fn apply(
    connection: &Connection,
    label: &'static str,
    applied: usize,
    missing: &'static [Migration],
) -> Result<(), DatabaseError> {
    let mut statements = vec![Statement::from(
        "CREATE TABLE IF NOT EXISTS schema_migrations \
         (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)",
    )];
    let now = clock::now().map_or(0, |now| now.as_millis());
    for (version, migration) in (applied as i64 + 1..).zip(missing) {
        // First, so that it fails if another instance was faster, before anything is done twice.
        statements.push(Statement {
            sql: "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
            parameters: vec![version.into(), migration.name.into(), now.into()],
        });
        statements.extend(migration.statements().map(Statement::from));
    }
    connection.transaction(statements).await?;
    for migration in missing {
        tracing::info!(database = label, migration = migration.name, "migrated");
    }
    Ok(())
}

/// The number of migrations applied so far.
async fn schema_version(connection: &Connection, deadline: Deadline) -> Result<u64, DatabaseError> {
    let statement = "SELECT coalesce(max(version), 0) AS version FROM schema_migrations";
    match connection.execute(Access::Read(1), statement, vec![], deadline).await {
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
