//! The state of one instance of a component, and what it can import.

use wasmtime::{
    Engine,
    component::{HasData, Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, p2, p3};

use self::outbound::Outbound;
use crate::{
    bindings::{fermyon::spin as v2, spin as v3},
    config::variables::ComponentVariables,
    postgres::Postgres,
    sqlite::Databases,
};

pub(crate) mod outbound;
mod postgres;
mod rows;
mod sqlite_v2;
mod sqlite_v3;
mod variables;

/// What the manifest grants to every instance of a component.
#[derive(Default)]
pub(crate) struct Grants {
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) databases: Databases,
    pub(crate) postgres: Postgres,
    pub(crate) variables: ComponentVariables,
    pub(crate) outbound: Outbound,
}

/// The state of one instance.
pub(crate) struct Guest {
    pub(crate) table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
    pub(crate) databases: Databases,
    pub(crate) postgres: Postgres,
    pub(crate) variables: ComponentVariables,
}

impl Guest {
    pub(crate) fn new(grants: &Grants) -> Self {
        Self {
            table: ResourceTable::new(),
            wasi: WasiCtxBuilder::new().inherit_stdout().inherit_stderr().envs(&grants.environment).build(),
            http: WasiHttpCtx::new(),
            outbound: grants.outbound.clone(),
            databases: grants.databases.clone(),
            postgres: grants.postgres.clone(),
            variables: grants.variables.clone(),
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl p2::WasiHttpView for Guest {
    fn http(&mut self) -> p2::WasiHttpCtxView<'_> {
        p2::WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

impl p3::WasiHttpView for Guest {
    fn http(&mut self) -> p3::WasiHttpCtxView<'_> {
        p3::WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

/// Tells the generated bindings that host functions work on a [`Guest`].
pub(crate) struct GuestData;

impl HasData for GuestData {
    type Data<'a> = &'a mut Guest;
}

/// Everything that components can import here.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    p2::add_only_http_to_linker_async(&mut linker)?;
    p3::add_to_linker(&mut linker)?;
    v2::sqlite::add_to_linker::<_, GuestData>(&mut linker, |guest| guest)?;
    v2::variables::add_to_linker::<_, GuestData>(&mut linker, |guest| guest)?;
    v3::postgres::postgres::add_to_linker::<_, GuestData>(&mut linker, |guest| guest)?;
    v3::sqlite::sqlite::add_to_linker::<_, GuestData>(&mut linker, |guest| guest)?;
    v3::variables::variables::add_to_linker::<_, GuestData>(&mut linker, |guest| guest)?;
    Ok(linker)
}
