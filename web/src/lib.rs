//! The component `web`: the page a person opens, and the API's description in `openapi.yaml`.
//!
//! From here: [`routes`] has the paths and how they are served, `static/` the page itself. The files of `static/` are
//! compiled in, and need no build of their own: any static host serves them as well.

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
