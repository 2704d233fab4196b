//! Spin's runtime config, as far as this host supports it. Anything else is refused with its line number.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::toml_file;
use crate::sqlite::Database;

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
    LibSql {
        url: String,
        token: String,
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

    /// The database with this label.
    pub(crate) fn database(&self, label: &str) -> Option<Database> {
        Some(match self.sqlite_database.get(label)? {
            SqliteDatabase::Spin { path } => Database::File(path.clone()),
            SqliteDatabase::LibSql { url, token } => {
                Database::LibSql { url: url.clone(), token: token.clone() }
            }
        })
    }
}

impl SqliteDatabase {
    fn check(&self) -> Result<()> {
        match self {
            Self::Spin { path } => ensure!(!path.as_os_str().is_empty(), "there is no path"),
            // Spin's own message.
            Self::LibSql { url, .. } => ensure!(
                url.starts_with("https://") || url.starts_with("http://"),
                "unexpected libSQL URL '{url}' in runtime config file: URL does not start with 'https://' or \
                 'http://'. Spin currently only supports talking to libSQL databases over HTTP(S)"
            ),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(database: &str) -> Result<Option<Database>, String> {
        let config: RuntimeConfig = toml_file::parse(&format!("[sqlite_database.a]\n{database}"))?;
        config.check().map_err(|error| format!("{error:#}"))?;
        assert_eq!(config.database("b"), None);
        Ok(config.database("a"))
    }

    #[test]
    fn a_database_is_a_file_or_on_a_libsql_server() {
        let file = parse("type = \"spin\"\npath = \"data/a.db\"").unwrap();
        assert_eq!(file, Some(Database::File("data/a.db".into())));
        for url in ["http://db.example:8080", "https://db.example"] {
            let server = parse(&format!("type = \"libsql\"\nurl = \"{url}\"\ntoken = \"t\"")).unwrap();
            assert_eq!(server, Some(Database::LibSql { url: url.to_owned(), token: "t".to_owned() }));
        }
    }

    #[test]
    fn an_incomplete_database_is_refused() {
        for (database, expected) in [
            ("type = \"spin\"", "sqlite_database.a: there is no path"),
            ("type = \"libsql\"\ntoken = \"t\"", "line 1: missing field `url`"),
            ("type = \"libsql\"\nurl = \"http://x\"", "line 1: missing field `token`"),
            ("url = \"http://x\"\ntoken = \"t\"", "line 1: missing field `type`"),
            (
                "type = \"libsql\"\nurl = 7\ntoken = \"t\"",
                "line 1: invalid type: integer `7`, expected a string",
            ),
            (
                "type = \"libsql\"\nurl = \"libsql://x\"\ntoken = \"t\"",
                "sqlite_database.a: unexpected libSQL URL 'libsql://x' in runtime config file: URL does not start with \
                 'https://' or 'http://'. Spin currently only supports talking to libSQL databases over HTTP(S)",
            ),
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
                "[sqlite_database.a]\ntype = \"libsql\"\nurl = \"http://x\"\ntoken = \"t\"\npath = \"a.db\"",
                "line 1: the embedded host does not support `path` here",
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
