//! The id that follows a request through responses, logs, audit rows and the call from verification to issuance.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use crate::random;

/// A request's id: 1 to 128 of the characters `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The header of requests and responses.
    pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

    const MAX_LENGTH: usize = 128;

    /// The client's id if it is well formed and sent once, else a random one of 32 hexadecimal digits.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(Self::HEADER).iter();
        let only = sent.next().filter(|_| sent.next().is_none());
        only.and_then(Self::parse).unwrap_or_else(Self::random)
    }

    fn parse(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?;
        let well_formed = (1..=Self::MAX_LENGTH).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        well_formed.then(|| Self(text.to_owned()))
    }

    fn random() -> Self {
        // Better a useless id than a failed request.
        Self(random::bytes::<16>().map_or_else(|_| "unavailable".to_owned(), hex::encode))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a header value.
    pub(crate) fn to_header_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(RequestId::HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        RequestId::of(&headers).to_string()
    }

    #[test]
    fn a_well_formed_id_is_kept() {
        for id in ["a", "Az09._-", &"x".repeat(128)] {
            assert_eq!(of(&[id.as_bytes()]), id);
        }
    }

    #[test]
    fn any_other_is_replaced_by_a_random_one() {
        let too_long = "x".repeat(129);
        let bad: [&[&[u8]]; 8] =
            [&[], &[b""], &[b"a b"], &[b"a/b"], &[too_long.as_bytes()], &[b"\xff"], &[b"a,b"], &[b"a", b"b"]];
        for values in bad {
            let id = of(values);
            assert_eq!(id.len(), 32, "{values:?}");
            assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert_ne!(id, of(values));
        }
    }
}
