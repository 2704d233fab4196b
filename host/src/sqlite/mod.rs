//! SQLite with Spin's semantics: a new connection for every open, SQLite's own busy timeout of 5 s, errors as text.
//! Each version of the interface is a module; as in Spin, 2.0.0 is 3.1.0's synchronous calls with other types.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{
    hooks::{AuthAction, AuthContext, Authorization},
    params_from_iter,
    types::ValueRef,
};

use crate::bindings::spin::sqlite::sqlite::{Error, RowResult, Value};

mod v2;
mod v3;

/// The databases of one component: the labels it is granted, and the file of every label.
#[derive(Clone, Debug, Default)]
pub(crate) struct Databases {
    pub(crate) granted: HashSet<String>,
    pub(crate) files: Arc<HashMap<String, PathBuf>>,
}

impl Databases {
    fn open(&self, label: &str) -> Result<Connection, Error> {
        if !self.granted.contains(label) {
            return Err(Error::AccessDenied);
        }
        let path = self.files.get(label).ok_or(Error::NoSuchDatabase)?;
        Ok(Connection { path: path.clone(), opened: Arc::default() })
    }
}

/// A guest's connection. The file is opened by the first statement.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Connection {
    path: PathBuf,
    opened: Arc<Mutex<Option<rusqlite::Connection>>>,
}

impl Connection {
    /// Runs `work` on a thread that may block. Statements of one connection run one after another.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let this = self.clone();
        let done = tokio::task::spawn_blocking(move || this.blocking(work)).await;
        done.map_err(|error| Error::Io(error.to_string()))?
    }

    fn blocking<T>(&self, work: impl FnOnce(&rusqlite::Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = match &mut *opened {
            Some(connection) => connection,
            none => none.insert(open(&self.path).map_err(io_error)?),
        };
        work(connection)
    }
}

fn open(path: &PathBuf) -> rusqlite::Result<rusqlite::Connection> {
    let mut connection = rusqlite::Connection::open(path)?;
    // As in Spin, a component cannot reach another component's file by attaching it.
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Attach { filename } if !matches!(filename, "" | ":memory:") => Authorization::Deny,
        _ => Authorization::Allow,
    }))?;
    Ok(connection)
}

fn run(
    connection: &rusqlite::Connection,
    statement: &str,
    parameters: Vec<Value>,
    on_columns: impl FnOnce(Vec<String>) -> Result<(), ()>,
    mut on_row: impl FnMut(RowResult) -> Result<(), ()>,
) -> Result<(), Error> {
    let gone = |()| Error::Io("the component no longer listens".to_owned());
    let mut statement = connection.prepare_cached(statement).map_err(io_error)?;
    let columns: Vec<String> = statement.column_names().map(ToOwned::to_owned).collect();
    let width = columns.len();
    on_columns(columns).map_err(gone)?;
    let mut rows =
        statement.query(params_from_iter(parameters.into_iter().map(parameter))).map_err(io_error)?;
    while let Some(row) = rows.next().map_err(io_error)? {
        let values = (0..width).map(|column| row.get_ref(column).map(value)).collect::<Result<_, _>>();
        on_row(RowResult { values: values.map_err(io_error)? }).map_err(gone)?;
    }
    Ok(())
}

fn parameter(value: Value) -> rusqlite::types::Value {
    match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Integer(integer) => rusqlite::types::Value::Integer(integer),
        Value::Real(real) => rusqlite::types::Value::Real(real),
        Value::Text(text) => rusqlite::types::Value::Text(text),
        Value::Blob(blob) => rusqlite::types::Value::Blob(blob),
    }
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(integer) => Value::Integer(integer),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(blob) => Value::Blob(blob.to_vec()),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn io_error(error: rusqlite::Error) -> Error {
    Error::Io(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn databases(folder: &std::path::Path) -> Databases {
        let files = ["mine", "theirs"].map(|label| (label.to_owned(), folder.join(format!("{label}.db"))));
        let granted = ["mine", "unconfigured"].map(ToOwned::to_owned);
        Databases { granted: granted.into(), files: Arc::new(files.into()) }
    }

    async fn query(connection: &Connection, statement: &str) -> Result<usize, Error> {
        let statement = statement.to_owned();
        let count = move |connection: &rusqlite::Connection| {
            let mut rows = 0;
            run(
                connection,
                &statement,
                Vec::new(),
                |_| Ok(()),
                |_| {
                    rows += 1;
                    Ok(())
                },
            )?;
            Ok(rows)
        };
        connection.with(count).await
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

    #[tokio::test]
    async fn every_open_is_a_connection_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let databases = databases(folder.path());
        let (one, other) = (databases.open("mine").unwrap(), databases.open("mine").unwrap());
        query(&one, "CREATE TABLE t (a)").await.unwrap();
        query(&one, "INSERT INTO t VALUES (1)").await.unwrap();
        assert_eq!(query(&other, "SELECT a FROM t").await.unwrap(), 1);
        query(&one, "CREATE TEMP TABLE own (a)").await.unwrap();
        assert!(query(&other, "SELECT a FROM own").await.is_err());
    }

    #[tokio::test]
    async fn another_file_cannot_be_attached() {
        let folder = tempfile::tempdir().unwrap();
        let databases = databases(folder.path());
        let connection = databases.open("mine").unwrap();
        let attach = format!("ATTACH '{}' AS other", databases.files["theirs"].display());
        assert!(query(&connection, &attach).await.is_err());
        assert!(query(&connection, "ATTACH ':memory:' AS other").await.is_ok());
    }
}
