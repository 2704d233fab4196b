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
    // The body is read even if the content type is wrong: a connection with an unread body cannot be reused.
    let body = clock::within(MAX_BODY_TIME, read(headers, body)).await;
    let body = body.unwrap_or_else(|| Err(Problem::request_timeout()))?;
    if !is_json(headers) {
        return Err(Problem::unsupported_media_type());
    }
    if is_encoded(headers) { Err(Problem::unsupported_content_encoding()) } else { Ok(body) }
}

/// Whether the content type is `application/json` (RFC 9110, section 8.3). What follows the first semicolon is ignored:
/// RFC 8259, section 11, defines no parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Whether the body has a content coding other than `identity` (RFC 9110, section 8.4).
fn is_encoded(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let codings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings
        .map(<[u8]>::trim_ascii)
        .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
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
        // Waiting for the end of the stream would cost two more turns of the host's event loop.
        if declared == Some(received.len() as u64) {
            break;
        }
    }
    Ok(received.freeze())
}

/// Discards a bit more of a body that is too large.
///
/// Most clients write the whole body before they read the response; closing early would reset the connection, and they
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
        let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
        let headers = content_type.map(|text| (header::CONTENT_TYPE, value(text)));
        read_with(headers.into_iter().collect(), body).await
    }

    async fn read_with(headers: HeaderMap, body: impl Into<Body>) -> Result<usize, u16> {
        let body = read_json(&headers, body.into()).await;
        body.map(|body| body.len()).map_err(|problem| problem.into_response().status().as_u16())
    }

    const JSON: Option<&str> = Some("application/json");

    #[tokio::test]
    async fn only_a_body_declared_as_json_is_accepted() {
        for content_type in [
            JSON,
            Some("Application/JSON; charset=utf-8"),
            Some("application/json;charset=utf-8"),
            Some("application/json ; charset=utf-8"),
            Some("application/json;\tcharset=utf-8"),
            Some("application/json\t;\t charset=utf-8"),
            Some("application/json; charset=utf-8 ; v=1"),
            Some("application/json;charset=\"utf-8\""),
            Some("application/json; a=\"x; \\\" , y\"; b=c"),
            Some("application/json; title=\"é\""),
            Some("application/json;"),
            Some("application/json; ;charset=utf-8;"),
            Some(" application/json "),
        ] {
            assert_eq!(read(content_type, "{}").await, Ok(2), "{content_type:?}");
        }
        for content_type in [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/jsonp"),
            Some("application/json, application/json"),
            Some("application /json"),
            Some("application/problem+json"),
            Some("text/plain; application/json"),
            Some("; application/json"),
            Some("json"),
        ] {
            assert_eq!(read(content_type, "{}").await, Err(415), "{content_type:?}");
        }
        let twice = [(header::CONTENT_TYPE, JSON), (header::CONTENT_TYPE, JSON)];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, HeaderValue::from_static(value.unwrap()));
        }
        assert_eq!(read_with(headers, "{}").await, Err(415));
    }

    #[tokio::test]
    async fn a_body_with_a_content_coding_is_a_415() {
        for (codings, length) in [
            (&["identity"][..], Ok(2)),
            (&["Identity, identity"], Ok(2)),
            (&[""], Ok(2)),
            (&["identity", " ,identity"], Ok(2)),
            (&["gzip"], Err(415)),
            (&["GZIP"], Err(415)),
            (&["br"], Err(415)),
            (&["deflate"], Err(415)),
            (&["zstd"], Err(415)),
            (&["identity,\tgzip"], Err(415)),
            (&["identity", "x-gzip"], Err(415)),
            (&["\u{e9}"], Err(415)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            for coding in codings {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_bytes(coding.as_bytes()).unwrap());
            }
            assert_eq!(read_with(headers, "{}").await, length, "{codings:?}");
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
