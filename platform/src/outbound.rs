//! Requests to other services, with limits on time and size.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use credentials::ServiceToken;
use headers::{Authorization, HeaderMapExt};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use crate::{clock::Deadline, request_id::RequestId, spin};

/// A complete response.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its status. Redirects are not followed.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no response.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboundError {
    /// The response was not complete by the deadline.
    #[error("no complete response in time")]
    TimedOut,
    /// The URL is malformed, or the body cannot be serialised.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// There was no connection or no permission, or the response broke off.
    #[error("the request failed: {0}")]
    Failed(String),
    /// The response was too long.
    #[error("the response is longer than {0} bytes")]
    TooLong(usize),
}

/// The limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When the whole response must have arrived.
    pub deadline: Deadline,
    /// The longest response that is read, in bytes.
    pub max_bytes: usize,
}

/// GET `url`, passing on the request's id.
///
/// # Errors
/// [`OutboundError`] if there is no complete response. A response of any status is not an error.
pub async fn get(url: &str, request_id: &RequestId, limits: Limits) -> Result<Response, OutboundError> {
    send(Method::GET, url, request_id, None, Bytes::new(), limits).await
}

/// POST `body` as JSON to `url` with this bearer token, passing on the request's id.
///
/// # Errors
/// As for [`get`].
pub async fn post(
    url: &str,
    request_id: &RequestId,
    token: &ServiceToken,
    body: &impl Serialize,
    limits: Limits,
) -> Result<Response, OutboundError> {
    let body = serde_json::to_vec(body).map_err(|error| OutboundError::Request(error.to_string()))?;
    send(Method::POST, url, request_id, Some(token), body.into(), limits).await
}

async fn send(
    method: Method,
    url: &str,
    request_id: &RequestId,
    token: Option<&ServiceToken>,
    body: Bytes,
    limits: Limits,
) -> Result<Response, OutboundError> {
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header(RequestId::HEADER, request_id.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Full::new(body))
        .map_err(|error| OutboundError::Request(error.to_string()))?;
    if let Some(token) = token {
        let authorization = Authorization::bearer(token.as_str());
        let authorization = authorization.map_err(|error| OutboundError::Request(error.to_string()))?;
        request.headers_mut().typed_insert(authorization);
    }
    exchange(request, limits).await
}

/// Sends a request and reads the whole response.
pub(crate) async fn exchange(
    request: Request<Full<Bytes>>,
    limits: Limits,
) -> Result<Response, OutboundError> {
    let exchange = async {
        let spin::Reply { status, length, body } =
            spin::send(request).await.map_err(OutboundError::Failed)?;
        Ok(Response { status, body: read(length, body, limits.max_bytes).await? })
    };
    limits.deadline.within(exchange).await.unwrap_or(Err(OutboundError::TimedOut))
}

/// Reads a body up to its declared length, if it has one: waiting for its end would cost two more turns of the host's event
/// loop.
async fn read(length: Option<usize>, mut body: Body, max_bytes: usize) -> Result<Bytes, OutboundError> {
    let mut received = BytesMut::new();
    while length != Some(received.len()) {
        match body.frame().await {
            Some(Ok(frame)) => received.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Some(Err(error)) => return Err(OutboundError::Failed(error.to_string())),
            None if length.is_some() => {
                return Err(OutboundError::Failed("the response ended early".to_owned()));
            }
            None => break,
        }
        if received.len() > max_bytes {
            return Err(OutboundError::TooLong(max_bytes));
        }
    }
    Ok(received.freeze())
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};

    use super::*;

    /// Reads these parts of a body that then ends, or never does.
    async fn read_parts(length: Option<usize>, parts: &[&'static str], ends: bool) -> Result<Bytes, String> {
        let parts = stream::iter(parts.to_vec()).map(|part| Ok::<_, Infallible>(Bytes::from(part)));
        let rest = stream::pending().take(usize::from(!ends));
        let read = read(length, Body::from_stream(parts.chain(rest)), 8);
        let read = tokio::time::timeout(std::time::Duration::from_secs(1), read).await;
        read.unwrap_or(Err(OutboundError::TimedOut)).map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_read_up_to_its_length_or_to_its_end() {
        assert_eq!(read_parts(Some(5), &["he", "llo"], false).await.unwrap(), "hello");
        assert_eq!(read_parts(Some(0), &[], false).await.unwrap(), "");
        assert_eq!(read_parts(None, &["he", "llo"], true).await.unwrap(), "hello");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_breaks_off_or_is_too_long_is_an_error() {
        assert_eq!(
            read_parts(Some(6), &["hello"], true).await.unwrap_err(),
            "the request failed: the response ended early"
        );
        for length in [None, Some(9), Some(100)] {
            let error = read_parts(length, &["hello", "world"], false).await.unwrap_err();
            assert_eq!(error, "the response is longer than 8 bytes", "{length:?}");
        }
        assert_eq!(read_parts(None, &["hello"], false).await.unwrap_err(), "no complete response in time");
    }
}
