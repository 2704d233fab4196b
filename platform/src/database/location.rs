//! Where a service's database is.

use http::HeaderValue;

use crate::{
    origin::service_url,
    settings::{SettingsError, is_token68, variable},
};

/// Where a service's database is.
#[derive(Clone, Debug)]
pub struct Location {
    label: &'static str,
    pub(super) server: Option<Server>,
}

/// A libSQL server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Scheme, host and port.
    pub(super) url: String,
    /// The value of `Authorization`, if the server wants one; marked sensitive, so that `Debug` does not show it.
    pub(super) authorization: Option<HeaderValue>,
}

impl Location {
    /// Behind Spin's SQLite interface, under a label of `spin.toml`: a file, unless the host's runtime config says otherwise.
    pub const fn spin(label: &'static str) -> Self {
        Self { label, server: None }
    }

    /// The location of a service's database: the libSQL server that the variables `<service>_database_url` and
    /// `<service>_database_token` name or, if the first is empty or they cannot be used, Spin's interface under the
    /// service's name.
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

/// The value of `Authorization` for a token, or the rule that the token breaks. `None` if it is empty.
fn bearer(token: &str) -> Result<Option<HeaderValue>, &'static str> {
    if token.is_empty() {
        return Ok(None);
    }
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| is_token68(token));
    let mut value = value.ok_or("has characters that no token has")?;
    value.set_sensitive(true);
    Ok(Some(value))
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
