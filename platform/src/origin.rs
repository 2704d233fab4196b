//! Origins of pages, and URLs of services.

use std::str::FromStr;

use http::Uri;

/// An origin (RFC 6454, section 4): scheme and host in lower case, and the port unless it is the default of the scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

/// The origins whose pages may call the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// All.
    Any,
    /// These.
    Listed(Vec<Origin>),
}

impl Origin {
    /// The origin as text, as browsers send it (RFC 6454, section 6.2).
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = ();

    /// Reads `scheme://host[:port]` with an optional slash at its end, in any case.
    fn from_str(text: &str) -> Result<Self, ()> {
        // `Uri` drops fragments.
        let uri: Uri = text.parse().map_err(|_| ())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(()) };
        if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
            return Err(());
        }
        let scheme = scheme.to_ascii_lowercase();
        let host = authority.host().to_ascii_lowercase();
        // No user, no wildcard, and nothing a browser would spell differently.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        let port = authority.as_str().len() - authority.host().len();
        if host.is_empty() || !host.bytes().all(plain) || authority.as_str().contains('@') {
            return Err(());
        }
        Ok(Self(match authority.port_u16() {
            None if port == 0 => format!("{scheme}://{host}"),
            None => return Err(()),
            Some(port) if matches!((scheme.as_str(), port), ("http", 80) | ("https", 443)) => {
                format!("{scheme}://{host}")
            }
            Some(port) => format!("{scheme}://{host}:{port}"),
        }))
    }
}

impl FromStr for Origins {
    type Err = &'static str;

    /// Reads `*`, or a comma-separated list of origins, which may be empty.
    fn from_str(list: &str) -> Result<Self, &'static str> {
        if list.trim() == "*" {
            return Ok(Self::Any);
        }
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let origins = entries.map(str::parse).collect::<Result<_, ()>>();
        origins.map(Self::Listed).map_err(|()| {
            "must be * or a comma-separated list of origins (scheme://host[:port], without wildcards; Punycode for \
             international names)"
        })
    }
}

impl Origins {
    /// Whether the pages of an origin, as a browser sends it, may call the API.
    pub(crate) fn allow(&self, origin: &[u8]) -> bool {
        let Self::Listed(listed) = self else { return true };
        let origin = str::from_utf8(origin).ok().and_then(|origin| origin.parse().ok());
        origin.is_some_and(|origin| listed.contains(&origin))
    }
}

/// The URL of a service without a trailing slash, or the rule that it breaks.
///
/// # Errors
/// For anything but `http` or `https`, a host and an optional port.
pub fn service_url(text: &str) -> Result<String, &'static str> {
    let origin = text
        .parse::<Origin>()
        .ok()
        .filter(|origin| ["http://", "https://"].iter().any(|scheme| origin.as_str().starts_with(scheme)));
    let origin = origin.ok_or("must be https:// or http:// with a host, and no user, path or fragment")?;
    Ok(origin.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_compared_as_rfc_6454_has_it() {
        for (text, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            ("https://App.Example.COM/", "https://app.example.com"),
            ("HTTPS://app.example.com:443", "https://app.example.com"),
            ("http://app.example.com:80", "http://app.example.com"),
            ("https://app.example.com:80", "https://app.example.com:80"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://127.0.0.1:08080", "http://127.0.0.1:8080"),
            ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
            ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(
                text.parse::<Origin>().map(|origin| origin.as_str().to_owned()),
                Ok(origin.to_owned())
            );
            let listed: Origins = format!(" {text} , https://other.example").parse().unwrap();
            assert!(listed.allow(origin.as_bytes()) && !listed.allow(b"https://evil.example"), "{text}");
        }
    }

    #[test]
    fn an_entry_that_can_never_match_is_refused() {
        for text in [
            "https://*.example",
            "*.example",
            "app.example.com",
            "https://",
            "https:///",
            "https://app.example.com/path",
            "https://app.example.com//",
            "https://app.example.com?a",
            "https://app.example.com#a",
            "https://user@app.example.com",
            "https://app.example.com:",
            "https://app.example.com:65536",
            "https://bücher.example",
            "https://app%2eexample.com",
            "\"https://app.example.com\"",
            "null",
            "not an origin",
        ] {
            for list in [text.to_owned(), format!("https://a.example,{text}"), format!("{text}, *")] {
                assert!(list.parse::<Origins>().is_err(), "{list}");
            }
        }
        assert!("https://a.example, *".parse::<Origins>().is_err());
    }

    #[test]
    fn an_empty_list_allows_no_origin_and_a_star_all() {
        assert_eq!("".parse(), Ok(Origins::Listed(vec![])));
        assert!(!Origins::Listed(vec![]).allow(b"https://a.example"));
        assert_eq!(" * ".parse(), Ok(Origins::Any));
        assert!(Origins::Any.allow(b"null"));
        let listed: Origins = "https://a.example".parse().unwrap();
        for origin in [&b"null"[..], b"", b"\xff", b"https://a.example, https://a.example"] {
            assert!(!listed.allow(origin), "{origin:?}");
        }
    }

    #[test]
    fn the_url_of_a_service_is_an_origin() {
        for (text, url) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("https://issuance.example/", "https://issuance.example"),
            ("http://issuance.spin.internal", "http://issuance.spin.internal"),
        ] {
            assert_eq!(service_url(text), Ok(url.to_owned()));
        }
        for text in
            ["", "libsql://db.example", "db.example", "http://", "http://db.example/path", "http://a:b@c"]
        {
            assert!(service_url(text).is_err(), "{text}");
        }
    }
}
