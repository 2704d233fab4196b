//! A service's own SQLite database.

mod error;
mod list;
mod migration;
mod row;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{OnceCell, Semaphore};

use crate::{Deadline, batch::MAX_WAIT, clock::Instant, spin::Connection};
use migration::{execute, migrate, pause};

pub use error::DatabaseError;
pub use list::{ListQuery, Page};
pub use migration::Migration;
pub use row::{FromValue, Row, Value};

/// A database with one connection per instance, opened by the first request that needs it and then shared.
///
/// Requests of an instance interleave on that connection, so every statement must be complete in itself: no
/// transactions, and nothing that refers to the previous statement.
pub struct Database {
    label: &'static str,
    migrations: &'static [Migration],
    opened: OnceCell<Opened>,
    /// Admits one statement at a time to the connection. The host does so too, but without a limit to the wait.
    turn: Semaphore,
    /// When opening last failed, and why.
    failure: Mutex<Option<(Instant, DatabaseError)>>,
}

struct Opened {
    connection: Connection,
    /// Set before the first write: whether the database itself waits for locks.
    waits: OnceCell<bool>,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads.
    Read,
    /// It may write.
    Write,
}

/// How long SQLite waits for a lock before the statement is retried here, in milliseconds.
///
/// SQLite's pauses grow up to 100 ms, during which others overtake: with the 5 s that Spin sets, some writers wait for
/// a second. A retry starts with pauses of 1 ms again.
const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 3";

/// A commit is on disk before its statement returns.
const SYNCHRONOUS: &str = "PRAGMA synchronous = FULL";

impl Database {
    /// The database under a label of `spin.toml`, with its schema's migrations in order.
    pub const fn new(label: &'static str, migrations: &'static [Migration]) -> Self {
        Self {
            label,
            migrations,
            opened: OnceCell::const_new(),
            turn: Semaphore::const_new(1),
            failure: Mutex::new(None),
        }
    }

    /// Runs one statement to completion and returns its rows, waiting for locks up to 5 s. Its writes are
    /// durable once this returns `Ok`.
    ///
    /// # Errors
    /// [`DatabaseError`], which says whether the statement may have taken effect.
    pub async fn query(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let deadline = Deadline::after(MAX_WAIT);
        let parameters: Vec<Value> = parameters.into_iter().collect();
        loop {
            match self.attempt(access, statement, parameters.clone(), deadline).await {
                Err(error) if error.is_transient() && !deadline.has_passed() => {}
                result => return result,
            }
        }
    }

    /// Like [`query`](Self::query), but gives up after a few milliseconds if the database is locked, and at the
    /// deadline if the connection is not free: for a [`Batch`](crate::Batch), which is retried as a whole.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Locked`] early.
    pub async fn attempt(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let opened = self.opened.get_or_try_init(|| self.open()).await?;
        // While the database is locked, queued requests would otherwise wait for it one after another, for minutes.
        let result = {
            let _turn = deadline.within(self.turn.acquire()).await.ok_or(DatabaseError::Busy)?;
            opened.execute(access, statement, parameters).await
        };
        if opened.waits.get() != Some(&true) && result.as_ref().is_err_and(DatabaseError::is_transient) {
            pause(Duration::from_millis(4)).await;
        }
        result
    }

    /// Like [`query`](Self::query), but without waiting for the connection or retrying: for work that can be left.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Busy`] if the connection is not free.
    pub async fn query_now(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let opened = self.opened.get_or_try_init(|| self.open()).await?;
        let _turn = self.turn.try_acquire().map_err(|_| DatabaseError::Busy)?;
        opened.execute(access, statement, parameters).await
    }

    /// Opens the database, unless that failed within the last second: requests that waited for the failed attempt would
    /// otherwise try one after another, each for as long.
    async fn open(&self) -> Result<Opened, DatabaseError> {
        const PAUSE: Duration = Duration::from_secs(1);

        let failure = || self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = failure().as_ref().filter(|(when, _)| when.elapsed() < PAUSE) {
            return Err(error.clone());
        }
        // Whatever became of the schema's statements, none of the request's has begun.
        let opened = self.try_to_open().await.map_err(|error| match error {
            DatabaseError::Statement(reason) | DatabaseError::Locked(reason) => {
                DatabaseError::Open { label: self.label, reason }
            }
            error => error,
        });
        if let Err(error) = &opened {
            *failure() = Some((Instant::now(), error.clone()));
        }
        opened
    }

    async fn try_to_open(&self) -> Result<Opened, DatabaseError> {
        let connection = Connection::open(self.label).await.map_err(DatabaseError::Statement)?;
        migrate(&connection, self.label, self.migrations).await?;
        Ok(Opened { connection, waits: OnceCell::new() })
    }
}

impl Opened {
    async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        if access == Access::Write {
            self.waits.get_or_init(|| self.prepare_for_writes()).await;
        }
        execute(&self.connection, statement, parameters.into_iter().collect()).await
    }

    /// Sets what only writes need, and returns whether the database itself waits for locks.
    async fn prepare_for_writes(&self) -> bool {
        // libSQL refuses the first, and keeps its own ways.
        for pragma in [BUSY_TIMEOUT, SYNCHRONOUS] {
            if let Err(error) = execute(&self.connection, pragma, vec![]).await {
                tracing::debug!(%error, pragma, "left as the database has it");
                return false;
            }
        }
        true
    }
}

/// A statement that inserts any number of rows from one parameter: a JSON array of objects with the columns as members.
/// Its text, and so the prepared statement, is the same for every number.
#[must_use]
pub fn insert_all(table: &str, columns: &str) -> String {
    let values: Vec<_> = columns.split(", ").map(|column| format!("value ->> '{column}'")).collect();
    format!("INSERT INTO {table} ({columns}) SELECT {} FROM json_each(?) AS new", values.join(", "))
}

/// Any number of values as one parameter, for `json_each(?)`.
///
/// # Errors
/// [`DatabaseError::Parameter`]
pub fn to_json(things: &impl Serialize) -> Result<Value, DatabaseError> {
    serde_json::to_string(things)
        .map(Value::Text)
        .map_err(|error| DatabaseError::Parameter(error.to_string()))
}
