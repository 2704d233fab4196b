//! `spin:sqlite@3.1.0` with Spin's semantics: a new connection for every open, SQLite's own busy timeout of 5 s,
//! errors as text.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use rusqlite::{
    hooks::{AuthAction, AuthContext, Authorization},
    params_from_iter,
    types::ValueRef,
};
use tokio::sync::{mpsc, oneshot};
use wasmtime::{
    StoreContextMut,
    component::{Accessor, Destination, FutureReader, Resource, StreamProducer, StreamReader, StreamResult},
};

use crate::{
    bindings::spin::sqlite::sqlite::{self, Error, QueryResult, RowResult, Value},
    guest::{Guest, GuestData},
};

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

/// The parts of a running statement: columns first, then rows, then the outcome.
struct Running {
    columns: Vec<String>,
    rows: mpsc::Receiver<RowResult>,
    outcome: oneshot::Receiver<Result<(), Error>>,
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

    /// Starts a statement, which holds the connection until its last row is read.
    async fn start(&self, statement: String, parameters: Vec<Value>) -> Result<Running, Error> {
        let (columns_sender, columns) = oneshot::channel();
        let (rows_sender, rows) = mpsc::channel(4);
        let (outcome_sender, outcome) = oneshot::channel();
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let result = this.blocking(|connection| {
                run(
                    connection,
                    &statement,
                    parameters,
                    |columns| columns_sender.send(columns).map_err(drop),
                    |row| rows_sender.blocking_send(row).map_err(drop),
                )
            });
            drop(rows_sender);
            // The guest may have dropped its end.
            let _ = outcome_sender.send(result);
        });
        // If the statement cannot be prepared there are no columns, and the outcome says why.
        Ok(Running { columns: columns.await.unwrap_or_default(), rows, outcome })
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

impl sqlite::Host for Guest {}

/// The synchronous calls.
impl sqlite::HostConnection for Guest {
    async fn open(&mut self, database: String) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        let opened = self.databases.open(&database);
        opened.map(|connection| Ok(self.table.push(connection)?)).transpose_inner()
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        let connection = self.table.get(&connection)?.clone();
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
        Ok(connection.with(work).await)
    }

    async fn last_insert_rowid(&mut self, connection: Resource<Connection>) -> wasmtime::Result<i64> {
        let connection = self.table.get(&connection)?.clone();
        Ok(connection.with(|connection| Ok(connection.last_insert_rowid())).await?)
    }

    async fn changes(&mut self, connection: Resource<Connection>) -> wasmtime::Result<u64> {
        let connection = self.table.get(&connection)?.clone();
        Ok(connection.with(|connection| Ok(connection.changes())).await?)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

/// The asynchronous calls, which do not block the guest's other tasks.
impl<T: Send> sqlite::HostConnectionWithStore<T> for GuestData {
    async fn open_async(
        accessor: &Accessor<T, Self>,
        database: String,
    ) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        accessor.with(|mut access| {
            let guest = access.get();
            let opened = guest.databases.open(&database);
            opened.map(|connection| Ok(guest.table.push(connection)?)).transpose_inner()
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<
        Result<(Vec<String>, StreamReader<RowResult>, FutureReader<Result<(), Error>>), Error>,
    > {
        let connection = accessor.with(|mut access| access.get().table.get(&connection).cloned())?;
        let running = match connection.start(statement, parameters).await {
            Ok(running) => running,
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, Rows(running.rows))?;
            let outcome = FutureReader::new(&mut access, running.outcome)?;
            Ok(Ok((running.columns, rows, outcome)))
        })
    }

    async fn last_insert_rowid_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<i64> {
        let connection = accessor.with(|mut access| access.get().table.get(&connection).cloned())?;
        Ok(connection.with(|connection| Ok(connection.last_insert_rowid())).await?)
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<u64> {
        let connection = accessor.with(|mut access| access.get().table.get(&connection).cloned())?;
        Ok(connection.with(|connection| Ok(connection.changes())).await?)
    }
}

/// `Result<Result<T, wasmtime::Error>, E>` as `Result<Result<T, E>, wasmtime::Error>`: a trap outranks an error.
trait TransposeInner<T, E> {
    fn transpose_inner(self) -> wasmtime::Result<Result<T, E>>;
}

impl<T, E> TransposeInner<T, E> for Result<wasmtime::Result<T>, E> {
    fn transpose_inner(self) -> wasmtime::Result<Result<T, E>> {
        match self {
            Ok(Ok(value)) => Ok(Ok(value)),
            Ok(Err(trap)) => Err(trap),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// Streams the rows to the guest, one at a time.
struct Rows(mpsc::Receiver<RowResult>);

impl<D> StreamProducer<D> for Rows {
    type Item = RowResult;
    type Buffer = Option<RowResult>;

    fn poll_produce<'a>(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'a, D>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        if destination.remaining(store) == Some(0) {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        match self.get_mut().0.poll_recv(context) {
            Poll::Ready(Some(row)) => {
                destination.set_buffer(Some(row));
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(None) => Poll::Ready(Ok(StreamResult::Dropped)),
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn databases(folder: &std::path::Path) -> Databases {
        let files = ["mine", "theirs"].map(|label| (label.to_owned(), folder.join(format!("{label}.db"))));
        let granted = ["mine", "unconfigured"].map(ToOwned::to_owned);
        Databases { granted: granted.into(), files: Arc::new(files.into()) }
    }

    async fn query(connection: &Connection, statement: &str) -> Result<Vec<RowResult>, Error> {
        let mut running = connection.start(statement.to_owned(), Vec::new()).await?;
        let mut rows = Vec::new();
        while let Some(row) = running.rows.recv().await {
            rows.push(row);
        }
        running.outcome.await.unwrap()?;
        Ok(rows)
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
        assert_eq!(query(&other, "SELECT a FROM t").await.unwrap().len(), 1);
        query(&one, "CREATE TEMP TABLE own (a)").await.unwrap();
        assert!(query(&other, "SELECT a FROM own").await.is_err());
    }

    #[tokio::test]
    async fn more_rows_than_are_buffered_arrive_all_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let connection = databases(folder.path()).open("mine").unwrap();
        let statement =
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n";
        let rows = query(&connection, statement).await.unwrap();
        let numbers: Vec<_> = rows
            .iter()
            .map(|row| match row.values[..] {
                [Value::Integer(number)] => number,
                _ => panic!("one integer was asked for"),
            })
            .collect();
        assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_error_arrives_as_the_outcome() {
        let folder = tempfile::tempdir().unwrap();
        let connection = databases(folder.path()).open("mine").unwrap();
        let Err(Error::Io(text)) = query(&connection, "SELEC 1").await else {
            panic!("this is no statement")
        };
        assert!(text.contains("syntax error"), "{text}");
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
