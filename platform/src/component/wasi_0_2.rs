//! A component of WASI 0.2: an instance serves one request.

use std::future::Future;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use spin_sdk::http::{Headers, OutgoingBody, OutgoingResponse};
pub use spin_sdk::http::{IncomingRequest, ResponseOutparam};

use super::Instance;
use crate::{
    edge::Edge,
    settings::SettingsError,
    spin::{headers, text_error},
};

/// Makes the crate a component that answers requests with the `Edge` which `$start`, an async function, returns.
#[macro_export]
macro_rules! component {
    ($name:literal, $start:path) => {
        #[allow(
            missing_docs,
            unreachable_pub,
            unsafe_code,
            unused_qualifications,
            clippy::print_stderr,
            reason = "what the SDK's macro generates"
        )]
        mod entry {
            static INSTANCE: $crate::component::Instance = $crate::component::Instance::new($name);

            #[spin_sdk::http_component]
            async fn handle(
                request: $crate::component::IncomingRequest,
                response: $crate::component::ResponseOutparam,
            ) {
                $crate::component::serve(&INSTANCE, request, response, $start).await
            }
        }
    };
}

/// Answers one request.
pub async fn serve<F>(
    instance: &Instance,
    request: IncomingRequest,
    out: ResponseOutparam,
    start: impl FnOnce() -> F,
) where
    F: Future<Output = Result<Edge, SettingsError>>,
{
    let response = match incoming(request) {
        Ok(request) => instance.answer(request, start).await,
        // Never happens: the host has parsed the request by rules at least as strict.
        Err(_) => {
            let mut response = http::Response::new(Bytes::new());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    };
    respond(response, out);
}

fn incoming(request: IncomingRequest) -> Result<http::Request<Body>, http::Error> {
    let mut incoming = http::Request::builder()
        .method(request.method().to_string().as_str())
        .uri(request.path_with_query().unwrap_or_default())
        .body(())?;
    *incoming.headers_mut() = headers(request.headers().entries())?;
    Ok(incoming.map(|()| Body::from_stream(request.into_body_stream().map(text_error))))
}

fn fields(headers: &HeaderMap) -> Result<Headers, String> {
    let entries: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    Headers::from_list(&entries).map_err(|error| error.to_string())
}

/// Hands the response to the host. A failure means that the client has gone.
fn respond(response: http::Response<Bytes>, out: ResponseOutparam) {
    let (head, content) = response.into_parts();
    // Without a response the host answers 500. It refuses only headers and statuses that our services never send.
    let Ok(fields) = fields(&head.headers) else { return };
    let response = OutgoingResponse::new(fields);
    let Ok(()) = response.set_status_code(head.status.as_u16()) else { return };
    let Ok(body) = response.body() else { return };
    let Ok(stream) = body.write() else { return };
    // What is written before the head leaves in the same segment; a second segment would wait for a delayed ACK.
    let at_once =
        content.len().min(stream.check_write().map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0)));
    let (first, rest) = content.split_at(at_once);
    let first = stream.write(first);
    out.set(response);
    if first.is_err() {
        return;
    }
    /// The most that one call takes.
    const CHUNK: usize = 4096;
    if rest.chunks(CHUNK).all(|chunk| stream.blocking_write_and_flush(chunk).is_ok()) {
        drop(stream);
        let _ = OutgoingBody::finish(body, None);
    }
}
