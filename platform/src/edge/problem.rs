//! Errors as clients see them: problem documents (RFC 9457), with a private reason for the log.

use std::{borrow::Cow, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Serialize, Serializer};

use crate::{database::DatabaseError, request_id::RequestId};

/// How long a client should wait before it retries after a 503, in seconds (`Retry-After`).
const RETRY_AFTER_SECONDS: u16 = 1;

/// What is left of a limit (draft-ietf-httpapi-ratelimit-headers-10, section 5).
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The limit itself (section 4 of that draft).
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// An error on its way to a client.
///
/// The client sees `detail` and `errors`; only the log gets the `reason`. The [edge](super) adds the request id, writes
/// the document and logs the reason.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    reason: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// An error in the input, and its location.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FieldError {
    /// A path such as `body.credential`.
    pub(crate) location: String,
    /// What is wrong there; never the value that was sent.
    pub(crate) message: String,
}

/// The kinds of problems, each with its type, title and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    MalformedJson,
    InvalidRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    AlreadyIssued,
    IdempotencyKeyReused,
    PayloadTooLarge,
    UnsupportedMediaType,
    TooManyFailures,
    InternalError,
    Unavailable,
}

impl Kind {
    /// The last part of `type`, the title and the status.
    fn describe(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::MalformedJson => ("malformed-json", "Malformed JSON", StatusCode::BAD_REQUEST),
            Self::InvalidRequest => ("invalid-request", "Invalid request", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("unauthorized", "Unauthorized", StatusCode::UNAUTHORIZED),
            Self::Forbidden => ("forbidden", "Forbidden", StatusCode::FORBIDDEN),
            Self::NotFound => ("not-found", "Not found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => {
                ("method-not-allowed", "Method not allowed", StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::RequestTimeout => ("request-timeout", "Request timeout", StatusCode::REQUEST_TIMEOUT),
            Self::AlreadyIssued => ("already-issued", "Already issued", StatusCode::CONFLICT),
            Self::IdempotencyKeyReused => {
                ("idempotency-key-reused", "Idempotency key reused", StatusCode::UNPROCESSABLE_ENTITY)
            }
            Self::PayloadTooLarge => {
                ("payload-too-large", "Payload too large", StatusCode::PAYLOAD_TOO_LARGE)
            }
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", "Unsupported media type", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::TooManyFailures => {
                ("too-many-failures", "Too many failures", StatusCode::TOO_MANY_REQUESTS)
            }
            Self::InternalError => ("internal-error", "Internal error", StatusCode::INTERNAL_SERVER_ERROR),
            Self::Unavailable => ("unavailable", "Service unavailable", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl Problem {
    fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), reason: None, headers: Vec::new() }
    }

    /// 400: the body is not JSON, or not UTF-8.
    pub(crate) fn malformed_json(message: String) -> Self {
        Self::new(Kind::MalformedJson, format!("The body is not valid JSON: {message}."))
            .with_error("body", message)
    }

    /// 400: well-formed input that the route does not accept. `location` is a path such as `body.credential`.
    pub fn invalid(location: impl Into<String>, message: impl Into<String>) -> Self {
        let (location, message) = (location.into(), message.into());
        Self::new(Kind::InvalidRequest, format!("{location}: {message}.")).with_error(location, message)
    }

    /// 401: no accepted bearer token. `challenge` is the value of `WWW-Authenticate` (RFC 6750, section 3).
    pub(crate) fn unauthorized(detail: &'static str, challenge: &'static str) -> Self {
        Self::new(Kind::Unauthorized, detail)
            .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// 403: no token opens this route, because none is configured.
    pub(crate) fn forbidden(detail: &'static str) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    /// 404: what the request names does not exist.
    pub fn not_found(detail: &'static str) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// 404: there is no such path.
    pub fn no_such_path() -> Self {
        Self::new(Kind::NotFound, "There is nothing at this path.")
    }

    /// 405: the path exists, the method does not. The router adds `Allow`.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(Kind::MethodNotAllowed, "This path does not take this method; see the Allow header.")
    }

    /// 408: the body did not arrive in time.
    pub(crate) fn request_timeout() -> Self {
        Self::new(Kind::RequestTimeout, "The body did not arrive in time.")
    }

    /// 409: the credential was issued before.
    pub fn already_issued() -> Self {
        Self::new(Kind::AlreadyIssued, "This credential has been issued before.")
    }

    /// 422: the key has been used for a request with other content.
    pub fn idempotency_key_reused() -> Self {
        Self::new(
            Kind::IdempotencyKeyReused,
            "This Idempotency-Key has been used for a request with other content.",
        )
    }

    /// 413: the body is longer than [`MAX_BODY_BYTES`](super::MAX_BODY_BYTES).
    pub(crate) fn payload_too_large(limit: usize) -> Self {
        Self::new(Kind::PayloadTooLarge, format!("The body is longer than {limit} bytes."))
    }

    /// 415: the body is not declared as JSON.
    pub(crate) fn unsupported_media_type() -> Self {
        Self::new(Kind::UnsupportedMediaType, "The body must be sent as content-type: application/json.")
    }

    /// 415: the body has a content coding (RFC 9110, section 15.5.16).
    pub(crate) fn unsupported_content_encoding() -> Self {
        Self::new(
            Kind::UnsupportedMediaType,
            "The body must be sent without compression, so without content-encoding or as identity.",
        )
        .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    }

    /// 429: the client has had `limit` verdicts other than valid within a minute; `left` is the rest of that minute.
    pub fn too_many_failures(limit: u32, left: Duration) -> Self {
        let mut problem = Self::new(
            Kind::TooManyFailures,
            "Too many of your verifications have failed within this minute; see the RateLimit header.",
        );
        problem.headers.extend(limit_reached(limit, left));
        problem.with_header(header::RETRY_AFTER, header_value(seconds(left)))
    }

    /// 500: a fault of this program. Only the log gets the reason.
    pub fn internal(reason: impl ToString) -> Self {
        Self::new(Kind::InternalError, "Something went wrong here; the log says more under this request id.")
            .because(reason)
    }

    /// 503: a dependency of this service does not work. `detail` says whether the request may have taken effect; only
    /// the log gets the reason.
    pub fn unavailable(detail: &'static str, reason: impl ToString) -> Self {
        Self::new(Kind::Unavailable, detail)
            .because(reason)
            .with_header(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into())
    }

    fn with_error(mut self, location: impl Into<String>, message: impl Into<String>) -> Self {
        self.errors.push(FieldError { location: location.into(), message: message.into() });
        self
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn because(mut self, reason: impl ToString) -> Self {
        self.reason = Some(reason.to_string());
        self
    }

    /// The reason for the log.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The document with its status and headers.
    pub(crate) fn into_document(self, request_id: &RequestId) -> Response {
        let (_, _, status) = self.kind.describe();
        let body = serde_json::to_vec(&self.document(Some(request_id))).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        response.headers_mut().extend(self.headers);
        response
    }

    fn document<'a>(&'a self, request_id: Option<&'a RequestId>) -> Document<'a> {
        let (name, title, status) = self.kind.describe();
        Document {
            r#type: format!("urn:kube-credentials:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            message: &self.detail,
            request_id: request_id.map(RequestId::as_str),
            errors: &self.errors,
        }
    }
}

/// The headers that tell a client at its limit when it may go on.
pub fn limit_reached(limit: u32, left: Duration) -> [(HeaderName, HeaderValue); 2] {
    [
        (RATE_LIMIT_POLICY, header_value(format!(r#""failures";q={limit};w=60"#))),
        (RATE_LIMIT, header_value(format!(r#""failures";r=0;t={}"#, seconds(left)))),
    ]
}

fn seconds(left: Duration) -> String {
    left.as_millis().div_ceil(1000).to_string()
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

impl Serialize for Problem {
    /// The document without a request id, for an item of a list.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document(None).serialize(serializer)
    }
}

impl IntoResponse for Problem {
    /// An empty response that carries the problem to the edge, which knows the request id.
    fn into_response(self) -> Response {
        let (_, _, status) = self.kind.describe();
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// RFC 9457, section 3, with the extension members of this API.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    /// Equal to `detail`, for clients of the original services.
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        let detail = if error.may_have_taken_effect() {
            "The database failed under way: if this request changes anything, that may have been done."
        } else {
            "The database could not be used; nothing was decided or changed."
        };
        Self::unavailable(detail, error)
    }
}

impl From<credentials::Error> for Problem {
    /// For values this program makes itself, such as the time; [`Json`](super::Json) refuses bad input.
    fn from(error: credentials::Error) -> Self {
        Self::internal(error)
    }
}

impl From<getrandom::Error> for Problem {
    fn from(error: getrandom::Error) -> Self {
        Self::internal(error)
    }
}
