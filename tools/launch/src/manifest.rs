//! Manifests made from the project's `spin.toml`.

use std::{fmt, fs, path::Path};

use anyhow::{Context, Result};
use toml_edit::{DocumentMut, InlineTable, Table, Value};

use crate::paths::workspace;

/// A Spin manifest to be changed. Everything else stays as it is written, comments included.
#[derive(Clone, Debug)]
pub struct Manifest(DocumentMut);

impl Manifest {
    /// The project's own.
    pub fn of_project() -> Result<Self> {
        Self::read(Path::new("spin.toml"))
    }

    /// Reads a file of the workspace.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(workspace().join(path));
        Self::parse(&text.with_context(|| format!("cannot read {}", path.display()))?)
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        text.parse().map(Self).context("spin.toml is not TOML")
    }

    /// The version of the application.
    pub fn version(&self) -> Result<&str> {
        self.0["application"]["version"].as_str().context("spin.toml has no application.version")
    }

    /// The ids of the components.
    pub fn components(&self) -> Vec<String> {
        self.0["component"].as_table().into_iter().flatten().map(|(id, _)| id.to_owned()).collect()
    }

    /// The path of a component's file.
    pub fn source(&self, component: &str) -> Result<&str> {
        let source = self.0.get("component").and_then(|all| all.get(component)?.get("source")?.as_str());
        source.with_context(|| format!("spin.toml has no component {component} with a source"))
    }

    /// Sets the source of each component, given its id, and removes its build section.
    pub fn set_sources(&mut self, source: impl Fn(&str) -> String) {
        for (id, component) in self.0["component"].as_table_mut().into_iter().flat_map(Table::iter_mut) {
            component["source"] = toml_edit::value(source(id.get()));
            if let Some(component) = component.as_table_mut() {
                component.remove("build");
            }
        }
    }

    /// For components that are built for PostgreSQL: instead of a SQLite database each may connect to the hosts that its
    /// variables name.
    pub fn use_postgres(&mut self) -> Result<()> {
        let mut databases = Vec::new();
        for (id, component) in self.0["component"].as_table_mut().into_iter().flat_map(Table::iter_mut) {
            let Some(labels) =
                component.as_table_mut().and_then(|component| component.remove("sqlite_databases"))
            else {
                continue;
            };
            let hosts = component["allowed_outbound_hosts"].as_array_mut();
            let hosts = hosts.with_context(|| format!("{id} has no allowed_outbound_hosts"))?;
            for label in labels.as_array().into_iter().flatten().filter_map(Value::as_str) {
                for host in ["host", "standby_host"] {
                    hosts.push(format!(
                        "postgres://{{{{ {label}_database_{host} }}}}:{{{{ {label}_database_port }}}}"
                    ));
                }
                databases.push(label.to_owned());
            }
        }
        for label in databases {
            let required = InlineTable::from_iter([("required", true)]);
            self.0["variables"][&format!("{label}_database_host")] = toml_edit::value(required);
        }
        Ok(())
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A comment.\n[application]\nversion = \"1.2.3\"\n\n[component.a] # Another.\nsource = \"x/a.wasm\"\n\n\
                        [component.a.build]\ncommand = \"make\"\n\n[component.b]\nsource = \"b.wasm\" # A third.\n";

    #[test]
    fn sources_are_replaced_build_sections_removed_and_comments_kept() {
        let mut manifest = Manifest::parse(TEXT).unwrap();
        assert_eq!(
            (manifest.version().unwrap(), manifest.components()),
            ("1.2.3", vec!["a".into(), "b".into()])
        );
        assert_eq!(manifest.source("a").unwrap(), "x/a.wasm");
        assert!(manifest.source("c").is_err());
        manifest.set_sources(|id| format!("{id}.wasm"));
        let expected = "# A comment.\n[application]\nversion = \"1.2.3\"\n\n[component.a] # Another.\nsource = \"a.wasm\"\n\n\
                        [component.b]\nsource = \"b.wasm\"\n";
        assert_eq!(manifest.to_string(), expected);
    }

    #[test]
    fn for_postgresql_a_component_may_connect_to_the_hosts_in_its_variables() {
        let text = "[variables]\nx_database_host = { default = \"\" }\n\n[component.a]\nsqlite_databases = [\"x\"]\n\
                    allowed_outbound_hosts = [\"{{ other }}\"]\n\n[component.b]\nallowed_outbound_hosts = []\n";
        let mut manifest = Manifest::parse(text).unwrap();
        manifest.use_postgres().unwrap();
        let expected = "[variables]\nx_database_host = { required = true }\n\n[component.a]\n\
                        allowed_outbound_hosts = [\"{{ other }}\", \
                        \"postgres://{{ x_database_host }}:{{ x_database_port }}\", \
                        \"postgres://{{ x_database_standby_host }}:{{ x_database_port }}\"]\n\n\
                        [component.b]\nallowed_outbound_hosts = []\n";
        assert_eq!(manifest.to_string(), expected);
    }
}
