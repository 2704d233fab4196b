//! The interfaces of `wit/`, as Rust.
//!
//! This file and `sqlite` need each other: the connection resource is `sqlite`'s own type, whose methods use the types
//! generated here.

#![allow(unsafe_code, unused_qualifications, unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "host",
    imports: { default: async | tracing | trappable },
    with: {
        "fermyon:spin/sqlite.connection": crate::sqlite::Connection,
        "spin:sqlite/sqlite.connection": crate::sqlite::Connection,
    },
});
