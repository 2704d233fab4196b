//! The embedded host: runs this project's `spin.toml` on a machine that has only Rust.
//!
//! It is for trying, developing and testing; [Spin](https://spinframework.dev) is for serving. It runs the same
//! manifest, runtime config, `.env` and wasm files on the same wasmtime, and offers components the same HTTP,
//! databases and variables as Spin. Each may be built for WASI 0.2, with an instance for each request, or for
//! WASI 0.3, with Spin's instance pool. It refuses to start if anything is not supported.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use anyhow::Result;
use clap::Parser;

use crate::{
    app::App,
    component::{ENDING, Loader},
    config::{manifest::Manifest, runtime_config::RuntimeConfig, variables::Variables},
    log::log,
};

mod app;
mod bindings;
mod body;
mod calls;
mod chaining;
mod component;
mod config;
mod guest;
mod log;
mod postgres;
mod routes;
mod server;
mod sqlite;

/// Runs a Spin application of HTTP components without Spin, for trying, developing and testing.
///
/// Variables come from SPIN_VARIABLE_<NAME> in the environment, then from .env in the working folder.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The application's manifest.
    #[arg(short, long, value_name = "FILE", default_value = "spin.toml")]
    from: PathBuf,

    /// Where the databases are.
    #[arg(long, value_name = "FILE")]
    runtime_config_file: Option<PathBuf>,

    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,

    /// Runs only this component; may be given several times.
    #[arg(short, long, value_name = "ID")]
    component_id: Vec<String>,

    /// Writes a line to stderr for each call that a component makes, for tests that count them.
    #[arg(long)]
    trace_calls: bool,

    /// Writes the addresses of the components' functions to /tmp/perf-PID.map, where `perf report` looks for them.
    #[arg(long)]
    perf_map: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut manifest = Manifest::read(&arguments.from)?;
    if !arguments.component_id.is_empty() {
        manifest.select(&arguments.component_id)?;
    }
    let runtime_config = match &arguments.runtime_config_file {
        Some(path) => RuntimeConfig::read(path)?,
        None => RuntimeConfig::default(),
    };
    let variables =
        Variables::resolve(&manifest.variables, |key| std::env::var(key).ok(), Path::new(".env"))?;
    let folder = arguments.from.parent().unwrap_or(Path::new(""));
    if arguments.trace_calls {
        calls::trace();
    }
    let loader = Loader::new(arguments.perf_map)?;
    let app = App::load(&loader, &manifest, folder, &runtime_config, &variables)?;

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(server::serve(app, arguments.listen));
    ENDING.store(true, Ordering::Relaxed);
    // Running statements are cut off, which SQLite's files survive.
    runtime.shutdown_background();
    result
}
