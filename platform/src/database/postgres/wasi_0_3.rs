//! A session with WASI 0.3: it waits for a statement without blocking the instance.

pub(super) use spin_sdk::pg;
use spin_sdk::pg::{DbValue, Error, ParameterValue, PgError};

use super::Statement;
use crate::clock::Deadline;

/// A connection of the host's pool, which gets it back when this is dropped.
pub(super) struct Session(pg::Connection);

impl Session {
    pub(super) async fn open(address: &str) -> Result<Self, PgError> {
        pg::Connection::open(address).await.map(Self).map_err(inner)
    }

    /// Runs one statement to completion, and drops its rows.
    pub(super) async fn execute(
        self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<(), PgError> {
        self.0.execute(statement, parameters).await.map(drop).map_err(inner)
    }

    /// Runs one statement to completion. Its rows are the elements of a JSON array.
    pub(super) async fn query(
        self,
        statement: &Statement<'_>,
        parameters: Vec<ParameterValue>,
        _: Deadline,
    ) -> Result<Option<DbValue>, PgError> {
        let mut result = self.0.query(statement.returning_rows(), parameters).await.map_err(inner)?;
        let row = result.rows().next().await;
        // Errors are reported after the rows.
        result.result().await.map_err(inner)?;
        Ok(row.and_then(|row| row.into_iter().next()))
    }
}

fn inner(error: Error) -> PgError {
    match error {
        Error::PgError(error) => error,
        Error::Decode(reason) => PgError::ValueConversionFailed(reason),
    }
}
