//! A service's own database: SQLite by default, PostgreSQL with the feature `postgres`.

mod error;
mod list;
mod migration;
#[cfg(feature = "postgres")]
mod postgres;
mod retry;
mod sql;
#[cfg(not(feature = "postgres"))]
mod sqlite;
mod value;

use std::{
    future::Future,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::sync::MutexGuard;

use crate::{
    batch::Transient,
    clock::{self, Deadline, Instant},
};
#[cfg(feature = "postgres")]
use postgres::Connection;
#[cfg(not(feature = "postgres"))]
use sqlite::Connection;

pub use error::DatabaseError;
pub use list::{ListQuery, Page};
pub use migration::Migration;
#[cfg(feature = "postgres")]
pub use postgres::Location;
pub use sql::{ALL_ROWS, Access, Sql, members, to_json};
#[cfg(not(feature = "postgres"))]
pub use sqlite::Location;
pub use value::{FromValue, Row, Value};

/// A database, opened by the first request of an instance that needs it and then shared.
///
/// Requests interleave on one connection (SQLite), or each statement gets another (PostgreSQL), so every statement must be
/// complete in itself: no transactions, and nothing that refers to the previous statement.
pub struct Database {
    location: Location,
    migrations: &'static [Migration],
    opened: OnceLock<Connection>,
    /// Held by the request that opens or migrates it.
    opening: tokio::sync::Mutex<()>,
    /// When that last failed, and why.
    failure: Mutex<Option<(Instant, DatabaseError)>>,
}

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
            match self.run_once(access, statement, &parameters, deadline).await {
                // With WASI 0.2 a statement blocks its instance; the pause lets other work go on.
                Err(error) if error.is_transient() && !deadline.has_passed() => clock::sleep(PAUSE).await,
                result => return result,
            }
        }
    }

    /// Like [`query`](Self::query), but gives up after a few milliseconds if the database is locked. For a
    /// [`Batch`](crate::batch::Batch), which is retried as a whole.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Transient`] early.
    pub async fn try_once(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let parameters: Vec<Value> = parameters.into_iter().collect();
        self.run_once(access, statement, &parameters, deadline).await
    }

    async fn run_once(
        &self,
        access: Access,
        statement: &str,
        parameters: &[Value],
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let connection = match self.opened.get() {
            Some(connection) => connection,
            None => self.open(deadline).await?,
        };
        match connection.execute(access, statement, parameters, deadline).await {
            Err(error) if error.is_about_schema() => {
                self.migrate(connection, deadline).await?;
                connection.execute(access, statement, parameters, deadline).await
            }
            result => result,
        }
    }

    /// Like [`query`](Self::query), but hardly waits for the connection or for a server. For work that can be skipped.
    ///
    /// # Errors
    /// The same; [`DatabaseError::Busy`] if the connection is not free.
    pub async fn query_briefly(
        &self,
        access: Access,
        statement: &str,
        parameters: impl IntoIterator<Item = Value>,
    ) -> Result<Vec<Row>, DatabaseError> {
        const SHORT: Duration = Duration::from_millis(200);
        self.try_once(access, statement, parameters, Deadline::after(SHORT)).await
    }

    /// Opens the database, unless another request just did. On PostgreSQL, its schema is not known yet.
    async fn open(&self, deadline: Deadline) -> Result<&Connection, DatabaseError> {
        let _turn = self.turn(deadline).await?;
        if let Some(connection) = self.opened.get() {
            return Ok(connection);
        }
        let connection = self.attempt(Connection::open(&self.location, self.migrations, deadline)).await?;
        Ok(self.opened.get_or_init(|| connection))
    }

    /// Brings the schema up to date after a statement did not fit it.
    async fn migrate(&self, connection: &Connection, deadline: Deadline) -> Result<(), DatabaseError> {
        let _turn = self.turn(deadline).await?;
        self.attempt(connection.migrate(self.migrations, deadline)).await
    }

    /// Once it has its turn, a request may go on past its deadline: an interrupted migration is lost.
    async fn turn(&self, deadline: Deadline) -> Result<MutexGuard<'_, ()>, DatabaseError> {
        deadline.within(self.opening.lock()).await.ok_or(DatabaseError::Busy)
    }

    /// Opens or migrates, unless that failed within the last second: otherwise requests that waited for the failed attempt
    /// would try one after another.
    async fn attempt<T>(
        &self,
        work: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        const PAUSE: Duration = Duration::from_secs(1);

        let failure = || self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, error)) = failure().as_ref().filter(|(when, _)| when.elapsed() < PAUSE) {
            return Err(error.clone());
        }
        // Migrations may have run; the request's own statement has not.
        let result = work.await.map_err(|error| match error {
            DatabaseError::Open { .. } | DatabaseError::NewerSchema { .. } => error,
            error => DatabaseError::Open { label: self.location.label(), reason: error.to_string() },
        });
        if let Err(error) = &result {
            *failure() = Some((Instant::now(), error.clone()));
        }
        result
    }
}
