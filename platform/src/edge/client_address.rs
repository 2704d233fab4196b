//! Who sent a request, as far as the host and trusted proxies saw it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use credentials::{Secret, Tag};
use http::{HeaderMap, HeaderName};

/// Spin's header with the peer address, as `address:port`. Clients can send it too: only the last value counts.
const CONNECTION: HeaderName = HeaderName::from_static("spin-client-addr");

/// Each proxy appends the address that it was called from.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address. `None` if neither a trusted proxy nor the host reports one, as for calls from another component.
    pub address: Option<IpAddr>,
    /// Whether more addresses were forwarded than trusted: the client may then be a proxy.
    pub ignores_forwarded: bool,
}

impl Client {
    /// The client of a request that came through this number of trusted proxies.
    ///
    /// Each proxy appends the address that called it; the client may have made up anything further left.
    pub fn of(headers: &HeaderMap, trusted_proxies: usize) -> Self {
        let connection = headers.get_all(CONNECTION).iter().next_back();
        let connection = connection.and_then(|value| parse(value.as_bytes()));
        // Nearest first. Only the trusted ones have to be addresses, or even text.
        let forwarded = || {
            let values = headers.get_all(FORWARDED).iter().rev();
            values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
        };
        let believed = forwarded().take(trusted_proxies).map_while(parse).last();
        Self {
            // Calls from another component come from 0.0.0.0.
            address: believed.or(connection.filter(|address| !address.is_unspecified())),
            ignores_forwarded: forwarded().nth(trusted_proxies).is_some(),
        }
    }

    /// A keyed hash of the client's network: its IPv4 address, or the /64 of its IPv6 address, which belongs to one
    /// subscriber (RFC 6177). All clients without an address share a hash.
    pub fn network(&self, secret: &Secret) -> Tag {
        let network = match self.address {
            Some(IpAddr::V6(address)) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).to_string()
            }
            Some(address) => address.to_string(),
            None => "unknown".to_owned(),
        };
        secret.tag(format!("client\n{network}").as_bytes())
    }
}

/// An address with or without a port, an IPv6 address also in brackets.
fn parse(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(connection: &[&str], forwarded: &[&str], trusted_proxies: usize) -> Client {
        let mut headers = HeaderMap::new();
        for (name, values) in [(CONNECTION, connection), (FORWARDED, forwarded)] {
            let values = values.iter().map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap());
            headers.extend(values.map(|value| (name.clone(), value)));
        }
        Client::of(&headers, trusted_proxies)
    }

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn without_trusted_proxies_the_client_is_the_peer() {
        for (connection, expected) in [
            (&["192.0.2.1:40000"][..], "192.0.2.1"),
            (&["[2001:db8::1]:40000"], "2001:db8::1"),
            (&["[::ffff:192.0.2.1]:40000"], "192.0.2.1"),
            (&["203.0.113.9:1", "192.0.2.1:40000"], "192.0.2.1"),
            (&["é", "192.0.2.1:40000"], "192.0.2.1"),
            (&["0.0.0.0:0"], "none"),
            (&["[::]:0"], "none"),
            (&["192.0.2.1:1", "0.0.0.0:0"], "none"),
            (&["unknown"], "none"),
            (&["é"], "none"),
            (&[], "none"),
        ] {
            assert_eq!(client(connection, &["203.0.113.7"], 0).address, address(expected), "{connection:?}");
        }
    }

    #[test]
    fn each_trusted_proxy_vouches_for_one_forwarded_address() {
        for (forwarded, trusted, expected) in [
            (&["203.0.113.7"][..], 1, "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], 1, "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], 2, "198.51.100.1"),
            (&["198.51.100.1", "203.0.113.7"], 1, "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7"], 2, "198.51.100.1"),
            (&["198.51.100.1 ,\t203.0.113.7\t"], 1, "203.0.113.7"),
            (&["203.0.113.7:4711"], 1, "203.0.113.7"),
            (&["[2001:db8::7]:4711"], 1, "2001:db8::7"),
            (&["[2001:db8::7]"], 1, "2001:db8::7"),
            (&["2001:db8::7"], 1, "2001:db8::7"),
            // A client can send anything, text or not.
            (&["é, 203.0.113.7"], 1, "203.0.113.7"),
            (&["\u{80}", "203.0.113.7"], 1, "203.0.113.7"),
            (&["é,198.51.100.1, 203.0.113.7"], 2, "198.51.100.1"),
            // Fewer than configured, and a value that no proxy sends.
            (&[], 1, "192.0.2.1"),
            (&["203.0.113.7"], 3, "203.0.113.7"),
            (&["unknown"], 1, "192.0.2.1"),
            (&["é"], 1, "192.0.2.1"),
            (&["é, 203.0.113.7"], 2, "203.0.113.7"),
            (&["198.51.100.1, , 203.0.113.7"], 3, "203.0.113.7"),
            (&["198.51.100.1,"], 1, "192.0.2.1"),
        ] {
            let client = client(&["192.0.2.1:40000"], forwarded, trusted);
            assert_eq!(client.address, address(expected), "{forwarded:?} {trusted}");
        }
    }

    #[test]
    fn a_forwarded_address_counts_also_where_the_host_tells_none() {
        for connection in [&[][..], &["0.0.0.0:0"], &["unknown"]] {
            assert_eq!(client(connection, &["203.0.113.7"], 1).address, address("203.0.113.7"));
            assert_eq!(client(connection, &["203.0.113.7"], 0).address, None);
            assert_eq!(client(connection, &[], 1).address, None);
        }
    }

    #[test]
    fn more_forwarded_addresses_than_trusted_proxies_are_noticed() {
        for (forwarded, trusted, ignores) in [
            (&[][..], 0, false),
            (&[], 1, false),
            (&["203.0.113.7"], 0, true),
            (&["203.0.113.7"], 1, false),
            (&["198.51.100.1, 203.0.113.7"], 1, true),
            (&["198.51.100.1", "203.0.113.7"], 1, true),
            (&["198.51.100.1, 203.0.113.7"], 2, false),
            (&["unknown, 198.51.100.1, 203.0.113.7"], 2, true),
            (&["198.51.100.1, unknown, 203.0.113.7"], 3, false),
        ] {
            let client = client(&["192.0.2.1:40000"], forwarded, trusted);
            assert_eq!(client.ignores_forwarded, ignores, "{forwarded:?} {trusted}");
        }
    }

    #[test]
    fn an_ipv6_network_has_64_bits_and_an_ipv4_network_all() {
        let secret = Secret::new(&"s".repeat(32)).unwrap();
        let client = |text| Client { address: address(text), ignores_forwarded: false };
        let network = |text| client(text).network(&secret);
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_ne!(network("none"), network("::"), "no address is a network of its own");
        let other = Secret::new(&"t".repeat(32)).unwrap();
        assert_ne!(network("192.0.2.1"), client("192.0.2.1").network(&other), "the hash is keyed");
    }
}
