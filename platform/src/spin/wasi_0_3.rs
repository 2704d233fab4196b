//! WASI 0.3, through spin-sdk 7: Spin 4.1 and newer.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header;
use http_body_util::Full;
use spin_sdk::wasip3::{
    http::{client, types::ErrorCode},
    http_compat::{IncomingMessage, http_into_wasi_request},
    wit_bindgen::StreamResult,
    wit_future,
};

use super::Reply;

/// The body of a request or a response, as it arrives. Nothing is requested until someone reads it.
pub(crate) fn body(message: impl IncomingMessage + Send + 'static) -> Body {
    Body::from_stream(stream::once(async { chunks(message) }).flatten())
}

fn chunks(message: impl IncomingMessage) -> impl Stream<Item = Result<Bytes, ErrorCode>> + Send {
    /// The most that one read returns, in bytes.
    const CHUNK: usize = 16 * 1024;

    let (received, result) = wit_future::new(|| Ok(()));
    let (content, trailers) = message.consume_body(result);
    stream::try_unfold((content, trailers, received), |(mut content, trailers, received)| async {
        match content.read(Vec::with_capacity(CHUNK)).await {
            (StreamResult::Dropped, _) => trailers.await.map(|_| None),
            (_, chunk) => Ok(Some((Bytes::from(chunk), (content, trailers, received)))),
        }
    })
}

/// The value of a variable, or why there is none.
pub(crate) async fn variable(name: &str) -> Result<String, &'static str> {
    spin_sdk::variables::get(name).await.map_err(|error| super::without_value(&error))
}

/// Sends a request.
pub(crate) async fn send(request: http::Request<Full<Bytes>>) -> Result<Reply, String> {
    let text = |error: ErrorCode| error.to_string();
    let response = client::send(http_into_wasi_request(request).map_err(text)?).await.map_err(text)?;
    let lengths = response.get_headers().get(header::CONTENT_LENGTH.as_str());
    Reply::new(response.get_status_code(), &lengths, body(response))
}

/// Waits. In tests, which run outside a component, Tokio provides the clock.
pub(crate) async fn sleep(duration: Duration) {
    #[cfg(target_family = "wasm")]
    spin_sdk::time::sleep(duration).await;
    #[cfg(not(target_family = "wasm"))]
    tokio::time::sleep(duration).await;
}
