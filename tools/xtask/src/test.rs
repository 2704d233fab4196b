//! `cargo xtask test`: builds everything and runs all tests.

use std::env;

use anyhow::Result;
use launch::{Database, Wasi, postgres_programs};

use crate::{
    build::{build_components, build_host, cargo},
    process::{run, step},
};

pub(crate) fn test(filter: Option<&str>, wasi: Option<Wasi>) -> Result<()> {
    // Both, whichever is tested: a test compares them.
    for (wasi, database) in
        Wasi::ALL.into_iter().flat_map(|wasi| Database::ALL.map(|database| (wasi, database)))
    {
        build_components(wasi, database, &[])?;
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
    if let Err(reason) = postgres_programs()
        && env::var("E2E_TOOLS").as_deref() != Ok("required")
    {
        step(&format!("skipped the tests with databases on a PostgreSQL server: {reason}"));
        return Ok(());
    }
    // The driver for PostgreSQL is another build of the package.
    run(cargo().args(["test", "--package", "platform", "--features", "postgres"]).args(filter))?;
    builds.iter().try_for_each(|build| test(*build, "postgres", &e2e))
}
