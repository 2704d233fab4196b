//! WASI 0.3, through spin-sdk 7: Spin 4.1 and newer.

use std::{future::Future, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header;
use http_body_util::Full;
#[cfg(feature = "spin-sqlite")]
use spin_sdk::sqlite;
pub use spin_sdk::wasip3::http::types::{ErrorCode, Request, Response};
use spin_sdk::wasip3::{
    http::client,
    http_compat::{IncomingMessage, http_into_wasi_request, http_into_wasi_response},
    wit_bindgen::StreamResult,
    wit_future,
};

use super::{Reply, headers};
use crate::{
    SettingsError,
    edge::{Edge, Service},
};

/// Makes the crate a component whose requests go to the `Edge` that `$start`, an async function, returns.
#[macro_export]
macro_rules! component {
    ($name:literal, $start:path) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "what wit-bindgen's macro generates")]
        mod entry {
            use spin_sdk::wasip3::{exports::http::handler::Guest, http::service};
            use $crate::spin::{ErrorCode, Request, Response};

            static SERVICE: $crate::edge::Service = $crate::edge::Service::new($name);

            struct Component;

            service::export!(Component);

            impl Guest for Component {
                async fn handle(request: Request) -> Result<Response, ErrorCode> {
                    $crate::spin::serve(&SERVICE, request, $start).await
                }
            }
        }
    };
}

/// Answers one request.
///
/// # Errors
/// If the request is none that an HTTP server should let pass.
pub async fn serve<F>(
    service: &Service,
    request: Request,
    start: impl FnOnce() -> F,
) -> Result<Response, ErrorCode>
where
    F: Future<Output = Result<Edge, SettingsError>>,
{
    let answer = service.answer(incoming(request)?, start).await;
    http_into_wasi_response(answer.map(Full::new))
}

/// The request in the types of axum. The SDK's own conversion makes five more calls of the host, for what nobody reads.
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

/// The body of a request or of a reply, as it arrives. One that nobody reads is not asked for.
fn body(message: impl IncomingMessage + Send + 'static) -> Body {
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

/// Waits. Outside a component, where only tests run this crate, Tokio provides the clock.
pub(crate) async fn sleep(duration: Duration) {
    #[cfg(target_family = "wasm")]
    spin_sdk::time::sleep(duration).await;
    #[cfg(not(target_family = "wasm"))]
    tokio::time::sleep(duration).await;
}

#[cfg(feature = "spin-sqlite")]
/// A connection to one of the component's databases.
pub(crate) struct Connection {
    connection: sqlite::Connection,
    /// What has not been read of the last result.
    rest: Option<sqlite::QueryResult>,
}

#[cfg(feature = "spin-sqlite")]
impl Connection {
    /// Opens the database with this label, or says why it cannot.
    pub(crate) async fn open(label: &str) -> Result<Self, String> {
        let connection = sqlite::Connection::open(label).await.map_err(|error| error.to_string())?;
        Ok(Self { connection, rest: None })
    }

    /// Runs one statement, to completion if it may write. Its writes are durable once this returns `Ok`.
    ///
    /// Each look at a result that is not there yet is a turn of the host's event loop, so none is taken in vain.
    pub(crate) async fn execute(
        &mut self,
        access: crate::Access,
        statement: &str,
        parameters: Vec<crate::Value>,
    ) -> Result<Vec<crate::Row>, String> {
        let text = |error: sqlite::Error| error.to_string();
        if let Some(mut rest) = self.rest.take() {
            // The end of the last statement, which a libSQL server wants before the next one. By now it is there.
            while rest.next().await.is_some() {}
        }
        let parameters = parameters.into_iter().map(Into::into);
        let mut result = self.connection.execute(statement, parameters).await.map_err(text)?;
        let columns = std::sync::Arc::from(result.columns());
        let (crate::Access::Read(most) | crate::Access::Write(most)) = access;
        let mut rows = Vec::new();
        while rows.len() < most
            && let Some(row) = result.next().await
        {
            rows.push(row);
        }
        if rows.len() == most && matches!(access, crate::Access::Read(_)) {
            self.rest = Some(result);
        } else {
            // Errors arrive after the rows, and so does the word that a write is done.
            result.result().await.map_err(text)?;
        }
        let row = |row: sqlite::RowResult| {
            crate::Row::new(std::sync::Arc::clone(&columns), row.values.into_iter().map(Into::into).collect())
        };
        Ok(rows.into_iter().map(row).collect())
    }
}
