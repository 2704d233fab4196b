//! A database behind Spin's SQLite interface: a file of the host, or a libSQL server that the host reaches.

mod errors;
mod migrate;
#[cfg_attr(target_env = "p1", path = "wasi_0_2.rs")]
#[cfg_attr(not(target_env = "p1"), path = "wasi_0_3.rs")]
mod wasi;

use std::time::Duration;

use tokio::sync::Mutex;

use super::{
    error::DatabaseError,
    migration::Migration,
    retry::pause,
    sql::{ALL_ROWS, Access},
    value::{Row, Value},
};
use crate::{batch::Transient, clock::Deadline, settings::SettingsError};

/// How long SQLite waits for a lock before the statement is retried here, in milliseconds.
///
/// SQLite's pauses grow to 100 ms, in which other writers overtake: with Spin's 5 s some wait for a second. A retry
/// starts again with pauses of 1 ms.
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 3";

/// A commit is on disk before its statement returns.
const SYNCHRONOUS: &str = "PRAGMA synchronous = FULL";

/// The minimum pause after a transient error of a libSQL server, which does not itself wait for locks.
const PAUSE: Duration = Duration::from_millis(4);

/// Where a service's database is: the host's runtime config says.
#[derive(Clone, Debug)]
pub struct Location {
    label: &'static str,
}

impl Location {
    /// The database with a label of `spin.toml`. It has no settings.
    pub const fn without_settings(label: &'static str) -> Self {
        Self { label }
    }

    /// The database with the service's name as its label.
    #[allow(clippy::unused_async, reason = "the same as for PostgreSQL")]
    pub async fn load(service: &'static str) -> (Self, Result<(), SettingsError>) {
        (Self::without_settings(service), Ok(()))
    }

    /// The name of the database in errors and log lines.
    pub(super) fn label(&self) -> &'static str {
        self.label
    }
}

/// One connection that runs one statement at a time. The host enforces that too, but without limiting the wait: while
/// the database is locked, queued requests would wait one after another, for minutes.
pub(super) struct Connection {
    label: &'static str,
    opened: Mutex<Opened>,
}

/// A connection, in no transaction.
struct Opened {
    connection: wasi::Connection,
    /// Whether the database itself waits for locks; known before the first write.
    waits: Option<bool>,
}

impl Connection {
    /// Opens a database, and brings its schema up to date.
    pub(super) async fn open(
        location: &Location,
        migrations: &'static [Migration],
        deadline: Deadline,
    ) -> Result<Self, DatabaseError> {
        let label = location.label;
        let connection = Self { label, opened: Mutex::new(Opened::connect(label).await?) };
        connection.migrate(migrations, deadline).await?;
        Ok(connection)
    }

    /// Runs one statement to completion if it gets its turn before the deadline. Its writes are durable once this returns
    /// `Ok`.
    pub(super) async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: &[Value],
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let mut opened = deadline.within(self.opened.lock()).await.ok_or(DatabaseError::Busy)?;
        let mut result = opened.execute(access, statement, parameters.to_vec()).await;
        if let Err(DatabaseError::Disconnected(reason)) = &result {
            // The server refused the statement before it began, so it still runs only once.
            tracing::debug!(database = self.label, reason, "connecting again");
            *opened = Opened::connect(self.label).await?;
            result = opened.execute(access, statement, parameters.to_vec()).await;
        }
        let waits = opened.waits == Some(true);
        drop(opened);
        if !waits && result.as_ref().is_err_and(DatabaseError::is_transient) {
            pause(PAUSE).await;
        }
        result
    }

    /// Runs statements in one transaction that takes the write lock at once: all take effect, or none does.
    async fn transaction(&self, statements: Vec<(&'static str, Vec<Value>)>) -> Result<(), DatabaseError> {
        let mut opened = self.opened.lock().await;
        if opened.waits_for_locks().await? {
            // First, because nothing else waits for readers.
            opened.use_wal().await?;
        }
        let result = async {
            opened.run("BEGIN IMMEDIATE", vec![]).await?;
            for (sql, parameters) in statements {
                opened.run(sql, parameters).await?;
            }
            opened.run("COMMIT", vec![]).await.map(drop)
        };
        let result = result.await;
        if result.is_err() && opened.run("ROLLBACK", vec![]).await.is_err() {
            // SQLite has rolled back by itself, or the server is gone: a new connection is outside any transaction.
            *opened = Opened::connect(self.label).await?;
        }
        result
    }

    /// Switches a file to a write-ahead log. If the file is busy, a later connection will.
    async fn use_wal(&self) -> Result<(), DatabaseError> {
        let mut opened = self.opened.lock().await;
        if opened.waits_for_locks().await?
            && let Err(error) = opened.use_wal().await
        {
            tracing::debug!(database = self.label, %error, "no WAL for now");
        }
        Ok(())
    }
}

impl Opened {
    async fn connect(label: &'static str) -> Result<Self, DatabaseError> {
        let connection =
            wasi::Connection::open(label).await.map_err(|reason| DatabaseError::Open { label, reason })?;
        Ok(Self { connection, waits: None })
    }

    async fn execute(
        &mut self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        if matches!(access, Access::Write(_)) {
            self.waits_for_locks().await?;
        }
        self.rows(access, statement, parameters).await
    }

    /// Whether the database waits for locks by itself. The first call sets what only writes need.
    async fn waits_for_locks(&mut self) -> Result<bool, DatabaseError> {
        if let Some(waits) = self.waits {
            return Ok(waits);
        }
        let waits = match self.run(BUSY_TIMEOUT, vec![]).await {
            Ok(_) => true,
            // libSQL, which refuses the other pragma too.
            Err(DatabaseError::Statement(reason)) => {
                tracing::debug!(reason, "left as the server has it");
                false
            }
            Err(error) => return Err(error),
        };
        if waits {
            self.run(SYNCHRONOUS, vec![]).await?;
        }
        self.waits = Some(waits);
        Ok(waits)
    }

    /// The mode persists in the file. SQLite does not wait for locks here, and may leave the file as it is without an
    /// error.
    async fn use_wal(&mut self) -> Result<(), DatabaseError> {
        self.run("PRAGMA journal_mode = WAL", vec![]).await
    }

    async fn run(&mut self, statement: &str, parameters: Vec<Value>) -> Result<(), DatabaseError> {
        self.rows(Access::Write(ALL_ROWS), statement, parameters).await.map(drop)
    }

    async fn rows(
        &mut self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        self.connection.execute(access, statement, parameters).await.map_err(errors::failed)
    }
}

impl From<Value> for spin_sdk::sqlite::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl From<spin_sdk::sqlite::Value> for Value {
    fn from(value: spin_sdk::sqlite::Value) -> Self {
        use spin_sdk::sqlite::Value;
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}
