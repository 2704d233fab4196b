//! A database behind Spin's SQLite interface: a file of the host, or a libSQL server that the host reaches.
//!
//! Without the feature `spin-sqlite`, which is on by default, a component does not import the interface: a host that lacks
//! it refuses a component that asks for it.

#[cfg_attr(not(feature = "spin-sqlite"), path = "none.rs")]
#[cfg_attr(all(feature = "spin-sqlite", target_env = "p1"), path = "wasi_0_2.rs")]
#[cfg_attr(all(feature = "spin-sqlite", not(target_env = "p1")), path = "wasi_0_3.rs")]
mod wasi;

use tokio::sync::Mutex;

use super::{
    error::DatabaseError,
    retry::{TRANSIENT_PAUSE, pause},
    statement::{ALL_ROWS, Access, Statement},
    value::{Row, Value},
};
use crate::{batch::Transient, clock::Deadline};
use wasi::Connection;

/// How long SQLite waits for a lock before the statement is retried here, in milliseconds.
///
/// SQLite's pauses grow to 100 ms, in which other writers overtake: with Spin's 5 s some wait for a second. A retry
/// starts again with pauses of 1 ms.
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 3";

/// A commit is on disk before its statement returns.
const SYNCHRONOUS: &str = "PRAGMA synchronous = FULL";

/// One connection that runs one statement at a time. The host enforces that too, but without limiting the wait: while
/// the database is locked, queued requests would wait one after another, for minutes.
pub(super) struct SpinDatabase {
    label: &'static str,
    opened: Mutex<Opened>,
}

/// A connection, in no transaction.
struct Opened {
    connection: Connection,
    /// Whether the database itself waits for locks; known before the first write.
    waits: Option<bool>,
}

impl SpinDatabase {
    pub(super) async fn open(label: &'static str) -> Result<Self, DatabaseError> {
        Ok(Self { label, opened: Mutex::new(Opened::connect(label).await?) })
    }

    pub(super) async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let mut opened = deadline.within(self.opened.lock()).await.ok_or(DatabaseError::Busy)?;
        let mut result = opened.execute(access, statement, parameters.clone()).await;
        if let Err(DatabaseError::Disconnected(reason)) = &result {
            // The server refused the statement before it began, so it still runs only once.
            tracing::debug!(database = self.label, reason, "connecting again");
            *opened = Opened::connect(self.label).await?;
            result = opened.execute(access, statement, parameters).await;
        }
        let waits = opened.waits == Some(true);
        drop(opened);
        if !waits && result.as_ref().is_err_and(DatabaseError::is_transient) {
            pause(TRANSIENT_PAUSE).await;
        }
        result
    }

    pub(super) async fn transaction(&self, statements: Vec<Statement>) -> Result<(), DatabaseError> {
        let mut opened = self.opened.lock().await;
        if opened.waits_for_locks().await? {
            // First, because nothing else waits for readers.
            opened.use_wal().await?;
        }
        let result = async {
            opened.run("BEGIN IMMEDIATE", vec![]).await?;
            for Statement { sql, parameters } in statements {
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

    /// Whether the database waits for locks by itself: SQLite does, a libSQL server in its own way.
    pub(super) async fn waits_for_locks(&self) -> Result<bool, DatabaseError> {
        self.opened.lock().await.waits_for_locks().await
    }

    /// Switches a file to a write-ahead log. If the file is busy, a later connection will.
    pub(super) async fn use_wal(&self) -> Result<(), DatabaseError> {
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
            Connection::open(label).await.map_err(|reason| DatabaseError::Open { label, reason })?;
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
        self.connection.execute(access, statement, parameters).await.map_err(DatabaseError::of_statement)
    }
}

#[cfg(feature = "spin-sqlite")]
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

#[cfg(feature = "spin-sqlite")]
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
