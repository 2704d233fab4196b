//! Statements: their access, their parameters, and SQL for any number of rows.

use serde::Serialize;

use super::{error::DatabaseError, value::Value};

/// Whether a statement writes, and the most rows it returns: once they have arrived, it waits for no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads.
    Read(usize),
    /// It may write.
    Write(usize),
}

/// For [`Access`]: any number of rows.
pub const ALL_ROWS: usize = usize::MAX;

/// A statement with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) sql: &'static str,
    pub(super) parameters: Vec<Value>,
}

impl From<&'static str> for Statement {
    fn from(sql: &'static str) -> Self {
        Self { sql, parameters: Vec::new() }
    }
}

/// A statement that inserts any number of rows from one parameter, a JSON array of objects with the columns as members.
/// Its text, and so the prepared statement, does not depend on their number.
#[must_use]
pub fn insert_all(table: &str, columns: &str) -> String {
    format!("INSERT INTO {table} ({columns}) SELECT {} FROM json_each(?) AS new", members(columns))
}

/// The members of each `value` of `json_each` that are named like these columns.
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
