//! Requests that may be sent again: `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07).

use std::{fmt, str::FromStr};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{CredentialHash, Error, generate};

/// A key that a client chooses at random for a request, and sends again with each repetition of it.
///
/// Anyone who has the caller's token and knows the key gets the credentials that were generated with it, so `Debug` does
/// not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(Zeroizing<String>);

impl IdempotencyKey {
    /// The number of characters: 22 have 128 random bits.
    const LENGTHS: std::ops::RangeInclusive<usize> = 22..=128;
}

impl FromStr for IdempotencyKey {
    type Err = Error;

    /// Reads a string of RFC 8941, section 3.3.3, or the same text without quotes.
    fn from_str(text: &str) -> Result<Self, Error> {
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if Self::LENGTHS.contains(&inner.len()) && inner.bytes().all(is_plain) {
            Ok(Self(Zeroizing::new(inner.to_owned())))
        } else {
            Err(Error::NotAnIdempotencyKey)
        }
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(redacted)")
    }
}

/// A request with an idempotency key, under one secret. Everything that a repetition must find or make again is an
/// HMAC-SHA256 under a key that is derived from the secret, the caller and the idempotency key, so the values reveal
/// nothing about one another.
#[derive(Clone)]
pub struct IdempotentRequest(Hmac<Sha256>);

impl IdempotentRequest {
    /// `mac` has a key that is derived from the secret for this purpose.
    pub(crate) fn new(mut mac: Hmac<Sha256>, caller: &[u8], key: &IdempotencyKey) -> Self {
        // A caller has no newline in front of the key, as keys have none.
        mac.update(key.0.as_bytes());
        mac.update(b"\n");
        mac.update(caller);
        let key: [u8; 32] = mac.finalize().into_bytes().into();
        Self(crate::secret::keyed(&key))
    }

    /// Identifies the request.
    pub fn tag(&self) -> String {
        self.digits(&[b"tag"])
    }

    /// Tells whether a repetition has the same content.
    pub fn fingerprint(&self, content: &str) -> String {
        self.digits(&[b"fingerprint", content.as_bytes()])
    }

    /// Identifies the use of a credential by the item at this index.
    pub fn use_tag(&self, index: usize, credential: CredentialHash) -> String {
        self.digits(&[b"use", index.to_string().as_bytes(), credential.to_string().as_bytes()])
    }

    /// Generates the credential of the item at this index, the same each time.
    pub fn generate(&self, index: usize) -> String {
        generate(&self.mac(&[b"credential", index.to_string().as_bytes()]))
    }

    /// 32 lowercase hexadecimal digits: half of the code, which is enough to identify.
    fn digits(&self, parts: &[&[u8]]) -> String {
        hex::encode(&self.mac(parts)[..16])
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
            mac.update(b"\n");
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for IdempotentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentRequest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::Secret;

    const KEY: &str = "0123456789abcdefABCDEF";

    fn request(secret: &str, caller: &str, key: &str) -> IdempotentRequest {
        Secret::new(&secret.repeat(32)).unwrap().request(caller.as_bytes(), &key.parse().unwrap())
    }

    #[test]
    fn a_key_has_22_to_128_letters_digits_hyphens_and_underscores() {
        for key in [KEY, &"-_".repeat(11), &"x".repeat(128), "8e03978e-40d5-43dd-bc93-6894a57f9324"] {
            assert_eq!(key.parse::<IdempotencyKey>(), format!("\"{key}\"").parse(), "{key}");
            assert!(key.parse::<IdempotencyKey>().is_ok(), "{key}");
        }
        let quote = '"';
        for key in [
            "",
            "\"\"",
            &KEY[1..],
            &"x".repeat(129),
            &format!("{quote}{KEY}"),
            &format!("{KEY}{quote}"),
            &format!("{quote}{KEY}{quote}; a=1"),
            &format!("'{KEY}'"),
            &format!("{KEY} {KEY}"),
            &format!("{KEY},{KEY}"),
            &format!("{KEY}é"),
            &format!(":{KEY}=:"),
        ] {
            assert_eq!(key.parse::<IdempotencyKey>(), Err(Error::NotAnIdempotencyKey), "{key}");
        }
    }

    #[test]
    fn everything_differs_by_secret_caller_key_index_and_purpose() {
        let other_key = KEY.replace('0', "1");
        let mut seen = HashSet::new();
        for request in [
            request("a", "", KEY),
            request("b", "", KEY),
            request("a", "issuer", KEY),
            request("a", "", &other_key),
        ] {
            assert!(seen.insert(request.tag()));
            for index in [0, 1, 10, 11] {
                assert!(seen.insert(request.generate(index)));
                assert!(seen.insert(request.fingerprint(&index.to_string())));
                for hash in [[1; 32], [2; 32]] {
                    assert!(seen.insert(request.use_tag(index, hash.into())));
                }
            }
        }
        assert_eq!(seen.len(), 4 * (1 + 4 * 4));
    }

    #[test]
    fn the_values_are_stable() {
        // python3: h = lambda key, text: hmac.new(key, text, "sha256").digest()
        // r = h(h(b"kube-credentials idempotency key v1", b"a" * 32), b"0123456789abcdefABCDEF\nissuer")
        // h(r, b"tag\n").hex()[:32], and h(r, b"credential\n0\n") in the format of generated credentials
        let request = request("a", "issuer", KEY);
        assert_eq!(request.tag(), "5bb328a86adef24446e953d0e108d24c");
        assert_eq!(request.generate(0), "kc_GO5rXQl1A8XCX5A7KiH53CiDwSRVlOdZG4forJs8IBD3EMyKN");
    }

    #[test]
    fn debug_output_shows_no_key() {
        assert_eq!(format!("{:?}", KEY.parse::<IdempotencyKey>().unwrap()), "IdempotencyKey(redacted)");
    }
}
