//! The bindings to Spin: all that differs between versions of WASI, with a file for each.
//!
//! Each file has the same few items: `serve` a request with a component's router (and the macro `component!` for its
//! entry point), a `Connection` to a database, `variable`, `send` a request, `sleep`.

mod wasi_p3;

pub(crate) use wasi_p3::{Connection, send, sleep, variable};
#[doc(hidden)]
pub use wasi_p3::{Request, Response, serve};
