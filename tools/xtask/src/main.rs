//! The project's own commands: `cargo xtask --help` lists them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::{ffi::OsString, net::SocketAddr, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use launch::{Database, Signal, SpinVersion, Wasi};

use crate::up::HostChoice;

mod bench;
mod build;
mod coverage;
mod dist;
mod env_file;
mod process;
mod test;
mod up;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Runs, tests and measures Kube Credentials."
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds everything and serves it.
    Up {
        /// The address to listen on; port 0 takes a free one.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
        listen: SocketAddr,
        /// The host to run it on.
        #[arg(long, value_enum, default_value_t = HostChoice::Auto)]
        host: HostChoice,
        /// The version of WASI to build the components for [default: the newest that the host runs].
        #[arg(long, value_name = "0.2|0.3")]
        wasi: Option<Wasi>,
        /// The database to keep the data in: files in data/, or a PostgreSQL server that is started there.
        #[arg(long, value_name = "sqlite|postgres", default_value_t = Database::Sqlite)]
        database: Database,
    },
    /// Builds the components to where spin.toml takes them from; those for PostgreSQL to target/postgres.
    Build {
        /// The components to build [default: all].
        components: Vec<String>,
        /// The version of WASI to build them for.
        #[arg(long, value_name = "0.2|0.3", default_value_t = Wasi::V0_3)]
        wasi: Wasi,
        /// The database to build them for.
        #[arg(long, value_name = "sqlite|postgres", default_value_t = Database::Sqlite)]
        database: Database,
        /// Builds them for the newest WASI of the Spin that runs this as a build command, or else of the one on PATH.
        #[arg(long, conflicts_with = "wasi")]
        for_spin: bool,
    },
    /// Builds everything and runs all tests, including the end-to-end tests of the built components.
    Test {
        /// Runs only the tests with this in their names.
        filter: Option<String>,
        /// Runs the end-to-end tests with this build of the components only [default: with both]. They run with databases in
        /// files and on a PostgreSQL server.
        #[arg(long, value_name = "0.2|0.3")]
        wasi: Option<Wasi>,
    },
    /// Writes a folder to target/dist that Spin runs without Rust, and an archive of it.
    Dist {
        /// The version of WASI to build the components for.
        #[arg(long, value_name = "0.2|0.3", default_value_t = Wasi::V0_3)]
        wasi: Wasi,
        /// The database to build them for.
        #[arg(long, value_name = "sqlite|postgres", default_value_t = Database::Sqlite)]
        database: Database,
    },
    /// Shows which lines the native tests (those that need no host) run.
    Coverage,
    /// Measures release builds under load and compares them with a minimal component: see tools/bench/README.md.
    #[command(disable_help_flag = true)]
    Bench {
        /// --quick takes less than two minutes; --help lists all options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match end_on_signals().and_then(|()| run_task(Arguments::parse().task)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_task(task: Task) -> Result<()> {
    match task {
        Task::Up { listen, host, wasi, database } => up::up(listen, host, wasi, database),
        Task::Build { components, wasi, database, for_spin } => {
            let wasi = if for_spin { SpinVersion::of_build()?.wasi() } else { wasi };
            match database {
                Database::Sqlite => build::build_for_manifest(wasi, &components),
                Database::Postgres => build::build_components(wasi, database, &components),
            }
        }
        Task::Test { filter, wasi } => test::test(filter.as_deref(), wasi),
        Task::Dist { wasi, database } => dist::dist(wasi, database),
        Task::Coverage => coverage::coverage(),
        Task::Bench { arguments } => bench::bench(&arguments),
    }
}

/// Makes SIGINT, SIGTERM and SIGHUP end everything that was started; a second one kills it.
fn end_on_signals() -> Result<()> {
    ctrlc::set_handler(|| {
        let signal = if launch::ending() { Signal::SIGKILL } else { Signal::SIGTERM };
        launch::signal_all(signal);
    })?;
    Ok(())
}
