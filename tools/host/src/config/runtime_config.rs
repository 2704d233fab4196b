//! Spin's runtime config, as far as this host supports it. Anything else is refused with its line number.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::toml_file;

/// Spin's runtime config, limited to SQLite databases.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuntimeConfig {
    #[serde(default)]
    sqlite_database: BTreeMap<String, SqliteDatabase>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum SqliteDatabase {
    /// A local file. As in Spin, its path is relative to the working folder.
    Spin {
        #[serde(default)]
        path: PathBuf,
    },
}

impl RuntimeConfig {
    /// Reads the runtime config.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let config: Self = toml_file::read(path)?;
        config.check().with_context(|| path.display().to_string())?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        for (label, database) in &self.sqlite_database {
            database.check().with_context(|| format!("sqlite_database.{label}"))?;
        }
        Ok(())
    }

    /// The file of the database with this label.
    pub(crate) fn database(&self, label: &str) -> Option<PathBuf> {
        let SqliteDatabase::Spin { path } = self.sqlite_database.get(label)?;
        Some(path.clone())
    }
}

impl SqliteDatabase {
    fn check(&self) -> Result<()> {
        let Self::Spin { path } = self;
        ensure!(!path.as_os_str().is_empty(), "there is no path");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(database: &str) -> Result<Option<PathBuf>, String> {
        let config: RuntimeConfig = toml_file::parse(&format!("[sqlite_database.a]\n{database}"))?;
        config.check().map_err(|error| format!("{error:#}"))?;
        assert_eq!(config.database("b"), None);
        Ok(config.database("a"))
    }

    #[test]
    fn a_database_is_a_file() {
        let file = parse("type = \"spin\"\npath = \"data/a.db\"").unwrap();
        assert_eq!(file, Some("data/a.db".into()));
    }

    #[test]
    fn an_incomplete_database_is_refused() {
        for (database, expected) in [
            ("type = \"spin\"", "sqlite_database.a: there is no path"),
            ("path = \"a.db\"", "line 1: missing field `type`"),
            ("type = \"spin\"\npath = 7", "line 1: invalid type: integer `7`, expected path string"),
        ] {
            assert_eq!(parse(database), Err(expected.to_owned()));
        }
    }

    #[test]
    fn anything_unsupported_is_refused_with_its_line() {
        for (text, expected) in [
            (
                "[sqlite_database.a]\ntype = \"mysql\"\n",
                "line 2: the embedded host does not support `mysql` here",
            ),
            (
                "[sqlite_database.a]\ntype = \"libsql\"\nurl = \"http://x\"\ntoken = \"t\"",
                "line 2: the embedded host does not support `libsql` here",
            ),
            (
                "[sqlite_database.a]\ntype = \"spin\"\npath = \"a.db\"\nurl = \"http://x\"",
                "line 1: the embedded host does not support `url` here",
            ),
            (
                "[key_value_store.default]\ntype = \"redis\"",
                "line 1: the embedded host does not support `key_value_store` here",
            ),
            (
                "[[config_provider]]\ntype = \"vault\"",
                "line 1: the embedded host does not support `config_provider` here",
            ),
        ] {
            let message = toml_file::parse::<RuntimeConfig>(text).unwrap_err();
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }
}
