//! A service's own SQLite database, through Spin's SQLite interface.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use spin_sdk::sqlite::Connection;
pub use spin_sdk::sqlite::{RowResult as Row, Value};
use tokio::sync::{OnceCell, Semaphore};

use crate::{Interrupted, clock, random};

/// One step of a schema: a numbered file of SQL statements. See [`migrations!`](crate::migrations).
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The file's name without `.sql`.
    pub name: &'static str,
    /// The file's text.
    pub sql: &'static str,
}

/// A database with one connection per instance, opened by the first request that needs it and shared by all.
///
/// Requests of one instance run between each other's awaits on the same connection. So every statement must be
/// complete in itself: no transaction, and nothing that asks about the statement before.
pub struct Database {
    label: &'static str,
    migrations: &'static [Migration],
    connection: OnceCell<Connection>,
    /// Lets one statement at a time onto the connection, as the host does too; but here a wait has an end.
    turn: Semaphore,
    /// When opening last failed, and why.
    failure: Mutex<Option<(Instant, DatabaseError)>>,
}

/// How long a statement waits for its turn on the connection, and then as long again for SQLite's lock.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// How long SQLite waits for a lock before the statement is tried again, in milliseconds.
///
/// Its pauses grow with each try, up to 100 ms, in which whoever came later is served: with the 5 s that Spin sets, some
/// writers wait for a second. Trying anew lets the pauses begin anew, at 1 ms.
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 3";

/// What is in SQLite's message when that time was not enough (SQLITE_BUSY, SQLITE_LOCKED).
const LOCKED: &str = "locked";

/// Why a statement was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The host does not open the database.
    #[error("the database {label} cannot be opened: {reason}")]
    Open {
        /// The label in `spin.toml`.
        label: &'static str,
        /// What the host said.
        reason: String,
    },
    /// The schema was made by a later version of this program, and is left alone.
    #[error("the database has schema version {found}, this program knows up to {known}")]
    NewerSchema {
        /// The version that was found.
        found: u64,
        /// The last version known here.
        known: u64,
    },
    /// A statement failed, as when the database is locked for longer than the busy timeout, full or not writable.
    #[error("a statement failed: {0}")]
    Statement(String),
    /// Another connection has a lock that the statement needs, and did not give it up within a few milliseconds.
    #[error("a statement failed: {0}")]
    Locked(String),
    /// The statements before this one took too long; it was not started.
    #[error("no turn on the connection within {MAX_WAIT:?}")]
    Busy,
    /// The request that carried this one's statement out for it was cancelled.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A row is not what the schema says it is.
    #[error("a row does not have the expected columns")]
    UnexpectedRow,
}

impl Database {
    /// The database under a label of `spin.toml`, with its schema's migrations in order.
    pub const fn new(label: &'static str, migrations: &'static [Migration]) -> Self {
        Self {
            label,
            migrations,
            connection: OnceCell::const_new(),
            turn: Semaphore::const_new(1),
            failure: Mutex::new(None),
        }
    }

    /// Runs one statement to its end and returns its rows. Once this returns `Ok`, what it wrote is durable.
    ///
    /// # Errors
    /// [`DatabaseError`]; nothing of the statement took effect then.
    pub async fn query(
        &self,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let parameters: Vec<Value> = parameters.into_iter().collect();
        let mut locked_since = None;
        loop {
            match self.attempt(statement, parameters.clone()).await {
                Err(error)
                    if error.passes()
                        && locked_since.get_or_insert_with(Instant::now).elapsed() < MAX_WAIT => {}
                result => return result,
            }
        }
    }

    /// As [`query`](Self::query), but gives up where the database is locked for more than a few milliseconds.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Locked`] early.
    pub async fn attempt(
        &self,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let connection = self.connection.get_or_try_init(|| self.open()).await?;
        // While the database is locked, each statement waits for it: one after another, requests would wait for minutes.
        // Who gives up here has started nothing.
        let _turn = clock::within(MAX_WAIT, self.turn.acquire()).await.ok_or(DatabaseError::Busy)?;
        run(connection, statement, parameters).await
    }

    /// Opens the database, unless that has failed just now: requests that waited for the one that tried would else
    /// try one after another, each for as long as the first.
    async fn open(&self) -> Result<Connection, DatabaseError> {
        const PAUSE: Duration = Duration::from_secs(1);

        let failure = || self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = failure().as_ref().filter(|(when, _)| when.elapsed() < PAUSE) {
            return Err(error.clone());
        }
        // That it was locked does not pass within the pause: whoever tried again would be told the same at once.
        let opened = self.try_to_open().await.map_err(|error| match error {
            DatabaseError::Locked(reason) => DatabaseError::Statement(reason),
            error => error,
        });
        if let Err(error) = &opened {
            *failure() = Some((Instant::now(), error.clone()));
        }
        opened
    }

    async fn try_to_open(&self) -> Result<Connection, DatabaseError> {
        let connection = Connection::open(self.label)
            .await
            .map_err(|error| DatabaseError::Open { label: self.label, reason: error.to_string() })?;
        self.migrate(&connection).await?;
        // A database that does not know it (libSQL) waits as it does.
        if let Err(error) = run(&connection, BUSY_TIMEOUT, []).await {
            tracing::debug!(database = self.label, %error, "the busy timeout is the host's");
        }
        Ok(connection)
    }

    /// Brings the schema up to date. Several instances may do so at once, each any number of times.
    async fn migrate(&self, connection: &Connection) -> Result<(), DatabaseError> {
        /// How long to try again. A try itself waits for locks, up to SQLite's busy timeout of 5 s.
        const PATIENCE: Duration = Duration::from_secs(2);

        // The usual case costs one read. It fails on an empty database, where the table is still missing.
        if let Ok(found) = schema_version(connection).await
            && found >= self.known_version()
        {
            return self.refuse_newer(found);
        }
        let started = Instant::now();
        loop {
            match self.try_to_migrate(connection).await {
                Err(DatabaseError::Statement(reason) | DatabaseError::Locked(reason))
                    if started.elapsed() < PATIENCE =>
                {
                    // Switching to WAL and first writes collide where instances start at once, without SQLite waiting.
                    tracing::debug!(database = self.label, reason, "migration will be tried again");
                    let [jitter] = random::bytes().unwrap_or([0]);
                    clock::sleep(Duration::from_millis(10 + u64::from(jitter) / 2)).await;
                }
                result => return result,
            }
        }
    }

    async fn try_to_migrate(&self, connection: &Connection) -> Result<(), DatabaseError> {
        // Lives in the file's header, so once is enough. A database that does not know it (libSQL) does without.
        if let Err(error) = run(connection, "PRAGMA journal_mode=WAL", []).await {
            tracing::debug!(database = self.label, %error, "no WAL for now");
        }
        // Nobody else uses this connection yet: here, and only here, a transaction may span awaits.
        run(connection, "BEGIN IMMEDIATE", []).await?;
        let mut result = self.apply_missing(connection).await;
        if result.is_ok() {
            result = run(connection, "COMMIT", []).await.map(drop);
        }
        if result.is_err() {
            // May fail in its turn: after some errors SQLite has rolled back by itself. It is the first error that counts.
            let _ = run(connection, "ROLLBACK", []).await;
        }
        result
    }

    async fn apply_missing(&self, connection: &Connection) -> Result<(), DatabaseError> {
        run(
            connection,
            "CREATE TABLE IF NOT EXISTS schema_migrations \
             (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)",
            [],
        )
        .await?;
        let found = schema_version(connection).await?;
        self.refuse_newer(found)?;
        for (version, migration) in
            (1_i64..).zip(self.migrations).skip(usize::try_from(found).unwrap_or(usize::MAX))
        {
            for statement in migration.statements() {
                run(connection, statement, []).await?;
            }
            run(
                connection,
                "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
                [version.into(), migration.name.into(), clock::now().map_or(0, |now| now.as_millis()).into()],
            )
            .await?;
            tracing::info!(database = self.label, migration = migration.name, "migrated");
        }
        Ok(())
    }

    fn refuse_newer(&self, found: u64) -> Result<(), DatabaseError> {
        let known = self.known_version();
        if found > known { Err(DatabaseError::NewerSchema { found, known }) } else { Ok(()) }
    }

    fn known_version(&self) -> u64 {
        self.migrations.len() as u64
    }
}

impl DatabaseError {
    /// Whether the same statement may succeed in a moment.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Locked(_))
    }
}

impl Migration {
    /// The statements of the file. Spin runs one at a time; in these files each ends with `;` at a line's end.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql.split(";\n").map(str::trim).filter(|statement| !statement.is_empty())
    }
}

/// The number of migrations that the database has seen.
async fn schema_version(connection: &Connection) -> Result<u64, DatabaseError> {
    let rows = run(connection, "SELECT coalesce(max(version), 0) FROM schema_migrations", []).await?;
    rows.first().and_then(|row| row.get(0)).ok_or(DatabaseError::UnexpectedRow)
}

async fn run(
    connection: &Connection,
    statement: &str,
    parameters: impl IntoIterator<Item = Value>,
) -> Result<Vec<Row>, DatabaseError> {
    let failed = |error: spin_sdk::sqlite::Error| match error.to_string() {
        reason if reason.contains(LOCKED) => DatabaseError::Locked(reason),
        reason => DatabaseError::Statement(reason),
    };
    // `collect` drains the rows and then awaits the outcome: that is where errors arrive, and when a write is done.
    connection.execute(statement, parameters).await.map_err(failed)?.collect().await.map_err(failed)
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
