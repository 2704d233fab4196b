//! SQL for both databases, and statements for any number of rows.

use serde::Serialize;

use super::{error::DatabaseError, value::Value};

/// The text of a statement where the two databases differ.
///
/// Parameters are `$1`, `$2` and so on. SQLite numbers them in the order in which they first appear, so they must appear in
/// that order, or be written `?1`, `?2` in SQLite's text.
#[derive(Clone, Copy, Debug)]
pub struct Sql {
    /// For SQLite.
    pub sqlite: &'static str,
    /// For PostgreSQL.
    pub postgres: &'static str,
}

impl Sql {
    /// The text for the database of this build.
    pub const fn text(self) -> &'static str {
        if cfg!(feature = "postgres") { self.postgres } else { self.sqlite }
    }
}

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

/// The members of each `value` of SQLite's `json_each` that are named like these columns.
#[must_use]
pub fn members(columns: &str) -> String {
    columns.split(", ").map(|column| format!("value ->> '{column}'")).collect::<Vec<_>>().join(", ")
}

/// Any number of values as one parameter, a JSON array. The text of a statement, and so the prepared statement, does not
/// depend on their number.
///
/// # Errors
/// [`DatabaseError::Parameter`]
pub fn to_json(things: &impl Serialize) -> Result<Value, DatabaseError> {
    serde_json::to_string(things)
        .map(Value::Text)
        .map_err(|error| DatabaseError::Parameter(error.to_string()))
}
