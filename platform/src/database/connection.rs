//! Where a database is, and the connection to it.

use http::HeaderValue;

use crate::{
    SettingsError,
    database::{Access, DatabaseError, Limits, Row, Value, libsql::Libsql, spin::SpinDatabase},
    edge::{is_origin, is_token68},
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
    /// `<service>_database_token` name, or, while the first is empty, behind Spin's interface under the service's name.
    ///
    /// # Errors
    /// [`SettingsError`] if a variable cannot be read or used.
    pub async fn load(service: &'static str) -> Result<Self, SettingsError> {
        let (url_name, token_name) = (format!("{service}_database_url"), format!("{service}_database_token"));
        let url = variable(url_name.clone()).await?;
        if url.is_empty() {
            return Ok(Self::spin(service));
        }
        let token = variable(token_name.clone()).await?;
        let server = Server {
            url: origin(&url).map_err(|rule| SettingsError::value(url_name, rule))?,
            authorization: bearer(&token).map_err(|rule| SettingsError::value(token_name, rule))?,
        };
        Ok(Self { label: service, server: Some(server) })
    }

    /// The label in `spin.toml`, or the service's name.
    pub(super) fn label(&self) -> &'static str {
        self.label
    }
}

/// A URL of scheme, host and port, without a slash at its end, or the rule that it breaks.
fn origin(url: &str) -> Result<String, &'static str> {
    let origin = url.strip_suffix('/').unwrap_or(url);
    let is_http = ["http://", "https://"].iter().any(|scheme| origin.starts_with(scheme));
    if is_http && is_origin(origin) && !origin.ends_with('/') && !origin.contains(['@', '#']) {
        Ok(origin.to_owned())
    } else {
        Err("must be https:// or http:// with a host, and no user, path or fragment")
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

    /// Runs one statement to completion, once it has its turn. Its writes are durable once this returns `Ok`.
    pub(super) async fn execute(
        &self,
        access: Access,
        statement: &str,
        parameters: Vec<Value>,
        limits: Limits,
    ) -> Result<Vec<Row>, DatabaseError> {
        match self {
            Self::Spin(database) => database.execute(access, statement, parameters, limits.turn).await,
            Self::Libsql(database) => database.execute(statement, parameters, limits).await,
        }
    }

    /// Runs statements in one transaction that takes the write lock at once: all take effect, or none does.
    pub(super) async fn transaction(&self, statements: Vec<Statement>) -> Result<(), DatabaseError> {
        match self {
            Self::Spin(database) => database.transaction(statements).await,
            Self::Libsql(database) => database.transaction(statements).await,
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
    fn the_url_of_a_server_is_an_origin() {
        for url in ["http://127.0.0.1:8080", "https://db.example", "https://db.example/"] {
            assert_eq!(origin(url).unwrap(), url.trim_end_matches('/'));
        }
        for url in [
            "libsql://db.example",
            "db.example",
            "http://",
            "http://db.example/path",
            "http://db.example//",
            "http://db.example?a",
            "http://db.example#a",
            "http://user:secret@db.example",
        ] {
            assert!(origin(url).is_err(), "{url}");
        }
    }

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
