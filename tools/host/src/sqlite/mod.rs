//! SQLite with Spin's semantics: every open makes a new connection, and errors are text. A database is a local file,
//! or on a libSQL server.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use self::running::Running;
use crate::bindings::spin::sqlite::sqlite::{Error, QueryResult, Value};

mod file;
mod libsql;
mod running;

/// Where a database is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Database {
    File(PathBuf),
    LibSql { url: String, token: String },
}

/// The databases of one component: the labels that it is granted, and where the database of each label is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Databases {
    pub(crate) granted: HashSet<String>,
    pub(crate) configured: Arc<HashMap<String, Database>>,
}

impl Databases {
    pub(crate) fn open(&self, label: &str) -> Result<Connection, Error> {
        if !self.granted.contains(label) {
            return Err(Error::AccessDenied);
        }
        Ok(match self.configured.get(label).ok_or(Error::NoSuchDatabase)? {
            Database::File(path) => Connection::File(file::Connection::new(path)),
            Database::LibSql { url, token } => {
                Connection::LibSql(Arc::new(libsql::Connection::new(url, token)))
            }
        })
    }
}

/// A guest's connection. Nothing is opened before the first statement.
#[derive(Clone)]
#[allow(unreachable_pub, private_interfaces, reason = "the generated bindings re-export it")]
pub enum Connection {
    File(file::Connection),
    LibSql(Arc<libsql::Connection>),
}

impl Connection {
    /// Runs a statement and reads all its rows.
    pub(crate) async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, Error> {
        match self {
            Self::File(file) => file.execute(statement, parameters).await,
            Self::LibSql(server) => server.execute(&statement, parameters).await,
        }
    }

    /// Starts a statement whose rows are read later.
    pub(crate) async fn start(&self, statement: String, parameters: Vec<Value>) -> Result<Running, Error> {
        match self {
            Self::File(file) => Ok(file.start(statement, parameters).await),
            Self::LibSql(server) => server.start(statement, parameters).await,
        }
    }

    pub(crate) async fn last_insert_rowid(&self) -> Result<i64, Error> {
        match self {
            Self::File(file) => file.last_insert_rowid().await,
            Self::LibSql(server) => server.last_insert_rowid().await,
        }
    }

    pub(crate) async fn changes(&self) -> Result<u64, Error> {
        match self {
            Self::File(file) => file.changes().await,
            Self::LibSql(server) => server.changes().await,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bindings::spin::sqlite::sqlite::RowResult;

    pub(crate) fn databases(folder: &std::path::Path) -> Databases {
        let file = |label: &str| Database::File(folder.join(format!("{label}.db")));
        let configured = ["mine", "theirs"].map(|label| (label.to_owned(), file(label)));
        let granted = ["mine", "unconfigured"].map(ToOwned::to_owned);
        Databases { granted: granted.into(), configured: Arc::new(configured.into()) }
    }

    pub(super) fn on_server(url: &str) -> Databases {
        let database = Database::LibSql { url: url.to_owned(), token: "none".to_owned() };
        let configured = HashMap::from([("mine".to_owned(), database)]);
        Databases { granted: ["mine".to_owned()].into(), configured: Arc::new(configured) }
    }

    pub(super) const NUMBERS: &str = "WITH RECURSIVE n (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM n) \
                                      SELECT number FROM n LIMIT 100";

    pub(super) fn assert_numbers(result: &QueryResult) {
        assert_eq!(result.columns, ["number"]);
        let number = |row: &RowResult| match row.values[..] {
            [Value::Integer(number)] => number,
            _ => panic!("one integer was asked for"),
        };
        assert_eq!(result.rows.iter().map(number).collect::<Vec<_>>(), (1..=100).collect::<Vec<_>>());
    }

    /// Runs a statement by the asynchronous call.
    pub(super) async fn stream(
        connection: &Connection,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, Error> {
        let mut running = connection.start(statement.to_owned(), parameters).await?;
        let mut rows = Vec::new();
        while let Some(row) = running.rows.recv().await {
            rows.push(row);
        }
        running.outcome.await.unwrap()?;
        Ok(QueryResult { columns: running.columns, rows })
    }

    #[test]
    fn only_granted_labels_open() {
        let folder = tempfile::tempdir().unwrap();
        let databases = databases(folder.path());
        assert!(databases.open("mine").is_ok());
        assert!(matches!(databases.open("theirs"), Err(Error::AccessDenied)));
        assert!(matches!(databases.open("unknown"), Err(Error::AccessDenied)));
        assert!(matches!(databases.open("unconfigured"), Err(Error::NoSuchDatabase)));
    }
}
