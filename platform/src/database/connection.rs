//! Where a database is, and the connection to it.

use std::time::Duration;

use http::HeaderValue;

use crate::{
    Deadline, SettingsError,
    database::{Access, DatabaseError, Row, Value, libsql::Libsql, spin::SpinDatabase},
    edge::is_token68,
    service_url,
    settings::variable,
};

/// Where a service's database is.
#[derive(Clone, Debug)]
pub struct Location {
    label: &'static str,
    server: Option<Server>,
}

/// A libSQL server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Scheme, host and port.
    pub(super) url: String,
    /// The value of `Authorization`, if it wants one. Marked as sensitive, so that it is not shown when debugging.
    pub(super) authorization: Option<HeaderValue>,
}

impl Location {
    /// Behind Spin's SQLite interface, under a label of `spin.toml`: a file, or what else the host's runtime config says.
    pub const fn spin(label: &'static str) -> Self {
        Self { label, server: None }
    }

    /// Where the database of a service is: on the libSQL server that the variables `<service>_database_url` and
    /// `<service>_database_token` name, or, while the first is empty or they cannot be used, behind Spin's interface under
    /// the service's name.
    pub async fn load(service: &'static str) -> (Self, Result<(), SettingsError>) {
        match Self::read(service).await {
            Ok(location) => (location, Ok(())),
            Err(error) => (Self::spin(service), Err(error)),
        }
    }

    async fn read(service: &'static str) -> Result<Self, SettingsError> {
        let (url_name, token_name) = (format!("{service}_database_url"), format!("{service}_database_token"));
        let url = variable(url_name.clone()).await?;
        if url.is_empty() {
            return Ok(Self::spin(service));
        }
        let token = variable(token_name.clone()).await?;
        let server = Server {
            url: service_url(&url).map_err(|rule| SettingsError::value(url_name, rule))?,
            authorization: bearer(&token).map_err(|rule| SettingsError::value(token_name, rule))?,
        };
        Ok(Self { label: service, server: Some(server) })
    }

    /// The label in `spin.toml`, or the service's name.
    pub(super) fn label(&self) -> &'static str {
        self.label
    }
}

/// The value of `Authorization` for a token, if there is one, or the rule that it breaks.
fn bearer(token: &str) -> Result<Option<HeaderValue>, &'static str> {
    if token.is_empty() {
        return Ok(None);
    }
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| is_token68(token));
    let mut value = value.ok_or("has characters that no token has")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// A connection to a database, shared by the requests of an instance.
pub(super) enum Connection {
    Spin(SpinDatabase),
    Libsql(Libsql),
}

impl Connection {
    /// Opens a connection. Whether the database answers, its first statement tells.
    pub(super) async fn open(location: &Location) -> Result<Self, DatabaseError> {
        match &location.server {
            None => SpinDatabase::open(location.label).await.map(Self::Spin),
            Some(server) => Ok(Self::Libsql(Libsql::new(server))),
        }
    }

    /// Runs one statement, if it gets its turn before the deadline: behind Spin's interface to completion, over HTTP until
    /// the deadline. Its writes are durable once this returns `Ok`.
    pub(super) async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        match self {
            Self::Spin(database) => database.execute(access, statement, parameters, deadline).await,
            Self::Libsql(database) => database.execute(statement, parameters, deadline).await,
        }
    }

    /// Runs statements in one transaction that takes the write lock at once: all take effect, or none does. Over HTTP it
    /// may take so long.
    pub(super) async fn transaction(
        &self,
        statements: Vec<Statement>,
        limit: Duration,
    ) -> Result<(), DatabaseError> {
        match self {
            Self::Spin(database) => database.transaction(statements).await,
            Self::Libsql(database) => database.transaction(statements, limit).await,
        }
    }

    /// Whether the database takes the write lock from a transaction that others wait for, as libSQL servers do.
    pub(super) async fn breaks_locks(&self) -> Result<bool, DatabaseError> {
        match self {
            Self::Spin(database) => Ok(!database.waits_for_locks().await?),
            Self::Libsql(_) => Ok(true),
        }
    }

    /// Gives the database a write-ahead log, if that is the client's business and can be done now.
    pub(super) async fn use_wal(&self) -> Result<(), DatabaseError> {
        match self {
            Self::Spin(database) => database.use_wal().await,
            Self::Libsql(_) => Ok(()),
        }
    }
}

/// A statement with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) sql: &'static str,
    pub(super) parameters: Vec<Value>,
}

impl From<&'static str> for Statement {
    fn from(sql: &'static str) -> Self {
        Self { sql, parameters: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_but_not_shown() {
        assert_eq!(bearer("").unwrap(), None);
        let value = bearer("a-secret").unwrap().unwrap();
        assert_eq!(value, "Bearer a-secret");
        assert!(!format!("{value:?}").contains("a-secret"));
        for token in ["a\nb", "a b", "ä", "\"a\""] {
            assert!(bearer(token).is_err(), "{token:?}");
        }
    }
}
