//! The address of a server: its connection string, made of a service's variables.
//!
//! PostgreSQL documentation, section 34.1.1.1; what the host's client does not take (`sslrootcert`, for one) is not used.

use std::fmt;

use crate::settings::{SettingsError, variable};

/// Connection strings. They have the password in them, which `Debug` does not show.
#[derive(Clone)]
pub(super) struct Address {
    for_requests: String,
    for_migrations: String,
}

/// What a service's variables say.
struct Server {
    host: String,
    standby_host: String,
    port: u16,
    name: String,
    user: String,
    password: String,
    tls: &'static str,
}

/// The value of `…_database_standby_host` without a standby. It stands in `allowed_outbound_hosts`, which has no optional
/// entries; no host has this name (RFC 6761, section 6.4).
const NO_STANDBY: &str = "none.invalid";

impl Address {
    pub(super) async fn load(service: &'static str) -> Result<Self, SettingsError> {
        let name = |setting: &str| format!("{service}_database_{setting}");
        let read = async |setting: &str| {
            let value = variable(name(setting)).await?;
            // The connection string could not have it.
            if value.contains('\0') {
                return Err(SettingsError::value(name(setting), "must not have U+0000 in it"));
            }
            Ok(value)
        };
        let port = read("port").await?;
        let tls = match read("tls").await?.as_str() {
            "require" => "require",
            "disable" => "disable",
            _ => return Err(SettingsError::value(name("tls"), "must be require or disable")),
        };
        let server = Server {
            host: host(read("host").await?).map_err(|rule| SettingsError::value(name("host"), rule))?,
            standby_host: host(read("standby_host").await?)
                .map_err(|rule| SettingsError::value(name("standby_host"), rule))?,
            port: port.parse().map_err(|_| SettingsError::value(name("port"), "must be a port"))?,
            name: read("name").await?,
            user: read("user").await?,
            password: read("password").await?,
            tls,
        };
        Ok(server.address(service))
    }

    /// The server cancels statements that take almost as long as a request may.
    pub(super) fn for_requests(&self) -> &str {
        &self.for_requests
    }

    /// Statements take as long as they need.
    pub(super) fn for_migrations(&self) -> &str {
        &self.for_migrations
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

impl Server {
    fn address(&self, service: &str) -> Address {
        // Without statistics, as after a restore, the server would rather read and sort a whole table than use an index.
        const FOR_REQUESTS: &str = "-c statement_timeout=4500 -c enable_seqscan=off -c enable_bitmapscan=off";

        let with_options = |options: &str| {
            let mut hosts = vec![self.host.as_str()];
            if self.standby_host != NO_STANDBY {
                hosts.push(&self.standby_host);
            }
            // Each host has its own port: Spin 3.6 takes one port for the first host only.
            let ports = vec![self.port.to_string(); hosts.len()].join(",");
            let application = format!("kube-credentials-{service}");
            let parameters = [
                ("host", hosts.join(",").as_str()),
                ("port", &ports),
                ("dbname", &self.name),
                ("user", &self.user),
                ("password", &self.password),
                ("sslmode", self.tls),
                // A standby that is still one is passed over.
                ("target_session_attrs", "read-write"),
                ("connect_timeout", "3"),
                ("tcp_user_timeout", "5"),
                ("application_name", &application),
                ("options", options),
            ]
            .map(|(name, value)| format!("{name}={}", quoted(value)));
            parameters.join(" ")
        };
        Address {
            for_requests: with_options(FOR_REQUESTS),
            for_migrations: with_options("-c statement_timeout=0"),
        }
    }
}

/// A host without what would make it several, or something else. Spin's check of the host takes no IPv6 address.
fn host(text: String) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        return Err("must be a host name or an IPv4 address, without a port");
    }
    Ok(text)
}

/// A value of a connection string.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            host: "db.example".into(),
            standby_host: NO_STANDBY.into(),
            port: 5432,
            name: "issuance".into(),
            user: "issuance".into(),
            password: r"it's a \ pass word".into(),
            tls: "require",
        }
    }

    #[test]
    fn values_are_quoted_and_the_password_is_not_shown() {
        let address = server().address("issuance");
        let text = address.for_requests();
        assert!(
            text.starts_with("host='db.example' port='5432' dbname='issuance' user='issuance' "),
            "{text}"
        );
        assert!(text.contains(r"password='it\'s a \\ pass word' sslmode='require' "), "{text}");
        assert!(text.contains("options='-c statement_timeout=4500 -c enable_seqscan=off "), "{text}");
        assert!(address.for_migrations().ends_with("options='-c statement_timeout=0'"));
        assert!(!format!("{address:?}").contains("pass word"));
    }

    #[test]
    fn a_standby_is_a_second_host_with_its_own_port() {
        let server = Server { standby_host: "db2.example".into(), ..server() };
        let text = server.address("issuance").for_requests;
        assert!(text.starts_with("host='db.example,db2.example' port='5432,5432' "), "{text}");
    }

    #[test]
    fn a_host_is_one_name_or_address() {
        for text in ["db", "db.example", "10.0.0.7", "kube-credentials-rw"] {
            assert!(host(text.to_owned()).is_ok(), "{text}");
        }
        for text in ["", "a,b", "a b", "::1", "db:5432", "/var/run/postgresql", "db.example/x", "user@db"] {
            assert!(host(text.to_owned()).is_err(), "{text}");
        }
    }
}
