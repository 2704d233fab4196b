//! Values and errors of the interface, as the rest of this crate has them.

use std::sync::Arc;

use super::wasi::pg::{Column, DbValue, ParameterValue, PgError, QueryError};
use crate::database::{
    error::DatabaseError,
    value::{Row, Value},
};

impl From<Value> for ParameterValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::DbNull,
            Value::Integer(integer) => Self::Int64(integer),
            Value::Real(real) => Self::Floating64(real),
            Value::Text(text) => Self::Str(text),
            Value::Blob(bytes) => Self::Binary(bytes),
        }
    }
}

/// The rows of a result.
pub(super) fn rows(columns: Vec<Column>, rows: Vec<Vec<DbValue>>) -> Result<Vec<Row>, DatabaseError> {
    let names: Arc<[String]> = columns.into_iter().map(|column| column.name).collect();
    let row = |values: Vec<DbValue>| {
        let values = values.into_iter().map(value).collect::<Option<_>>();
        let values = values.ok_or(DatabaseError::UnexpectedRow { column: "of an unknown type" })?;
        Ok(Row::new(Arc::clone(&names), values))
    };
    rows.into_iter().map(row).collect()
}

/// `None` for a type that no statement returns.
fn value(value: DbValue) -> Option<Value> {
    Some(match value {
        DbValue::DbNull => Value::Null,
        DbValue::Boolean(boolean) => Value::Integer(boolean.into()),
        DbValue::Int16(integer) => Value::Integer(integer.into()),
        DbValue::Int32(integer) => Value::Integer(integer.into()),
        DbValue::Int64(integer) => Value::Integer(integer),
        DbValue::Floating64(real) => Value::Real(real),
        DbValue::Str(text) => Value::Text(text),
        DbValue::Binary(bytes) => Value::Blob(bytes),
        _ => return None,
    })
}

/// The error of a connection that was not made: the statement has not begun.
pub(super) fn not_connected(error: PgError) -> DatabaseError {
    DatabaseError::Transient(format!("no connection: {}", text(&error)))
}

/// The error of a statement, by its SQLSTATE (PostgreSQL documentation, appendix A).
pub(super) fn failed(error: PgError) -> DatabaseError {
    let reason = text(&error);
    let PgError::QueryFailed(QueryError::DbError(error)) = error else {
        return DatabaseError::Statement(reason);
    };
    match error.code.as_str() {
        // Rolled back, and perhaps gone at the next attempt: a deadlock or a conflict, a lock, too little memory, too many
        // connections, a server that is starting, or one that is a standby.
        "40001" | "40P01" | "55P03" | "53200" | "53300" | "57P03" | "25006" => {
            DatabaseError::Transient(reason)
        }
        // The connection has ended, perhaps after a commit.
        "40003" | "57P01" | "57P02" => DatabaseError::Statement(reason),
        code if code.starts_with("08") => DatabaseError::Statement(reason),
        _ => DatabaseError::Refused { code: error.code, reason },
    }
}

/// The server's words with their code. Its detail may quote a row.
fn text(error: &PgError) -> String {
    match error {
        PgError::QueryFailed(QueryError::DbError(error)) => {
            format!("{} (SQLSTATE {})", error.message, error.code)
        }
        PgError::QueryFailed(QueryError::Text(text))
        | PgError::ConnectionFailed(text)
        | PgError::BadParameter(text)
        | PgError::ValueConversionFailed(text)
        | PgError::Other(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::wasi::pg::DbError, *};
    use crate::batch::Transient;

    fn failure(code: &str) -> DatabaseError {
        failed(PgError::QueryFailed(QueryError::DbError(DbError {
            as_text: "db error: as text".to_owned(),
            severity: "ERROR".to_owned(),
            code: code.to_owned(),
            message: "the message".to_owned(),
            detail: Some("Key (credential_hash)=(00) already exists.".to_owned()),
            extras: Vec::new(),
        })))
    }

    #[test]
    fn what_an_error_means_comes_from_its_code() {
        for code in ["40001", "40P01", "55P03", "53300", "57P03", "25006"] {
            let error = failure(code);
            assert!(error.is_transient() && !error.may_have_taken_effect(), "{code}");
        }
        // The connection ended.
        for code in ["57P01", "57P02", "08006", "40003"] {
            let error = failure(code);
            assert!(!error.is_transient() && error.may_have_taken_effect(), "{code}");
        }
        // Constraints, rights, a full disk, a statement that took too long.
        for code in ["23505", "42501", "42P01", "53100", "57014"] {
            let error = failure(code);
            assert!(!error.is_transient() && !error.may_have_taken_effect(), "{code}");
            assert_eq!(error.to_string(), format!("a statement failed: the message (SQLSTATE {code})"));
        }
        let error = failed(PgError::Other("connection closed".to_owned()));
        assert!(!error.is_transient() && error.may_have_taken_effect());
        let error = not_connected(PgError::ConnectionFailed("connection refused".to_owned()));
        assert!(error.is_transient() && !error.may_have_taken_effect());
    }

    #[test]
    fn values_are_the_same_as_those_of_sqlite() {
        let column = |name: &str| Column {
            name: name.to_owned(),
            data_type: super::super::wasi::pg::DbDataType::Other("any".to_owned()),
        };
        let values =
            vec![DbValue::Boolean(true), DbValue::Int32(7), DbValue::Str("a".to_owned()), DbValue::DbNull];
        let found = rows(["a", "b", "c", "d"].map(column).into(), vec![values]).unwrap();
        assert!(found[0].get::<bool>("a").unwrap());
        assert_eq!(found[0].get::<u64>("b").unwrap(), 7);
        assert_eq!(found[0].get::<String>("c").unwrap(), "a");
        assert_eq!(found[0].get::<Option<i64>>("d").unwrap(), None);
        assert!(rows(vec![column("a")], vec![vec![DbValue::Decimal("1".to_owned())]]).is_err());
    }
}
