//! A session with WASI 0.3: it waits for a statement without blocking the instance.

pub(super) use spin_sdk::pg;
use spin_sdk::pg::{Column, DbValue, Error, ParameterValue, PgError};

/// A connection of the host's pool, which gets it back when this is dropped.
pub(super) struct Session(pg::Connection);

impl Session {
    pub(super) async fn open(address: &str) -> Result<Self, PgError> {
        pg::Connection::open(address).await.map(Self).map_err(inner)
    }

    /// Runs one statement to completion.
    pub(super) async fn query(
        self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<(Vec<Column>, Vec<Vec<DbValue>>), PgError> {
        let mut result = self.0.query(statement, parameters).await.map_err(inner)?;
        let columns = result.columns().to_vec();
        let mut rows = Vec::new();
        while let Some(row) = result.rows().next().await {
            rows.push(row);
        }
        // Errors are reported after the rows.
        result.result().await.map_err(inner)?;
        Ok((columns, rows))
    }
}

fn inner(error: Error) -> PgError {
    match error {
        Error::PgError(error) => error,
        Error::Decode(reason) => PgError::ValueConversionFailed(reason),
    }
}
