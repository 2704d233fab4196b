//! Values and errors of the interface, as the rest of this crate has them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use super::wasi::pg::{DbValue, ParameterValue, PgError, QueryError};
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

/// The rows of a result: objects in a JSON array, with the columns as members.
pub(super) fn rows(rows: Option<DbValue>) -> Result<Vec<Row>, DatabaseError> {
    let unexpected = DatabaseError::UnexpectedRow { column: "rows" };
    let Some(DbValue::Str(rows)) = rows else { return Err(unexpected) };
    let rows: Vec<BTreeMap<String, Json>> = serde_json::from_str(&rows).map_err(|_| unexpected)?;
    let names: Arc<[String]> = rows.iter().take(1).flat_map(BTreeMap::keys).cloned().collect();
    Ok(rows
        .into_iter()
        .map(|row| Row::new(Arc::clone(&names), row.into_values().map(value).collect()))
        .collect())
}

fn value(json: Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(boolean) => Value::Integer(boolean.into()),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Value::Integer(integer),
            None => Value::Real(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Text(text),
        Json::Array(_) | Json::Object(_) => Value::Text(json.to_string()),
    }
}

/// The error of a connection that was not made: the statement has not begun. The interface has only a text for it, without
/// the SQLSTATE, so a wrong password is retried like a server that is starting.
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

/// The server's words with their code. Its detail may quote a row; the host adds a backtrace to other errors if it is asked
/// for backtraces.
fn text(error: &PgError) -> String {
    let text = match error {
        PgError::QueryFailed(QueryError::DbError(error)) => {
            return format!("{} (SQLSTATE {})", error.message, error.code);
        }
        PgError::QueryFailed(QueryError::Text(text))
        | PgError::ConnectionFailed(text)
        | PgError::BadParameter(text)
        | PgError::ValueConversionFailed(text)
        | PgError::Other(text) => text,
    };
    let lines = text.lines().take_while(|line| !line.starts_with("Stack backtrace")).map(str::trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty() && !line.starts_with("DETAIL")).collect();
    lines.join(" ")
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
        let text =
            r#"[{"b": 7, "a": true, "c": "\"a\" \u00e4", "d": null}, {"b": 8, "a": false, "c": "", "d": 9}]"#;
        let found = rows(Some(DbValue::Str(text.to_owned()))).unwrap();
        assert_eq!((found[0].get::<bool>("a").unwrap(), found[1].get::<bool>("a").unwrap()), (true, false));
        assert_eq!(found[0].get::<u64>("b").unwrap(), 7);
        assert_eq!(found[0].get::<String>("c").unwrap(), "\"a\" ä");
        assert_eq!(found[0].get::<Option<i64>>("d").unwrap(), None);
        assert_eq!(found[1].get::<Option<i64>>("d").unwrap(), Some(9));
        assert!(rows(Some(DbValue::Str("[]".to_owned()))).unwrap().is_empty());
        for unexpected in [None, Some(DbValue::DbNull), Some(DbValue::Str("{}".to_owned()))] {
            assert!(rows(unexpected).is_err());
        }
    }

    #[test]
    fn no_text_has_a_row_or_a_backtrace_in_it() {
        let message = "db error: ERROR: duplicate key\nDETAIL: Key (a)=(secret) already exists.\n\nCaused by:\n    x\n\n\
                       Stack backtrace:\n   0: spin";
        let error = failed(PgError::QueryFailed(QueryError::Text(message.to_owned())));
        assert_eq!(error.to_string(), "a statement failed: db error: ERROR: duplicate key Caused by: x");
    }
}
