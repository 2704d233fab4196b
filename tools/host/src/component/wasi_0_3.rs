//! WASI 0.3: requests share instances, from one pool for each component.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use wasmtime::{Store, StoreContextMut, component::GuestTaskId};
use wasmtime_wasi_http::{
    handler::{
        HandlerState, Instance, Proxy, ShouldAccept, ViewFn, WorkerExpiration, WorkerState, WorkerStatus,
    },
    p3::{WasiHttpView, bindings::ServicePre},
};

use crate::{
    guest::{Grants, Guest},
    log::log,
};

/// Set once all requests are finished and the host is about to exit.
pub(crate) static ENDING: AtomicBool = AtomicBool::new(false);

/// Spin's defaults.
const MAX_REQUESTS_PER_INSTANCE: usize = 128;
const MAX_CONCURRENT_REQUESTS_PER_INSTANCE: usize = 16;
const MAX_IDLE_TIME: Duration = Duration::from_secs(1);

/// Makes the instances of one component for wasmtime's pool, and decides how long to keep them, as Spin does.
pub(crate) struct Pool {
    pub(super) service: ServicePre<Guest>,
    pub(super) grants: Grants,
}

impl HandlerState for Pool {
    type StoreData = Guest;
    type WorkerExpiration = IdleTime;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Guest, IdleTime, Worker>> {
        let mut store = Store::new(self.service.engine(), Guest::new(&self.grants));
        let service = self.service.instantiate_async(&mut store).await?;
        Ok(Instance {
            store,
            proxy: Proxy::P3(service),
            view: ViewFn::P3(<Guest as WasiHttpView>::http),
            expiration: IdleTime(Box::pin(tokio::time::sleep(MAX_IDLE_TIME))),
            state: Worker,
        })
    }
}

/// Ends an idle instance.
pub(crate) struct IdleTime(Pin<Box<tokio::time::Sleep>>);

impl WorkerExpiration for IdleTime {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        since: Instant,
    ) -> Poll<()> {
        if status != WorkerStatus::Idle {
            return Poll::Pending;
        }
        let deadline = (since + MAX_IDLE_TIME).into();
        if self.0.deadline() != deadline {
            self.0.as_mut().reset(deadline);
        }
        self.0.as_mut().poll(context)
    }
}

/// Decides how many requests an instance takes.
pub(crate) struct Worker;

impl WorkerState for Worker {
    type StoreData = Guest;
    type RequestId = ();

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= MAX_REQUESTS_PER_INSTANCE {
            ShouldAccept::Never
        } else if concurrent >= MAX_CONCURRENT_REQUESTS_PER_INSTANCE {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _: StoreContextMut<'_, Guest>,
        (): (),
        _: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        // As in Spin, a request may take any time.
        Box::pin(std::future::pending())
    }

    fn drop(&self, _: Store<Guest>, result: wasmtime::Result<()>) {
        // At shutdown, idle instances are dropped with the runtime, which reports them as failed.
        if let Err(error) = result
            && !ENDING.load(Ordering::Relaxed)
        {
            log!("an instance failed: {error:?}");
        }
    }
}
