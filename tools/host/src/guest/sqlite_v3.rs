//! `spin:sqlite@3.1.0`, which the SDK for WASI 0.3 imports.

use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Guest, GuestData, rows::Rows};
use crate::{
    bindings::spin::sqlite::sqlite::{
        Error, Host, HostConnection, HostConnectionWithStore, QueryResult, RowResult, Value,
    },
    sqlite::Connection,
};

impl Host for Guest {}

/// The synchronous calls.
impl HostConnection for Guest {
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
        Ok(connection.execute(statement, parameters).await)
    }

    async fn last_insert_rowid(&mut self, connection: Resource<Connection>) -> wasmtime::Result<i64> {
        let connection = self.table.get(&connection)?.clone();
        Ok(connection.last_insert_rowid().await?)
    }

    async fn changes(&mut self, connection: Resource<Connection>) -> wasmtime::Result<u64> {
        let connection = self.table.get(&connection)?.clone();
        Ok(connection.changes().await?)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

/// The asynchronous calls, which do not block the guest's other tasks.
impl<T: Send> HostConnectionWithStore<T> for GuestData {
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
        let running = connection.start(statement, parameters).await;
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
        Ok(connection.last_insert_rowid().await?)
    }

    async fn changes_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
    ) -> wasmtime::Result<u64> {
        let connection = accessor.with(|mut access| access.get().table.get(&connection).cloned())?;
        Ok(connection.changes().await?)
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
