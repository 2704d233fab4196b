//! How an application is configured and started.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    ADMIN_TOKEN, SECRET, TestApp,
    app::Own,
    host::{Host, program, wasm_target_folder},
    read,
};

/// The configuration of an application, which [`start`](Setup::start) starts.
#[derive(Clone)]
pub struct Setup {
    variables: BTreeMap<String, String>,
    components: Vec<&'static str>,
    manifest_edits: Vec<(String, String)>,
    data_folder: String,
    validates: bool,
}

impl Setup {
    #[expect(clippy::new_without_default, reason = "the configuration is not an empty one")]
    pub fn new() -> Self {
        Self {
            variables: BTreeMap::new(),
            components: Vec::new(),
            manifest_edits: Vec::new(),
            data_folder: "data".to_owned(),
            validates: true,
        }
        .variable("credential_secret", SECRET)
        .variable("admin_token", ADMIN_TOKEN)
    }

    /// Sets an application variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase()), value.to_owned());
        self
    }

    /// Starts only this component, and any others named this way.
    pub fn component(mut self, id: &'static str) -> Self {
        self.components.push(id);
        self
    }

    /// Replaces a text in the manifest.
    pub fn edit_manifest(mut self, from: &str, to: &str) -> Self {
        self.manifest_edits.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Uses the databases of another running application.
    pub fn databases_of(self, other: &TestApp) -> Self {
        Self { data_folder: other.data_folder().display().to_string(), ..self }
    }

    /// Does not validate answers against `openapi.yaml`, which takes time.
    pub fn without_validation(self) -> Self {
        Self { validates: false, ..self }
    }

    pub async fn start(self) -> TestApp {
        self.start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts with what `fill` puts into the folder of the databases.
    pub async fn start_with_data(self, fill: impl FnOnce(&Path)) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fill(&data);
        self.start_in(folder).await
    }

    async fn start_in(self, folder: TempDir) -> TestApp {
        self.write_files(folder.path());
        let (host, base_url) = self.spawn(folder.path());
        let validates = self.validates;
        TestApp::new(base_url, validates, Some(Own { folder, setup: self, host })).await
    }

    /// Writes the project's manifest and runtime config, adapted to this folder.
    fn write_files(&self, folder: &Path) {
        let source = format!("source = \"{}/", wasm_target_folder().display());
        let mut manifest = read("spin.toml").replace("source = \"target/", &source);
        for (from, to) in &self.manifest_edits {
            assert!(manifest.contains(from), "spin.toml no longer has {from:?}");
            manifest = manifest.replace(from, to);
        }
        fs::write(folder.join("spin.toml"), manifest).unwrap();
        let config = read("runtime-config.toml");
        let config = config.replace("path = \"data/", &format!("path = \"{}/", self.data_folder));
        fs::write(folder.join("runtime-config.toml"), config).unwrap();
    }

    /// Starts a host on the files in this folder, and returns it with its URL.
    pub(crate) fn spawn(&self, folder: &Path) -> (Host, String) {
        let mut command = if on_spin() {
            let mut spin = Command::new("spin");
            spin.args(["up", "--state-dir", ".spin"]);
            spin
        } else {
            Command::new(program())
        };
        command
            .current_dir(folder)
            .args(["--from", "spin.toml", "--runtime-config-file", "runtime-config.toml"])
            .args(["--listen", "127.0.0.1:0"])
            .args(self.components.iter().flat_map(|id| ["--component-id", id]))
            .envs(&self.variables);
        Host::spawn(&mut command)
    }
}

/// Whether the tests run on Spin (`E2E_HOST=spin`) and not on the embedded host.
pub fn on_spin() -> bool {
    env::var("E2E_HOST").is_ok_and(|host| host == "spin")
}
