//! WASI 0.2, through spin-sdk 5: every Spin of the lines 3 and 4.
//!
//! Calls of the host for variables block the instance; bodies, requests and the clock are waited for together, by the SDK's
//! event loop.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{
    SinkExt, StreamExt,
    future::{Either, select},
};
use http::header;
use http_body_util::{BodyExt, Full};
use send_wrapper::SendWrapper;
use spin_executor::{CancelOnDropToken, push_waker_and_get_token};
use spin_sdk::http::{IncomingResponse, conversions::TryIntoOutgoingRequest};
use wasi::{clocks::monotonic_clock::subscribe_duration, io::streams::Error as StreamError};

use super::Reply;

/// The error of a body, as text.
pub(crate) fn text_error<T>(chunk: Result<T, StreamError>) -> Result<T, String> {
    chunk.map_err(|error| error.to_debug_string())
}

/// The value of a variable, or why there is none.
pub(crate) async fn variable(name: &str) -> Result<String, &'static str> {
    spin_sdk::variables::get(name).map_err(|error| super::without_value(&error))
}

/// Sends a request.
pub(crate) async fn send(request: http::Request<Full<Bytes>>) -> Result<Reply, String> {
    // Handlers must be `Send`, which the SDK's futures are not; there is only one thread.
    SendWrapper::new(exchange(request)).await
}

async fn exchange(request: http::Request<Full<Bytes>>) -> Result<Reply, String> {
    let (head, content) = request.into_parts();
    let Ok(content) = content.collect().await;
    let request = http::Request::from_parts(head, Vec::from(content.to_bytes()));
    let (request, content) = request.try_into_outgoing_request().map_err(|error| error.to_string())?;
    let mut body = Box::pin(request.take_body());
    let write = async {
        // If this fails, the response says why.
        let _ = body.send(content.unwrap_or_default()).await;
        drop(body);
        pending::<Infallible>().await
    };
    // The response may come before the whole body is sent.
    let sent = pin!(spin_sdk::http::send::<_, IncomingResponse>(request));
    let Either::Left((response, _)) = select(sent, pin!(write)).await;
    let response = response.map_err(|error| error.to_string())?;

    let lengths = response.headers().get(header::CONTENT_LENGTH.as_str());
    let status = response.status();
    let chunks = response.take_body_stream();
    let body = Body::from_stream(chunks.map(move |chunk| {
        // Dropping the response would cancel the request.
        let _kept = &response;
        text_error(chunk)
    }));
    Reply::new(status, &lengths, body)
}

/// Waits.
pub(crate) async fn sleep(duration: Duration) {
    let end = Instant::now() + duration;
    let mut timer = None;
    poll_fn(|context| {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Poll::Ready(());
        }
        // The event loop drops a timer once it fires, and also polls for other reasons, so each poll sets a new timer.
        let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        let waker = context.waker().clone();
        timer = Some(CancelOnDropToken::from(push_waker_and_get_token(subscribe_duration(nanos), waker)));
        Poll::Pending
    })
    .await;
    drop(timer);
}
