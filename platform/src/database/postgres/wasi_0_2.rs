//! A session with WASI 0.2: a statement blocks the instance, which serves no other request.

pub(super) use spin_sdk::pg4 as pg;
use spin_sdk::pg4::{Column, DbValue, ParameterValue, PgError};

/// A connection of the host's pool, which gets it back when this is dropped.
pub(super) struct Session(pg::Connection);

impl Session {
    #[allow(clippy::unused_async, reason = "the same as with WASI 0.3")]
    pub(super) async fn open(address: &str) -> Result<Self, PgError> {
        pg::Connection::open(address).map(Self)
    }

    /// Runs one statement to completion.
    #[allow(clippy::unused_async, reason = "the same as with WASI 0.3")]
    pub(super) async fn query(
        self,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<(Vec<Column>, Vec<Vec<DbValue>>), PgError> {
        let result = self.0.query(statement, &parameters)?;
        Ok((result.columns, result.rows))
    }
}
