//! Programs and packages that some tests need; `.ci/tools` installs them.

use std::{
    env,
    io::{Write, stderr},
    path::PathBuf,
};

use crate::workspace;

/// Finds a program: at the path in an environment variable, at one of these paths in the workspace, or on PATH.
///
/// Without it the test is skipped with a note on stderr; with `E2E_TOOLS=required` this panics.
pub fn find(name: &str, variable: &str, paths: &[&str]) -> Option<PathBuf> {
    if let Some(path) = env::var_os(variable).map(PathBuf::from) {
        assert!(path.is_file(), "{variable} names {}, which does not exist", path.display());
        return Some(path);
    }
    let on_path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&on_path).map(|folder| folder.join(name));
    let found = paths.iter().map(|path| workspace().join(path)).chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        miss(&format!("{name} is neither in {variable} nor in {paths:?} nor on PATH"));
    }
    found
}

/// Finds a folder in the workspace, with the same consequences as [`find`] if it is missing.
pub fn folder(path: &str) -> Option<PathBuf> {
    let found = Some(workspace().join(path)).filter(|folder| folder.is_dir());
    if found.is_none() {
        miss(&format!("there is no folder {path}"));
    }
    found
}

/// Notes that a test is skipped because of this, or fails it.
pub(crate) fn miss(missing: &str) {
    assert!(env::var("E2E_TOOLS").as_deref() != Ok("required"), "{missing}");
    // Not `eprintln`, because the test harness captures that.
    let _ = writeln!(stderr(), "skipped a test: {missing} (`bash .ci/tools` installs tools)");
}
