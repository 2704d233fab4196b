//! Programs that some tests need and that Cargo cannot bring: `.ci/tools` installs them.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Finds a program: where the variable says, at one of these places, or on PATH.
///
/// Where it is missing, says so and gives `None`, so that what it is for can be left out; fails the test instead where
/// `E2E_TOOLS` is `required`, as in `.ci/run`.
pub fn find(name: &str, variable: &str, places: &[PathBuf]) -> Option<PathBuf> {
    let named = env::var_os(variable).map(PathBuf::from);
    let on_path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&on_path).map(|folder| folder.join(name));
    let found = named.into_iter().chain(places.iter().cloned()).chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        missing(&format!("{name}, on PATH or named by {variable}"));
    }
    found
}

/// Finds a folder, as [`find`] does a program.
pub fn folder(path: &Path) -> Option<PathBuf> {
    let found = path.is_dir().then(|| path.to_owned());
    if found.is_none() {
        missing(&path.display().to_string());
    }
    found
}

fn missing(what: &str) {
    assert!(env::var_os("E2E_TOOLS").is_none_or(|tools| tools != "required"), "there is no {what}");
    // Past the test harness, which keeps what passing tests print to itself.
    let _ = writeln!(
        io::stderr(),
        "a test was left out, for there is no {what}; `bash .ci/tools` installs what is missing"
    );
}
