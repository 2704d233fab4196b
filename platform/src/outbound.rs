//! Requests to other services, with limits on time and size.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde::Serialize;

use crate::{Deadline, edge::RequestId, spin};

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status. Redirects are not followed.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboundError {
    /// The answer was not complete by the deadline.
    #[error("no complete answer in time")]
    TimedOut,
    /// The URL is malformed, or the body cannot be serialised.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// There was no connection or no permission, or the answer broke off.
    #[error("the request failed: {0}")]
    Failed(String),
    /// The answer was too long.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// The limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// When the whole answer must have arrived.
    pub deadline: Deadline,
    /// The longest answer that is read, in bytes.
    pub max_bytes: usize,
}

/// GET `url`, passing on the request's id.
///
/// # Errors
/// [`OutboundError`] if there is no complete answer. An answer of any status is not an error.
pub async fn get(url: &str, request_id: &RequestId, limits: Limits) -> Result<Answer, OutboundError> {
    send(Method::GET, url, request_id, Bytes::new(), limits).await
}

/// POST `body` as JSON to `url`, passing on the request's id.
///
/// # Errors
/// As for [`get`].
pub async fn post(
    url: &str,
    request_id: &RequestId,
    body: &impl Serialize,
    limits: Limits,
) -> Result<Answer, OutboundError> {
    let body = serde_json::to_vec(body).map_err(|error| OutboundError::Request(error.to_string()))?;
    send(Method::POST, url, request_id, body.into(), limits).await
}

async fn send(
    method: Method,
    url: &str,
    request_id: &RequestId,
    body: Bytes,
    limits: Limits,
) -> Result<Answer, OutboundError> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header(RequestId::HEADER, request_id.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Full::new(body))
        .map_err(|error| OutboundError::Request(error.to_string()))?;
    exchange(request, limits).await
}

/// Sends a request and reads the whole answer.
pub(crate) async fn exchange(request: Request<Full<Bytes>>, limits: Limits) -> Result<Answer, OutboundError> {
    let exchange = async {
        let response = spin::send(request).await.map_err(OutboundError::Failed)?;
        let (head, body) = response.into_parts();
        match Limited::new(body, limits.max_bytes).collect().await {
            Ok(body) => Ok(Answer { status: head.status, body: body.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => Err(OutboundError::TooLong(limits.max_bytes)),
            Err(error) => Err(OutboundError::Failed(error.to_string())),
        }
    };
    limits.deadline.within(exchange).await.unwrap_or(Err(OutboundError::TimedOut))
}
