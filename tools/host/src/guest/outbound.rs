//! Requests from components: to each other in memory, and to the hosts that the manifest allows.

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use url::Url;
use wasmtime_wasi::{TrappableError, runtime::spawn};
use wasmtime_wasi_http::{
    handler::ErrorCode,
    p2::{self, bindings::http::types as wasi_0_2},
    p3::{self, bindings::http::types as wasi_0_3},
};

use crate::{
    body::{RequestBody, ResponseBody},
    chaining::{Chaining, chained_component},
    config::allowed_hosts::AllowedHosts,
    log::log,
};

/// The result of sending a request of WASI 0.3.
type Sent = Result<(Response<Body>, Done), TrappableError<wasi_0_3::ErrorCode>>;
type Body = UnsyncBoxBody<Bytes, wasi_0_3::ErrorCode>;
type Done = Box<dyn Future<Output = Result<(), wasi_0_3::ErrorCode>> + Send>;

/// Where one component may send requests.
#[derive(Clone, Default)]
pub(crate) struct Outbound {
    pub(crate) allowed: AllowedHosts,
    pub(crate) chaining: Chaining,
}

/// Where a request goes.
enum Destination {
    Component(String),
    Elsewhere,
}

impl Outbound {
    /// Where a request goes, if it is allowed at all.
    fn destination<B>(&self, request: &Request<B>) -> Option<Destination> {
        let allowed = Url::parse(&request.uri().to_string()).is_ok_and(|url| self.allowed.allow(&url));
        if !allowed {
            log!("a component requested {}, which its allowed_outbound_hosts do not allow", request.uri());
            return None;
        }
        let host = request.uri().host().unwrap_or_default();
        Some(match chained_component(host) {
            Some(component) => Destination::Component(component.to_owned()),
            None => Destination::Elsewhere,
        })
    }

    /// Service chaining. As in Spin, a component that fails responds 500, and calling an unknown one is a trap.
    async fn chain(
        &self,
        component: &str,
        mut request: Request<RequestBody>,
    ) -> wasmtime::Result<Response<ResponseBody>> {
        request.headers_mut().remove(header::HOST);
        let response = self.chaining.call(component, request).await;
        response.map_err(|error| wasmtime::format_err!("{error:#}"))
    }

    /// Sends a request of WASI 0.2. The outer error is a trap.
    async fn send_0_2(
        self,
        request: Request<p2::body::HyperOutgoingBody>,
        config: p2::types::OutgoingRequestConfig,
    ) -> wasmtime::Result<Result<p2::types::IncomingResponse, wasi_0_2::ErrorCode>> {
        match self.destination(&request) {
            None => Ok(Err(wasi_0_2::ErrorCode::HttpRequestDenied)),
            Some(Destination::Elsewhere) => Ok(p2::default_send_request_handler(request, config).await),
            Some(Destination::Component(component)) => {
                let request = request.map(|body| body.map_err(ErrorCode::P2).boxed_unsync());
                let response = self.chain(&component, request).await?;
                Ok(Ok(p2::types::IncomingResponse {
                    resp: response.map(|body| body.map_err(|error| error_code(error).into()).boxed_unsync()),
                    worker: None,
                    between_bytes_timeout: config.between_bytes_timeout,
                }))
            }
        }
    }

    /// Sends a request of WASI 0.3.
    async fn send_0_3(self, request: Request<Body>, options: Option<p3::RequestOptions>) -> Sent {
        match self.destination(&request) {
            None => Err(wasi_0_3::ErrorCode::HttpRequestDenied.into()),
            Some(Destination::Elsewhere) => {
                let (response, done) = p3::default_send_request(request, options).await?;
                Ok((response.map(BodyExt::boxed_unsync), Box::new(done)))
            }
            Some(Destination::Component(component)) => {
                let request = request.map(|body| body.map_err(ErrorCode::P3).boxed_unsync());
                let response = self.chain(&component, request).await.map_err(TrappableError::trap)?;
                let response =
                    response.map(|body| body.map_err(|error| error_code(error).into()).boxed_unsync());
                Ok((response, Box::new(std::future::ready(Ok(())))))
            }
        }
    }
}

impl p2::WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<p2::body::HyperOutgoingBody>,
        config: p2::types::OutgoingRequestConfig,
    ) -> p2::HttpResult<p2::types::HostFutureIncomingResponse> {
        let sending = spawn(self.clone().send_0_2(request, config));
        Ok(p2::types::HostFutureIncomingResponse::pending(sending))
    }
}

impl p3::WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<Body>,
        options: Option<p3::RequestOptions>,
        _: Done,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(self.clone().send_0_3(request, options))
    }
}

/// Why the body of a chained component's response ended early.
fn error_code(error: wasmtime::Error) -> ErrorCode {
    error.downcast().map(ErrorCode::P3).or_else(|error| error.downcast().map(ErrorCode::P2)).unwrap_or_else(
        |error: wasmtime::Error| ErrorCode::P3(wasi_0_3::ErrorCode::InternalError(Some(error.to_string()))),
    )
}
