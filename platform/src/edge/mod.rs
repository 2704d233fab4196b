//! The HTTP edge: what all answers have in common (problem documents, CORS, request ids, headers, a log line), and the
//! types that handlers are written with.

mod access;
mod body;
mod client;
mod csv;
mod cursor;
mod export;
mod health;
mod json;
mod problem;
mod query;
mod request_id;
mod service;

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    middleware::{self, Next},
    response::Response,
    routing,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{Settings, SettingsError};

pub use access::{Guard, require};
pub use body::MAX_BODY_BYTES;
pub use client::Client;
pub use cursor::Cursors;
pub use export::{Export, List};
pub use health::{Check, Health};
pub use json::{Items, Json, Outcome, given};
pub use problem::Problem;
pub use query::{Listing, Query};
pub use request_id::RequestId;
pub use service::Service;

/// Completes a service's routes: every path and method gets an answer, with everything that this module adds.
///
/// Handlers find the request's [`RequestId`] among its extensions.
pub fn wrap(routes: Router, settings: &Settings) -> Router {
    let edge = Edge { service: settings.service, worker: settings.worker_id.to_string() };
    edge.wrap(routes, &settings.cors_origin)
}

/// Like [`wrap`], for a component without a worker id.
pub fn wrap_unnamed(routes: Router, service: &'static str, cors_origin: &str) -> Router {
    Edge { service, worker: "none".to_owned() }.wrap(routes, cors_origin)
}

/// The routes of a service whose settings cannot be used: all answer 503, and the log says why.
pub fn unavailable(error: &SettingsError) -> Router {
    let problem = Problem::unavailable("The service is not configured.", error);
    let answer = routing::any(async move || problem);
    Router::new().route("/", answer.clone()).route("/{*path}", answer)
}

/// What log lines say about the component.
struct Edge {
    service: &'static str,
    worker: String,
}

/// The method that the client sent, if the router is given another.
#[derive(Clone, Debug)]
struct SentMethod(Method);

impl Edge {
    fn wrap(self, routes: Router, cors_origin: &str) -> Router {
        routes
            .fallback(async || Problem::no_such_path())
            .method_not_allowed_fallback(async || Problem::method_not_allowed())
            .layer(cors(cors_origin))
            .layer(middleware::from_fn_with_state(Arc::new(self), complete))
    }
}

/// Gives the request its id, and the answer its problem document, headers and log line.
async fn complete(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = RequestId::of(request.headers());
    let sent = request.extensions_mut().remove::<SentMethod>();
    let method = sent.map_or_else(|| request.method().clone(), |SentMethod(method)| method);
    // The route, not the path: an unmatched path may contain anything, even a credential.
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(request_id.clone());

    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if let Some(reason) = problem.reason() {
            tracing::error!(
                service = edge.service,
                worker = edge.worker,
                request_id = request_id.as_str(),
                status = response.status().as_u16(),
                reason,
                "request failed"
            );
        }
        response = with_document(response, problem, &request_id);
    }
    if method == Method::OPTIONS && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    add_headers(response.headers_mut(), &request_id);
    tracing::info!(
        service = edge.service,
        worker = edge.worker,
        request_id = request_id.as_str(),
        method = method.as_str(),
        route = route.as_ref().map_or("none", MatchedPath::as_str),
        status = response.status().as_u16(),
        micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

/// The problem document, with the headers (CORS, `Allow`) that the empty response gathered on its way.
fn with_document(empty: Response, problem: Problem, request_id: &RequestId) -> Response {
    let mut response = problem.into_document(request_id);
    for (name, value) in empty.headers() {
        if name != header::CONTENT_LENGTH {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

fn add_headers(headers: &mut HeaderMap, request_id: &RequestId) {
    // Answers that may be cached say so themselves.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(request_id) = request_id.to_header_value() {
        headers.insert(RequestId::HEADER, request_id);
    }
}

/// CORS for `*` or a comma-separated list of origins. Invalid entries are skipped and logged.
fn cors(origins: &str) -> CorsLayer {
    /// How long a browser may cache the answer to a preflight; Chromium's own limit is two hours.
    const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(3600);

    let allowed = if origins.trim() == "*" {
        AllowOrigin::any()
    } else {
        let entries = origins.split(',').map(|entry| entry.trim().trim_end_matches('/'));
        AllowOrigin::list(entries.filter(|entry| !entry.is_empty()).filter_map(|origin| {
            let value = HeaderValue::from_str(origin).ok().filter(|_| is_origin(origin));
            if value.is_none() {
                tracing::warn!(origin, "cors_origin has an entry that is no origin (scheme://host[:port])");
            }
            value
        }))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS])
        .allow_headers([header::CONTENT_TYPE, header::AUTHORIZATION, RequestId::HEADER])
        .expose_headers([
            RequestId::HEADER,
            header::LINK,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            problem::RATE_LIMIT,
            problem::RATE_LIMIT_POLICY,
        ])
        .max_age(MAX_AGE)
}

/// Whether the text is an origin as browsers send it (RFC 6454, section 6.2): scheme, host and optional port.
pub(crate) fn is_origin(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme().is_some() && uri.authority().is_some() && uri.path() == "/" && uri.query().is_none()
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use credentials::WorkerId;
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    fn app(cors_origin: &str) -> Router {
        let settings = Settings {
            service: "test",
            worker_id: WorkerId::named("worker-1"),
            cors_origin: cors_origin.to_owned(),
        };
        let routes = Router::new()
            .route("/ok", routing::get(async || "fine"))
            .route("/write", routing::post(async || "written"))
            .route("/fault", routing::get(async || Problem::internal("disk on fire")))
            .route("/down", routing::get(async || Problem::unavailable("Not now.", "lock held by pid 7")));
        wrap(routes, &settings)
    }

    async fn send(
        app: Router,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (http::response::Parts, String) {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, body) = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head, String::from_utf8(body.to_vec()).unwrap())
    }

    fn header<'a>(head: &'a http::response::Parts, name: &str) -> Option<&'a str> {
        assert!(head.headers.get_all(name).iter().count() <= 1, "{name} is there more than once");
        head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn every_answer_has_the_security_headers_a_length_and_the_request_id() {
        for (method, path, status) in [
            ("GET", "/ok", 200),
            ("GET", "/none", 404),
            ("GET", "/write", 405),
            ("GET", "/fault", 500),
            ("GET", "/down", 503),
        ] {
            let (head, body) = send(app("*"), method, path, &[("x-request-id", "abc.1")]).await;
            assert_eq!(head.status, status, "{path}");
            assert_eq!(header(&head, "cache-control"), Some("no-store"));
            assert_eq!(header(&head, "x-content-type-options"), Some("nosniff"));
            assert_eq!(header(&head, "x-request-id"), Some("abc.1"));
            assert_eq!(header(&head, "access-control-allow-origin"), Some("*"));
            assert_eq!(header(&head, "content-length"), Some(body.len().to_string().as_str()), "{path}");
        }
    }

    #[tokio::test]
    async fn an_error_is_a_problem_document_that_keeps_its_reason_to_itself() {
        let (head, body) = send(app("*"), "GET", "/down", &[("x-request-id", "r1")]).await;
        assert_eq!(header(&head, "content-type"), Some("application/problem+json"));
        assert_eq!(header(&head, "retry-after"), Some("1"));
        assert!(!body.contains("pid 7"), "{body}");
        let document: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            document,
            serde_json::json!({
                "type": "urn:kube-credentials:problem:unavailable",
                "title": "Service unavailable",
                "status": 503,
                "detail": "Not now.",
                "message": "Not now.",
                "request_id": "r1",
            })
        );
        let (_, body) = send(app("*"), "GET", "/fault", &[]).await;
        assert!(!body.contains("fire"), "{body}");
    }

    #[tokio::test]
    async fn an_unsupported_method_is_a_405_with_allow() {
        let (head, body) = send(app("*"), "DELETE", "/ok", &[]).await;
        assert_eq!(head.status, 405);
        assert_eq!(header(&head, "allow"), Some("GET,HEAD"));
        assert!(body.contains("urn:kube-credentials:problem:method-not-allowed"));
        let (head, _) = send(app("*"), "GET", "/write", &[]).await;
        assert_eq!(header(&head, "allow"), Some("POST"));
    }

    #[tokio::test]
    async fn a_preflight_is_204_and_allows_what_the_api_needs() {
        let preflight = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,authorization"),
        ];
        let (head, body) = send(app("*"), "OPTIONS", "/write", &preflight).await;
        assert_eq!((head.status.as_u16(), body.as_str()), (204, ""));
        assert_eq!(header(&head, "access-control-allow-origin"), Some("*"));
        assert_eq!(header(&head, "access-control-allow-methods"), Some("GET,HEAD,POST,OPTIONS"));
        assert_eq!(
            header(&head, "access-control-allow-headers"),
            Some("content-type,authorization,x-request-id")
        );
        assert_eq!(header(&head, "access-control-max-age"), Some("3600"));
    }

    #[tokio::test]
    async fn only_listed_origins_are_allowed_and_only_the_requesting_one_is_named() {
        let list = "https://a.example, https://b.example:8443/, not an origin, https://c.example/path";
        for origin in ["https://a.example", "https://b.example:8443"] {
            let (head, _) = send(app(list), "GET", "/ok", &[("origin", origin)]).await;
            assert_eq!(header(&head, "access-control-allow-origin"), Some(origin));
            assert!(header(&head, "vary").unwrap().contains("origin"));
        }
        for origin in
            ["https://evil.example", "https://c.example/path", "https://c.example", "not an origin", "null"]
        {
            let (head, _) = send(app(list), "GET", "/none", &[("origin", origin)]).await;
            assert_eq!(header(&head, "access-control-allow-origin"), None, "{origin}");
        }
    }
}
