//! Requests to other services, with an end to waiting and to what is read.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};

use crate::{RequestId, clock};

/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status. Redirects are not followed.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body as a JSON object.
    ///
    /// # Errors
    /// What is wrong with it, for the log.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, String> {
        object(&self.body)
    }
}

/// A JSON object out of an answer.
///
/// # Errors
/// What is wrong with it, for the log.
pub fn object<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
    // Serde would take an array for a struct.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err("the answer is not a JSON object".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| format!("the answer is not as agreed: {error}"))
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboundError {
    /// The answer was not complete within the limit.
    #[error("no complete answer within {0:?}")]
    TimedOut(Duration),
    /// The request is not one: a malformed URL, or a body that cannot be written.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// No connection, no permission, or an answer that broke off.
    #[error("the request failed: {0}")]
    Failed(String),
    /// The answer was too long.
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
}

/// GET `url`, passing on the request's id; the whole answer within `limit`.
///
/// # Errors
/// [`OutboundError`], for everything but an answer of any status.
pub async fn get(url: &str, request_id: &RequestId, limit: Duration) -> Result<Answer, OutboundError> {
    send(Method::GET, url, request_id, Bytes::new(), limit).await
}

/// POST `body` as JSON to `url`, passing on the request's id; the whole answer within `limit`.
///
/// # Errors
/// [`OutboundError`], for everything but an answer of any status.
pub async fn post(
    url: &str,
    request_id: &RequestId,
    body: &impl Serialize,
    limit: Duration,
) -> Result<Answer, OutboundError> {
    let body = serde_json::to_vec(body).map_err(|error| OutboundError::Request(error.to_string()))?;
    send(Method::POST, url, request_id, body.into(), limit).await
}

async fn send(
    method: Method,
    url: &str,
    request_id: &RequestId,
    body: Bytes,
    limit: Duration,
) -> Result<Answer, OutboundError> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header(RequestId::HEADER, request_id.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Full::new(body))
        .map_err(|error| OutboundError::Request(error.to_string()))?;
    let exchange = async {
        let response =
            spin_sdk::http::send(request).await.map_err(|error| OutboundError::Failed(error.to_string()))?;
        let (head, body) = response.into_parts();
        match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
            Ok(body) => Ok(Answer { status: head.status, body: body.to_bytes() }),
            Err(error) if error.is::<LengthLimitError>() => Err(OutboundError::TooLong),
            Err(error) => Err(OutboundError::Failed(error.to_string())),
        }
    };
    clock::within(limit, exchange).await.unwrap_or(Err(OutboundError::TimedOut(limit)))
}
