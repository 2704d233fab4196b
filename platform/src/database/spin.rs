//! A database behind Spin's SQLite interface: a file of the host, or a libSQL server that the host reaches.

use std::time::Duration;

use tokio::sync::Mutex;

use super::{Access, DatabaseError, Row, Value, connection::Statement, pause};
use crate::{Deadline, spin::Connection};

/// How long SQLite waits for a lock before the statement is retried here, in milliseconds.
///
/// SQLite's pauses grow up to 100 ms, during which others overtake: with the 5 s that Spin sets, some writers wait for
/// a second. A retry starts with pauses of 1 ms again.
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 3";

/// A commit is on disk before its statement returns.
const SYNCHRONOUS: &str = "PRAGMA synchronous = FULL";

/// One connection, and one statement at a time on it. The host sees to that too, but without a limit to the wait: while
/// the database is locked, queued requests would wait for it one after another, for minutes.
pub(super) struct SpinDatabase {
    label: &'static str,
    opened: Mutex<Opened>,
}

struct Opened {
    connection: Connection,
    /// Known before the first write: whether the database itself waits for locks.
    waits: Option<bool>,
}

impl SpinDatabase {
    pub(super) async fn open(label: &'static str) -> Result<Self, DatabaseError> {
        Ok(Self { label, opened: Mutex::new(Opened { connection: connect(label).await?, waits: None }) })
    }

    pub(super) async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
        turn: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let mut opened = turn.within(self.opened.lock()).await.ok_or(DatabaseError::Busy)?;
        if access == Access::Write && opened.waits.is_none() {
            opened.waits = Some(opened.prepare_for_writes().await);
        }
        let mut result = opened.execute(statement, parameters.clone()).await;
        if let Err(DatabaseError::Disconnected(reason)) = &result {
            // The server refused the statement before it began, so running it again is running it once.
            tracing::debug!(database = self.label, reason, "connecting again");
            opened.connection = connect(self.label).await?;
            result = opened.execute(statement, parameters).await;
        }
        let waits = opened.waits == Some(true);
        drop(opened);
        if !waits && result.as_ref().is_err_and(DatabaseError::is_transient) {
            pause(Duration::from_millis(4)).await;
        }
        result
    }

    pub(super) async fn transaction(&self, statements: Vec<Statement>) -> Result<(), DatabaseError> {
        let opened = self.opened.lock().await;
        // Persists in the file. libSQL, which has its own way, refuses it.
        if let Err(error) = opened.execute("PRAGMA journal_mode=WAL", vec![]).await {
            tracing::debug!(database = self.label, %error, "no WAL for now");
        }
        opened.execute("BEGIN IMMEDIATE", vec![]).await?;
        let result = async {
            for Statement { sql, parameters } in statements {
                opened.execute(sql, parameters).await?;
            }
            opened.execute("COMMIT", vec![]).await.map(drop)
        };
        let result = result.await;
        if result.is_err() {
            // Fails if SQLite has already rolled back by itself; the first error is the one to report.
            let _ = opened.execute("ROLLBACK", vec![]).await;
        }
        result
    }
}

impl Opened {
    async fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, DatabaseError> {
        self.connection.execute(statement, parameters).await.map_err(DatabaseError::of_statement)
    }

    /// Sets what only writes need, and returns whether the database itself waits for locks.
    async fn prepare_for_writes(&self) -> bool {
        // libSQL refuses the first, and keeps its own ways.
        for pragma in [BUSY_TIMEOUT, SYNCHRONOUS] {
            if let Err(error) = self.execute(pragma, vec![]).await {
                tracing::debug!(%error, pragma, "left as the database has it");
                return false;
            }
        }
        true
    }
}

async fn connect(label: &'static str) -> Result<Connection, DatabaseError> {
    Connection::open(label).await.map_err(|reason| DatabaseError::Open { label, reason })
}
