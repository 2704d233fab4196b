//! A session with WASI 0.2: a statement blocks the instance, which serves no other request.
//!
//! The interface tells the SQLSTATE of a failed `execute` only, not of a failed `query`; and in Spin 4.0, a `query` without
//! rows never returns (spinframework/spin, issue 3671).

pub(super) use spin_sdk::pg4 as pg;
use spin_sdk::pg4::{DbValue, ParameterValue, PgError};

use super::{one_row, set_rows};
use crate::database::sql::Access;

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
        access: Access,
        statement: &str,
        parameters: Vec<ParameterValue>,
    ) -> Result<Option<DbValue>, PgError> {
        let rows = if matches!(access, Access::Write(_)) {
            self.0.execute(&set_rows(statement), &parameters)?;
            self.0.query("SELECT current_setting('kube_credentials.rows')", &[])
        } else {
            self.0.query(&one_row(statement), &parameters)
        };
        Ok(rows?.rows.into_iter().flatten().next())
    }
}
