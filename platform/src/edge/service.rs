//! A component's routes, built once per instance.

use std::future::Future;

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::Response;
use tokio::sync::OnceCell;

use super::{Edge, unavailable};
use crate::{Origins, SettingsError, log};

/// A service in one instance of its component. The first request builds its routes; later ones reuse them.
///
/// Requests that arrive meanwhile wait for the first. Without wit-bindgen's `inter-task-wakeup` they would hang.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    edge: OnceCell<Edge>,
}

impl Service {
    /// The service with this name, not yet started.
    pub const fn new(name: &'static str) -> Self {
        Self { name, edge: OnceCell::const_new() }
    }

    /// Answers one request. `start` builds the routes; if it fails, this request gets a 503 and the next one retries.
    pub async fn answer<F>(&self, request: Request<Body>, start: impl FnOnce() -> F) -> Response<Bytes>
    where
        F: Future<Output = Result<Edge, SettingsError>>,
    {
        match self.edge.get_or_try_init(start).await {
            Ok(edge) => edge.answer(request).await,
            Err(error) => {
                log::start("warn");
                Edge::unnamed(unavailable(&error), self.name, &Origins::Any).answer(request).await
            }
        }
    }
}
