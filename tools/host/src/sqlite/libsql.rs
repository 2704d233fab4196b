//! Databases on a libSQL server, through the client that Spin uses.

use libsql::{Builder, Rows};
use tokio::sync::OnceCell;

use super::running::{Feed, Running, gone};
use crate::bindings::spin::sqlite::sqlite::{Error, QueryResult, RowResult, Value};

/// A connection to a server. The first statement makes its client, which keeps its own TCP connections, and one
/// stream of statements on the server; once the server has lost that, every statement fails.
pub(super) struct Connection {
    url: String,
    token: String,
    client: OnceCell<libsql::Connection>,
}

impl Connection {
    pub(super) fn new(url: &str, token: &str) -> Self {
        Self { url: url.to_owned(), token: token.to_owned(), client: OnceCell::new() }
    }

    pub(super) async fn execute(
        &self,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, Error> {
        let mut rows = query(self.client().await?, statement, parameters).await?;
        let columns = columns(&rows);
        let mut results = Vec::new();
        while let Some(row) = next(&mut rows).await? {
            results.push(row);
        }
        Ok(QueryResult { columns, rows: results })
    }

    /// Starts a statement. The server sends its rows as they are read.
    pub(super) async fn start(&self, statement: String, parameters: Vec<Value>) -> Result<Running, Error> {
        let client = self.client().await?.clone();
        let (feed, running) = Feed::new();
        tokio::spawn(async move {
            let work = async {
                let mut rows = query(&client, &statement, parameters).await?;
                feed.columns.send(columns(&rows)).map_err(drop).map_err(gone)?;
                while let Some(row) = next(&mut rows).await? {
                    feed.rows.send(row).await.map_err(drop).map_err(gone)?;
                }
                Ok(())
            };
            let result = work.await;
            drop(feed.rows);
            // The guest may have dropped its end.
            let _ = feed.outcome.send(result);
        });
        Ok(running.await)
    }

    /// Always 0, as in Spin: statements run as cursors, for which this client does not keep it.
    pub(super) async fn last_insert_rowid(&self) -> Result<i64, Error> {
        Ok(self.client().await?.last_insert_rowid())
    }

    /// Always 0, for the same reason.
    pub(super) async fn changes(&self) -> Result<u64, Error> {
        Ok(self.client().await?.changes())
    }

    async fn client(&self) -> Result<&libsql::Connection, Error> {
        let connect =
            || async { Builder::new_remote(self.url.clone(), self.token.clone()).build().await?.connect() };
        self.client.get_or_try_init(connect).await.map_err(|_| Error::InvalidConnection)
    }
}

async fn query(client: &libsql::Connection, statement: &str, parameters: Vec<Value>) -> Result<Rows, Error> {
    let parameters: Vec<_> = parameters.into_iter().map(libsql::Value::from).collect();
    client.query(statement, parameters).await.map_err(io_error)
}

fn columns(rows: &Rows) -> Vec<String> {
    (0..rows.column_count()).map(|column| rows.column_name(column).unwrap_or_default().to_owned()).collect()
}

async fn next(rows: &mut Rows) -> Result<Option<RowResult>, Error> {
    let width = rows.column_count();
    let Some(row) = rows.next().await.map_err(io_error)? else { return Ok(None) };
    let values = (0..width).map(|column| row.get_value(column).map(Value::from)).collect::<Result<_, _>>();
    Ok(Some(RowResult { values: values.map_err(io_error)? }))
}

impl From<Value> for libsql::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(blob) => Self::Blob(blob),
        }
    }
}

impl From<libsql::Value> for Value {
    fn from(value: libsql::Value) -> Self {
        match value {
            libsql::Value::Null => Self::Null,
            libsql::Value::Integer(integer) => Self::Integer(integer),
            libsql::Value::Real(real) => Self::Real(real),
            libsql::Value::Text(text) => Self::Text(text),
            libsql::Value::Blob(blob) => Self::Blob(blob),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn io_error(error: libsql::Error) -> Error {
    Error::Io(error.to_string())
}

#[cfg(test)]
mod tests {
    use e2e::{
        free_address,
        libsql::{LibsqlServer, program},
    };
    use tempfile::TempDir;

    use super::*;
    use crate::sqlite::{
        Connection,
        tests::{NUMBERS, assert_numbers, on_server, stream},
    };

    /// A server with an empty database in this folder; `None` if none is installed.
    fn start() -> Option<(LibsqlServer, TempDir)> {
        let (program, folder) = (program()?, tempfile::tempdir().unwrap());
        Some((LibsqlServer::start(&program, folder.path().to_owned(), "128"), folder))
    }

    fn open(url: &str) -> Connection {
        on_server(url).open("mine").unwrap()
    }

    async fn execute(
        connection: &Connection,
        statement: &str,
        parameters: Vec<Value>,
    ) -> Result<QueryResult, Error> {
        connection.execute(statement.to_owned(), parameters).await
    }

    /// The text of the error that a statement ends with, which is the same by both calls.
    async fn failure(connection: &Connection, statement: &str) -> String {
        let text = |result: Result<QueryResult, Error>| match result {
            Err(Error::Io(text)) => text,
            other => panic!("{statement}: {other:?}"),
        };
        let executed = text(execute(connection, statement, Vec::new()).await);
        assert_eq!(text(stream(connection, statement, Vec::new()).await), executed);
        executed
    }

    #[tokio::test]
    async fn every_value_goes_to_the_server_and_back() {
        let Some((server, _folder)) = start() else { return };
        let connection = open(&server.url);
        let values = || {
            vec![
                Value::Null,
                Value::Integer(i64::MIN),
                Value::Integer(i64::MAX),
                Value::Real(0.1),
                Value::Real(2.0),
                Value::Text("\0\u{1f511} \"text\"".to_owned()),
                Value::Blob(vec![0, 255]),
                Value::Blob(Vec::new()),
            ]
        };
        let sent = format!("{:?}", values());
        let statement = "SELECT ?, ?, ?, ?, ?, ?, ?, ?";
        for result in [
            execute(&connection, statement, values()).await.unwrap(),
            stream(&connection, statement, values()).await.unwrap(),
        ] {
            assert_eq!(format!("{:?}", result.rows[0].values), sent);
            assert_eq!(result.rows.len(), 1);
        }

        execute(&connection, "CREATE TABLE t (a, b, c, d, e, f, g, h)", Vec::new()).await.unwrap();
        execute(&connection, "INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values()).await.unwrap();
        let stored = execute(&connection, "SELECT * FROM t", Vec::new()).await.unwrap();
        assert_eq!(stored.columns, ["a", "b", "c", "d", "e", "f", "g", "h"]);
        assert_eq!(format!("{:?}", stored.rows[0].values), sent);
    }

    #[tokio::test]
    async fn rows_arrive_all_and_in_order() {
        let Some((server, _folder)) = start() else { return };
        let connection = open(&server.url);
        assert_numbers(&execute(&connection, NUMBERS, Vec::new()).await.unwrap());
        assert_numbers(&stream(&connection, NUMBERS, Vec::new()).await.unwrap());
    }

    #[tokio::test]
    async fn a_connection_survives_a_statement_that_fails() {
        let Some((server, _folder)) = start() else { return };
        let connection = open(&server.url);
        execute(&connection, "CREATE TABLE t (a UNIQUE)", Vec::new()).await.unwrap();
        execute(&connection, "INSERT INTO t VALUES (1)", Vec::new()).await.unwrap();
        for (statement, text) in [
            ("SELEC 1", "syntax error around L1:6: `SELEC`"),
            ("", "API misuse: `no SQL statement provided`"),
            (
                "SELECT b FROM t",
                "Hrana: `cursor error: `error at step 0: (error code: SQL_INPUT_ERROR) `SQL input error: no such \
                 column: b (at offset 7)```",
            ),
            (
                "INSERT INTO t VALUES (1)",
                "Hrana: `cursor error: `error at step 0: (error code: SQLITE_CONSTRAINT) `SQLite error: UNIQUE \
                 constraint failed: t.a```",
            ),
        ] {
            assert_eq!(failure(&connection, statement).await, text);
        }
        assert_eq!(execute(&connection, "SELECT a FROM t", Vec::new()).await.unwrap().rows.len(), 1);
    }

    #[tokio::test]
    async fn an_unreachable_server_is_an_error_and_not_a_trap() {
        let connection = open(&format!("http://{}", free_address()));
        let text = failure(&connection, "SELECT 1").await;
        assert!(
            text.starts_with("Hrana: `http error: `error trying to connect: tcp connect error: "),
            "{text}"
        );
        assert_eq!(connection.changes().await.unwrap(), 0);
    }

    #[tokio::test]
    async fn after_a_restart_of_the_server_only_a_new_connection_works() {
        let Some((server, _folder)) = start() else { return };
        let connection = open(&server.url);
        execute(&connection, "CREATE TABLE t (a)", Vec::new()).await.unwrap();
        execute(&connection, "INSERT INTO t VALUES (1)", Vec::new()).await.unwrap();
        server.kill();
        let text = failure(&connection, "SELECT a FROM t").await;
        assert!(text.starts_with("Hrana: `http error: `"), "{text}");
        server.start_again();
        for _ in 0..2 {
            let text = failure(&connection, "SELECT a FROM t").await;
            assert_eq!(text, "Hrana: `api error: `Received an invalid baton``");
        }
        let rows = execute(&open(&server.url), "SELECT a FROM t", Vec::new()).await.unwrap().rows;
        assert_eq!(rows.len(), 1);
    }

    #[tokio::test]
    async fn as_in_spin_changes_and_row_ids_are_not_known() {
        let Some((server, _folder)) = start() else { return };
        let connection = open(&server.url);
        execute(&connection, "CREATE TABLE t (a)", Vec::new()).await.unwrap();
        execute(&connection, "INSERT INTO t VALUES (1), (2)", Vec::new()).await.unwrap();
        assert_eq!(connection.changes().await.unwrap(), 0);
        assert_eq!(connection.last_insert_rowid().await.unwrap(), 0);
    }
}
