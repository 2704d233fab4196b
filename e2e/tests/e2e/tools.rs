//! What some tests need and Cargo does not bring; `.ci/tools` installs it.

use std::{
    env,
    io::{Write, stderr},
    path::PathBuf,
};

use crate::app::workspace;

/// Where a program is: at the path in an environment variable, at one of some paths within the workspace, or on PATH.
///
/// Where it is nowhere, stderr says so, past the test's own captured output, and the test is to be left out;
/// with `E2E_TOOLS=required` it fails.
pub fn find(name: &str, variable: &str, paths: &[&str]) -> Option<PathBuf> {
    if let Some(path) = env::var_os(variable).map(PathBuf::from) {
        assert!(path.is_file(), "{variable} names {}, which is not there", path.display());
        return Some(path);
    }
    let on_path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&on_path).map(|folder| folder.join(name));
    let found = paths.iter().map(|path| workspace().join(path)).chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        miss(&format!("{name} is not there: it is looked for in {variable}, {paths:?} and PATH"));
    }
    found
}

/// Where a folder of the workspace is; as [`find`] where it is missing.
pub fn folder(path: &str) -> Option<PathBuf> {
    let found = Some(workspace().join(path)).filter(|folder| folder.is_dir());
    if found.is_none() {
        miss(&format!("there is no folder {path}"));
    }
    found
}

fn miss(missing: &str) {
    assert!(env::var("E2E_TOOLS").as_deref() != Ok("required"), "{missing}");
    let _ = writeln!(stderr(), "left out a test: {missing}; `bash .ci/tools` installs it");
}
