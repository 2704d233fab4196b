//! A session with WASI 0.2: a statement blocks the instance, which serves no other request.
//!
//! `query` returns once the server is done with a statement and its commit. Of some errors it has the text but not the
//! SQLSTATE, which `execute` always has. In Spin 4.0, a `query` without rows never returns (spinframework/spin, issue 3671).

pub(super) use spin_sdk::pg4 as pg;
use spin_sdk::pg4::{DbValue, ParameterValue, PgError, QueryError};

use super::Statement;
use crate::clock::Deadline;

/// A connection of the host's pool, which gets it back when this is dropped.
pub(super) struct Session(pg::Connection);

impl Session {
    #[allow(clippy::unused_async, reason = "the same as with WASI 0.3")]
    pub(super) async fn open(address: &str) -> Result<Self, PgError> {
        pg::Connection::open(address).map(Self)
    }

    /// Runs one statement to completion, and drops its rows.
    #[allow(clippy::unused_async, reason = "the same as with WASI 0.3")]
    pub(super) async fn execute(
        self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<(), PgError> {
        self.0.execute(statement, &parameters).map(drop)
    }

    /// Runs one statement to completion. Its rows are the elements of a JSON array.
    #[allow(clippy::unused_async, reason = "the same as with WASI 0.3")]
    pub(super) async fn query(
        self,
        statement: &Statement<'_>,
        parameters: Vec<ParameterValue>,
        deadline: Deadline,
    ) -> Result<Option<DbValue>, PgError> {
        let rows = match self.0.query(&statement.returning_rows(), &parameters) {
            Err(PgError::QueryFailed(QueryError::Text(_))) => {
                // If the session still works, then the server has rolled the statement back.
                let timeout = deadline.left().as_millis().max(1);
                self.0.execute(&format!("SET statement_timeout = {timeout}"), &[])?;
                self.0.execute(&statement.setting_rows(), &parameters)?;
                self.0.query("SELECT current_setting('kube_credentials.rows')", &[])
            }
            rows => rows,
        };
        Ok(rows?.rows.into_iter().flatten().next())
    }
}
