//! Parameters of statements, and rows of results.

use std::sync::Arc;

use credentials::{CredentialHash, KeyId, MaxUses, Metadata, Reason, Status, Timestamp, WorkerId};
use serde::{
    Deserialize, Serialize,
    de::{
        IntoDeserializer,
        value::{Error, StrDeserializer},
    },
};

use super::error::DatabaseError;

/// A value of one of SQLite's types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `NULL`.
    Null,
    /// An integer; also a boolean, or a time in milliseconds since the Unix epoch.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Integer(time.as_millis())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row of a result, read by column name.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    /// A row with these columns, which the rows of a result share.
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The value of a column.
    ///
    /// # Errors
    /// [`DatabaseError::UnexpectedRow`] if there is no such column, or its value has another type.
    pub fn get<T: FromValue>(&self, column: &'static str) -> Result<T, DatabaseError> {
        let index = self.columns.iter().position(|name| name == column);
        let value = index.and_then(|index| self.values.get(index));
        value.and_then(T::from_value).ok_or(DatabaseError::UnexpectedRow { column })
    }
}

/// A type to read a column as.
pub trait FromValue: Sized {
    /// The value as this type, if it is one.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for Value {
    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl FromValue for i64 {
    fn from_value(value: &Value) -> Option<Self> {
        if let Value::Integer(integer) = value { Some(*integer) } else { None }
    }
}

impl FromValue for u64 {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for u32 {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value)?.try_into().ok()
    }
}

impl FromValue for MaxUses {
    fn from_value(value: &Value) -> Option<Self> {
        u32::from_value(value)?.try_into().ok()
    }
}

impl FromValue for bool {
    fn from_value(value: &Value) -> Option<Self> {
        i64::from_value(value).map(|integer| integer != 0)
    }
}

impl FromValue for Timestamp {
    fn from_value(value: &Value) -> Option<Self> {
        Self::from_millis(i64::from_value(value)?).ok()
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Option<Self> {
        text(value).map(ToOwned::to_owned)
    }
}

impl FromValue for WorkerId {
    fn from_value(value: &Value) -> Option<Self> {
        text(value).map(Self::named)
    }
}

impl FromValue for CredentialHash {
    fn from_value(value: &Value) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl FromValue for KeyId {
    fn from_value(value: &Value) -> Option<Self> {
        text(value)?.parse().ok()
    }
}

impl FromValue for Reason {
    fn from_value(value: &Value) -> Option<Self> {
        text(value).map(Self::stored)
    }
}

impl FromValue for Status {
    fn from_value(value: &Value) -> Option<Self> {
        let text: StrDeserializer<'_, Error> = text(value)?.into_deserializer();
        Self::deserialize(text).ok()
    }
}

impl FromValue for Metadata {
    fn from_value(value: &Value) -> Option<Self> {
        Self::new(text(value)?).ok()
    }
}

fn text(value: &Value) -> Option<&str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_read_by_name_and_type() {
        let columns = ["id", "name", "ended_at"].map(ToOwned::to_owned);
        let row = Row::new(Arc::from(columns), vec![Value::Integer(7), "worker-1".into(), Value::Null]);
        assert_eq!(row.get::<i64>("id").unwrap(), 7);
        assert_eq!(row.get::<WorkerId>("name").unwrap(), WorkerId::named("worker-1"));
        assert_eq!(row.get::<Option<Timestamp>>("ended_at").unwrap(), None);
        for error in [row.get::<i64>("name"), row.get::<i64>("ended_at"), row.get::<i64>("none")] {
            assert!(matches!(error, Err(DatabaseError::UnexpectedRow { .. })));
        }
        assert_eq!(
            row.get::<u64>("name").unwrap_err().to_string(),
            "a row has no column name of the expected type"
        );
    }
}
