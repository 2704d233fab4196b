//! Building: the components, and the embedded host.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use launch::{Database, Host, Manifest, Wasi, component_folder, target_folder, workspace};

use crate::process::{output, run, step};

/// Builds these components, or all, to where `spin.toml` takes them from.
pub(crate) fn build_for_manifest(wasi: Wasi, named: &[String]) -> Result<()> {
    let manifest = Manifest::of_project()?;
    let components = if named.is_empty() { &manifest.components() } else { named };
    let sources = components.iter().map(|id| Ok((id, workspace().join(manifest.source(id)?))));
    let sources: Vec<_> = sources.collect::<Result<_>>()?;
    announce(components, &format!("WASI {wasi}"));
    for (component, source) in sources {
        run(&mut wasm_build(wasi, Database::Sqlite, component)?)?;
        replace(&source, &wasi.built(Database::Sqlite, component))?;
    }
    Ok(())
}

fn announce(components: &[String], what: &str) {
    step(&format!("building the components ({}) for {what}", components.join(", ")));
}

/// Copies a file, whole or not at all. An identical one is left alone, because `spin watch` restarts on a change.
fn replace(to: &Path, from: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|present| present == content) {
        return Ok(());
    }
    let folder = to.parent().context("a component is a file in a folder")?;
    let context = || format!("cannot write {}", to.display());
    fs::create_dir_all(folder).with_context(context)?;
    let temporary = to.with_extension("new");
    fs::write(&temporary, content).and_then(|()| fs::rename(&temporary, to)).with_context(context)
}

/// Builds these components, or all, for manifests that are made from `spin.toml`.
pub(crate) fn build_components(wasi: Wasi, database: Database, named: &[String]) -> Result<()> {
    let all = Manifest::of_project()?.components();
    let components = if named.is_empty() { &all } else { named };
    announce(components, &format!("WASI {wasi} and {database}"));
    components.iter().try_for_each(|component| run(&mut wasm_build(wasi, database, component)?))
}

/// Builds the component that the bench compares them with.
pub(crate) fn build_bare(database: Database) -> Result<()> {
    step(&format!("building the bare component for {database}"));
    run(&mut wasm_build(Wasi::V0_3, database, "bare")?)
}

/// Builds components so that the same source gives the same bytes on every machine with the same Rust. Returns the folder
/// with the wasm files.
pub(crate) fn build_reproducibly(components: &[String], wasi: Wasi, database: Database) -> Result<PathBuf> {
    announce(components, &format!("WASI {wasi} and {database}, reproducibly"));
    // In a target folder of its own: with other flags, Cargo would compile everything again each time.
    let folder = target_folder().join("reproducible").join(database.to_string());
    // Panic messages name source files, those of dependencies by their paths on this machine.
    let mut flags = OsString::from("--remap-path-prefix=");
    flags.push(cargo_home()?);
    flags.push("=/cargo");
    for component in components {
        let mut build = wasm_build(wasi, database, component)?;
        build.arg("--locked").env("CARGO_TARGET_DIR", &folder);
        build.env("CARGO_ENCODED_RUSTFLAGS", &flags);
        // spin-sdk 5 exports a symbol with the commit of the surrounding git repository, whichever that is.
        build.env("GIT_DIR", "/nonexistent");
        run(&mut build)?;
    }
    Ok(folder.join(wasi.target()).join("release"))
}

/// With `--crate-type`, because Cargo skips link-time optimisation for a crate that is also a library.
fn wasm_build(wasi: Wasi, database: Database, package: &str) -> Result<Command> {
    add_target(wasi)?;
    let mut build = cargo();
    build.env("CARGO_TARGET_DIR", component_folder(database));
    build.args(["rustc", "--release", "--target", wasi.target()]);
    build.args(["--package", package, "--crate-type", "cdylib"]);
    // The page has no database.
    if package != "web" {
        build.args(database.features());
    }
    Ok(build)
}

pub(crate) fn build_host() -> Result<()> {
    step("building the embedded host (wasmtime: several minutes the first time)");
    // With the features of the whole workspace, as for the tests, so that wasmtime is compiled once.
    run(cargo().args(["build", "--workspace", "--bin", Host::EMBEDDED]))
}

/// Adds the Rust target of this build, if it is missing.
fn add_target(wasi: Wasi) -> Result<()> {
    let target = wasi.target();
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    if Path::new(&sysroot).join("lib/rustlib").join(target).exists() {
        return Ok(());
    }
    step(&format!("adding the Rust target {target}"));
    run(Command::new("rustup").args(["target", "add", target]))
        .with_context(|| format!("this Rust cannot compile to {target}, and rustup could not add it"))
}

/// The folder of Cargo's registry: `CARGO_HOME`, or `.cargo` in the user's home folder.
fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("neither CARGO_HOME nor HOME is set")
}

pub(crate) fn cargo() -> Command {
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
