//! Starts a host of the application: for `cargo xtask`, the end-to-end tests and the benchmarks.
//!
//! [`Application`] prepares a folder, [`Host::command`] is the command line, [`Server::start`] runs it until it serves.

mod application;
mod group;
mod host;
mod manifest;
mod server;
mod wasi;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
pub use nix::sys::signal::Signal;

pub use self::{
    application::Application,
    group::{Group, ending, signal_all},
    host::{Host, SpinVersion},
    manifest::Manifest,
    server::Server,
    wasi::Wasi,
};

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// Where Cargo puts what it builds for these commands, whatever `CARGO_TARGET_DIR` says: `spin.toml` looks for it there.
pub fn target_folder() -> PathBuf {
    workspace().join("target")
}

/// A program that was built under a Cargo profile (`debug`, `release`); fails if it was not.
pub fn program(profile: &str, name: &str) -> Result<PathBuf> {
    let program = target_folder().join(profile).join(name);
    ensure!(program.exists(), "{} is missing: cargo xtask builds it", program.display());
    Ok(program)
}
