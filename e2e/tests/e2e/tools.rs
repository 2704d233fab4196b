//! Programs that some tests need and Cargo does not bring.

use std::{
    env,
    io::{Write, stderr},
    path::{Path, PathBuf},
};

/// Where a program is: at the path in an environment variable, at one of some paths within the workspace, or on PATH.
///
/// Where it is nowhere, stderr says so, past the test's own captured output, and the test is to be left out;
/// with `E2E_TOOLS=required` it fails.
pub fn find(name: &str, variable: &str, paths: &[&str]) -> Option<PathBuf> {
    if let Some(path) = env::var_os(variable).map(PathBuf::from) {
        assert!(path.is_file(), "{variable} names {}, which is not there", path.display());
        return Some(path);
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let on_path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&on_path).map(|folder| folder.join(name));
    let found = paths.iter().map(|path| workspace.join(path)).chain(on_path).find(|path| path.is_file());
    if found.is_none() {
        let missing = format!("{name} is not there: it is looked for in {variable}, {paths:?} and PATH");
        assert!(env::var("E2E_TOOLS").as_deref() != Ok("required"), "{missing}");
        let _ = writeln!(stderr(), "left out a test: {missing}");
    }
    found
}
