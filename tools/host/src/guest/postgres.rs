//! `spin:postgres@4.2.0`, whose asynchronous calls the SDK for WASI 0.3 imports. The SDK for WASI 0.2 imports 4.0.0, which
//! is the synchronous calls.

use wasmtime::component::{Accessor, FutureReader, Resource, StreamReader};

use super::{Guest, GuestData, rows::Rows};
use crate::{
    bindings::spin::postgres::postgres::{
        Column, Error, Host, HostConnection, HostConnectionBuilder, HostConnectionBuilderWithStore,
        HostConnectionWithStore, ParameterValue, RowSet,
    },
    postgres::{Builder, Connection, Postgres, RootCertificate, Row},
};

/// The outer error is a trap.
type Outcome<T> = wasmtime::Result<Result<T, Error>>;

impl Host for Guest {}

/// The synchronous calls.
impl HostConnection for Guest {
    async fn open(&mut self, address: String) -> Outcome<Resource<Connection>> {
        let opened = self.postgres.connect(&address, None).await;
        self.push(opened)
    }

    async fn query(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<RowSet> {
        let connection = self.table.get(&connection)?.clone();
        Ok(connection.query(&statement, &parameters).await)
    }

    async fn execute(
        &mut self,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<u64> {
        let connection = self.table.get(&connection)?.clone();
        Ok(connection.execute(&statement, &parameters).await)
    }

    async fn drop(&mut self, connection: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(connection)?;
        Ok(())
    }
}

impl HostConnectionBuilder for Guest {
    async fn new(&mut self, address: String) -> wasmtime::Result<Resource<Builder>> {
        Ok(self.table.push(Builder { address, root: None })?)
    }

    async fn set_ca_root(&mut self, builder: Resource<Builder>, certificate: String) -> Outcome<()> {
        let builder = self.table.get_mut(&builder)?;
        Ok(match RootCertificate::from_pem(&certificate) {
            Ok(root) => {
                builder.root = Some(root);
                Ok(())
            }
            Err(error) => Err(Error::Other(format!("invalid root certificate: {error}"))),
        })
    }

    async fn build(&mut self, builder: Resource<Builder>) -> Outcome<Resource<Connection>> {
        let Builder { address, root } = self.table.get(&builder)?.clone();
        let opened = self.postgres.connect(&address, root.as_ref()).await;
        self.push(opened)
    }

    async fn drop(&mut self, builder: Resource<Builder>) -> wasmtime::Result<()> {
        self.table.delete(builder)?;
        Ok(())
    }
}

/// The asynchronous calls, which do not block the guest's other tasks.
impl<T: Send> HostConnectionWithStore<T> for GuestData {
    async fn open_async(accessor: &Accessor<T, Self>, address: String) -> Outcome<Resource<Connection>> {
        let opened = postgres(accessor).connect(&address, None).await;
        accessor.with(|mut access| access.get().push(opened))
    }

    async fn query_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<(Vec<Column>, StreamReader<Row>, FutureReader<Result<(), Error>>)> {
        let connection = accessor.with(|mut access| access.get().table.get(&connection).cloned())?;
        let running = match connection.start(&statement, &parameters).await {
            Ok(running) => running,
            Err(error) => return Ok(Err(error)),
        };
        accessor.with(|mut access| {
            let rows = StreamReader::new(&mut access, Rows(running.rows))?;
            let outcome = FutureReader::new(&mut access, running.outcome)?;
            Ok(Ok((running.columns, rows, outcome)))
        })
    }

    async fn execute_async(
        accessor: &Accessor<T, Self>,
        connection: Resource<Connection>,
        statement: String,
        parameters: Vec<ParameterValue>,
    ) -> Outcome<u64> {
        let connection = accessor.with(|mut access| access.get().table.get(&connection).cloned())?;
        Ok(connection.execute(&statement, &parameters).await)
    }
}

impl<T: Send> HostConnectionBuilderWithStore<T> for GuestData {
    async fn build_async(
        accessor: &Accessor<T, Self>,
        builder: Resource<Builder>,
    ) -> Outcome<Resource<Connection>> {
        let Builder { address, root } =
            accessor.with(|mut access| access.get().table.get(&builder).cloned())?;
        let opened = postgres(accessor).connect(&address, root.as_ref()).await;
        accessor.with(|mut access| access.get().push(opened))
    }
}

fn postgres<T>(accessor: &Accessor<T, GuestData>) -> Postgres {
    accessor.with(|mut access| access.get().postgres.clone())
}

impl Guest {
    /// Gives an opened connection to the guest.
    fn push(&mut self, opened: Result<Connection, Error>) -> Outcome<Resource<Connection>> {
        Ok(match opened {
            Ok(connection) => Ok(self.table.push(connection)?),
            Err(error) => Err(error),
        })
    }
}
