//! A service's own SQLite database.

mod connection;
mod error;
mod libsql;
mod list;
mod migration;
#[cfg(feature = "plans")]
mod plan;
mod row;
mod spin;

use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    Deadline,
    clock::{self, Instant},
    random,
};
use connection::Connection;
use migration::migrate;

pub use connection::Location;
pub use error::DatabaseError;
pub use list::{ListQuery, Page};
pub use migration::Migration;
#[cfg(feature = "plans")]
pub use plan::Plans;
pub use row::{FromValue, Row, Value};

/// A database with one connection per instance, opened by the first request that needs it and then shared.
///
/// Requests of an instance interleave on that connection, so every statement must be complete in itself: no
/// transactions, and nothing that refers to the previous statement.
pub struct Database {
    location: Location,
    migrations: &'static [Migration],
    opened: OnceLock<Connection>,
    /// Held by the request that opens it.
    opening: tokio::sync::Mutex<()>,
    /// When opening last failed, and why.
    failure: Mutex<Option<(Instant, DatabaseError)>>,
}

/// What a statement does, and at most how many rows it returns: once they are there, no more are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads.
    Read(usize),
    /// It may write.
    Write(usize),
}

/// Any number of rows, for [`Access`].
pub const ANY: usize = usize::MAX;

impl Database {
    /// The database at a location, with its schema's migrations in order.
    pub const fn new(location: Location, migrations: &'static [Migration]) -> Self {
        Self {
            location,
            migrations,
            opened: OnceLock::new(),
            opening: tokio::sync::Mutex::const_new(()),
            failure: Mutex::new(None),
        }
    }

    /// Runs one statement to completion and returns its rows, waiting for locks until the deadline. Its writes are
    /// durable once this returns `Ok`.
    ///
    /// # Errors
    /// [`DatabaseError`], which says whether the statement may have taken effect.
    pub async fn query(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        const PAUSE: Duration = Duration::from_millis(1);

        let parameters: Vec<Value> = parameters.into_iter().collect();
        loop {
            match self.attempt(access, statement, parameters.clone(), deadline).await {
                // With WASI 0.2 a statement blocks its instance: in the pause other things go on.
                Err(error) if error.is_transient() && !deadline.has_passed() => clock::sleep(PAUSE).await,
                result => return result,
            }
        }
    }

    /// Like [`query`](Self::query), but gives up after a few milliseconds if the database is locked: for a
    /// [`Batch`](crate::Batch), which is retried as a whole.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Transient`] early.
    pub async fn attempt(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let connection = match self.opened.get() {
            Some(connection) => connection,
            None => self.open(deadline).await?,
        };
        connection.execute(access, statement, parameters.into_iter().collect(), deadline).await
    }

    /// Like [`query`](Self::query), but hardly waits, neither for the connection nor for a server: for work that can be
    /// left.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Busy`] if the connection is not free.
    pub async fn query_now(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        const SHORT: Duration = Duration::from_millis(200);
        self.attempt(access, statement, parameters, Deadline::after(SHORT)).await
    }

    /// Opens the database, unless another request does so meanwhile, or that failed within the last second: requests that
    /// waited for the failed attempt would otherwise try one after another.
    async fn open(&self, deadline: Deadline) -> Result<&Connection, DatabaseError> {
        const PAUSE: Duration = Duration::from_secs(1);

        // Whose turn it is goes on beyond its deadline: a migration that is broken off is lost.
        let _turn = deadline.within(self.opening.lock()).await.ok_or(DatabaseError::Busy)?;
        if let Some(connection) = self.opened.get() {
            return Ok(connection);
        }
        let failure = || self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = failure().as_ref().filter(|(when, _)| when.elapsed() < PAUSE) {
            return Err(error.clone());
        }
        // Whatever became of the schema's statements, none of the request's has begun.
        let opened = self.try_to_open(deadline).await.map_err(|error| match error {
            DatabaseError::Open { .. } | DatabaseError::NewerSchema { .. } => error,
            error => DatabaseError::Open { label: self.location.label(), reason: error.to_string() },
        });
        match opened {
            Ok(connection) => Ok(self.opened.get_or_init(|| connection)),
            Err(error) => {
                *failure() = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn try_to_open(&self, deadline: Deadline) -> Result<Connection, DatabaseError> {
        let connection = Connection::open(&self.location).await?;
        migrate(&connection, self.location.label(), self.migrations, deadline).await?;
        Ok(connection)
    }
}

/// At least how long to wait after a transient error, where the database did not.
const TRANSIENT_PAUSE: Duration = Duration::from_millis(4);

/// Waits for 1 to 2.5 times as long, so that instances which collided do not do so again.
async fn pause(least: Duration) {
    let [jitter] = random::bytes().unwrap_or([0]);
    clock::sleep(least + least.mul_f32(1.5) * u32::from(jitter) / 255).await;
}

/// A statement that inserts any number of rows from one parameter: a JSON array of objects with the columns as members.
/// Its text, and so the prepared statement, is the same for every number.
#[must_use]
pub fn insert_all(table: &str, columns: &str) -> String {
    format!("INSERT INTO {table} ({columns}) SELECT {} FROM json_each(?) AS new", members(columns))
}

/// The members with the names of these columns, of each `value` of `json_each`.
#[must_use]
pub fn members(columns: &str) -> String {
    columns.split(", ").map(|column| format!("value ->> '{column}'")).collect::<Vec<_>>().join(", ")
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
