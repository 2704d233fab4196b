//! PostgreSQL, through Spin's interface.
//!
//! The host keeps a pool of connections. Each statement takes one of them and gives it back, so nothing that a restart or a
//! failover of the server breaks outlives a statement.

mod address;
mod convert;
mod migrate;
#[cfg_attr(target_env = "p1", path = "wasi_0_2.rs")]
#[cfg_attr(not(target_env = "p1"), path = "wasi_0_3.rs")]
mod wasi;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::{
    error::DatabaseError,
    migration::Migration,
    retry::pause,
    sql::Access,
    value::{Row, Value},
};
use crate::{batch::Transient, clock::Deadline, settings::SettingsError};
use address::Address;
use wasi::Session;

/// How long a statement is awaited beyond its request's deadline. The server cancels it before, and says so, unless it began
/// late.
const GRACE: Duration = Duration::from_millis(500);

/// The minimum pause after a transient error.
const PAUSE: Duration = Duration::from_millis(4);

/// The minimum pause after a failure to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(100);

/// Where a service's database is.
#[derive(Clone, Debug)]
pub struct Location {
    service: &'static str,
    address: Option<Address>,
}

impl Location {
    /// A database that cannot be reached, because its settings cannot be used.
    pub const fn without_settings(service: &'static str) -> Self {
        Self { service, address: None }
    }

    /// The location of a service's database, from its variables `<service>_database_…`.
    pub async fn load(service: &'static str) -> (Self, Result<(), SettingsError>) {
        match Address::load(service).await {
            Ok(address) => (Self { service, address: Some(address) }, Ok(())),
            Err(error) => (Self::without_settings(service), Err(error)),
        }
    }

    /// The name of the database in errors and log lines.
    pub(super) fn label(&self) -> &'static str {
        self.service
    }
}

/// The way to a server: its address.
pub(super) struct Connection {
    label: &'static str,
    address: Address,
    /// The version of the schema that statements are written for.
    schema: u64,
    /// Why the last connection was not made, until one is.
    refusal: Mutex<Option<DatabaseError>>,
}

impl Connection {
    /// Does not connect: an unreachable server, or another version of the schema, shows up at the first statement.
    #[allow(clippy::unused_async, reason = "the same as for SQLite")]
    pub(super) async fn open(
        location: &Location,
        migrations: &'static [Migration],
        _: Deadline,
    ) -> Result<Self, DatabaseError> {
        let unset = || DatabaseError::Open {
            label: location.service,
            reason: "its settings cannot be used".to_owned(),
        };
        let address = location.address.clone().ok_or_else(unset)?;
        Ok(Self {
            label: location.service,
            address,
            schema: migrations.len() as u64,
            refusal: Mutex::default(),
        })
    }

    /// Runs one statement if it gets a connection before the deadline, and awaits it until shortly after. Its writes are
    /// durable once this returns `Ok`. It is refused if the database has another version of the schema.
    pub(super) async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: &[Value],
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let view = schema_view(self.schema);
        let statement = match access {
            Access::Write(0) => Statement { statement, rows: "'[]'", from: view },
            _ => Statement { statement, rows: AS_JSON, from: format!("result, {view}") },
        };
        self.run(&statement, parameters, deadline).await
    }

    async fn run(
        &self,
        statement: &Statement<'_>,
        parameters: &[Value],
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        let refusal = || self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match deadline.within(Session::open(self.address.for_requests())).await {
            Some(Ok(session)) => session,
            Some(Err(error)) => {
                let error = convert::not_connected(error);
                *refusal() = Some(error.clone());
                pause(CONNECT_PAUSE).await;
                return Err(error);
            }
            // The attempt before says more than that this one took too long.
            None => return Err(refusal().clone().unwrap_or(DatabaseError::Busy)),
        };
        *refusal() = None;
        let parameters = parameters.iter().cloned().map(Into::into).collect();
        let run = async {
            convert::rows(session.query(statement, parameters, deadline).await.map_err(convert::failed)?)
        };
        let late = || Err(DatabaseError::Statement("the server did not respond in time".to_owned()));
        let result = deadline.later(GRACE).within(run).await.unwrap_or_else(late);
        if result.as_ref().is_err_and(DatabaseError::is_transient) {
            pause(PAUSE).await;
        }
        result
    }
}

/// The rows of a statement as a JSON array.
const AS_JSON: &str = "coalesce(json_agg(result)::text, '[]')";

/// A statement that the server is sent within another one.
struct Statement<'a> {
    statement: &'a str,
    /// Its rows, in one: each row costs one turn of the host's event loop.
    rows: &'static str,
    from: String,
}

impl Statement<'_> {
    /// The statement that returns the rows.
    fn returning_rows(&self) -> String {
        format!("WITH result AS ({}) SELECT {} FROM {}", self.statement, self.rows, self.from)
    }

    /// The statement that leaves the rows in a setting of the session.
    #[cfg(target_env = "p1")]
    fn setting_rows(&self) -> String {
        let Self { statement, rows, from } = self;
        format!(
            "WITH result AS ({statement}) SELECT set_config('kube_credentials.rows', {rows}, false) FROM {from}"
        )
    }
}

/// The view that exists while the schema has this version. Every statement reads from it, and so fails before it begins
/// if it was written for another version.
fn schema_view(version: u64) -> String {
    format!("schema_version_{version}")
}
