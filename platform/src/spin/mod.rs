//! The bindings to Spin: all that differs between versions of WASI, with a file for each.
//!
//! The target of a build decides: `wasm32-wasip1` is WASI 0.2 through spin-sdk 5, which every Spin runs; `wasm32-wasip2`
//! is WASI 0.3 through spin-sdk 7. (A module for `wasm32-wasip1` is made into a component by Spin.) Each file has the same
//! few items: `serve` a request with a component's router (and the macro `component!` for its entry point), a
//! `Connection` to a database, `variable`, `send` a request, `sleep`.
//!
//! Without the feature `spin-sqlite`, which is on by default, a component does not import Spin's SQLite interface: a host
//! that has none refuses a component that asks for it.

#[cfg_attr(target_env = "p1", path = "wasi_0_2.rs")]
#[cfg_attr(not(target_env = "p1"), path = "wasi_0_3.rs")]
mod wasi;

#[cfg(not(feature = "spin-sqlite"))]
mod no_sqlite;

#[cfg(not(feature = "spin-sqlite"))]
pub(crate) use no_sqlite::Connection;
#[cfg(feature = "spin-sqlite")]
pub(crate) use wasi::Connection;
#[doc(hidden)]
pub use wasi::*;
pub(crate) use wasi::{send, sleep, variable};

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

#[cfg(feature = "spin-sqlite")]
use crate::Value;

/// Whether an instance serves one request only.
pub const ONE_REQUEST: bool = cfg!(target_env = "p1");

/// The answer to a request that was sent, its body on its way.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The length of the body in bytes, if that is declared. Of the headers nobody needs another.
    pub(crate) length: Option<usize>,
    pub(crate) body: Body,
}

impl Reply {
    /// `lengths` are the values of `Content-Length`.
    fn new(status: u16, lengths: &[Vec<u8>], body: Body) -> Result<Self, String> {
        let status = StatusCode::from_u16(status).map_err(|error| error.to_string())?;
        let length = lengths.first().and_then(|length| str::from_utf8(length).ok()?.parse().ok());
        Ok(Self { status, length, body })
    }
}

/// The fields of a request as a header map.
fn headers(fields: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::try_with_capacity(fields.len())?;
    for (name, value) in fields {
        headers.try_append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?)?;
    }
    Ok(headers)
}

#[cfg(feature = "spin-sqlite")]
impl From<Value> for spin_sdk::sqlite::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

#[cfg(feature = "spin-sqlite")]
impl From<spin_sdk::sqlite::Value> for Value {
    fn from(value: spin_sdk::sqlite::Value) -> Self {
        use spin_sdk::sqlite::Value;
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(bytes) => Self::Blob(bytes),
        }
    }
}
