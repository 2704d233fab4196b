//! The files that a host starts from.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{manifest::Manifest, paths::workspace, wasi::Wasi};

/// The project's `spin.toml` and `runtime-config.toml`, to be served from another folder.
#[derive(Clone, Debug)]
pub struct Application {
    manifest: String,
    runtime_config: String,
}

impl Application {
    /// Reads both files, for the components of this build; fails if one has not been built.
    pub fn read(wasi: Wasi) -> Result<Self> {
        let mut manifest = Manifest::of_project()?;
        for component in manifest.components() {
            let wasm = wasi.built(&component);
            ensure!(
                wasm.exists(),
                "{} is missing: cargo xtask build --wasi {wasi} builds it",
                wasm.display()
            );
        }
        manifest.set_sources(|component| wasi.built(component).display().to_string());
        let runtime_config = workspace().join("runtime-config.toml");
        let runtime_config = fs::read_to_string(runtime_config).context("cannot read runtime-config.toml")?;
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

    /// Uses the databases that this runtime config names.
    pub fn set_runtime_config(&mut self, text: String) {
        self.runtime_config = text;
    }

    /// Changes the manifest as [`Manifest::use_libsql_over_http`] says.
    pub fn use_libsql_over_http(&mut self) -> Result<()> {
        let mut manifest = Manifest::parse(&self.manifest)?;
        manifest.use_libsql_over_http()?;
        self.manifest = manifest.to_string();
        Ok(())
    }

    /// Writes both files into a folder, for [`Host::command`](crate::Host::command).
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("spin.toml"), &self.manifest)?;
        fs::write(folder.join("runtime-config.toml"), &self.runtime_config)?;
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
