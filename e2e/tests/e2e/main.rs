//! Black-box tests over HTTP: the built components on a running host.
//!
//! Each test starts a host of its own, on a free port, in a folder of its own: see [`e2e::TestApp`]. `cargo xtask test`
//! builds what they need. `E2E_HOST=spin` runs them on the `spin` on PATH; `E2E_BASE_URL`, with `E2E_ADMIN_TOKEN`, runs
//! those that need nothing but HTTP against an application that is already there. Some tests need a [tool](e2e::tools) that
//! Cargo does not bring, and are left out where it is missing; `E2E_TOOLS=required` makes them fail there.

mod access;
mod batch;
mod browser;
mod check;
mod concurrency;
mod contract;
mod durability;
mod faults;
mod health;
mod hosting;
mod http;
mod input;
mod issue;
mod lifecycle;
mod lists;
mod migration;
mod model;
mod readme;
mod retention;
mod rotation;
mod secrecy;
mod verify;
mod web;
