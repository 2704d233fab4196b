//! The bodies of requests and responses, as wasmtime and the server pass them on.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use wasmtime_wasi_http::handler::ErrorCode;

/// A body on its way into a component.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, ErrorCode>;
/// A body on its way out of one.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, wasmtime::Error>;

/// A response without a body.
pub(crate) fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response
}
