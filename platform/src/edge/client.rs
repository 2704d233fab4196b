//! Who sent a request, as far as the host and trusted proxies saw it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use credentials::{Secret, Tag};
use http::{HeaderMap, HeaderName};

/// In which Spin tells the address of the connection, as `address:port`. A client may send one too: only the last value
/// is Spin's.
const CONNECTION: HeaderName = HeaderName::from_static("spin-client-addr");

/// To which each proxy adds the address that it was called from, at the end.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client that sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether forwarded addresses were sent that nobody was told to believe: then this may be a proxy.
    pub ignores_forwarded: bool,
}

impl Client {
    /// The client of a request that came through this number of trusted proxies.
    ///
    /// Each of them says where it was called from; what is to the left of that, the client may have made up. `None` for a
    /// call by another component, and where the host does not tell the address.
    pub fn of(headers: &HeaderMap, trusted_proxies: usize) -> Option<Self> {
        let connection = headers.get_all(CONNECTION).iter().next_back().and_then(|value| value.to_str().ok());
        let connection = connection.and_then(parse);
        if connection.is_some_and(|address| address.is_unspecified()) {
            return None;
        }
        let forwarded = headers.get_all(FORWARDED).iter().rev();
        let forwarded = forwarded.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        // From the nearest to the farthest, up to the first that says nothing.
        let believed = forwarded.take(trusted_proxies).map_while(parse);
        Some(Self {
            address: believed.last().or(connection)?,
            ignores_forwarded: trusted_proxies == 0 && headers.contains_key(FORWARDED),
        })
    }

    /// A keyed hash of the client's network: its IPv4 address, or the /64 of its IPv6 address, all of which one
    /// subscriber has (RFC 6177).
    pub fn network(&self, secret: &Secret) -> Tag {
        let network = match self.address {
            IpAddr::V4(_) => self.address,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        };
        secret.tag(format!("client\n{network}").as_bytes())
    }
}

/// An address with or without a port, an IPv6 address also in brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(connection: &[&str], forwarded: &[&str], trusted_proxies: usize) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, values) in [(CONNECTION, connection), (FORWARDED, forwarded)] {
            headers.extend(values.iter().map(|value| (name.clone(), value.parse().unwrap())));
        }
        Client::of(&headers, trusted_proxies).map(|client| client.address.to_string())
    }

    #[test]
    fn without_trusted_proxies_the_client_is_whoever_connected() {
        for (connection, address) in [
            (&["192.0.2.1:40000"][..], Some("192.0.2.1")),
            (&["[2001:db8::1]:40000"], Some("2001:db8::1")),
            (&["[::ffff:192.0.2.1]:40000"], Some("192.0.2.1")),
            (&["203.0.113.9:1", "192.0.2.1:40000"], Some("192.0.2.1")),
            (&["0.0.0.0:0"], None),
            (&["192.0.2.1:1", "0.0.0.0:0"], None),
            (&["unknown"], None),
            (&[], None),
        ] {
            assert_eq!(client(connection, &["203.0.113.7"], 0).as_deref(), address, "{connection:?}");
        }
    }

    #[test]
    fn each_trusted_proxy_vouches_for_one_forwarded_address() {
        let proxy = &["192.0.2.1:40000"];
        for (forwarded, trusted, address) in [
            (&["203.0.113.7"][..], 1, "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], 1, "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], 2, "198.51.100.1"),
            (&["198.51.100.1", "203.0.113.7"], 1, "203.0.113.7"),
            (&["198.51.100.1", "203.0.113.7"], 2, "198.51.100.1"),
            (&["203.0.113.7:4711"], 1, "203.0.113.7"),
            (&["[2001:db8::7]:4711"], 1, "2001:db8::7"),
            (&["[2001:db8::7]"], 1, "2001:db8::7"),
            (&["2001:db8::7"], 1, "2001:db8::7"),
            // Fewer than there should be, and what no proxy says.
            (&[], 1, "192.0.2.1"),
            (&["203.0.113.7"], 3, "203.0.113.7"),
            (&["unknown"], 1, "192.0.2.1"),
            (&["198.51.100.1, , 203.0.113.7"], 3, "203.0.113.7"),
            (&["198.51.100.1,"], 1, "192.0.2.1"),
        ] {
            assert_eq!(
                client(proxy, forwarded, trusted).as_deref(),
                Some(address),
                "{forwarded:?} {trusted}"
            );
        }
        assert_eq!(client(&["0.0.0.0:0"], &["203.0.113.7"], 1), None, "a chained call");
    }

    #[test]
    fn an_ipv6_network_has_64_bits_and_an_ipv4_network_all() {
        let secret = Secret::new(&"s".repeat(32)).unwrap();
        let network = |address: &str| {
            Client { address: address.parse().unwrap(), ignores_forwarded: false }.network(&secret)
        };
        assert_eq!(network("2001:db8:0:1::1"), network("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        let other = Secret::new(&"t".repeat(32)).unwrap();
        let client = Client { address: "192.0.2.1".parse().unwrap(), ignores_forwarded: false };
        assert_ne!(client.network(&secret), client.network(&other), "the hash is keyed");
    }
}
