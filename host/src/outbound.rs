//! Requests by components: to each other in memory, and to other hosts that the manifest allows.

use std::sync::Weak;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use url::Url;
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::p3::{
    RequestOptions, WasiHttpHooks, bindings::http::types::ErrorCode, default_send_request,
};

use crate::{
    allowed_hosts::{AllowedHosts, chained_component},
    app::App,
    log::log,
    routes::Match,
};

type Body = UnsyncBoxBody<Bytes, ErrorCode>;
type Done = Box<dyn Future<Output = Result<(), ErrorCode>> + Send>;
type Sent = Result<(Response<Body>, Done), TrappableError<ErrorCode>>;

/// The hosts that one component may call, and the application for service chaining.
#[derive(Clone)]
pub(crate) struct Outbound {
    pub(crate) allowed: AllowedHosts,
    pub(crate) app: Weak<App>,
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<Body>,
        options: Option<RequestOptions>,
        _: Done,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let this = self.clone();
        Box::new(async move { this.send(request, options).await })
    }
}

impl Outbound {
    async fn send(self, mut request: Request<Body>, options: Option<RequestOptions>) -> Sent {
        let allowed = Url::parse(&request.uri().to_string()).is_ok_and(|url| self.allowed.allow(&url));
        if !allowed {
            log!("a component asked for {}, which its allowed_outbound_hosts do not allow", request.uri());
            return Err(ErrorCode::HttpRequestDenied.into());
        }
        let host = request.uri().host().unwrap_or_default();
        if let Some(component) = chained_component(host) {
            let target = Match::chained(component, request.uri().path());
            request.headers_mut().remove(header::HOST);
            return self.chain(target, request).await;
        }
        let (response, done) = default_send_request(request, options).await?;
        Ok((response.map(BodyExt::boxed_unsync), Box::new(done)))
    }

    /// Service chaining. As in Spin, a component that fails answers 500, and calling one that does not exist is a trap.
    async fn chain(self, target: Match, request: Request<Body>) -> Sent {
        let Some(app) = self.app.upgrade() else {
            return Err(TrappableError::trap(wasmtime::format_err!("the application is shutting down")));
        };
        let response =
            app.call(&target, request.map(|body| body.map_err(Into::into).boxed_unsync()), None).await;
        let response = response.map_err(|error| TrappableError::trap(wasmtime::format_err!("{error:#}")))?;
        let response = response.map(|body| body.map_err(error_code).boxed_unsync());
        Ok((response, Box::new(std::future::ready(Ok(())))))
    }
}

fn error_code(error: wasmtime::Error) -> ErrorCode {
    error.downcast().unwrap_or_else(|error| ErrorCode::InternalError(Some(error.to_string())))
}
