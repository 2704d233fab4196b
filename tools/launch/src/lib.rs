//! Starts a host of the application: for `cargo xtask`, the end-to-end tests and the benchmarks.
//!
//! [`Application`] prepares a folder, [`Host::command`] is the command line, [`Server::start`] runs it until it serves.

mod application;
mod cluster;
mod database;
mod group;
mod host;
mod manifest;
mod paths;
mod postgres;
mod server;
mod wasi;

pub use nix::sys::signal::Signal;

pub use self::{
    application::Application,
    cluster::{Cluster, output, postgres_programs, postgres_user},
    database::Database,
    group::{Group, ending, signal_all},
    host::{Host, SpinVersion},
    manifest::Manifest,
    paths::{component_folder, program, target_folder, workspace},
    postgres::Postgres,
    server::Server,
    wasi::Wasi,
};
