//! The connection with WASI 0.3: it waits for a statement without blocking the instance.

use std::sync::Arc;

use spin_sdk::sqlite;

use crate::database::{
    sql::Access,
    value::{Row, Value},
};

/// A connection to one of the component's databases.
pub(super) struct Connection {
    connection: sqlite::Connection,
    /// The unread rest of the last result.
    rest: Option<sqlite::QueryResult>,
}

impl Connection {
    /// Opens the database with this label, or says why it cannot.
    pub(super) async fn open(label: &str) -> Result<Self, String> {
        let connection = sqlite::Connection::open(label).await.map_err(|error| error.to_string())?;
        Ok(Self { connection, rest: None })
    }

    /// Runs one statement, to completion if it may write. Its writes are durable once this returns `Ok`.
    ///
    /// Polling an unfinished result costs a turn of the host's event loop, so we poll no further than needed.
    pub(super) async fn execute(
        &mut self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<Vec<Row>, String> {
        let text = |error: sqlite::Error| error.to_string();
        if let Some(mut rest) = self.rest.take() {
            // A libSQL server wants the last result read to its end before the next statement. By now it has arrived.
            while rest.next().await.is_some() {}
        }
        let parameters = parameters.into_iter().map(Into::into);
        let mut result = self.connection.execute(statement, parameters).await.map_err(text)?;
        let columns = Arc::from(result.columns());
        let (Access::Read(most) | Access::Write(most)) = access;
        let mut rows = Vec::new();
        while rows.len() < most
            && let Some(row) = result.next().await
        {
            rows.push(row);
        }
        if rows.len() == most && matches!(access, Access::Read(_)) {
            self.rest = Some(result);
        } else {
            // Errors and the completion of a write are reported after the rows.
            result.result().await.map_err(text)?;
        }
        let row = |row: sqlite::RowResult| {
            Row::new(Arc::clone(&columns), row.values.into_iter().map(Into::into).collect())
        };
        Ok(rows.into_iter().map(row).collect())
    }
}
