//! The files that a host starts from.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{database::Database, manifest::Manifest, paths::workspace, wasi::Wasi};

/// The project's `spin.toml` and `runtime-config.toml`, to be served from another folder.
#[derive(Clone, Debug)]
pub struct Application {
    manifest: String,
    runtime_config: String,
}

impl Application {
    /// Reads both files, for the components of this build; fails if one has not been built.
    pub fn read(wasi: Wasi, database: Database) -> Result<Self> {
        let mut manifest = Manifest::of_project()?;
        let built = |component: &str| wasi.built(database, component);
        for component in manifest.components() {
            let wasm = built(&component);
            ensure!(
                wasm.exists(),
                "{} is missing: cargo xtask build --wasi {wasi} --database {database} builds it",
                wasm.display()
            );
        }
        manifest.set_sources(|component| built(component).display().to_string());
        let runtime_config = match database {
            Database::Sqlite => fs::read_to_string(workspace().join("runtime-config.toml"))
                .context("cannot read runtime-config.toml")?,
            Database::Postgres => {
                manifest.use_postgres()?;
                String::new()
            }
        };
        Ok(Self { manifest: manifest.to_string(), runtime_config })
    }

    /// Replaces a text in the manifest; fails if it is not there.
    pub fn edit_manifest(&mut self, from: &str, to: &str) -> Result<()> {
        ensure!(self.manifest.contains(from), "spin.toml does not contain {from:?}");
        self.manifest = self.manifest.replace(from, to);
        Ok(())
    }

    /// Uses the databases in this folder instead of `data` in the folder that the host is started in.
    pub fn set_data_folder(&mut self, folder: &Path) {
        let data = format!("path = \"{}/", folder.display());
        self.runtime_config = self.runtime_config.replace("path = \"data/", &data);
    }

    /// Writes the files into a folder, for [`Host::command`](crate::Host::command).
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("spin.toml"), &self.manifest)?;
        if !self.runtime_config.is_empty() {
            fs::write(folder.join("runtime-config.toml"), &self.runtime_config)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Application {
        let read = |name| fs::read_to_string(workspace().join(name)).unwrap();
        Application { manifest: read("spin.toml"), runtime_config: read("runtime-config.toml") }
    }

    #[test]
    fn an_edit_that_would_change_nothing_is_an_error() {
        let mut application = project();
        application.edit_manifest("[variables]", "[other]").unwrap();
        assert!(application.edit_manifest("[variables]", "[other]").is_err());
    }

    #[test]
    fn both_databases_move_to_the_data_folder() {
        let mut application = project();
        application.set_data_folder(Path::new("/elsewhere"));
        assert_eq!(application.runtime_config.matches("path = \"/elsewhere/").count(), 2);
    }
}
