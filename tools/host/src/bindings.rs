//! The interfaces of `wit/`, as Rust.
//!
//! This file needs `sqlite` and `postgres`, and they need it: the connection resources are their own types, whose methods
//! use the types generated here.

#![allow(unsafe_code, unused_qualifications, unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "host",
    imports: { default: async | tracing | trappable },
    with: {
        "fermyon:spin/sqlite.connection": crate::sqlite::Connection,
        "spin:postgres/postgres.connection": crate::postgres::Connection,
        "spin:postgres/postgres.connection-builder": crate::postgres::Builder,
        "spin:sqlite/sqlite.connection": crate::sqlite::Connection,
    },
});
