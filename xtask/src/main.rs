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
use launch::{Host, WASM_TARGET, target_folder, workspace};

use crate::up::HostChoice;

mod bench;
mod coverage;
mod env_file;
mod up;

/// The components, as Cargo packages.
const COMPONENTS: [&str; 3] = ["issuance", "verification", "web"];

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
    },
    /// Builds everything and runs all tests, including the end-to-end tests of the built components.
    Test {
        /// Runs only the tests with this in their names.
        filter: Option<String>,
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
        Task::Up { listen, host } => up::up(listen, host),
        Task::Test { filter } => test(filter.as_deref()),
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

fn test(filter: Option<&str>) -> Result<()> {
    build_components()?;
    build_host()?;
    step("building and running the tests");
    run(cargo().args(["test", "--workspace"]).args(filter))
}

/// Compiles the components to wasm.
fn build_components() -> Result<()> {
    add_wasm_target()?;
    step(&format!("building the components ({})", COMPONENTS.join(", ")));
    let mut build = cargo();
    build.args(["build", "--release", "--target", WASM_TARGET]);
    for component in COMPONENTS {
        build.args(["--package", component]);
    }
    run(&mut build)
}

fn build_host() -> Result<()> {
    step("building the embedded host (wasmtime: several minutes the first time)");
    // With the features of the whole workspace, as for the tests, so that wasmtime is compiled once.
    run(cargo().args(["build", "--workspace", "--bin", Host::EMBEDDED]))
}

fn add_wasm_target() -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if Path::new(&sysroot).join("lib/rustlib").join(WASM_TARGET).exists() {
        return Ok(());
    }
    step(&format!("adding the Rust target {WASM_TARGET}"));
    run(Command::new("rustup").args(["target", "add", WASM_TARGET]))
        .with_context(|| format!("this Rust cannot compile to {WASM_TARGET}, and rustup could not add it"))
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace()).env("CARGO_TARGET_DIR", target_folder());
    // Cargo sets these for this program. Build scripts that depend on them (ring's does) would run again whenever builds
    // from here and from a shell alternate.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
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
