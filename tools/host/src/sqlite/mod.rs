//! SQLite with Spin's semantics: every open makes a new connection, and errors are text.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use crate::bindings::spin::sqlite::sqlite::Error;

mod file;
mod running;

#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub use file::Connection;

/// The databases of one component: the labels that it is granted, and the file of each label.
#[derive(Clone, Debug, Default)]
pub(crate) struct Databases {
    pub(crate) granted: HashSet<String>,
    pub(crate) configured: Arc<HashMap<String, PathBuf>>,
}

impl Databases {
    pub(crate) fn open(&self, label: &str) -> Result<Connection, Error> {
        if !self.granted.contains(label) {
            return Err(Error::AccessDenied);
        }
        self.configured.get(label).map(|path| Connection::new(path)).ok_or(Error::NoSuchDatabase)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bindings::spin::sqlite::sqlite::{QueryResult, RowResult, Value};

    pub(crate) fn databases(folder: &std::path::Path) -> Databases {
        let file = |label: &str| folder.join(format!("{label}.db"));
        let configured = ["mine", "theirs"].map(|label| (label.to_owned(), file(label)));
        let granted = ["mine", "unconfigured"].map(ToOwned::to_owned);
        Databases { granted: granted.into(), configured: Arc::new(configured.into()) }
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
        let mut running = connection.start(statement.to_owned(), parameters).await;
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
