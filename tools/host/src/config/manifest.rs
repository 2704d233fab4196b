//! `spin.toml`, as far as this host supports it. Anything else is refused with its line number.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use http::Uri;
use serde::Deserialize;

use super::toml_file;
use crate::chaining::chained_component;

/// A Spin manifest of version 2, limited to HTTP triggers and local components.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) spin_manifest_version: u32,
    #[allow(dead_code, reason = "only its form is checked")]
    application: Application,
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, Variable>,
    pub(crate) trigger: Triggers,
    pub(crate) component: BTreeMap<String, Component>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its form is checked")]
struct Application {
    name: String,
    version: Option<String>,
    description: Option<String>,
    authors: Option<Vec<String>>,
}

/// An application variable. `secret` makes no difference here: this host never shows a value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variable {
    pub(crate) default: Option<String>,
    #[serde(default)]
    pub(crate) required: bool,
    #[allow(dead_code, reason = "only its form is checked")]
    #[serde(default)]
    secret: bool,
    #[allow(dead_code, reason = "only its form is checked")]
    description: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Triggers {
    pub(crate) http: Vec<HttpTrigger>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HttpTrigger {
    #[allow(dead_code, reason = "only its form is checked")]
    id: Option<String>,
    pub(crate) route: Route,
    pub(crate) component: String,
}

/// How a component is reached: by a path pattern, or from other components only.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a route is a string or { private = true }")]
pub(crate) enum Route {
    Path(String),
    Private { private: bool },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Component {
    /// A path relative to the manifest.
    pub(crate) source: PathBuf,
    #[serde(default)]
    pub(crate) sqlite_databases: Vec<String>,
    #[serde(default)]
    pub(crate) allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[allow(dead_code, reason = "for `spin build`")]
    #[serde(default)]
    build: toml::Table,
    #[allow(dead_code, reason = "only its form is checked")]
    description: Option<String>,
}

impl Manifest {
    /// Reads the manifest and checks that its parts fit together.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let manifest: Self = toml_file::read(path)?;
        manifest.check().with_context(|| path.display().to_string())?;
        Ok(manifest)
    }

    fn check(&self) -> Result<()> {
        ensure!(self.spin_manifest_version == 2, "spin_manifest_version is not 2");
        for (name, variable) in &self.variables {
            ensure!(
                variable.required != variable.default.is_some(),
                "variables.{name} must be either required or have a default"
            );
        }
        for trigger in &self.trigger.http {
            ensure!(
                self.component.contains_key(&trigger.component),
                "a trigger names the component {:?}, which does not exist",
                trigger.component
            );
            if let Route::Private { private: false } = trigger.route {
                bail!("the route of {:?} must be a string or {{ private = true }}", trigger.component);
            }
        }
        Ok(())
    }

    /// Keeps only the components with these ids, and their triggers, as `spin up --component-id` does.
    pub(crate) fn select(&mut self, ids: &[String]) -> Result<()> {
        for id in ids {
            ensure!(self.component.contains_key(id), "--component-id {id}: there is no such component");
        }
        self.component.retain(|id, _| ids.contains(id));
        self.trigger.http.retain(|trigger| ids.contains(&trigger.component));
        // A component may not chain to one left out. A host with a variable is not filled in yet, and passes.
        for (id, component) in &self.component {
            let hosts = component.allowed_outbound_hosts.iter().filter_map(|host| host.parse::<Uri>().ok());
            for chained in hosts.filter_map(|host| chained_component(host.host()?).map(ToOwned::to_owned)) {
                ensure!(
                    self.component.contains_key(&chained),
                    "component {id} chains to the component {chained:?}, which is not selected"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKING: &str = r#"
spin_manifest_version = 2
[application]
name = "app"
[variables]
secret = { required = true, secret = true }
[[trigger.http]]
route = "/a/..."
component = "a"
[[trigger.http]]
route = { private = true }
component = "b"
[component.a]
source = "a.wasm"
sqlite_databases = ["a"]
allowed_outbound_hosts = ["http://b.spin.internal"]
variables = { secret = "{{ secret }}" }
build = { command = "make", watch = ["src"] }
[component.b]
source = "b.wasm"
"#;

    fn parse(text: &str) -> Result<Manifest> {
        let manifest: Manifest = toml_file::parse(text).map_err(anyhow::Error::msg)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn refusal(from: &str, to: &str) -> String {
        assert!(WORKING.contains(from));
        let error = parse(&WORKING.replace(from, to)).unwrap_err();
        let message = format!("{error:#}");
        assert!(!message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn a_supported_manifest_is_accepted() {
        let manifest = parse(WORKING).unwrap();
        assert_eq!(manifest.component["a"].sqlite_databases, ["a"]);
        assert!(matches!(manifest.trigger.http[1].route, Route::Private { private: true }));
    }

    #[test]
    fn anything_unsupported_is_refused_with_its_line() {
        for (from, to, expected) in [
            (
                "sqlite_databases = [\"a\"]",
                "key_value_stores = [\"a\"]",
                "line 15: the embedded host does not support `key_value_stores` here",
            ),
            (
                "sqlite_databases = [\"a\"]",
                "ai_models = [\"a\"]",
                "line 15: the embedded host does not support `ai_models` here",
            ),
            (
                "sqlite_databases = [\"a\"]",
                "files = [\"a\"]",
                "line 15: the embedded host does not support `files` here",
            ),
            (
                "[[trigger.http]]\nroute = \"/a/...\"",
                "[[trigger.redis]]\nchannel = \"a\"",
                "the embedded host does not support `redis` here",
            ),
            ("source = \"a.wasm\"", "source = { url = \"x\", digest = \"y\" }", "line 14: invalid type: map"),
            (
                "component = \"a\"",
                "component = \"a\"\nexecutor = { type = \"wagi\" }",
                "line 10: the embedded host does not support `executor` here",
            ),
            ("spin_manifest_version = 2", "spin_manifest_version = 1", "spin_manifest_version is not 2"),
            ("name = \"app\"", "name = ", "line 4: "),
        ] {
            let message = refusal(from, to);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn parts_that_do_not_fit_together_are_refused() {
        for (from, to, expected) in [
            ("component = \"a\"", "component = \"c\"", "\"c\", which does not exist"),
            ("{ private = true }", "{ private = false }", "must be a string or { private = true }"),
            ("{ private = true }", "7", "a route is a string or { private = true }"),
            (
                "{ required = true, secret = true }",
                "{ secret = true }",
                "variables.secret must be either required",
            ),
            (
                "{ required = true, secret = true }",
                "{ required = true, default = \"\" }",
                "variables.secret must be either",
            ),
        ] {
            let message = refusal(from, to);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn selecting_components_drops_the_others_and_their_triggers() {
        let mut manifest = parse(WORKING).unwrap();
        manifest.select(&["b".to_owned()]).unwrap();
        assert_eq!(manifest.component.len(), 1);
        assert_eq!(manifest.trigger.http.len(), 1);
        assert!(manifest.select(&["c".to_owned()]).is_err());
    }

    #[test]
    fn a_selected_component_may_not_chain_to_others() {
        for (host, both, alone) in [
            ("http://a.spin.internal", true, true),
            ("http://b.spin.internal", true, false),
            // Spin refuses this even if all are selected.
            ("http://*.spin.internal", false, false),
            ("{{ url }}", true, true),
        ] {
            let mut manifest = parse(WORKING).unwrap();
            manifest.component.get_mut("a").unwrap().allowed_outbound_hosts = vec![host.to_owned()];
            assert_eq!(manifest.select(&["a".to_owned(), "b".to_owned()]).is_ok(), both, "{host}");
            assert_eq!(manifest.select(&["a".to_owned()]).is_ok(), alone, "{host}");
        }
    }
}
