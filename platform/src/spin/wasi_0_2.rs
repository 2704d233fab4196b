//! WASI 0.2, through spin-sdk 5: every Spin of the lines 3 and 4.
//!
//! An instance serves one request. Calls of the database and of variables block it, which holds up nobody; bodies,
//! requests and the clock are waited for together, by the SDK's event loop.

use std::{
    convert::Infallible,
    future::{Future, pending, poll_fn},
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
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, Full};
use send_wrapper::SendWrapper;
use spin_executor::{CancelOnDropToken, push_waker_and_get_token};
use spin_sdk::http::{
    Headers, IncomingResponse, OutgoingBody, OutgoingResponse, conversions::TryIntoOutgoingRequest,
};
pub use spin_sdk::http::{IncomingRequest, ResponseOutparam};
use wasi::{clocks::monotonic_clock::subscribe_duration, io::streams::Error as StreamError};

use super::{Reply, headers};
use crate::{
    SettingsError,
    edge::{Edge, Service},
};

/// Makes the crate a component whose requests go to the `Edge` that `$start`, an async function, returns.
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
            static SERVICE: $crate::edge::Service = $crate::edge::Service::new($name);

            #[spin_sdk::http_component]
            async fn handle(request: $crate::spin::IncomingRequest, answer: $crate::spin::ResponseOutparam) {
                $crate::spin::serve(&SERVICE, request, answer, $start).await
            }
        }
    };
}

/// Answers one request.
pub async fn serve<F>(
    service: &Service,
    request: IncomingRequest,
    answer: ResponseOutparam,
    start: impl FnOnce() -> F,
) where
    F: Future<Output = Result<Edge, SettingsError>>,
{
    let response = match incoming(request) {
        Ok(request) => service.answer(request, start).await,
        // The host has parsed the request already, by rules at least as strict.
        Err(_) => {
            let mut response = http::Response::new(Bytes::new());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    };
    respond(response, answer);
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

fn text_error<T>(chunk: Result<T, StreamError>) -> Result<T, String> {
    chunk.map_err(|error| error.to_debug_string())
}

/// Hands the answer to the host. A failure means that the client has gone.
fn respond(response: http::Response<Bytes>, answer: ResponseOutparam) {
    let (head, content) = response.into_parts();
    // Without a response the host answers 500: it refuses only headers and statuses that no service of ours sends.
    let Ok(fields) = fields(&head.headers) else { return };
    let response = OutgoingResponse::new(fields);
    let Ok(()) = response.set_status_code(head.status.as_u16()) else { return };
    let Ok(body) = response.body() else { return };
    let Ok(stream) = body.write() else { return };
    // What is there before the head goes out leaves in one segment with it. The next one would wait for a delayed ACK.
    let at_once =
        content.len().min(stream.check_write().map_or(0, |bytes| usize::try_from(bytes).unwrap_or(0)));
    let (first, rest) = content.split_at(at_once);
    let first = stream.write(first);
    answer.set(response);
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

/// The value of a variable, or why there is none.
pub(crate) async fn variable(name: &str) -> Result<String, &'static str> {
    spin_sdk::variables::get(name).map_err(|error| super::without_value(&error))
}

/// Sends a request.
pub(crate) async fn send(request: http::Request<Full<Bytes>>) -> Result<Reply, String> {
    // The SDK's futures are not `Send`, as handlers have to be. There is one thread.
    SendWrapper::new(exchange(request)).await
}

async fn exchange(request: http::Request<Full<Bytes>>) -> Result<Reply, String> {
    let (head, content) = request.into_parts();
    let Ok(content) = content.collect().await;
    let request = http::Request::from_parts(head, Vec::from(content.to_bytes()));
    let (request, content) = request.try_into_outgoing_request().map_err(|error| error.to_string())?;
    let mut body = Box::pin(request.take_body());
    let write = async {
        // If this fails, the answer says why.
        let _ = body.send(content.unwrap_or_default()).await;
        drop(body);
        pending::<Infallible>().await
    };
    // The answer may come before the whole body is sent.
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
        // The event loop drops a timer when it fires, and polls for other reasons, too: so there is a new one each time.
        let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        let waker = context.waker().clone();
        timer = Some(CancelOnDropToken::from(push_waker_and_get_token(subscribe_duration(nanos), waker)));
        Poll::Pending
    })
    .await;
    drop(timer);
}

#[cfg(feature = "spin-sqlite")]
/// A connection to one of the component's databases.
pub(crate) struct Connection(spin_sdk::sqlite::Connection);

#[cfg(feature = "spin-sqlite")]
impl Connection {
    /// Opens the database with this label, or says why it cannot.
    pub(crate) async fn open(label: &str) -> Result<Self, String> {
        spin_sdk::sqlite::Connection::open(label).map(Self).map_err(|error| error.to_string())
    }

    /// Runs one statement to completion. Its writes are durable once this returns `Ok`.
    pub(crate) async fn execute(
        &mut self,
        _: crate::Access,
        statement: &str,
        parameters: Vec<crate::Value>,
    ) -> Result<Vec<crate::Row>, String> {
        let parameters: Vec<_> = parameters.into_iter().map(Into::into).collect();
        let result = self.0.execute(statement, &parameters).map_err(|error| error.to_string())?;
        let columns = std::sync::Arc::from(result.columns);
        let row = |row: spin_sdk::sqlite::RowResult| {
            crate::Row::new(std::sync::Arc::clone(&columns), row.values.into_iter().map(Into::into).collect())
        };
        Ok(result.rows.into_iter().map(row).collect())
    }
}
