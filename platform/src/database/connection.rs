//! A connection to a database, over either of two drivers.

use std::time::Duration;

use super::{
    error::DatabaseError,
    libsql::Libsql,
    location::Location,
    statement::{Access, Statement},
    value::{Row, Value},
    via_spin::SpinDatabase,
};
use crate::clock::Deadline;

/// A connection to a database, shared by the requests of an instance.
pub(super) enum Connection {
    Spin(SpinDatabase),
    Libsql(Libsql),
}

impl Connection {
    /// Opens a connection. An unreachable database shows up at the first statement.
    pub(super) async fn open(location: &Location) -> Result<Self, DatabaseError> {
        match &location.server {
            None => SpinDatabase::open(location.label()).await.map(Self::Spin),
            Some(server) => Ok(Self::Libsql(Libsql::new(server))),
        }
    }

    /// Runs one statement if it gets its turn before the deadline: to completion behind Spin's interface, until the
    /// deadline over HTTP. Its writes are durable once this returns `Ok`.
    pub(super) async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        match self {
            Self::Spin(database) => database.execute(access, statement, parameters, deadline).await,
            Self::Libsql(database) => database.execute(statement, parameters, deadline).await,
        }
    }

    /// Runs statements in one transaction that takes the write lock at once: all take effect, or none does. `limit` applies
    /// to a transaction over HTTP.
    pub(super) async fn transaction(
        &self,
        statements: Vec<Statement>,
        limit: Duration,
    ) -> Result<(), DatabaseError> {
        match self {
            Self::Spin(database) => database.transaction(statements).await,
            Self::Libsql(database) => database.transaction(statements, limit).await,
        }
    }

    /// Whether the database takes the write lock away from a transaction that others wait for, as libSQL servers do.
    pub(super) async fn breaks_locks(&self) -> Result<bool, DatabaseError> {
        match self {
            Self::Spin(database) => Ok(!database.waits_for_locks().await?),
            Self::Libsql(_) => Ok(true),
        }
    }

    /// Switches the database to a write-ahead log, if that is up to the client and possible now.
    pub(super) async fn use_wal(&self) -> Result<(), DatabaseError> {
        match self {
            Self::Spin(database) => database.use_wal().await,
            Self::Libsql(_) => Ok(()),
        }
    }
}
