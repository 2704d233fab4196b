//! `cargo xtask bench`: everything built in release, then measured by the package `bench`.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Error, Result};
use launch::{Host, target_folder};

use crate::{build_components, cargo, run, step};

/// The driver, which is the load generator too, as Cargo package and as program.
const BENCH: &str = "bench";
/// The native server.
const BASELINE: &str = "baseline";

/// Builds what is measured and what measures, and hands over to it.
pub(crate) fn bench(arguments: &[OsString]) -> Result<()> {
    let mut bench = Command::new(target_folder().join("release").join(BENCH));
    bench.args(arguments);
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        build(&[BENCH])?;
    } else {
        build_components()?;
        step(
            "building the embedded host, the baseline and the load generator (several minutes the first time)",
        );
        build(&[Host::EMBEDDED, BASELINE, BENCH])?;
    }
    // In this very process: so it is the driver itself that is asked to end, and can end what it has started.
    Err(Error::from(bench.exec())).with_context(|| format!("cannot run {BENCH}"))
}

/// Builds programs in release, as part of the whole workspace: so all agree on features, and wasmtime is compiled once.
fn build(programs: &[&str]) -> Result<()> {
    run(cargo()
        .args(["build", "--release", "--workspace"])
        .args(programs.iter().flat_map(|name| ["--bin", name])))
}
