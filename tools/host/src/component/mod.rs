//! Components: each file is compiled once, and then handles requests the way its version of WASI does.

use http::{Request, Response};
use wasmtime_wasi_http::handler::{ProxyHandler, ProxyPre};

pub(crate) use self::{load::Loader, wasi_0_3::ENDING};
use self::{wasi_0_2::InstancePerRequest, wasi_0_3::Pool};
use crate::{
    body::{RequestBody, ResponseBody},
    guest::{Grants, Guest},
};

mod load;
mod wasi_0_2;
mod wasi_0_3;

/// A component that handles requests.
pub(crate) enum Component {
    Wasi0_2(Box<InstancePerRequest>),
    Wasi0_3(ProxyHandler<Pool>),
}

impl Component {
    pub(crate) fn new(id: String, handler: ProxyPre<Guest>, grants: Grants) -> Self {
        match handler {
            ProxyPre::P2(proxy) => Self::Wasi0_2(Box::new(InstancePerRequest { id, proxy, grants })),
            ProxyPre::P3(service) => Self::Wasi0_3(ProxyHandler::new(Pool { service, grants })),
        }
    }

    /// Hands a request to an instance.
    ///
    /// # Errors
    /// The instance could not be made, or failed before it responded.
    pub(crate) async fn handle(
        &self,
        request: Request<RequestBody>,
    ) -> wasmtime::Result<Response<ResponseBody>> {
        match self {
            Self::Wasi0_2(instances) => instances.handle(request).await,
            Self::Wasi0_3(pool) => pool.handle((), request).await,
        }
    }
}
