//! A component's router, built once per instance.

use std::future::Future;

use axum::{Router, body::Body, extract::Request};
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Collected};
use tokio::sync::OnceCell;
use tower::ServiceExt;

use super::{SentMethod, unavailable, wrap_unnamed};
use crate::{SettingsError, log};

/// A service in one instance of its component. The first request builds the router; later ones reuse it.
///
/// Requests that arrive meanwhile wait for the first. Without wit-bindgen's `inter-task-wakeup` they would hang.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    router: OnceCell<Router>,
}

impl Service {
    /// The service with this name, not yet started.
    pub const fn new(name: &'static str) -> Self {
        Self { name, router: OnceCell::const_new() }
    }

    /// Answers one request. `start` builds the router; if it fails, this request gets a 503 and the next one retries.
    pub async fn answer<F>(&self, mut request: Request<Body>, start: impl FnOnce() -> F) -> Response<Bytes>
    where
        F: Future<Output = Result<Router, SettingsError>>,
    {
        let router = match self.router.get_or_try_init(start).await {
            Ok(router) => router.clone(),
            Err(error) => {
                log::start("warn");
                wrap_unnamed(unavailable(&error), self.name, "*")
            }
        };
        // Answered like a GET: the host's HTTP server drops the body and keeps its length.
        if request.method() == Method::HEAD {
            *request.method_mut() = Method::GET;
            request.extensions_mut().insert(SentMethod(Method::HEAD));
        }
        let Ok(response) = router.oneshot(request).await;
        let (mut head, body) = response.into_parts();
        // All bodies are in memory, so this neither waits nor fails.
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        // Without a length Spin sends chunks, whose second segment waits for a delayed ACK.
        if [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status) {
            head.headers.remove(header::CONTENT_LENGTH);
        } else {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Response::from_parts(head, body)
    }
}
