//! Values on their way to PostgreSQL and back. Their Rust types are those in Spin: the client's errors name them.

use anyhow::{Result, bail};
use bytes::BytesMut;
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

pub(super) use crate::bindings::spin::postgres::postgres::DbValue;
use crate::bindings::spin::postgres::postgres::{DbDataType, ParameterValue};

type Cause = Box<dyn std::error::Error + Sync + Send>;
type Parameter = Box<dyn ToSql + Sync + Send>;

/// The parameters of a statement, or why one has no place in PostgreSQL.
pub(super) fn parameters(values: &[ParameterValue]) -> Result<Vec<Parameter>, String> {
    values.iter().map(parameter).collect::<Result<_>>().map_err(|error| format!("{error:?}"))
}

fn parameter(value: &ParameterValue) -> Result<Parameter> {
    Ok(match value {
        ParameterValue::Boolean(value) => Box::new(*value),
        ParameterValue::Int8(value) => Box::new(*value),
        ParameterValue::Int16(value) => Box::new(*value),
        ParameterValue::Int32(value) => Box::new(*value),
        ParameterValue::Int64(value) => Box::new(*value),
        ParameterValue::Floating32(value) => Box::new(*value),
        ParameterValue::Floating64(value) => Box::new(*value),
        ParameterValue::Str(value) => Box::new(value.clone()),
        ParameterValue::Binary(value) => Box::new(value.clone()),
        ParameterValue::Jsonb(value) => match serde_json::from_slice::<serde_json::Value>(value) {
            Ok(value) => Box::new(value),
            Err(error) => {
                let context = format!("invalid JSON {}", String::from_utf8_lossy(value));
                return Err(anyhow::Error::new(error).context(context));
            }
        },
        ParameterValue::ArrayInt32(values) => Box::new(values.clone()),
        ParameterValue::ArrayInt64(values) => Box::new(values.clone()),
        ParameterValue::ArrayStr(values) => Box::new(values.clone()),
        ParameterValue::DbNull => Box::new(Null),
        ParameterValue::Date(_)
        | ParameterValue::Time(_)
        | ParameterValue::Datetime(_)
        | ParameterValue::Timestamp(_)
        | ParameterValue::Uuid(_)
        | ParameterValue::Decimal(_)
        | ParameterValue::RangeInt32(_)
        | ParameterValue::RangeInt64(_)
        | ParameterValue::RangeDecimal(_)
        | ParameterValue::ArrayDecimal(_)
        | ParameterValue::Interval(_) => {
            bail!("the embedded host does not support a parameter of this type; Spin may")
        }
    })
}

/// The interface's name of a type.
pub(super) fn data_type(type_: &Type) -> DbDataType {
    match *type_ {
        Type::BOOL => DbDataType::Boolean,
        Type::INT2 => DbDataType::Int16,
        Type::INT4 => DbDataType::Int32,
        Type::INT8 => DbDataType::Int64,
        Type::FLOAT4 => DbDataType::Floating32,
        Type::FLOAT8 => DbDataType::Floating64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR => DbDataType::Str,
        Type::BYTEA => DbDataType::Binary,
        Type::DATE => DbDataType::Date,
        Type::TIME => DbDataType::Time,
        Type::TIMESTAMP | Type::TIMESTAMPTZ => DbDataType::Datetime,
        Type::UUID => DbDataType::Uuid,
        Type::JSONB => DbDataType::Jsonb,
        Type::NUMERIC => DbDataType::Decimal,
        Type::INT4_RANGE => DbDataType::RangeInt32,
        Type::INT8_RANGE => DbDataType::RangeInt64,
        Type::NUM_RANGE => DbDataType::RangeDecimal,
        Type::INT4_ARRAY => DbDataType::ArrayInt32,
        Type::INT8_ARRAY => DbDataType::ArrayInt64,
        Type::NUMERIC_ARRAY => DbDataType::ArrayDecimal,
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::BPCHAR_ARRAY => DbDataType::ArrayStr,
        Type::INTERVAL => DbDataType::Interval,
        _ => DbDataType::Other(type_.name().to_owned()),
    }
}

/// The values of a row.
pub(super) fn row(row: &Row) -> Result<Vec<DbValue>> {
    (0..row.len()).map(|index| value(row, index)).collect()
}

fn value(row: &Row, index: usize) -> Result<DbValue> {
    let type_ = row.columns()[index].type_();
    match data_type(type_) {
        DbDataType::Boolean => read(row, index, DbValue::Boolean),
        DbDataType::Int16 => read(row, index, DbValue::Int16),
        DbDataType::Int32 => read(row, index, DbValue::Int32),
        DbDataType::Int64 => read(row, index, DbValue::Int64),
        DbDataType::Floating32 => read(row, index, DbValue::Floating32),
        DbDataType::Floating64 => read(row, index, DbValue::Floating64),
        DbDataType::Str => read(row, index, DbValue::Str),
        DbDataType::Binary => read(row, index, DbValue::Binary),
        DbDataType::Jsonb => {
            read(row, index, |value: serde_json::Value| DbValue::Jsonb(value.to_string().into()))
        }
        DbDataType::ArrayInt32 => read(row, index, DbValue::ArrayInt32),
        DbDataType::ArrayInt64 => read(row, index, DbValue::ArrayInt64),
        DbDataType::ArrayStr => read(row, index, DbValue::ArrayStr),
        DbDataType::Other(_) => read(row, index, |Binary(value)| DbValue::Unsupported(value)),
        _ => match row.try_get(index)? {
            // As in Spin, the type fails for `NULL` too.
            None::<Binary> if *type_ != Type::TIMESTAMPTZ => Ok(DbValue::DbNull),
            _ => bail!("the embedded host does not support the type `{type_}`; Spin may"),
        },
    }
}

fn read<'a, T: FromSql<'a>>(row: &'a Row, index: usize, convert: impl Fn(T) -> DbValue) -> Result<DbValue> {
    Ok(row.try_get::<_, Option<T>>(index)?.map_or(DbValue::DbNull, convert))
}

/// What a row takes in memory.
pub(super) fn size(row: &[DbValue]) -> usize {
    let content = |value: &DbValue| match value {
        DbValue::Str(text) => text.len(),
        DbValue::Binary(bytes) | DbValue::Jsonb(bytes) | DbValue::Unsupported(bytes) => bytes.len(),
        DbValue::ArrayInt32(numbers) => size_of_val(&numbers[..]),
        DbValue::ArrayInt64(numbers) => size_of_val(&numbers[..]),
        DbValue::ArrayStr(texts) => {
            size_of_val(&texts[..]) + texts.iter().flatten().map(String::len).sum::<usize>()
        }
        _ => 0,
    };
    size_of_val(row) + row.iter().map(content).sum::<usize>()
}

/// `NULL` of any type.
#[derive(Debug)]
struct Null;

impl ToSql for Null {
    fn to_sql(&self, _: &Type, _: &mut BytesMut) -> Result<IsNull, Cause> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// PostgreSQL's binary form of a value of any type.
struct Binary(Vec<u8>);

impl FromSql<'_> for Binary {
    fn from_sql(_: &Type, value: &[u8]) -> Result<Self, Cause> {
        Ok(Self(value.to_owned()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
