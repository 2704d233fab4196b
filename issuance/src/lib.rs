//! The component `issuance`: issues credentials, and answers whether a hash was issued.
//!
//! From here: [`routes`] has the paths and what they take and give, `store` the SQL, `migrations/` the schema.

pub mod routes;
mod store;

/// Spin's entry: every request to this component arrives here.
#[cfg(target_family = "wasm")]
#[allow(unsafe_code, missing_docs, unreachable_pub, reason = "what the macro generates")]
mod entry {
    use platform::Service;
    use spin_sdk::http::{IntoResponse, Request};

    static SERVICE: Service = Service::new("issuance");

    #[spin_sdk::http_service]
    async fn handle(request: Request) -> impl IntoResponse {
        SERVICE.answer(request, super::routes::start).await
    }
}
