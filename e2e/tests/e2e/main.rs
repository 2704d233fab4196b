//! Black-box tests over HTTP: the built components on a running host.
//!
//! `cargo xtask test` builds what they need. Each test starts its own host: see [`e2e::TestApp`]. Environment variables
//! change that:
//!
//! * `E2E_HOST=spin` uses the `spin` on PATH instead of the embedded host.
//! * `E2E_DATABASE=postgres` uses the components built for PostgreSQL, on a server that the tests start.
//! * `E2E_WASI=0.2` uses the components built for WASI 0.2 instead of 0.3.
//! * `E2E_BASE_URL` and `E2E_ADMIN_TOKEN` name a running application for the tests that need nothing but HTTP.
//! * `E2E_TOOLS=required` fails tests whose [tool](e2e::tools) is missing; otherwise they are skipped.

mod access;
mod balancer;
mod batch;
mod browser;
mod builds;
mod caddy;
mod calls;
mod check;
mod concurrency;
mod contract;
mod counts;
mod deploy;
mod dist;
mod documents;
mod durability;
mod export;
mod export_loops;
mod failover;
mod faults;
mod generators;
mod health;
mod hosting;
mod http;
mod idempotency;
mod input;
mod issue;
mod lifecycle;
mod limit;
mod lists;
mod migration;
mod model;
mod nginx;
mod plans;
mod postgres;
mod prometheus;
mod readme;
mod replicas;
mod retention;
mod rotation;
mod scripts;
mod secrecy;
mod services;
mod traffic;
mod uses;
mod verify;
mod waits;
mod web;
