//! WASI 0.3, through spin-sdk 7: Spin 4.1 and newer.

use std::{future::Future, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::Full;
pub use spin_sdk::http::Request;
#[cfg(feature = "spin-sqlite")]
use spin_sdk::sqlite;

use crate::{
    SettingsError,
    edge::{Edge, Service},
};

/// A complete answer.
pub type Response = http::Response<Full<Bytes>>;

/// Makes the crate a component whose requests go to the `Edge` that `$start`, an async function, returns.
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
    F: Future<Output = Result<Edge, SettingsError>>,
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
