//! WASI 0.2: every request gets an instance of its own, as in Spin.

use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::{sync::oneshot, task::JoinHandle};
use wasmtime::{Store, bail};
use wasmtime_wasi_http::p2::{
    WasiHttpView,
    bindings::{ProxyPre, http::types::Scheme},
};

use crate::{
    body::{RequestBody, ResponseBody},
    guest::{Grants, Guest},
    log::log,
};

/// Makes an instance of one component for every request.
pub(crate) struct InstancePerRequest {
    pub(super) id: String,
    pub(super) proxy: ProxyPre<Guest>,
    pub(super) grants: Grants,
}

impl InstancePerRequest {
    /// Returns once the guest has set the response. The guest runs on to write the body, even if the client is gone.
    pub(super) async fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> wasmtime::Result<Response<ResponseBody>> {
        let mut store = Store::new(self.proxy.engine(), Guest::new(&self.grants));
        let proxy = self.proxy.instantiate_async(&mut store).await?;
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, request)?;
        let (sender, receiver) = oneshot::channel();
        let outparam = http.new_response_outparam(sender)?;
        let running = tokio::spawn(async move {
            proxy.wasi_http_incoming_handler().call_handle(&mut store, request, outparam).await
        });
        let Ok(response) = receiver.await else {
            running.await??;
            bail!("the component returned without setting a response");
        };
        tokio::spawn(log_failure(self.id.clone(), running));
        Ok(response?.map(|body| body.map_err(wasmtime::Error::from).boxed_unsync()))
    }
}

/// Once the response is set, a failure can only cut off its body.
async fn log_failure(id: String, running: JoinHandle<wasmtime::Result<()>>) {
    if let Err(error) = running.await.map_err(wasmtime::Error::from).flatten() {
        log!("component {id} failed after it set the response: {error:?}");
    }
}
