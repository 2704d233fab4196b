//! PostgreSQL with Spin's semantics: Spin's client and pool, its values and its errors. The connection string comes
//! from the component, and every host in it must be among the component's `allowed_outbound_hosts`.

use std::{pin::pin, sync::Arc};

use futures_util::TryStreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::{
    Config, RowStream,
    config::Host,
    types::{ToSql, Type},
};
use url::Url;

use self::pool::Pools;
pub(crate) use self::pool::RootCertificate;
use crate::{
    bindings::spin::postgres::postgres::{Column, Error, ParameterValue, QueryError, RowSet},
    config::allowed_hosts::AllowedHosts,
    log::log,
};

mod errors;
mod pool;
#[cfg(test)]
mod tests;
mod values;

pub(crate) type Row = Vec<values::DbValue>;

/// As in Spin: of all rows that are read at once, and of each that is streamed.
const MAX_RESULT_BYTES: usize = 128 << 20;

/// How one component connects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Postgres {
    allowed: AllowedHosts,
    pools: Arc<Pools>,
}

impl Postgres {
    pub(crate) fn new(allowed: AllowedHosts) -> Self {
        Self { allowed, pools: Arc::default() }
    }

    /// Takes a connection from the pool of a connection string, once all its hosts are known to be allowed.
    pub(crate) async fn connect(
        &self,
        address: &str,
        root: Option<&RootCertificate>,
    ) -> Result<Connection, Error> {
        self.check(address).map_err(Error::ConnectionFailed)?;
        let connection = self.pools.connect(address, root).await;
        connection
            .map(|connection| Connection(Arc::new(connection)))
            .map_err(|error| Error::ConnectionFailed(format!("{error:?}")))
    }

    fn check(&self, address: &str) -> Result<(), String> {
        let config: Config = address.parse().map_err(|error: tokio_postgres::Error| error.to_string())?;
        // It would be connected to in place of the host.
        if !config.get_hostaddrs().is_empty() {
            return Err("the embedded host does not support `hostaddr`; Spin may".to_owned());
        }
        let ports = config.get_ports();
        for (index, host) in config.get_hosts().iter().enumerate() {
            let Host::Tcp(host) = host else {
                return Err("Unix sockets are not supported on WebAssembly".to_owned());
            };
            // A single port is that of every host.
            let port = if let [port] = ports { Some(port) } else { ports.get(index) };
            self.check_host(host, port.copied())?;
        }
        Ok(())
    }

    fn check_host(&self, host: &str, port: Option<u16>) -> Result<(), String> {
        // What is before an `@` is the rest of a password with one that was not escaped.
        let host = host.rsplit('@').next().unwrap_or_default();
        let authority = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let url = format!("postgres://{authority}");
        let parsed = Url::parse(&url).ok();
        let parsed = parsed.as_ref().and_then(|url| url::Host::parse(url.host_str()?).ok());
        if parsed.is_some_and(|host| self.allowed.allow_address("postgres", &host, port.or(Some(5432)))) {
            return Ok(());
        }
        log!("a component asked for {url}, which its allowed_outbound_hosts do not allow");
        Err(format!("address {url} is not permitted"))
    }
}

/// A guest's connection. The pool has it back when the last clone is dropped.
#[derive(Clone)]
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Connection(Arc<deadpool_postgres::Object>);

/// A connection that is not opened yet.
#[derive(Clone)]
#[allow(unreachable_pub, private_interfaces, reason = "the generated bindings re-export it")]
pub struct Builder {
    pub(crate) address: String,
    pub(crate) root: Option<RootCertificate>,
}

impl Connection {
    /// Runs a statement and counts the rows that it affected.
    pub(crate) async fn execute(&self, statement: &str, parameters: &[ParameterValue]) -> Result<u64, Error> {
        let parameters = values::parameters(parameters).map_err(Error::ValueConversionFailed)?;
        let parameters: Vec<_> = parameters.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
        self.0.execute(statement, &parameters).await.map_err(errors::query_failed)
    }

    /// Runs a statement and reads all its rows.
    pub(crate) async fn query(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<RowSet, Error> {
        let mut rows = pin!(self.rows(statement, parameters).await?);
        let mut result = RowSet { columns: Vec::new(), rows: Vec::new() };
        let mut size = size_of::<RowSet>();
        while let Some(row) =
            rows.try_next().await.map_err(|error| errors::as_text(errors::query_failed(error)))?
        {
            if result.rows.is_empty() {
                result.columns = columns(&row);
            }
            let row = values::row(&row).map_err(|error| errors::as_text(errors::not_converted(error)))?;
            size += values::size(&row);
            if size > MAX_RESULT_BYTES {
                return Err(too_large());
            }
            result.rows.push(row);
        }
        Ok(result)
    }

    /// Starts a statement whose rows are read later, and waits for the first row.
    pub(crate) async fn start(
        &self,
        statement: &str,
        parameters: &[ParameterValue],
    ) -> Result<Running, Error> {
        let statement = self.rows(statement, parameters).await?;
        let (columns_sender, columns) = oneshot::channel();
        let (rows_sender, rows) = mpsc::channel(4);
        let (outcome_sender, outcome) = oneshot::channel();
        tokio::spawn(async move {
            // Its receiver is gone if the guest is.
            let _ = outcome_sender.send(forward(statement, columns_sender, rows_sender).await);
        });
        // A statement without rows has no columns either.
        Ok(Running { columns: columns.await.unwrap_or_default(), rows, outcome })
    }

    async fn rows(&self, statement: &str, parameters: &[ParameterValue]) -> Result<RowStream, Error> {
        let parameters = values::parameters(parameters).map_err(Error::BadParameter)?;
        self.0.query_raw(statement, parameters).await.map_err(errors::query_failed)
    }
}

/// The parts of a running statement, for the guest.
pub(crate) struct Running {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: mpsc::Receiver<Row>,
    pub(crate) outcome: oneshot::Receiver<Result<(), Error>>,
}

/// Passes rows on until there are no more, or the guest wants no more.
async fn forward(
    statement: RowStream,
    columns_sender: oneshot::Sender<Vec<Column>>,
    rows_sender: mpsc::Sender<Row>,
) -> Result<(), Error> {
    let mut statement = pin!(statement);
    let mut columns_sender = Some(columns_sender);
    loop {
        let row = tokio::select! {
            biased;
            () = rows_sender.closed() => return Ok(()),
            row = statement.try_next() => row.map_err(errors::query_failed)?,
        };
        let Some(row) = row else { return Ok(()) };
        if let Some(sender) = columns_sender.take() {
            let _ = sender.send(columns(&row));
        }
        let row = values::row(&row).map_err(errors::not_converted)?;
        if values::size(&row) > MAX_RESULT_BYTES {
            return Err(too_large());
        }
        if let Err(error) = rows_sender.send(row).await {
            return Err(Error::QueryFailed(QueryError::Text(format!("async error: {error}"))));
        }
    }
}

fn columns(row: &tokio_postgres::Row) -> Vec<Column> {
    let column =
        |name: &str, type_: &Type| Column { name: name.to_owned(), data_type: values::data_type(type_) };
    row.columns().iter().map(|found| column(found.name(), found.type_())).collect()
}

fn too_large() -> Error {
    let text = format!("query result exceeds limit of {MAX_RESULT_BYTES} bytes");
    Error::QueryFailed(QueryError::Text(text))
}
