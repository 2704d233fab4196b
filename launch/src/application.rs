//! The files that a host starts from.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// The project's `spin.toml` and `runtime-config.toml`, to be served from another folder.
#[derive(Clone, Debug)]
pub struct Application {
    manifest: String,
    runtime_config: String,
}

impl Application {
    /// Reads both files; fails if a component has not been built.
    pub fn read() -> Result<Self> {
        let read =
            |name| fs::read_to_string(workspace().join(name)).with_context(|| format!("cannot read {name}"));
        let manifest = with_absolute_sources(&read("spin.toml")?, workspace());
        if let Some(missing) = sources(&manifest).find(|source| !Path::new(source).exists()) {
            bail!("{missing} is missing: cargo xtask builds it");
        }
        Ok(Self { manifest, runtime_config: read("runtime-config.toml")? })
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

    /// Writes both files into a folder, for [`Host::command`](crate::Host::command).
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("spin.toml"), &self.manifest)?;
        fs::write(folder.join("runtime-config.toml"), &self.runtime_config)?;
        Ok(())
    }
}

/// Makes the paths of the components, which are relative to the workspace, absolute.
fn with_absolute_sources(manifest: &str, workspace: &Path) -> String {
    manifest.replace("source = \"target/", &format!("source = \"{}/target/", workspace.display()))
}

fn sources(manifest: &str) -> impl Iterator<Item = &str> {
    manifest.lines().filter_map(|line| line.strip_prefix("source = \"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WASM_TARGET;

    fn project() -> Application {
        let read = |name| fs::read_to_string(workspace().join(name)).unwrap();
        Application { manifest: read("spin.toml"), runtime_config: read("runtime-config.toml") }
    }

    #[test]
    fn every_component_gets_an_absolute_path() {
        let manifest = with_absolute_sources(&project().manifest, Path::new("/project"));
        let expected = ["issuance", "verification", "web"]
            .map(|name| format!("/project/target/{WASM_TARGET}/release/{name}.wasm"));
        assert_eq!(sources(&manifest).collect::<Vec<_>>(), expected);
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
