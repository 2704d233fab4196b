//! The entry of a component: its routes, built once per instance, and the hand-over of requests and responses.
//!
//! `component!` is defined in the file of each version of WASI.

#[cfg_attr(target_env = "p1", path = "wasi_0_2.rs")]
#[cfg_attr(not(target_env = "p1"), path = "wasi_0_3.rs")]
mod wasi;

use std::future::Future;

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::OnceCell;

#[doc(hidden)]
pub use wasi::*;

pub use crate::spin::ONE_REQUEST;

use crate::{
    edge::{Edge, unavailable},
    log,
    origin::Origins,
    settings::SettingsError,
};

/// An instance of a component. The first request builds its routes; later ones reuse them.
///
/// Requests that arrive meanwhile wait for the first. Without wit-bindgen's `inter-task-wakeup` they would hang.
#[derive(Debug)]
pub struct Instance {
    component: &'static str,
    edge: OnceCell<Edge>,
}

impl Instance {
    /// An instance of the component with this name, not yet started.
    pub const fn new(component: &'static str) -> Self {
        Self { component, edge: OnceCell::const_new() }
    }

    /// Answers one request. `start` builds the routes; if it fails, this request gets a 503 and the next one retries.
    async fn answer<F>(
        &self,
        request: http::Request<Body>,
        start: impl FnOnce() -> F,
    ) -> http::Response<Bytes>
    where
        F: Future<Output = Result<Edge, SettingsError>>,
    {
        match self.edge.get_or_try_init(start).await {
            Ok(edge) => edge.answer(request).await,
            Err(error) => {
                log::start("warn");
                Edge::unnamed(unavailable(&error), self.component, &Origins::Any).answer(request).await
            }
        }
    }
}
