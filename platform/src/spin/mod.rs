//! Spin itself: all that differs between versions of WASI, in one file for each of them.
//!
//! Each has the same few functions: `serve` a request by a component's router (with the macro `component!` for the
//! entry), `Connection` to a database, `variable`, `send` a request, `sleep`.

mod wasi_p3;

pub(crate) use wasi_p3::{Connection, send, sleep, variable};
#[doc(hidden)]
pub use wasi_p3::{Request, Response, serve};
