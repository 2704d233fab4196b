//! A request's body, limited in size and time, and only if it is declared as JSON.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;

use super::Problem;
use crate::clock;

/// The longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a body may take to arrive.
const MAX_BODY_TIME: Duration = Duration::from_secs(30);

/// The body of a request that is sent as JSON.
///
/// # Errors
/// 408, 413 and 415.
pub(super) async fn read_json(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    // Even if the content type is wrong, the body is read: a connection with an unread body cannot be reused.
    let body = clock::within(MAX_BODY_TIME, read(headers, body)).await;
    let body = body.unwrap_or_else(|| Err(Problem::request_timeout()))?;
    if is_json(headers) { Ok(body) } else { Err(Problem::unsupported_media_type()) }
}

/// Whether the content type is `application/json`. Parameters are ignored: RFC 8259, section 11, defines none.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<mime::Mime>().ok())
            .is_some_and(|mime| mime.essence_str() == mime::APPLICATION_JSON.essence_str()),
        _ => false,
    }
}

/// Reads a body of at most [`MAX_BODY_BYTES`].
async fn read(headers: &HeaderMap, mut body: Body) -> Result<Bytes, Problem> {
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<u64>().ok());
    let too_large = Problem::payload_too_large(MAX_BODY_BYTES);
    if declared.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        linger(headers, body).await;
        return Err(too_large);
    }
    let mut received = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::malformed_json("it ended early".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        if received.len() + data.len() > MAX_BODY_BYTES {
            linger(headers, body).await;
            return Err(too_large);
        }
        received.extend_from_slice(&data);
        // Complete. Waiting for the end of the stream would cost two more turns of the host's event loop.
        if declared == Some(received.len() as u64) {
            break;
        }
    }
    Ok(received.freeze())
}

/// Discards a little more of a body that is too large.
///
/// Most clients write the whole body before they read the answer; closing early would reset the connection, and they
/// would see a network error instead of the 413. A client that waits for `100 Continue` (RFC 9110, section 10.1.1) has
/// sent nothing and is answered at once.
async fn linger(headers: &HeaderMap, mut body: Body) {
    const MAX_BYTES: usize = 1024 * 1024;
    const MAX_TIME: Duration = Duration::from_millis(500);

    if headers.contains_key(header::EXPECT) {
        return;
    }
    let discard = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, Bytes::len);
            if discarded > MAX_BYTES {
                break;
            }
        }
    };
    clock::within(MAX_TIME, discard).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::response::IntoResponse;
    use futures_util::stream;
    use http::HeaderValue;

    use super::*;

    /// The length of the body, or the status of the refusal.
    async fn read(content_type: Option<&'static str>, body: impl Into<Body>) -> Result<usize, u16> {
        let mut headers = HeaderMap::new();
        headers.extend(content_type.map(|text| (header::CONTENT_TYPE, HeaderValue::from_static(text))));
        let body = read_json(&headers, body.into()).await;
        body.map(|body| body.len()).map_err(|problem| problem.into_response().status().as_u16())
    }

    const JSON: Option<&str> = Some("application/json");

    #[tokio::test]
    async fn only_a_body_declared_as_json_is_accepted() {
        for content_type in [JSON, Some("Application/JSON; charset=utf-8")] {
            assert_eq!(read(content_type, "{}").await, Ok(2), "{content_type:?}");
        }
        for content_type in [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/jsonp"),
            Some("json"),
        ] {
            assert_eq!(read(content_type, "{}").await, Err(415), "{content_type:?}");
        }
    }

    #[tokio::test]
    async fn a_body_of_64_kib_is_accepted_and_one_byte_more_is_not() {
        assert_eq!(read(JSON, "x".repeat(MAX_BODY_BYTES)).await, Ok(MAX_BODY_BYTES));
        assert_eq!(read(JSON, "x".repeat(MAX_BODY_BYTES + 1)).await, Err(413));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_a_408() {
        let silent = stream::pending::<Result<Bytes, Infallible>>();
        assert_eq!(read(JSON, Body::from_stream(silent)).await, Err(408));
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_or_stalled_body_over_the_limit_is_a_413() {
        let part = || Ok::<_, Infallible>(Bytes::from_static(&[b' '; 1024]));
        let endless = stream::repeat_with(part);
        assert_eq!(read(JSON, Body::from_stream(endless)).await, Err(413));

        let stalled = stream::unfold(0, move |sent| async move {
            if sent > MAX_BODY_BYTES {
                std::future::pending::<()>().await;
            }
            Some((part(), sent + 1024))
        });
        assert_eq!(read(JSON, Body::from_stream(stalled)).await, Err(413));
    }
}
