//! Application variables, from the environment, `.env` and defaults, and the templates that use them.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use anyhow::{Context, Result, bail, ensure};

use super::manifest::Variable;
use crate::bindings::spin::variables::variables::Error;

/// The value of every application variable.
#[derive(Debug)]
pub(crate) struct Variables(HashMap<String, String>);

impl Variables {
    /// Takes each variable from `SPIN_VARIABLE_<NAME>` in the environment, else in the dotenv file, else its default.
    ///
    /// # Errors
    /// Required variables have no value (it names all of them), or the dotenv file cannot be read.
    pub(crate) fn resolve(
        declared: &BTreeMap<String, Variable>,
        environment: impl Fn(&str) -> Option<String>,
        dotenv: &Path,
    ) -> Result<Self> {
        let dotenv = read_dotenv(dotenv)?;
        let mut values = HashMap::new();
        let mut missing = Vec::new();
        for (name, variable) in declared {
            check_name(name).map_err(anyhow::Error::msg)?;
            let key = format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase());
            let value =
                environment(&key).or_else(|| dotenv.get(&key).cloned()).or_else(|| variable.default.clone());
            match value {
                Some(value) => drop(values.insert(name.clone(), value)),
                None => missing.push(key),
            }
        }
        ensure!(
            missing.is_empty(),
            "required variables have no value: set {} in the environment or in .env",
            missing.join(", ")
        );
        Ok(Self(values))
    }

    /// Fills in a template such as `http://{{ host }}:80`.
    ///
    /// # Errors
    /// Unclosed braces, or an undeclared variable.
    pub(crate) fn fill(&self, template: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((literal, expression)) = rest.split_once("{{") {
            filled.push_str(literal);
            let (name, after) =
                expression.split_once("}}").with_context(|| format!("{template:?} has {{{{ without }}}}"))?;
            match self.0.get(name.trim()) {
                Some(value) => filled.push_str(value),
                None => bail!("{template:?} uses the variable {:?}, which is not declared", name.trim()),
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// The variables of one component, under its own names.
#[derive(Clone, Debug, Default)]
pub(crate) struct ComponentVariables(HashMap<String, String>);

impl ComponentVariables {
    pub(crate) fn new(templates: &BTreeMap<String, String>, variables: &Variables) -> Result<Self> {
        templates
            .iter()
            .map(|(name, template)| {
                check_name(name).map_err(anyhow::Error::msg)?;
                Ok((name.clone(), variables.fill(template)?))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The value of a variable, with Spin's errors.
    pub(crate) fn get(&self, name: &str) -> Result<String, Error> {
        check_name(name).map_err(Error::InvalidName)?;
        let value = self.0.get(name).cloned();
        value.ok_or_else(|| Error::Undefined(format!("no variable {name:?} for this component")))
    }
}

/// Spin's rule for names: lower-case letters, digits and single underscores, a letter first, no underscore last.
fn check_name(name: &str) -> Result<(), String> {
    let characters =
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let ends = name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.ends_with('_');
    if characters && ends && !name.contains("__") {
        Ok(())
    } else {
        Err(format!("{name:?} is not a valid variable name (lower-case letters, digits, single underscores)"))
    }
}

fn read_dotenv(path: &Path) -> Result<HashMap<String, String>> {
    if !path.exists() {
        return Ok(HashMap::new());
    }
    // The parser's error quotes the line, which may hold a secret.
    dotenvy::from_path_iter(path)
        .ok()
        .and_then(|entries| entries.collect::<Result<_, _>>().ok())
        .with_context(|| format!("{} is not a valid dotenv file", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> BTreeMap<String, Variable> {
        toml::from_str("secret = { required = true }\nlevel = { default = \"warn\" }").unwrap()
    }

    fn resolve(environment: &[(&str, &str)], dotenv: &str) -> Result<Variables> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, dotenv).unwrap();
        let environment: HashMap<_, _> = environment.iter().copied().collect();
        Variables::resolve(&declared(), |key| environment.get(key).map(ToString::to_string), &path)
    }

    #[test]
    fn the_environment_wins_over_dotenv_and_dotenv_over_the_default() {
        let values = |environment: &[_], dotenv| {
            resolve(environment, dotenv).unwrap().fill("{{ secret }}/{{level}}").unwrap()
        };
        assert_eq!(values(&[("SPIN_VARIABLE_SECRET", "a")], ""), "a/warn");
        assert_eq!(values(&[], "SPIN_VARIABLE_SECRET=b\nSPIN_VARIABLE_LEVEL='info'\n"), "b/info");
        assert_eq!(values(&[("SPIN_VARIABLE_SECRET", "a")], "SPIN_VARIABLE_SECRET=b"), "a/warn");
    }

    #[test]
    fn a_required_variable_without_a_value_is_named() {
        let error = resolve(&[], "SPIN_VARIABLE_LEVEL=info").unwrap_err().to_string();
        assert!(error.contains("SPIN_VARIABLE_SECRET"), "{error}");
    }

    #[test]
    fn a_broken_dotenv_file_is_refused_without_quoting_it() {
        let error = format!("{:#}", resolve(&[], "SPIN_VARIABLE_SECRET='hunter2").unwrap_err());
        assert!(error.contains("not a valid dotenv file") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_template_needs_declared_variables_and_closed_braces() {
        let variables = resolve(&[("SPIN_VARIABLE_SECRET", "a")], "").unwrap();
        assert_eq!(variables.fill("plain").unwrap(), "plain");
        assert!(variables.fill("{{ other }}").is_err());
        assert!(variables.fill("{{ secret").is_err());
    }

    #[test]
    fn a_component_reads_only_the_variables_it_was_given() {
        let variables = resolve(&[("SPIN_VARIABLE_SECRET", "a")], "").unwrap();
        let granted = BTreeMap::from([("key".to_owned(), "<{{ secret }}>".to_owned())]);
        let component = ComponentVariables::new(&granted, &variables).unwrap();
        assert_eq!(component.get("key").unwrap(), "<a>");
        assert!(matches!(component.get("secret"), Err(Error::Undefined(_))));
        for name in ["", "Key", "a__b", "a_", "1a", "a-b"] {
            assert!(matches!(component.get(name), Err(Error::InvalidName(_))), "{name}");
        }
    }
}
