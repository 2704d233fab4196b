//! JSON in and out: one extractor whose every refusal is a problem, one response.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{error::Category, value::RawValue};

use super::Problem;
use crate::Deadline;

/// The longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long a body may take to arrive.
const MAX_BODY_TIME: Duration = Duration::from_secs(30);

/// JSON: a request's body when extracted, a response's when returned.
///
/// As an extractor it takes a JSON object of at most [`MAX_BODY_BYTES`], strictly: no duplicate members, no lone
/// surrogates, no invalid UTF-8, nothing after the object; unknown members are refused by the types' own
/// `deny_unknown_fields`. The content type must be `application/json`: a page of any origin can have a browser send other
/// types, or none, without asking first (Fetch, "CORS-safelisted request-header").
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        // The body comes first, whatever is wrong with the head: a connection with an unread body cannot be kept.
        let read = Deadline::after(MAX_BODY_TIME).within(read(&head.headers, body)).await;
        let body = read.unwrap_or_else(|| Err(Problem::request_timeout()))?;
        if !is_json(&head.headers) {
            return Err(Problem::unsupported_media_type());
        }
        parse(&body).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => {
                let content_type = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, content_type)], body).into_response()
            }
            Err(error) => Problem::internal(error).into_response(),
        }
    }
}

/// Whether the content type is `application/json`, with any parameters (RFC 8259, section 11, has none).
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

/// Reads the body up to the limit, and not beyond.
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
        // It is whole. To wait for its end would be two more turns of the host's event loop.
        if declared == Some(received.len() as u64) {
            break;
        }
    }
    Ok(received.freeze())
}

/// Throws away a little more of a body that is too large.
///
/// Most clients write the whole body before they read the answer; closing on them at once resets the connection, and
/// they see a network error instead of the 413. So what a slightly too large body still has is taken in, within
/// bounds. A client that waits for `100 Continue` (RFC 9110, section 10.1.1) has sent nothing and is answered at once.
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
    Deadline::after(MAX_TIME).within(discard).await;
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::malformed_json("it is empty".to_owned()));
    }
    // Serde would take an array for a struct: its elements for the members, in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        serde_json::from_slice::<IgnoredAny>(body).map_err(|error| broken(&error))?;
        return Err(Problem::invalid("body", "must be a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| refuse_json("body", &error))?;
    deserializer.end().map_err(|error| broken(&error))?;
    Ok(value)
}

/// For optional members (`#[serde(default, deserialize_with = "given")]`): one that is `null` is of the wrong type, not
/// left out. An expiry that a client failed to fill in must not pass for "never".
///
/// # Errors
/// Those of the member's own type.
pub fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The items of a list, each still to be read: one that is wrong does not spoil the others.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Items(Vec<Box<RawValue>>);

impl Items {
    /// Reads each item; `location` is the list's, such as `body.credentials`.
    ///
    /// # Errors
    /// A 400 for the whole list if it has no item, or more than `max`.
    pub fn read<T: DeserializeOwned>(
        self,
        location: &str,
        max: usize,
    ) -> Result<Vec<Result<T, Problem>>, Problem> {
        if self.0.is_empty() || self.0.len() > max {
            return Err(Problem::invalid(location, format!("must have 1 to {max} items")));
        }
        let read = |(index, item): (usize, Box<RawValue>)| {
            let mut deserializer = serde_json::Deserializer::from_str(item.get());
            serde_path_to_error::deserialize(&mut deserializer)
                .map_err(|error| refuse_json(&format!("{location}[{index}]"), &error))
        };
        Ok(self.0.into_iter().enumerate().map(read).collect())
    }
}

fn broken(error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    Problem::malformed_json(format!("{message} at line {}, column {}", error.line(), error.column()))
}

/// The problem that an error in JSON comes to. `root` is where the JSON stands.
fn refuse_json(root: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.classify() != Category::Data {
        return if root == "body" { broken(inner) } else { Problem::invalid(root, "must be valid Unicode") };
    }
    let text = inner.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    refuse(root, &error.path().to_string(), message)
}

/// The problem that an error of serde's comes to. `path` is where it arose, below `root`.
///
/// Serde's messages repeat the value they refuse, which may be a credential: only what was expected is passed on.
pub(crate) fn refuse(root: &str, path: &str, message: &str) -> Problem {
    let (kind, rest) = message.split_once('`').unwrap_or((message, ""));
    let member = rest.split_once('`').map(|(member, _)| member);
    let (member, message) = match (kind.trim_end(), member) {
        ("missing field", Some(member)) => (Some(member), "is required".to_owned()),
        ("duplicate field", Some(member)) => (Some(member), "must not be given twice".to_owned()),
        ("unknown field", Some(member)) => (Some(member), "is not a known member".to_owned()),
        _ => (None, expectation(message)),
    };
    let parents = if path == "." { "" } else { path };
    let mut location = root.to_owned();
    for part in [Some(parents), member].into_iter().flatten() {
        // The path of an unknown or duplicate member names it already.
        if !part.is_empty() && !location.ends_with(&format!(".{part}")) {
            if !part.starts_with('[') {
                location.push('.');
            }
            location.push_str(part);
        }
    }
    Problem::invalid(location, message)
}

/// "must be a string" for "invalid type: integer `5`, expected a string"; the domain's own messages as they are.
fn expectation(message: &str) -> String {
    match message.rsplit_once(", expected ") {
        Some((found, "a sequence")) if found.starts_with("invalid type") => "must be an array".to_owned(),
        Some((found, expected)) if found.starts_with("invalid ") || found.starts_with("unknown variant ") => {
            format!("must be {}", expected.replace('`', ""))
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use credentials::Credential;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Order {
        credential: Credential,
        #[serde(default)]
        note: Option<String>,
        #[serde(default)]
        #[allow(dead_code, reason = "only its place in an error matters")]
        items: Vec<Item>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Item {
        #[allow(dead_code, reason = "only its place in an error matters")]
        name: String,
    }

    async fn extract(content_type: Option<&str>, body: impl Into<Body>) -> Result<Order, serde_json::Value> {
        let mut request = Request::builder().method("POST");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        match Json::from_request(request.body(body.into()).unwrap(), &()).await {
            Ok(Json(order)) => Ok(order),
            Err(problem) => {
                let response = problem.into_document(&crate::edge::RequestId::of(&HeaderMap::new()));
                let body = response.into_body().collect().await.unwrap().to_bytes();
                Err(serde_json::from_slice(&body).unwrap())
            }
        }
    }

    async fn refused(body: &'static [u8]) -> (u64, String, String) {
        let problem = extract(Some("application/json"), body).await.expect_err("this body must be refused");
        let first = &problem["errors"][0];
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (problem["status"].as_u64().unwrap(), text(&first["location"]), text(&first["message"]))
    }

    #[tokio::test]
    async fn an_object_of_known_members_is_taken() {
        let order =
            extract(Some("application/json"), r#" {"credential": "A \u00e9", "note": null} "#).await.unwrap();
        assert_eq!(order.credential.as_bytes(), "A é".as_bytes());
        assert_eq!(order.note, None);
    }

    #[tokio::test]
    async fn what_is_wrong_is_said_with_its_place_and_without_its_value() {
        for (body, location, message) in [
            (&br#"{"credential": ""}"#[..], "body.credential", "must not be empty"),
            (br#"{"credential": 31337}"#, "body.credential", "must be a string"),
            (br#"{"credential": null}"#, "body.credential", "must be a string"),
            (br#"{"credential": {"a": "b"}}"#, "body.credential", "must be a string"),
            (br#"{"note": "x"}"#, "body.credential", "is required"),
            (br#"{"credential": "a", "credential": "b"}"#, "body.credential", "must not be given twice"),
            (br#"{"credential": "a", "expires_att": 1}"#, "body.expires_att", "is not a known member"),
            (br#"{"credential": "a", "items": 1}"#, "body.items", "must be an array"),
            (br#"{"credential": "a", "items": [{"name": "x"}, {}]}"#, "body.items[1].name", "is required"),
            (
                br#"{"credential": "a", "items": [{"name": "x", "nam": 1}]}"#,
                "body.items[0].nam",
                "is not a known member",
            ),
            (br#"["secret"]"#, "body", "must be a JSON object"),
            (br#""secret""#, "body", "must be a JSON object"),
            (b"null", "body", "must be a JSON object"),
        ] {
            let text = String::from_utf8_lossy(body);
            assert_eq!(refused(body).await, (400, location.to_owned(), message.to_owned()), "{text}");
        }
    }

    #[tokio::test]
    async fn broken_json_is_refused_with_the_place_where_it_breaks() {
        for body in [
            &b""[..],
            b"   ",
            b"{",
            b"[1",
            br#"{"credential": "a"} x"#,
            br#"{"credential": "a"}{}"#,
            br#"{"credential": "a",}"#,
            br#"{'credential': 'a'}"#,
            br#"{"credential": "\ud800"}"#,
            br#"{"credential": "\ud800\u0041"}"#,
            br#"{"credential": "\udc00"}"#,
            b"{\"credential\": \"\xff\"}",
            b"{\"credential\": \"a\nb\"}",
            b"\xef\xbb\xbf{\"credential\": \"a\"}",
        ] {
            let text = String::from_utf8_lossy(body);
            let (status, location, message) = refused(body).await;
            assert_eq!((status, location.as_str()), (400, "body"), "{text}");
            assert!(
                (message.contains(" at line ") && message.contains(", column ")) || message == "it is empty",
                "{text}: {message}"
            );
        }
    }

    #[tokio::test]
    async fn only_json_that_says_so_is_taken() {
        const BODY: &str = r#"{"credential": "a"}"#;
        for content_type in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(extract(Some(content_type), BODY).await.is_ok(), "{content_type}");
        }
        for content_type in [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/jsonp"),
            Some("json"),
        ] {
            let problem = extract(content_type, BODY).await.unwrap_err();
            assert_eq!(problem["status"], 415, "{content_type:?}");
        }
    }

    #[tokio::test]
    async fn a_body_of_64_kib_is_taken_and_one_byte_more_is_not() {
        let body = |length: usize| {
            let frame = r#"{"credential": ""}"#.len();
            format!(r#"{{"credential": "{}"}}"#, "x".repeat(length - frame))
        };
        assert!(extract(Some("application/json"), body(MAX_BODY_BYTES)).await.is_ok());
        assert_eq!(
            extract(Some("application/json"), body(MAX_BODY_BYTES + 1)).await.unwrap_err()["status"],
            413
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let silent = futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>();
        assert_eq!(
            extract(Some("application/json"), Body::from_stream(silent)).await.unwrap_err()["status"],
            408
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_without_end_is_given_up_soon() {
        let endless = futures_util::stream::unfold((), |()| async {
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 1024])), ()))
        });
        assert_eq!(
            extract(Some("application/json"), Body::from_stream(endless)).await.unwrap_err()["status"],
            413
        );

        let stalled = futures_util::stream::unfold(0, |sent| async move {
            if sent > MAX_BODY_BYTES {
                std::future::pending::<()>().await;
            }
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b' '; 1024])), sent + 1024))
        });
        assert_eq!(
            extract(Some("application/json"), Body::from_stream(stalled)).await.unwrap_err()["status"],
            413
        );
    }
}
