//! Folders and programs of the workspace.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::database::Database;

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// The target folder of these commands, whatever `CARGO_TARGET_DIR` says: `spin.toml` takes the components from it.
pub fn target_folder() -> PathBuf {
    workspace().join("target")
}

/// The target folder of components for this database: of their own for PostgreSQL, so that the builds do not replace each
/// other.
pub fn component_folder(database: Database) -> PathBuf {
    match database {
        Database::Sqlite => target_folder(),
        Database::Postgres => target_folder().join("postgres"),
    }
}

/// A program that was built under a Cargo profile (`debug`, `release`); fails if it was not.
pub fn program(profile: &str, name: &str) -> Result<PathBuf> {
    let program = target_folder().join(profile).join(name);
    ensure!(program.exists(), "{} is missing: cargo xtask builds it", program.display());
    Ok(program)
}
