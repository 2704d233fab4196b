//! `allowed_outbound_hosts`: which hosts a component may reach, and by which protocol.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use url::{Host, Url};

use super::variables::Variables;

/// The hosts that one component may reach.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedHosts(Vec<AllowedHost>);

#[derive(Clone, Debug)]
struct AllowedHost {
    /// `None` for any.
    scheme: Option<String>,
    host: HostPattern,
    /// `None` for any.
    ports: Option<Range<u32>>,
}

#[derive(Clone, Debug)]
enum HostPattern {
    Any,
    /// The end of the host, with the dot before it.
    Subdomain(String),
    Exactly(Host),
}

impl AllowedHosts {
    /// Parses a component's list and fills in variables. An entry that comes out empty grants nothing.
    pub(crate) fn new(entries: &[String], variables: &Variables) -> Result<Self> {
        let mut hosts = Vec::new();
        for entry in entries {
            let filled = variables.fill(entry)?;
            let is_template = filled != *entry;
            if is_template && matches!(filled.as_str(), "" | "http://" | "https://") {
                continue;
            }
            let host = AllowedHost::parse(&filled).with_context(|| {
                format!("allowed_outbound_hosts has {entry:?}, which expands to {filled:?}")
            })?;
            hosts.push(host);
        }
        Ok(Self(hosts))
    }

    /// Whether a request to this URL is allowed.
    pub(crate) fn allow(&self, url: &Url) -> bool {
        let port = url.port_or_known_default();
        url.host().is_some_and(|host| self.allow_address(url.scheme(), &host.to_owned(), port))
    }

    /// Whether a connection is allowed, by a protocol that may not be HTTP.
    pub(crate) fn allow_address(&self, scheme: &str, host: &Host, port: Option<u16>) -> bool {
        self.0.iter().any(|allowed| allowed.allows(scheme, host, port.map(u32::from)))
    }
}

impl AllowedHost {
    fn parse(text: &str) -> Result<Self> {
        let (scheme, rest) = text.trim().split_once("://").context("there is no scheme://")?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        ensure!(!rest.contains('/'), "a path (or CIDR range) is not supported");
        let (host, port) = match rest.rsplit_once(':') {
            // The colons of an IPv6 address are within brackets.
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (rest, ""),
        };
        ensure!(
            scheme == "*" || scheme.bytes().all(|byte| byte.is_ascii_alphabetic()),
            "the scheme is malformed"
        );
        Ok(Self {
            scheme: (scheme != "*").then(|| scheme.to_owned()),
            host: HostPattern::parse(host)?,
            ports: parse_ports(port, scheme)?,
        })
    }

    fn allows(&self, scheme: &str, host: &Host, port: Option<u32>) -> bool {
        self.scheme.as_ref().is_none_or(|allowed| allowed == scheme)
            && self.host.allows(host)
            && self.ports.as_ref().is_none_or(|ports| port.is_some_and(|port| ports.contains(&port)))
    }
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if matches!(text, "self" | "self.alt") {
            bail!("requests to the application itself are not supported by the embedded host; Spin may");
        }
        if let Some(domain) = text.strip_prefix("*.") {
            ensure!(!domain.contains('*'), "a wildcard is allowed only at the front");
            return Ok(Self::Subdomain(format!(".{}", Host::parse(domain)?)));
        }
        ensure!(!text.contains('*'), "a wildcard is allowed only at the front");
        Ok(Self::Exactly(Host::parse(text)?))
    }

    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Subdomain(suffix), Host::Domain(domain)) => domain.ends_with(suffix.as_str()),
            (Self::Subdomain(_), _) => false,
            (Self::Exactly(allowed), host) => allowed == host,
        }
    }
}

/// One port, `from..to` without `to`, `*` for any, or nothing for the scheme's default.
fn parse_ports(text: &str, scheme: &str) -> Result<Option<Range<u32>>> {
    let number = |text: &str| text.parse::<u16>().map(u32::from).context("the port is not a number");
    let single = |port: u32| Some(port..port + 1);
    Ok(match (text, scheme) {
        ("*", _) => None,
        ("", "http") => single(80),
        ("", "https") => single(443),
        ("", "postgres") => single(5432),
        ("", _) => bail!("there is no port, and the scheme has no default"),
        (range, _) => match range.split_once("..") {
            Some((from, to)) => Some(number(from)?..number(to)?),
            None => single(number(range)?),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use super::*;

    fn allowed(entry: &str) -> Result<AllowedHosts> {
        let declared: BTreeMap<_, _> =
            toml::from_str("url = { default = \"http://127.0.0.1:4000/\" }\nnone = { default = \"\" }")
                .unwrap();
        let variables = Variables::resolve(&declared, |_| None, Path::new("no such file")).unwrap();
        AllowedHosts::new(&[entry.to_owned()], &variables)
    }

    fn allows(entry: &str, url: &str) -> bool {
        allowed(entry).unwrap().allow(&url.parse().unwrap())
    }

    #[test]
    fn scheme_host_and_port_must_all_match() {
        assert!(allows("http://a.example", "http://a.example/path"));
        assert!(allows("http://a.example", "http://a.example:80/"));
        assert!(allows("https://a.example:8443", "https://a.example:8443/"));
        assert!(!allows("http://a.example", "https://a.example/"));
        assert!(!allows("http://a.example", "http://a.example:8080/"));
        assert!(!allows("http://a.example", "http://b.a.example/"));
        assert!(!allows("http://a.example", "http://a.example.evil.example/"));
        assert!(allows("http://[::1]:80", "http://[::1]/"));

        let postgres = |entry, host: &str, port| {
            allowed(entry).unwrap().allow_address("postgres", &Host::parse(host).unwrap(), Some(port))
        };
        assert!(postgres("postgres://127.0.0.1", "127.0.0.1", 5432));
        assert!(!postgres("postgres://127.0.0.1", "127.0.0.1", 5433));
        assert!(postgres("postgres://*.example:*", "a.example", 5433));
        assert!(!postgres("http://127.0.0.1:5432", "127.0.0.1", 5432));
    }

    #[test]
    fn wildcards_stand_for_any_scheme_subdomain_or_port() {
        assert!(allows("*://*:*", "https://anything.example:1/"));
        assert!(allows("https://*.a.example", "https://b.a.example/"));
        assert!(!allows("https://*.a.example", "https://a.example/"));
        assert!(allows("http://*.spin.internal", "http://issuance.spin.internal/check"));
        assert!(!allows("https://*.a.example", "https://eviла.example/"));
        assert!(allows("http://a.example:*", "http://a.example:1/"));
        assert!(allows("http://a.example:8000..8010", "http://a.example:8009/"));
        assert!(!allows("http://a.example:8000..8010", "http://a.example:8010/"));
    }

    #[test]
    fn variables_are_filled_in_and_an_empty_one_grants_nothing() {
        assert!(allows("{{ url }}", "http://127.0.0.1:4000/check"));
        assert!(!allows("{{ url }}", "http://127.0.0.1:4001/check"));
        assert!(!allows("{{ none }}", "http://127.0.0.1:4000/check"));
        assert!(!allows("http://{{ none }}", "http://a.example/"));
    }

    #[test]
    fn a_malformed_entry_is_refused_at_start() {
        for entry in [
            "a.example",
            "",
            "http://a.example/path",
            "http://10.0.0.0/8",
            "ftp://a.example",
            "http://a.*.example",
            "http://a.example:x",
            "http://self",
            "{{ unknown }}",
            "h ttp://a.example",
        ] {
            assert!(allowed(entry).is_err(), "{entry:?}");
        }
    }
}
