//! The HTTP/1.1 server, with a graceful shutdown.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::Request;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use wasmtime_wasi_http::p2::hyper_response_error;

use crate::{
    app::App,
    log::{log, say},
};

/// How long requests in flight may take to finish after a signal.
const SHUTDOWN_TIME: Duration = Duration::from_secs(30);

/// Serves the application until SIGINT or SIGTERM.
pub(crate) async fn serve(app: Arc<App>, address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;

    let base_url = format!("http://{}", listener.local_addr()?);
    say!("Serving {base_url}");
    say!("Available Routes:");
    for (route, component) in app.routes() {
        match route.strip_suffix("/...") {
            Some(prefix) => say!("  {component}: {base_url}{prefix} (wildcard)"),
            None => say!("  {component}: {base_url}{route}"),
        }
    }

    let connections = GracefulShutdown::new();
    loop {
        let (stream, client) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, for example, is temporary.
                    log!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        // A response may be sent in two segments, head and body: the second must not wait for an ACK.
        if let Err(error) = stream.set_nodelay(true) {
            log!("cannot set TCP_NODELAY: {error}");
        }
        let app = Arc::clone(&app);
        let service = service_fn(move |request: Request<Incoming>| {
            let app = Arc::clone(&app);
            async move {
                let request = request
                    .map(|body| body.map_err(|error| hyper_response_error(error).into()).boxed_unsync());
                app.handle(request, client).await.inspect_err(|error| log!("{error:#}"))
            }
        });
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        let connection = connections.watch(connection);
        // An error means that the client left or did not speak HTTP.
        tokio::spawn(async move { drop(connection.await) });
    }

    drop(listener);
    log!("Shutting down: waiting for requests in flight (signal again to stop at once)");
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(SHUTDOWN_TIME) => log!("Some requests did not finish within {SHUTDOWN_TIME:?}"),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
