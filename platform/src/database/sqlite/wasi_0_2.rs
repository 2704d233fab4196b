//! The connection with WASI 0.2: a statement blocks the instance, which serves no other request.

use std::sync::Arc;

use spin_sdk::sqlite;

use crate::database::{
    sql::Access,
    value::{Row, Value},
};

/// A connection to one of the component's databases.
pub(super) struct Connection(sqlite::Connection);

impl Connection {
    /// Opens the database with this label, or says why it cannot.
    pub(super) async fn open(label: &str) -> Result<Self, String> {
        sqlite::Connection::open(label).map(Self).map_err(|error| error.to_string())
    }

    /// Runs one statement to completion. Its writes are durable once this returns `Ok`.
    pub(super) async fn execute(
        &mut self,
        _: Access,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, String> {
        let parameters: Vec<_> = parameters.into_iter().map(Into::into).collect();
        let result = self.0.execute(statement, &parameters).map_err(|error| error.to_string())?;
        let columns = Arc::from(result.columns);
        let row = |row: sqlite::RowResult| {
            Row::new(Arc::clone(&columns), row.values.into_iter().map(Into::into).collect())
        };
        Ok(result.rows.into_iter().map(row).collect())
    }
}
