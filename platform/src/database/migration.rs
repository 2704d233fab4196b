//! A service's schema: numbered SQL files, each applied once.

use std::time::Duration;

use crate::{DatabaseError, Deadline, Value, clock, random, spin::Connection};

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

/// Brings the schema up to date. Idempotent, and safe for several instances at once.
pub(super) async fn migrate(
    connection: &Connection,
    label: &'static str,
    migrations: &'static [Migration],
) -> Result<(), DatabaseError> {
    /// How long to retry. An attempt itself waits for locks, up to Spin's busy timeout of 5 s.
    const MAX_RETRY: Duration = Duration::from_secs(2);

    // The usual case costs one read. It fails on an empty database, which has no such table yet.
    if let Ok(found) = schema_version(connection).await
        && found >= migrations.len() as u64
    {
        return refuse_newer(found, migrations);
    }
    let deadline = Deadline::after(MAX_RETRY);
    loop {
        match try_to_migrate(connection, label, migrations).await {
            Err(DatabaseError::Statement(reason) | DatabaseError::Locked(reason))
                if !deadline.has_passed() =>
            {
                // When instances start at once, switching to WAL and first writes collide without SQLite waiting.
                tracing::debug!(database = label, reason, "migration will be tried again");
                pause(Duration::from_millis(10)).await;
            }
            result => return result,
        }
    }
}

/// Waits for 1 to 2.5 times as long, so that instances which collided do not do so again.
pub(super) async fn pause(least: Duration) {
    let [jitter] = random::bytes().unwrap_or([0]);
    clock::sleep(least + least.mul_f32(1.5) * u32::from(jitter) / 255).await;
}

async fn try_to_migrate(
    connection: &Connection,
    label: &'static str,
    migrations: &'static [Migration],
) -> Result<(), DatabaseError> {
    // Persists in the file. A database that does not support it (libSQL) does without.
    if let Err(error) = execute(connection, "PRAGMA journal_mode=WAL", vec![]).await {
        tracing::debug!(database = label, %error, "no WAL for now");
    }
    // The connection is not shared yet: only here may a transaction span awaits.
    execute(connection, "BEGIN IMMEDIATE", vec![]).await?;
    let mut result = apply_missing(connection, label, migrations).await;
    if result.is_ok() {
        result = execute(connection, "COMMIT", vec![]).await.map(drop);
    }
    if result.is_err() {
        // Fails if SQLite has already rolled back by itself; the first error is the one to report.
        let _ = execute(connection, "ROLLBACK", vec![]).await;
    }
    result
}

async fn apply_missing(
    connection: &Connection,
    label: &'static str,
    migrations: &'static [Migration],
) -> Result<(), DatabaseError> {
    execute(
        connection,
        "CREATE TABLE IF NOT EXISTS schema_migrations \
         (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)",
        vec![],
    )
    .await?;
    let found = schema_version(connection).await?;
    refuse_newer(found, migrations)?;
    for (version, migration) in (1_i64..).zip(migrations).skip(usize::try_from(found).unwrap_or(usize::MAX)) {
        for statement in migration.statements() {
            execute(connection, statement, vec![]).await?;
        }
        execute(
            connection,
            "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
            vec![version.into(), migration.name.into(), clock::now().map_or(0, |now| now.as_millis()).into()],
        )
        .await?;
        tracing::info!(database = label, migration = migration.name, "migrated");
    }
    Ok(())
}

/// The number of migrations applied so far.
async fn schema_version(connection: &Connection) -> Result<u64, DatabaseError> {
    let statement = "SELECT coalesce(max(version), 0) AS version FROM schema_migrations";
    let rows = execute(connection, statement, vec![]).await?;
    rows.first().ok_or(DatabaseError::UnexpectedRow { column: "version" })?.get("version")
}

fn refuse_newer(found: u64, migrations: &[Migration]) -> Result<(), DatabaseError> {
    let known = migrations.len() as u64;
    if found > known { Err(DatabaseError::NewerSchema { found, known }) } else { Ok(()) }
}

pub(super) async fn execute(
    connection: &Connection,
    statement: &str,
    parameters: Vec<Value>,
) -> Result<Vec<super::Row>, DatabaseError> {
    connection.execute(statement, parameters).await.map_err(DatabaseError::of_statement)
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
