//! WASI 0.3, through spin-sdk 7: Spin 4.1 and newer.

use std::{future::Future, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use http_body_util::Full;
pub use spin_sdk::http::Request;

use crate::{SettingsError, edge::Service};

/// A complete answer.
pub type Response = http::Response<Full<Bytes>>;

/// Makes the crate a component whose requests go to the router that `$start`, an async function, returns.
#[macro_export]
macro_rules! component {
    ($name:literal, $start:path) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, missing_docs, unreachable_pub, reason = "what the SDK's macro generates")]
        mod entry {
            static SERVICE: $crate::edge::Service = $crate::edge::Service::new($name);

            #[spin_sdk::http_service]
            async fn handle(request: $crate::spin::Request) -> $crate::spin::Response {
                $crate::spin::serve(&SERVICE, request, $start).await
            }
        }
    };
}

/// Answers one request.
pub async fn serve<F>(service: &Service, request: Request, start: impl FnOnce() -> F) -> Response
where
    F: Future<Output = Result<Router, SettingsError>>,
{
    service.answer(request.map(Body::new), start).await.map(Full::new)
}

/// The value of a variable, or why there is none.
pub(crate) async fn variable(name: &str) -> Result<String, String> {
    spin_sdk::variables::get(name).await.map_err(|error| error.to_string())
}

/// Sends a request. The answer's body is streamed.
pub(crate) async fn send(request: http::Request<Full<Bytes>>) -> Result<http::Response<Body>, String> {
    let response = spin_sdk::http::send(request).await.map_err(|error| error.to_string())?;
    Ok(response.map(Body::new))
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
pub(crate) struct Connection(spin_sdk::sqlite::Connection);

#[cfg(feature = "spin-sqlite")]
impl Connection {
    /// Opens the database with this label, or says why it cannot.
    pub(crate) async fn open(label: &str) -> Result<Self, String> {
        spin_sdk::sqlite::Connection::open(label).await.map(Self).map_err(|error| error.to_string())
    }

    /// Runs one statement to completion. Its writes are durable once this returns `Ok`.
    pub(crate) async fn execute(
        &self,
        statement: &str,
        parameters: Vec<crate::Value>,
    ) -> Result<Vec<crate::Row>, String> {
        let text = |error: spin_sdk::sqlite::Error| error.to_string();
        let result = self.0.execute(statement, parameters.into_iter().map(Into::into)).await.map_err(text)?;
        let columns = std::sync::Arc::from(result.columns());
        // `collect` awaits the outcome after the rows: that is where errors arrive, and when a write is done.
        let rows = result.collect().await.map_err(text)?;
        let row = |row: spin_sdk::sqlite::RowResult| {
            crate::Row::new(std::sync::Arc::clone(&columns), row.values.into_iter().map(Into::into).collect())
        };
        Ok(rows.into_iter().map(row).collect())
    }
}
