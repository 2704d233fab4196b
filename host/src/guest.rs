//! The state of one instance of a component, and what it can import.

use wasmtime::{
    Engine,
    component::{Accessor, HasData, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    WasiHttpCtx,
    p3::{WasiHttpCtxView, WasiHttpView},
};

use crate::{
    bindings::spin::{sqlite::sqlite, variables::variables},
    outbound::Outbound,
    sqlite::Databases,
    variables::ComponentVariables,
};

/// The state of one instance.
pub(crate) struct Guest {
    pub(crate) table: ResourceTable,
    pub(crate) wasi: WasiCtx,
    pub(crate) http: WasiHttpCtx,
    pub(crate) outbound: Outbound,
    pub(crate) databases: Databases,
    pub(crate) variables: ComponentVariables,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

/// Names the guest's state for the generated bindings.
pub(crate) struct GuestData;

impl HasData for GuestData {
    type Data<'a> = &'a mut Guest;
}

impl variables::Host for Guest {}

impl<T: Send> variables::HostWithStore<T> for GuestData {
    async fn get(
        accessor: &Accessor<T, Self>,
        name: String,
    ) -> wasmtime::Result<Result<String, variables::Error>> {
        Ok(accessor.with(|mut access| access.get().variables.get(&name)))
    }
}

/// Everything that components can import here.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    sqlite::add_to_linker::<_, GuestData>(&mut linker, |guest| guest)?;
    variables::add_to_linker::<_, GuestData>(&mut linker, |guest| guest)?;
    Ok(linker)
}
