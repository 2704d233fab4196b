//! The component's variables, by both versions of the interface.

use wasmtime::component::Accessor;

use super::{Guest, GuestData};
use crate::bindings::{fermyon::spin::variables as v2, spin::variables::variables as v3};

/// `spin:variables@3.0.0`, which the SDK for WASI 0.3 imports.
impl<T: Send> v3::HostWithStore<T> for GuestData {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> wasmtime::Result<Result<String, v3::Error>> {
        Ok(accessor.with(|mut access| access.get().variables.get(&name)))
    }
}

impl v3::Host for Guest {}

/// `fermyon:spin/variables@2.0.0`, which the SDK for WASI 0.2 imports.
impl v2::Host for Guest {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, v2::Error>> {
        Ok(self.variables.get(&name).map_err(|error| match error {
            v3::Error::InvalidName(text) => v2::Error::InvalidName(text),
            v3::Error::Undefined(text) => v2::Error::Undefined(text),
            v3::Error::Provider(text) => v2::Error::Provider(text),
            v3::Error::Other(text) => v2::Error::Other(text),
        }))
    }
}
