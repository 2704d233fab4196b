//! Requests by components: to each other in memory, and to other hosts that the manifest allows.

use std::sync::Weak;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use url::Url;
use wasmtime_wasi::{TrappableError, runtime::spawn};
use wasmtime_wasi_http::{handler::ErrorCode, p2, p3};

use crate::{
    allowed_hosts::{AllowedHosts, chained_component},
    app::{App, RequestBody, ResponseBody},
    log::log,
    routes::Match,
};

type ErrorCode2 = p2::bindings::http::types::ErrorCode;
type ErrorCode3 = p3::bindings::http::types::ErrorCode;
type Body3 = UnsyncBoxBody<Bytes, ErrorCode3>;
type Done3 = Box<dyn Future<Output = Result<(), ErrorCode3>> + Send>;
type Sent3 = Result<(Response<Body3>, Done3), TrappableError<ErrorCode3>>;

/// The hosts that one component may call, and the application for service chaining.
#[derive(Clone)]
pub(crate) struct Outbound {
    pub(crate) allowed: AllowedHosts,
    pub(crate) app: Weak<App>,
}

/// Where a request goes.
enum Destination {
    Component(Match),
    Elsewhere,
}

impl Outbound {
    /// Where a request goes, if the component may send it.
    fn destination<B>(&self, request: &Request<B>) -> Option<Destination> {
        let allowed = Url::parse(&request.uri().to_string()).is_ok_and(|url| self.allowed.allow(&url));
        if !allowed {
            log!("a component asked for {}, which its allowed_outbound_hosts do not allow", request.uri());
            return None;
        }
        let host = request.uri().host().unwrap_or_default();
        Some(match chained_component(host) {
            Some(component) => Destination::Component(Match::chained(component, request.uri().path())),
            None => Destination::Elsewhere,
        })
    }

    /// Service chaining. As in Spin, a component that fails answers 500, and calling one that does not exist is a trap.
    async fn chain(
        &self,
        target: &Match,
        mut request: Request<RequestBody>,
    ) -> wasmtime::Result<Response<ResponseBody>> {
        let Some(app) = self.app.upgrade() else {
            return Err(wasmtime::format_err!("the application is shutting down"));
        };
        request.headers_mut().remove(header::HOST);
        app.call(target, request, None).await.map_err(|error| wasmtime::format_err!("{error:#}"))
    }

    /// Sends a request of a WASI 0.2 component. An error of the outer result is a trap.
    async fn send_0_2(
        self,
        request: Request<p2::body::HyperOutgoingBody>,
        config: p2::types::OutgoingRequestConfig,
    ) -> wasmtime::Result<Result<p2::types::IncomingResponse, ErrorCode2>> {
        match self.destination(&request) {
            None => Ok(Err(ErrorCode2::HttpRequestDenied)),
            Some(Destination::Elsewhere) => Ok(p2::default_send_request_handler(request, config).await),
            Some(Destination::Component(target)) => {
                let request = request.map(|body| body.map_err(ErrorCode::P2).boxed_unsync());
                let response = self.chain(&target, request).await?;
                Ok(Ok(p2::types::IncomingResponse {
                    resp: response.map(|body| body.map_err(|error| error_code(error).into()).boxed_unsync()),
                    worker: None,
                    between_bytes_timeout: config.between_bytes_timeout,
                }))
            }
        }
    }

    /// Sends a request of a WASI 0.3 component.
    async fn send_0_3(self, request: Request<Body3>, options: Option<p3::RequestOptions>) -> Sent3 {
        match self.destination(&request) {
            None => Err(ErrorCode3::HttpRequestDenied.into()),
            Some(Destination::Elsewhere) => {
                let (response, done) = p3::default_send_request(request, options).await?;
                Ok((response.map(BodyExt::boxed_unsync), Box::new(done)))
            }
            Some(Destination::Component(target)) => {
                let request = request.map(|body| body.map_err(ErrorCode::P3).boxed_unsync());
                let response = self.chain(&target, request).await.map_err(TrappableError::trap)?;
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
        request: Request<Body3>,
        options: Option<p3::RequestOptions>,
        _: Done3,
    ) -> Box<dyn Future<Output = Sent3> + Send> {
        Box::new(self.clone().send_0_3(request, options))
    }
}

/// Why the body of a chained component's response ended early.
fn error_code(error: wasmtime::Error) -> ErrorCode {
    error.downcast().map(ErrorCode::P3).or_else(|error| error.downcast().map(ErrorCode::P2)).unwrap_or_else(
        |error: wasmtime::Error| ErrorCode::P3(ErrorCode3::InternalError(Some(error.to_string()))),
    )
}
