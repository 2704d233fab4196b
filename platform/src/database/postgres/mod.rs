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
    /// Why the last connection was not made, until one is.
    refusal: Mutex<Option<DatabaseError>>,
}

impl Connection {
    /// Does not connect: an unreachable server shows up at the first statement.
    #[allow(clippy::unused_async, reason = "the same as for SQLite")]
    pub(super) async fn open(location: &Location) -> Result<Self, DatabaseError> {
        let unset = || DatabaseError::Open {
            label: location.service,
            reason: "its settings cannot be used".to_owned(),
        };
        let address = location.address.clone().ok_or_else(unset)?;
        Ok(Self { label: location.service, address, refusal: Mutex::default() })
    }

    /// Runs one statement if it gets a connection before the deadline, and awaits it until shortly after. Its writes are
    /// durable once this returns `Ok`.
    pub(super) async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
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
        let parameters = parameters.into_iter().map(Into::into).collect();
        let run = async {
            if access == Access::Write(0) {
                session.execute(statement, parameters).await.map_err(convert::failed)?;
                return Ok(Vec::new());
            }
            convert::rows(session.query(access, statement, parameters).await.map_err(convert::failed)?)
        };
        let late = || Err(DatabaseError::Statement("the server did not respond in time".to_owned()));
        let result = deadline.later(GRACE).within(run).await.unwrap_or_else(late);
        if result.as_ref().is_err_and(DatabaseError::is_transient) {
            pause(PAUSE).await;
        }
        result
    }
}

/// The statement with all its rows in one, a JSON array: one row costs one turn of the host's event loop.
fn one_row(statement: &str) -> String {
    format!("WITH result AS ({statement}) SELECT coalesce(json_agg(result)::text, '[]') FROM result")
}

/// The statement with its rows, a JSON array, in a setting of the session.
#[cfg(target_env = "p1")]
fn set_rows(statement: &str) -> String {
    format!(
        "WITH result AS ({statement}) \
         SELECT set_config('kube_credentials.rows', coalesce(json_agg(result)::text, '[]'), false) FROM result"
    )
}
