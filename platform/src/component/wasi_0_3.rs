//! A component of WASI 0.3: an instance serves many requests, also at once.

use std::future::Future;

use axum::body::Body;
use http_body_util::Full;
pub use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};
use spin_sdk::wasip3::http_compat::http_into_wasi_response;

use super::Instance;
use crate::{
    edge::Edge,
    settings::SettingsError,
    spin::{body, headers},
};

/// Makes the crate a component that answers requests with the `Edge` which `$start`, an async function, returns.
#[macro_export]
macro_rules! component {
    ($name:literal, $start:path) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "what wit-bindgen's macro generates")]
        mod entry {
            use spin_sdk::wasip3::{exports::http::handler::Guest, http::service};
            use $crate::component::{ErrorCode, Request, Response};

            static INSTANCE: $crate::component::Instance = $crate::component::Instance::new($name);

            struct Component;

            service::export!(Component);

            impl Guest for Component {
                async fn handle(request: Request) -> Result<Response, ErrorCode> {
                    $crate::component::serve(&INSTANCE, request, $start).await
                }
            }
        }
    };
}

/// Answers one request.
///
/// # Errors
/// If the host passes on a malformed request.
pub async fn serve<F>(
    instance: &Instance,
    request: Request,
    start: impl FnOnce() -> F,
) -> Result<Response, ErrorCode>
where
    F: Future<Output = Result<Edge, SettingsError>>,
{
    let response = instance.answer(incoming(request)?, start).await;
    http_into_wasi_response(response.map(Full::new))
}

/// The request in axum's types. The SDK's own conversion makes five more calls to the host, for values nobody reads.
fn incoming(request: Request) -> Result<http::Request<Body>, ErrorCode> {
    let mut incoming = http::Request::new(());
    *incoming.method_mut() =
        request.get_method().try_into().map_err(|_| ErrorCode::HttpRequestMethodInvalid)?;
    let path = request.get_path_with_query().unwrap_or_else(|| "/".to_owned());
    *incoming.uri_mut() = path.try_into().map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    *incoming.headers_mut() =
        headers(request.get_headers().copy_all()).map_err(|_| ErrorCode::HttpProtocolError)?;
    Ok(incoming.map(|()| body(request)))
}
