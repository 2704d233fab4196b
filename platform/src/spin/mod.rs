//! Spin's variables, outbound HTTP and clock, with a file for each version of WASI.
//!
//! The target of a build decides: `wasm32-wasip1` is WASI 0.2 through spin-sdk 5, which every Spin runs; `wasm32-wasip2`
//! is WASI 0.3 through spin-sdk 7. (Spin makes a component of a module for `wasm32-wasip1`.) Two other folders differ in the
//! same way: `component/`, the entry of a component, and `database/via_spin/`, the connection to a database.

#[cfg_attr(target_env = "p1", path = "wasi_0_2.rs")]
#[cfg_attr(not(target_env = "p1"), path = "wasi_0_3.rs")]
mod wasi;

pub(crate) use wasi::*;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Whether an instance serves a single request.
pub const ONE_REQUEST: bool = cfg!(target_env = "p1");

/// The response to an outbound request, its body still arriving.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The declared length of the body, in bytes. No other header is needed.
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

/// Why a variable cannot be read. The host's own message may quote a line of `.env` that it cannot parse, secret included.
fn without_value(error: &spin_sdk::variables::Error) -> &'static str {
    use spin_sdk::variables::Error;
    match error {
        Error::InvalidName(_) => "its name is invalid",
        Error::Undefined(_) => "the manifest does not define it",
        Error::Provider(_) => "its provider failed; is .env well-formed?",
        Error::Other(_) => "the host failed; is .env well-formed?",
    }
}

/// The fields of a request as a header map.
pub(crate) fn headers(fields: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, http::Error> {
    let mut headers = HeaderMap::try_with_capacity(fields.len())?;
    for (name, value) in fields {
        headers.try_append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?)?;
    }
    Ok(headers)
}
