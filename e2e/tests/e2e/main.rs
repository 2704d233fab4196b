//! Black-box tests over HTTP: the built components on a running host.
//!
//! Each test starts a host of its own, on a free port, in a folder of its own: see [`app::TestApp`]. `cargo xtask test`
//! builds what they need. `E2E_HOST=spin` runs them on the `spin` on PATH; `E2E_BASE_URL` runs those that need nothing
//! but HTTP against an application that is already there.

mod app;
mod check;
mod concurrency;
mod durability;
mod faults;
mod health;
mod hosting;
mod http;
mod input;
mod issue;
mod mock;
mod readme;
mod secrecy;
mod verify;
