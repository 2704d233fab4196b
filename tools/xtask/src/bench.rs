//! `cargo xtask bench`: builds everything in release and runs the package `bench`.

use std::{ffi::OsString, os::unix::process::CommandExt, process::Command};

use anyhow::{Error, Result};
use launch::{Database, Host, Wasi, target_folder};

use crate::{
    build::{build_bare, build_components, cargo},
    process::{run, step},
};

pub(crate) fn bench(arguments: &[OsString]) -> Result<()> {
    let mut bench = Command::new(target_folder().join("release/bench"));
    bench.args(arguments);
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        build(&["bench"])?;
    } else {
        for database in Database::ALL {
            for wasi in Wasi::ALL {
                build_components(wasi, database, &[])?;
            }
            build_bare(database)?;
        }
        step("building the embedded host and the bench (several minutes the first time)");
        build(&[Host::EMBEDDED, "bench"])?;
    }
    // It replaces this process, so that it gets the signals and can kill what it started.
    Err(Error::from(bench.exec()).context("cannot run the bench"))
}

/// Builds programs in release, with the features of the whole workspace, so that wasmtime is compiled once.
fn build(programs: &[&str]) -> Result<()> {
    run(cargo()
        .args(["build", "--release", "--workspace"])
        .args(programs.iter().flat_map(|name| ["--bin", name])))
}
