//! The host refuses to start with one clear line on stderr.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

const MANIFEST: &str = r#"
spin_manifest_version = 2
[application]
name = "app"
[variables]
key = { required = true }
[[trigger.http]]
route = "/..."
component = "a"
[component.a]
source = "a.wasm"
sqlite_databases = ["db"]
[component.a.variables]
key = "{{ key }}"
"#;

const RUNTIME_CONFIG: &str = "[sqlite_database.db]\ntype = \"spin\"\npath = \"db.sqlite\"\n";

/// `(component)`: the smallest one, which exports nothing.
const EMPTY_COMPONENT: &[u8] = b"\0asm\r\0\x01\0";

/// `(component (import "spin:key-value/key-value@3.0.0" (instance (export "open" (func)))))`
const NEEDY_COMPONENT: &[u8] = b"\0asm\r\0\x01\0\x07\x11\x01B\x02\x01@\0\x01\0\x04\0\x04open\x01\0\
                                 \n#\x01\0\x1espin:key-value/key-value@3.0.0\x05\0";

struct Application {
    folder: TempDir,
}

impl Application {
    fn new(manifest: &str, component: Option<&[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("spin.toml"), manifest).unwrap();
        fs::write(folder.path().join("runtime-config.toml"), RUNTIME_CONFIG).unwrap();
        if let Some(component) = component {
            fs::write(folder.path().join("a.wasm"), component).unwrap();
        }
        Self { folder }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The line with which the host refuses to start.
    #[track_caller]
    fn refusal(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_kube-credentials-host"))
            .current_dir(self.folder())
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_remove("SPIN_VARIABLE_KEY")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with("error: "), "{stderr}");
        stderr
    }
}

const CONFIGURED: &[&str] = &["--runtime-config-file", "runtime-config.toml"];
const KEY: &[(&str, &str)] = &[("SPIN_VARIABLE_KEY", "value")];

#[track_caller]
fn assert_mentions(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
}

#[test]
fn a_missing_manifest() {
    let app = Application::new(MANIFEST, None);
    assert_mentions(&app.refusal(&["--from", "other.toml"], KEY), &["cannot read other.toml"]);
}

#[test]
fn a_feature_that_is_not_supported_with_its_line() {
    for (feature, name) in [
        ("key_value_stores = [\"default\"]", "key_value_stores"),
        ("ai_models = [\"llama2-chat\"]", "ai_models"),
        ("files = [\"public\"]", "files"),
        ("dependencies = {}", "dependencies"),
    ] {
        let manifest = MANIFEST.replace("sqlite_databases = [\"db\"]", feature);
        let line = Application::new(&manifest, None).refusal(&[], KEY);
        assert_mentions(&line, &["spin.toml, line 12", "does not support", name]);
    }
}

#[test]
fn a_trigger_that_is_not_supported() {
    let manifest =
        MANIFEST.replace("[[trigger.http]]\nroute = \"/...\"", "[[trigger.redis]]\nchannel = \"c\"");
    let line = Application::new(&manifest, None).refusal(&[], KEY);
    assert_mentions(&line, &["spin.toml, line 7", "does not support `redis`"]);
}

#[test]
fn a_database_that_no_runtime_config_defines() {
    let app = Application::new(MANIFEST, Some(EMPTY_COMPONENT));
    assert_mentions(&app.refusal(&[], KEY), &["component a", "\"db\"", "--runtime-config-file"]);
}

#[test]
fn a_type_of_database_that_is_not_supported() {
    let app = Application::new(MANIFEST, Some(EMPTY_COMPONENT));
    let mysql = "[sqlite_database.db]\ntype = \"mysql\"\nurl = \"http://db.example\"\n";
    fs::write(app.folder().join("runtime-config.toml"), mysql).unwrap();
    assert_mentions(&app.refusal(CONFIGURED, KEY), &["runtime-config.toml, line 2", "`mysql`"]);
}

#[test]
fn a_required_variable_without_a_value() {
    let app = Application::new(MANIFEST, Some(EMPTY_COMPONENT));
    assert_mentions(&app.refusal(CONFIGURED, &[]), &["SPIN_VARIABLE_KEY", ".env"]);
}

#[test]
fn a_component_that_is_not_built() {
    let app = Application::new(MANIFEST, None);
    assert_mentions(&app.refusal(CONFIGURED, KEY), &["component a", "a.wasm", "build it first"]);
}

#[test]
fn a_file_that_is_not_a_component() {
    let app = Application::new(MANIFEST, None);
    fs::write(app.folder().join("a.wasm"), "not wasm").unwrap();
    assert_mentions(&app.refusal(CONFIGURED, KEY), &["component a", "a.wasm cannot run here"]);
}

#[test]
fn a_module_that_no_spin_sdk_made() {
    let app = Application::new(MANIFEST, Some(b"\0asm\x01\0\0\0"));
    assert_mentions(&app.refusal(CONFIGURED, KEY), &["component a", "a.wasm cannot run here", "spin-sdk 5"]);
}

#[test]
fn a_component_without_an_http_handler() {
    let app = Application::new(MANIFEST, Some(EMPTY_COMPONENT));
    let line = app.refusal(CONFIGURED, KEY);
    assert_mentions(&line, &["component a", "cannot run here", "wasi:http/incoming-handler@0.2"]);
    assert_mentions(&line, &["wasi:http/handler@0.3"]);
}

#[test]
fn a_component_that_imports_an_unknown_interface() {
    let app = Application::new(MANIFEST, Some(NEEDY_COMPONENT));
    assert_mentions(&app.refusal(CONFIGURED, KEY), &["cannot run here", "spin:key-value/key-value@3.0.0"]);
}

#[test]
fn an_unknown_component_id() {
    let app = Application::new(MANIFEST, Some(EMPTY_COMPONENT));
    assert_mentions(&app.refusal(&["--component-id", "b"], KEY), &["--component-id b"]);
}

#[test]
fn a_selected_component_that_chains_to_one_left_out() {
    let manifest = MANIFEST
        .replace("source =", "allowed_outbound_hosts = [\"http://b.spin.internal\"]\nsource =")
        + "[component.b]\nsource = \"a.wasm\"\n[[trigger.http]]\nroute = \"/b\"\ncomponent = \"b\"\n";
    let app = Application::new(&manifest, Some(EMPTY_COMPONENT));
    let arguments = [CONFIGURED, &["--component-id", "a"]].concat();
    assert_mentions(&app.refusal(&arguments, KEY), &["component a chains to the component \"b\""]);
}

#[test]
fn a_malformed_allowed_host() {
    let manifest = MANIFEST.replace("source =", "allowed_outbound_hosts = [\"example.com\"]\nsource =");
    let app = Application::new(&manifest, Some(EMPTY_COMPONENT));
    assert_mentions(&app.refusal(CONFIGURED, KEY), &["component a", "\"example.com\"", "scheme"]);
}

#[test]
fn an_address_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let manifest =
        MANIFEST.replace("[[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"", "[trigger]\nhttp = []");
    let manifest = manifest.split("[component.a]").next().unwrap().to_owned() + "[component]\n";
    let app = Application::new(&manifest, None);
    let output = Command::new(env!("CARGO_BIN_EXE_kube-credentials-host"))
        .current_dir(app.folder())
        .args(["--listen", &address])
        .envs(KEY.iter().copied())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_mentions(&String::from_utf8(output.stderr).unwrap(), &["cannot listen on", &address]);
}
