//! Errors of statements, with the members that Spin gives them.

use crate::bindings::spin::postgres::postgres::{DbError, Error, QueryError};

/// An error of the server keeps its parts. Any other, such as a connection that is lost, is text.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn query_failed(error: tokio_postgres::Error) -> Error {
    let text = format!("{error:?}");
    Error::QueryFailed(match error.as_db_error() {
        None => QueryError::Text(text),
        Some(error) => QueryError::DbError(DbError {
            as_text: text,
            severity: error.severity().to_owned(),
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(ToOwned::to_owned),
            extras: extras(error),
        }),
    })
}

/// The call that reads all rows at once gives only the text of an error that comes once the statement runs.
pub(super) fn as_text(error: Error) -> Error {
    not_converted(error.into())
}

/// A value that has no place in the interface.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn not_converted(error: anyhow::Error) -> Error {
    Error::QueryFailed(QueryError::Text(format!("{error:?}")))
}

/// What else the server said, by name.
fn extras(error: &tokio_postgres::error::DbError) -> Vec<(String, String)> {
    let line = error.line().map(|line| line.to_string());
    let named = [
        ("column", error.column()),
        ("constraint", error.constraint()),
        ("routine", error.routine()),
        ("hint", error.hint()),
        ("table", error.table()),
        ("datatype", error.datatype()),
        ("schema", error.schema()),
        ("file", error.file()),
        ("line", line.as_deref()),
        ("where_", error.where_()),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}
