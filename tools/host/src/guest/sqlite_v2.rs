//! `fermyon:spin/sqlite@2.0.0`, which the SDK for WASI 0.2 imports: 3.1.0's synchronous calls with types of its own.

use wasmtime::component::Resource;

use super::Guest;
use crate::{
    bindings::{
        fermyon::spin::sqlite::{Error, Host, HostConnection, QueryResult, RowResult, Value},
        spin::sqlite::sqlite as v3,
    },
    sqlite::Connection,
};

impl Host for Guest {}

impl HostConnection for Guest {
    async fn open(&mut self, database: String) -> wasmtime::Result<Result<Resource<Connection>, Error>> {
        Ok(v3::HostConnection::open(self, database).await?.map_err(Error::from))
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        let parameters = parameters.into_iter().map(v3::Value::from).collect();
        let result = v3::HostConnection::execute(self, connection, statement, parameters).await?;
        Ok(result.map(QueryResult::from).map_err(Error::from))
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        v3::HostConnection::drop(self, connection).await
    }
}

impl From<v3::Error> for Error {
    fn from(error: v3::Error) -> Self {
        match error {
            v3::Error::NoSuchDatabase => Self::NoSuchDatabase,
            v3::Error::AccessDenied => Self::AccessDenied,
            v3::Error::InvalidConnection => Self::InvalidConnection,
            v3::Error::DatabaseFull => Self::DatabaseFull,
            v3::Error::Io(text) => Self::Io(text),
        }
    }
}

impl From<v3::QueryResult> for QueryResult {
    fn from(result: v3::QueryResult) -> Self {
        let row =
            |row: v3::RowResult| RowResult { values: row.values.into_iter().map(Value::from).collect() };
        Self { columns: result.columns, rows: result.rows.into_iter().map(row).collect() }
    }
}

impl From<v3::Value> for Value {
    fn from(value: v3::Value) -> Self {
        match value {
            v3::Value::Integer(integer) => Self::Integer(integer),
            v3::Value::Real(real) => Self::Real(real),
            v3::Value::Text(text) => Self::Text(text),
            v3::Value::Blob(blob) => Self::Blob(blob),
            v3::Value::Null => Self::Null,
        }
    }
}

impl From<Value> for v3::Value {
    fn from(value: Value) -> Self {
        match value {
            Value::Integer(integer) => Self::Integer(integer),
            Value::Real(real) => Self::Real(real),
            Value::Text(text) => Self::Text(text),
            Value::Blob(blob) => Self::Blob(blob),
            Value::Null => Self::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{guest::Grants, sqlite::tests::databases};

    #[test]
    fn every_error_keeps_its_meaning() {
        assert!(matches!(Error::from(v3::Error::NoSuchDatabase), Error::NoSuchDatabase));
        assert!(matches!(Error::from(v3::Error::AccessDenied), Error::AccessDenied));
        assert!(matches!(Error::from(v3::Error::InvalidConnection), Error::InvalidConnection));
        assert!(matches!(Error::from(v3::Error::DatabaseFull), Error::DatabaseFull));
        assert!(matches!(Error::from(v3::Error::Io("disk".to_owned())), Error::Io(text) if text == "disk"));
    }

    #[test]
    fn every_value_goes_there_and_back() {
        for value in [
            v3::Value::Null,
            v3::Value::Integer(-1),
            v3::Value::Real(0.5),
            v3::Value::Text("text".to_owned()),
            v3::Value::Blob(vec![0, 255]),
        ] {
            let text = format!("{value:?}");
            assert_eq!(format!("{:?}", v3::Value::from(Value::from(value))), text);
        }
    }

    #[tokio::test]
    async fn both_versions_read_the_same_rows() {
        let folder = tempfile::tempdir().unwrap();
        let mut guest = Guest::new(&Grants { databases: databases(folder.path()), ..Grants::default() });
        let statement = || "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y'".to_owned();

        let opened = HostConnection::open(&mut guest, "mine".to_owned()).await.unwrap().unwrap();
        let old = HostConnection::execute(&mut guest, opened, statement(), Vec::new()).await;
        let opened = v3::HostConnection::open(&mut guest, "mine".to_owned()).await.unwrap().unwrap();
        let new = v3::HostConnection::execute(&mut guest, opened, statement(), Vec::new()).await;
        let (old, new) = (old.unwrap().unwrap(), new.unwrap().unwrap());
        assert_eq!(old.columns, ["a", "b"]);
        assert_eq!(old.rows.len(), 2);
        assert_eq!(format!("{old:?}"), format!("{:?}", QueryResult::from(new)));
    }
}
