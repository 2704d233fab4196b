//! JSON in and out: an extractor whose rejections are problems, and a response.

use axum::{
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{error::Category, value::RawValue};

use super::{Problem, body::read_json};

/// JSON: a request's body when extracted, a response's when returned.
///
/// The extractor is strict. It takes a JSON object of at most [`MAX_BODY_BYTES`](super::MAX_BODY_BYTES) without
/// duplicate members, lone surrogates, invalid UTF-8 or anything after the object; types refuse unknown members with
/// `deny_unknown_fields`. The content type must be `application/json`, because browsers let pages of any origin send
/// some other types, or none, without a preflight (Fetch, "CORS-safelisted request-header").
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let body = read_json(&head.headers, body).await?;
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

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::malformed_json("it is empty".to_owned()));
    }
    // Serde also accepts an array in place of a struct.
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

/// For optional members (`#[serde(default, deserialize_with = "non_null")]`): `null` is refused as a wrong type, because
/// an expiry that a client failed to fill in must not mean "never".
///
/// # Errors
/// Those of the member's own type.
pub fn non_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The result for one item of a list: its response, or `{"error": {…}}`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum ItemResult<T> {
    /// The item's response.
    Answer(T),
    /// Why there is none.
    Error {
        /// The problem document.
        error: Problem,
    },
}

impl<T> From<Result<T, Problem>> for ItemResult<T> {
    fn from(result: Result<T, Problem>) -> Self {
        result.map_or_else(|error| Self::Error { error }, Self::Answer)
    }
}

/// The items of a list, parsed one by one so that a bad one does not fail the others.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct RawItems(Vec<Box<RawValue>>);

impl RawItems {
    /// Parses each item; `location` is the list's, such as `body.credentials`.
    ///
    /// # Errors
    /// A 400 for the whole list if it has no items, or more than `max`.
    pub fn read<T: DeserializeOwned>(
        self,
        location: &str,
        max: usize,
    ) -> Result<Vec<Result<T, Problem>>, Problem> {
        self.read_if(location, max, |_| Ok(()))
    }

    /// Like [`read`](Self::read), for items that are objects.
    ///
    /// # Errors
    /// The same.
    pub fn read_objects<T: DeserializeOwned>(
        self,
        location: &str,
        max: usize,
    ) -> Result<Vec<Result<T, Problem>>, Problem> {
        // Serde also accepts an array in place of a struct.
        let is_object =
            |item: &str| if item.starts_with('{') { Ok(()) } else { Err("must be a JSON object") };
        self.read_if(location, max, is_object)
    }

    fn read_if<T: DeserializeOwned>(
        self,
        location: &str,
        max: usize,
        check: impl Fn(&str) -> Result<(), &'static str>,
    ) -> Result<Vec<Result<T, Problem>>, Problem> {
        if self.0.is_empty() || self.0.len() > max {
            return Err(Problem::invalid(location, format!("must have 1 to {max} items")));
        }
        let read = |(index, item): (usize, Box<RawValue>)| {
            check(item.get()).map_err(|rule| Problem::invalid(format!("{location}[{index}]"), rule))?;
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

/// The problem for an error in JSON that is located at `root`.
fn refuse_json(root: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if inner.classify() != Category::Data {
        return if root == "body" { broken(inner) } else { Problem::invalid(root, "must be valid Unicode") };
    }
    let text = inner.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    refuse(root, &error.path().to_string(), message)
}

/// The problem for an error from serde at `path` below `root`.
///
/// Serde's messages repeat the refused value, which may be a credential: only what was expected is passed on.
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
        // The path of an unknown or duplicate member already ends with its name.
        if !part.is_empty() && !location.ends_with(&format!(".{part}")) {
            if !part.starts_with('[') {
                location.push('.');
            }
            location.push_str(part);
        }
    }
    Problem::invalid(location, message)
}

/// "must be a string" for "invalid type: integer `5`, expected a string"; the domain's own messages unchanged.
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

    /// The parsed body, or the problem document.
    async fn extract(body: &'static [u8]) -> Result<Order, serde_json::Value> {
        let request = Request::post("/").header(header::CONTENT_TYPE, "application/json");
        let order = Json::from_request(request.body(body.into()).unwrap(), &()).await;
        order.map(|Json(order)| order).map_err(|problem| serde_json::to_value(problem).unwrap())
    }

    async fn refused(body: &'static [u8]) -> (u64, String, String) {
        let problem = extract(body).await.expect_err("this body must be refused");
        let first = &problem["errors"][0];
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (problem["status"].as_u64().unwrap(), text(&first["location"]), text(&first["message"]))
    }

    #[tokio::test]
    async fn an_object_of_known_members_is_accepted() {
        let order = extract(br#" {"credential": "A \u00e9", "note": null} "#).await.unwrap();
        assert_eq!(order.credential.as_bytes(), "A é".as_bytes());
        assert_eq!(order.note, None);
    }

    #[tokio::test]
    async fn an_invalid_member_is_named_by_its_location_and_not_by_its_value() {
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
    async fn malformed_json_is_refused_with_line_and_column() {
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
}
