//! The component `web`: the page, and the API's description in `openapi.yaml`.
//!
//! [`routes`] has the paths and how they are served; the page itself is in `static/`. Those files are compiled in as
//! they are, so any static host can serve them as well.

pub mod routes;

/// Spin's entry: every request that no other component takes arrives here.
#[cfg(target_family = "wasm")]
#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "what the macro generates")]
mod entry {
    use platform::Service;
    use spin_sdk::http::{IntoResponse, Request};

    static SERVICE: Service = Service::new("web");

    #[spin_sdk::http_service]
    async fn handle(request: Request) -> impl IntoResponse {
        SERVICE.answer(request, super::routes::start).await
    }
}
