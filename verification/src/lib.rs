//! The component `verification`: verifies credentials, and leaves an audit row for every verdict.
//!
//! From here: [`routes`] has the paths and what they take and give, `issuance` the question to the other service,
//! `store` the SQL, `migrations/` the schema.

mod issuance;
pub mod routes;
mod store;

/// Spin's entry: every request to this component arrives here.
#[cfg(target_family = "wasm")]
#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "what the macro generates")]
mod entry {
    use platform::Service;
    use spin_sdk::http::{IntoResponse, Request};

    static SERVICE: Service = Service::new("verification");

    #[spin_sdk::http_service]
    async fn handle(request: Request) -> impl IntoResponse {
        SERVICE.answer(request, super::routes::start).await
    }
}
