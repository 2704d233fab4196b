//! Databases in local files, with rusqlite's busy timeout of 5 s, as in Spin.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{
    hooks::{AuthAction, AuthContext, Authorization},
    params_from_iter,
    types::ValueRef,
};

use super::running::{Feed, Running, gone};
use crate::bindings::spin::sqlite::sqlite::{Error, QueryResult, RowResult, Value};

/// A guest's connection to a file, which the first statement opens.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Connection {
    path: PathBuf,
    opened: Arc<Mutex<Option<rusqlite::Connection>>>,
}

impl Connection {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), opened: Arc::default() }
    }

    pub(crate) async fn execute(
        &self,
        statement: String,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, Error> {
        let work = move |connection: &rusqlite::Connection| {
            let (mut columns, mut rows) = (Vec::new(), Vec::new());
            run(
                connection,
                &statement,
                parameters,
                |names| {
                    columns = names;
                    Ok(())
                },
                |row| {
                    rows.push(row);
                    Ok(())
                },
            )?;
            Ok(QueryResult { columns, rows })
        };
        self.with(work).await
    }

    /// Starts a statement, which holds the connection until its last row is read.
    pub(crate) async fn start(&self, statement: String, parameters: Vec<Value>) -> Running {
        let (feed, running) = Feed::new();
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let result = this.blocking(|connection| {
                run(
                    connection,
                    &statement,
                    parameters,
                    |columns| feed.columns.send(columns).map_err(drop),
                    |row| feed.rows.blocking_send(row).map_err(drop),
                )
            });
            drop(feed.rows);
            // The guest may have dropped its end.
            let _ = feed.outcome.send(result);
        });
        running.await
    }

    pub(crate) async fn last_insert_rowid(&self) -> Result<i64, Error> {
        self.with(|connection| Ok(connection.last_insert_rowid())).await
    }

    pub(crate) async fn changes(&self) -> Result<u64, Error> {
        self.with(|connection| Ok(connection.changes())).await
    }

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

fn open(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
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

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn io_error(error: rusqlite::Error) -> Error {
    Error::Io(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tests::{NUMBERS, assert_numbers, databases, stream};

    async fn query(connection: &Connection, statement: &str) -> Result<Vec<RowResult>, Error> {
        Ok(connection.execute(statement.to_owned(), Vec::new()).await?.rows)
    }

    #[tokio::test]
    async fn every_open_makes_a_new_connection() {
        let folder = tempfile::tempdir().unwrap();
        let databases = databases(folder.path());
        let (one, other) = (databases.open("mine").unwrap(), databases.open("mine").unwrap());
        query(&one, "CREATE TABLE t (a)").await.unwrap();
        query(&one, "INSERT INTO t VALUES (1)").await.unwrap();
        assert_eq!(query(&other, "SELECT a FROM t").await.unwrap().len(), 1);
        query(&one, "CREATE TEMP TABLE own (a)").await.unwrap();
        assert!(query(&other, "SELECT a FROM own").await.is_err());
    }

    #[tokio::test]
    async fn another_file_cannot_be_attached() {
        let folder = tempfile::tempdir().unwrap();
        let connection = databases(folder.path()).open("mine").unwrap();
        let attach = format!("ATTACH '{}' AS other", folder.path().join("theirs.db").display());
        assert!(query(&connection, &attach).await.is_err());
        assert!(query(&connection, "ATTACH ':memory:' AS other").await.is_ok());
    }

    #[tokio::test]
    async fn a_connection_knows_its_last_row_and_its_changes() {
        let folder = tempfile::tempdir().unwrap();
        let connection = databases(folder.path()).open("mine").unwrap();
        query(&connection, "CREATE TABLE t (a)").await.unwrap();
        query(&connection, "INSERT INTO t VALUES (1), (2)").await.unwrap();
        assert_eq!(connection.last_insert_rowid().await.unwrap(), 2);
        assert_eq!(connection.changes().await.unwrap(), 2);
    }

    #[tokio::test]
    async fn more_rows_than_are_buffered_arrive_all_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let connection = databases(folder.path()).open("mine").unwrap();
        assert_numbers(&stream(&connection, NUMBERS, Vec::new()).await.unwrap());
    }

    #[tokio::test]
    async fn an_error_arrives_as_the_outcome() {
        let folder = tempfile::tempdir().unwrap();
        let connection = databases(folder.path()).open("mine").unwrap();
        let Err(Error::Io(text)) = stream(&connection, "SELEC 1", Vec::new()).await else {
            panic!("this is not a statement")
        };
        assert!(text.contains("syntax error"), "{text}");
    }
}
