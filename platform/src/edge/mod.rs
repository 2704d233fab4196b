//! The HTTP edge: what all responses share (problem documents, CORS, request ids, headers, a log line), and the types
//! that handlers are written with.

mod accept;
mod access;
mod body;
mod client_address;
mod csv;
mod cursor;
mod export;
mod health;
mod idempotency;
mod json;
mod problem;
mod query;

use std::time::Instant;

use axum::{
    Router,
    extract::{MatchedPath, Request},
    middleware::{self, Next},
    response::Response,
    routing,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Collected};
use tower::ServiceExt;
use tower_http::cors::{AllowHeaders, AllowOrigin, Cors, CorsLayer};
use tracing::Level;

use crate::{
    origin::Origins,
    request_id::RequestId,
    settings::{Identity, SettingsError},
};

pub use accept::negotiate;
pub use access::{Guard, Principal, require};
pub use body::MAX_BODY_BYTES;
pub use client_address::Client;
pub use cursor::Cursors;
pub use export::{Export, List};
pub use health::{Check, Checks, Health};
pub use idempotency::Idempotency;
pub use json::{ItemResult, Json, RawItems, non_null};
pub use problem::{Problem, limit_reached};
pub use query::{Listing, Query};

/// A service's routes, completed: every path and method gets a response, with everything this module adds.
///
/// These additions wrap the whole router; as layers of axum's router they would be copied into each route.
///
/// Handlers find the request's [`RequestId`] among its extensions.
#[derive(Clone, Debug)]
pub struct Edge {
    /// The component's name in log lines.
    service: &'static str,
    worker: String,
    routes: Cors<Router>,
}

/// The routes of a service with unusable settings: all answer 503, and the log says why.
pub(crate) fn unavailable(error: &SettingsError) -> Router {
    let problem = Problem::unavailable("The service is not configured.", error);
    let refuse = routing::any(async move || problem);
    Router::new().route("/", refuse.clone()).route("/{*path}", refuse)
}

impl Edge {
    /// Completes the routes of a service.
    #[must_use]
    pub fn new(routes: Router, identity: &Identity) -> Self {
        Self::of(routes, identity.service, identity.worker_id.to_string(), &identity.origins)
    }

    /// Completes the routes of a component without a worker id.
    #[must_use]
    pub fn unnamed(routes: Router, service: &'static str, origins: &Origins) -> Self {
        Self::of(routes, service, "none".to_owned(), origins)
    }

    fn of(routes: Router, service: &'static str, worker: String, origins: &Origins) -> Self {
        let mut routes = routes
            .fallback(async || Problem::no_such_path())
            .method_not_allowed_fallback(async || Problem::method_not_allowed());
        if tracing::enabled!(Level::INFO) {
            routes = routes.layer(middleware::from_fn(name_route));
        }
        Self { service, worker, routes: tower::Layer::layer(&cors(origins), routes) }
    }

    /// Answers one request: assigns its id, and adds the problem document, headers and log line to the response.
    pub async fn answer(&self, mut request: Request) -> http::Response<Bytes> {
        let started = tracing::enabled!(Level::INFO).then(Instant::now);
        let request_id = RequestId::of(request.headers());
        request.extensions_mut().insert(request_id.clone());
        let method = request.method().clone();
        // Handled as a GET: the host's HTTP server drops the body and keeps its length.
        if method == Method::HEAD {
            *request.method_mut() = Method::GET;
        }

        let Ok(mut response) = self.routes.clone().oneshot(request).await;
        let route = response.extensions_mut().remove::<MatchedPath>();
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            if let Some(reason) = problem.reason() {
                tracing::error!(
                    service = self.service,
                    worker = self.worker,
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
        if let Some(started) = started {
            tracing::info!(
                service = self.service,
                worker = self.worker,
                request_id = request_id.as_str(),
                method = method.as_str(),
                route = route.as_ref().map_or("none", MatchedPath::as_str),
                status = response.status().as_u16(),
                micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
                "request"
            );
        }
        with_length(response).await
    }
}

/// Attaches the route to the response, for the log line. The path is not logged: one that matches no route may contain
/// anything, even a credential.
async fn name_route(route: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    route.map(|route| response.extensions_mut().insert(route));
    response
}

/// The response with its whole body and its length.
async fn with_length(response: Response) -> http::Response<Bytes> {
    let (mut head, body) = response.into_parts();
    // All bodies are in memory, so this neither waits nor fails.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    // Without a length Spin sends chunks, whose second segment waits for a delayed ACK.
    if [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status) {
        head.headers.remove(header::CONTENT_LENGTH);
    } else {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    http::Response::from_parts(head, body)
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
    // Cacheable responses say so themselves.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(request_id) = request_id.to_header_value() {
        headers.insert(RequestId::HEADER, request_id);
    }
}

/// CORS for these origins.
fn cors(origins: &Origins) -> CorsLayer {
    /// How long a browser may cache the response to a preflight; Chromium's own limit is two hours.
    const MAX_AGE: std::time::Duration = std::time::Duration::from_secs(3600);

    let (allowed, vary) = match origins.clone() {
        Origins::Any => (AllowOrigin::any(), vec![]),
        listed => {
            (AllowOrigin::predicate(move |origin, _| listed.allow(origin.as_bytes())), vec![header::ORIGIN])
        }
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .vary(vary)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::OPTIONS])
        // Any header: tracing in browsers adds many, and none of them grants anything here.
        .allow_headers(AllowHeaders::mirror_request())
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use credentials::WorkerId;
    use serde_json::Value;

    use super::*;

    fn app(cors_origin: &str) -> Edge {
        let identity = Identity {
            service: "test",
            worker_id: WorkerId::named("worker-1"),
            origins: cors_origin.parse().unwrap(),
        };
        let routes = Router::new()
            .route("/ok", routing::get(async || "fine"))
            .route("/write", routing::post(async || "written"))
            .route("/fault", routing::get(async || Problem::internal("disk on fire")))
            .route("/down", routing::get(async || Problem::unavailable("Not now.", "lock held by pid 7")));
        Edge::new(routes, &identity)
    }

    async fn send(
        app: Edge,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (http::response::Parts, String) {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, body) = app.answer(request.body(Body::empty()).unwrap()).await.into_parts();
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
        assert_eq!(header(&head, "access-control-max-age"), Some("3600"));
    }

    #[tokio::test]
    async fn a_preflight_allows_every_header_that_it_asks_for() {
        for headers in [
            "content-type,authorization,x-request-id",
            "traceparent,tracestate,baggage,sentry-trace",
            "x-datadog-trace-id, x-b3-traceid, b3, newrelic",
        ] {
            let preflight = [
                ("origin", "https://app.example"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", headers),
            ];
            for list in ["*", "https://app.example"] {
                let (head, _) = send(app(list), "OPTIONS", "/write", &preflight).await;
                assert_eq!(header(&head, "access-control-allow-headers"), Some(headers));
            }
        }
    }

    #[tokio::test]
    async fn only_listed_origins_are_allowed_and_only_the_requesting_one_is_named() {
        let list = "https://a.example, https://B.example:8443/, HTTPS://D.example:443";
        for origin in ["https://a.example", "https://b.example:8443", "https://d.example"] {
            let (head, _) = send(app(list), "GET", "/ok", &[("origin", origin)]).await;
            assert_eq!(header(&head, "access-control-allow-origin"), Some(origin));
            assert!(header(&head, "vary").unwrap().contains("origin"));
        }
        for origin in
            ["https://evil.example", "https://a.example:444", "https://b.example", "not an origin", "null"]
        {
            let (head, _) = send(app(list), "GET", "/none", &[("origin", origin)]).await;
            assert_eq!(header(&head, "access-control-allow-origin"), None, "{origin}");
        }
    }
}
