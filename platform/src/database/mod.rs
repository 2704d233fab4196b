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

/// A database with one connection per instance, opened by the first request that needs it and shared by all.
///
/// Requests of one instance run between each other's awaits on the same connection. So every statement must be
/// complete in itself: no transaction, and nothing that asks about the statement before.
pub struct Database {
    label: &'static str,
    migrations: &'static [Migration],
    opened: OnceCell<Opened>,
    /// Lets one statement at a time onto the connection, as the host does too; but here a wait has an end.
    turn: Semaphore,
    /// When opening last failed, and why.
    failure: Mutex<Option<(Instant, DatabaseError)>>,
}

struct Opened {
    connection: Connection,
    /// Whether the database itself waits a little for locks.
    waits: bool,
}

/// How long SQLite waits for a lock before the statement is tried again, in milliseconds.
///
/// Its pauses grow with each try, up to 100 ms, in which later comers are served: with the 5 s that Spin sets, some
/// writers wait for a second. A new try begins with pauses of 1 ms again.
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

    /// Runs one statement to its end and returns its rows, waiting for locks up to [`MAX_WAIT`]. Once this returns `Ok`,
    /// what it wrote is durable.
    ///
    /// # Errors
    /// [`DatabaseError`], which says whether the statement may have taken effect.
    pub async fn query(
        &self,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let deadline = Deadline::after(MAX_WAIT);
        let parameters: Vec<Value> = parameters.into_iter().collect();
        loop {
            match self.attempt(statement, parameters.clone(), deadline).await {
                Err(error) if error.is_transient() && !deadline.has_passed() => {}
                result => return result,
            }
        }
    }

    /// As [`query`](Self::query), but gives up where the database is locked for more than a few milliseconds, or the
    /// connection is not free by the deadline: for a [`Batch`](crate::Batch), which is retried as a whole.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Locked`] early.
    pub async fn attempt(
        &self,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let opened = self.opened.get_or_try_init(|| self.open()).await?;
        // While the database is locked, each statement waits for it: one after another, requests would wait for minutes.
        let result = {
            let _turn = deadline.within(self.turn.acquire()).await.ok_or(DatabaseError::Busy)?;
            execute(&opened.connection, statement, parameters.into_iter().collect()).await
        };
        if !opened.waits && result.as_ref().is_err_and(DatabaseError::is_transient) {
            pause(Duration::from_millis(4)).await;
        }
        result
    }

    /// As [`query`](Self::query), but without any waiting: for what can be left to another time.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Busy`] if the connection is not free.
    pub async fn query_now(
        &self,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        let opened = self.opened.get_or_try_init(|| self.open()).await?;
        let _turn = self.turn.try_acquire().map_err(|_| DatabaseError::Busy)?;
        execute(&opened.connection, statement, parameters.into_iter().collect()).await
    }

    /// Opens the database, unless that has failed just now: requests that waited for the one that tried would else
    /// try one after another, each for as long as the first.
    async fn open(&self) -> Result<Opened, DatabaseError> {
        const PAUSE: Duration = Duration::from_secs(1);

        let failure = || self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = failure().as_ref().filter(|(when, _)| when.elapsed() < PAUSE) {
            return Err(error.clone());
        }
        // No statement of the request has begun, whatever became of the schema's.
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
        // A database that does not know these (libSQL) syncs and waits as it does.
        let set = async |pragma| match execute(&connection, pragma, vec![]).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(database = self.label, %error, pragma, "left as the database has it");
                false
            }
        };
        set(SYNCHRONOUS).await;
        let waits = set(BUSY_TIMEOUT).await;
        Ok(Opened { connection, waits })
    }
}

/// The statement that inserts any number of rows from one parameter: a JSON array of objects with the table's columns as
/// members. So its text, and with it the prepared statement, is the same for every number.
#[must_use]
pub fn insert_all(table: &str, columns: &str) -> String {
    let values: Vec<_> = columns.split(", ").map(|column| format!("value ->> '{column}'")).collect();
    format!("INSERT INTO {table} ({columns}) SELECT {} FROM json_each(?) AS new", values.join(", "))
}

/// Any number of things as one parameter.
///
/// # Errors
/// [`DatabaseError::Parameter`]
pub fn to_json(things: &impl Serialize) -> Result<Value, DatabaseError> {
    serde_json::to_string(things)
        .map(Value::Text)
        .map_err(|error| DatabaseError::Parameter(error.to_string()))
}
