//! The HMAC key that credentials are hashed with.

use std::{fmt, str::FromStr};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{Credential, CredentialHash, Error, IdempotencyKey, IdempotentRequest};

/// The label that the key for tags is derived under.
const TAG_CONTEXT: &[u8] = b"kube-credentials tag key v1";

/// The label that the key for idempotent requests is derived under.
const IDEMPOTENCY_CONTEXT: &[u8] = b"kube-credentials idempotency key v1";

/// The label that the token of the services is derived under.
const SERVICE_TOKEN_CONTEXT: &[u8] = b"kube-credentials service token v1";

/// The label that fingerprints are derived under. Label and key swap roles, so no fingerprint can equal the hash of a
/// credential.
const KEY_ID_CONTEXT: &[u8] = b"kube-credentials key id v1";

/// An HMAC-SHA256 key of at least [`Secret::MIN_BYTES`] bytes (RFC 2104, section 3).
///
/// Holds only the key's expanded state; `Debug` shows only the fingerprint.
#[derive(Clone)]
pub struct Secret {
    mac: Hmac<Sha256>,
    tag_mac: Hmac<Sha256>,
    idempotency_mac: Hmac<Sha256>,
    service_token: ServiceToken,
    key_id: KeyId,
}

/// The bearer token by which the services recognise each other: 64 hexadecimal digits.
#[derive(Clone)]
pub struct ServiceToken(Zeroizing<String>);

impl ServiceToken {
    /// The token as text, to be sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceToken(redacted)")
    }
}

/// A short authentication tag: 8 bytes of an HMAC-SHA256.
pub type Tag = [u8; 8];

impl Secret {
    /// The minimum length of a key in bytes: that of the hash, as RFC 2104 advises.
    pub const MIN_BYTES: usize = 32;

    /// Uses the bytes of the text as the key, unchanged.
    ///
    /// # Errors
    /// [`Error::SecretTooShort`] below [`Secret::MIN_BYTES`] bytes; [`Error::SecretInQuotes`] if it begins and ends with
    /// the same quotation mark.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.len() < Self::MIN_BYTES {
            return Err(Error::SecretTooShort);
        }
        if is_in_quotes(text) {
            return Err(Error::SecretInQuotes);
        }
        let key = text.as_bytes();
        let derived = |label: &[u8]| hmac(keyed(label), key);
        Ok(Self {
            mac: keyed(key),
            tag_mac: keyed(&derived(TAG_CONTEXT)),
            idempotency_mac: keyed(&derived(IDEMPOTENCY_CONTEXT)),
            service_token: ServiceToken(Zeroizing::new(hex::encode(derived(SERVICE_TOKEN_CONTEXT)))),
            key_id: KeyId::of(key),
        })
    }

    /// `HMAC-SHA256(secret bytes, credential bytes)`.
    pub fn hash(&self, credential: &Credential) -> CredentialHash {
        hmac(self.mac.clone(), credential.as_bytes()).into()
    }

    /// Authenticates a message. Uses a key derived from this one, so tags reveal nothing about hashes of credentials.
    pub fn tag(&self, message: &[u8]) -> Tag {
        first_8(hmac(self.tag_mac.clone(), message))
    }

    /// A request that this caller may repeat with the same idempotency key. The caller is any bytes that identify it.
    pub fn request(&self, caller: &[u8], key: &IdempotencyKey) -> IdempotentRequest {
        IdempotentRequest::new(self.idempotency_mac.clone(), caller, key)
    }

    /// The token that services with this secret accept from each other.
    pub fn service_token(&self) -> &ServiceToken {
        &self.service_token
    }

    /// The fingerprint that identifies this key.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A fingerprint of a [`Secret`]: 8 bytes, written as 16 lowercase hexadecimal digits.
///
/// Derived one way (the first bytes of an HMAC-SHA256 of the key under a fixed label), so it is safe to show.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; 8]);

impl KeyId {
    fn of(key: &[u8]) -> Self {
        Self(first_8(hmac(keyed(KEY_ID_CONTEXT), key)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; 8];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| Error::NotAKeyId)?;
        // Upper-case digits are refused, so that each fingerprint has exactly one spelling.
        let key_id = Self(bytes);
        if key_id.to_string() == text { Ok(key_id) } else { Err(Error::NotAKeyId) }
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// Whether a text begins and ends with the same quotation mark.
pub(crate) fn is_in_quotes(text: &str) -> bool {
    ['"', '\'', '`'].into_iter().any(|quote| text.starts_with(quote) && text.ends_with(quote))
}

fn first_8(bytes: [u8; 32]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&bytes[..8]);
    short
}

pub(crate) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn hmac(mut mac: Hmac<Sha256>, message: &[u8]) -> [u8; 32] {
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 4231, section 4: key, data, HMAC-SHA256. Without case 5, whose output is truncated.
    fn rfc_4231() -> [(Vec<u8>, Vec<u8>, &'static str); 6] {
        [
            (
                vec![0x0b; 20],
                b"Hi There".to_vec(),
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                b"what do ya want for nothing?".to_vec(),
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 20],
                vec![0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                (1..=25).collect(),
                vec![0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                vec![0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm."
                    .to_vec(),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ]
    }

    #[test]
    fn the_hmac_matches_the_vectors_of_rfc_4231() {
        for (key, data, expected) in rfc_4231() {
            assert_eq!(hex::encode(hmac(keyed(&key), &data)), expected);
        }
    }

    #[test]
    fn a_credential_is_hashed_as_hmac_sha256_of_its_bytes_under_the_bytes_of_the_secret() {
        // printf %s 'MySecurePassword123!' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
        let secret = Secret::new("0123456789abcdef0123456789abcdef").unwrap();
        let hash = secret.hash(&Credential::new("MySecurePassword123!").unwrap());
        assert_eq!(hash.to_string(), "5aa7dba528d776185f987f1b93443578c319759ef791fc2bb9d951d03c907843");
    }

    #[test]
    fn a_secret_has_at_least_32_bytes() {
        assert_eq!(Secret::new(&"x".repeat(31)).unwrap_err(), Error::SecretTooShort);
        assert!(Secret::new(&"x".repeat(32)).is_ok());
        assert!(Secret::new(&"é".repeat(16)).is_ok(), "bytes count, not characters");
    }

    #[test]
    fn a_secret_is_not_in_quotes() {
        let digits = "0123456789abcdef".repeat(4);
        for quote in ['"', '\'', '`'] {
            assert_eq!(
                Secret::new(&format!("{quote}{digits}{quote}")).unwrap_err(),
                Error::SecretInQuotes,
                "{quote}"
            );
            assert!(Secret::new(&format!("{digits}{quote}{digits}")).is_ok(), "{quote}");
        }
    }

    #[test]
    fn a_tag_depends_on_key_and_message_and_is_not_part_of_a_hash() {
        let secret = Secret::new(&"a".repeat(32)).unwrap();
        assert_eq!(secret.tag(b"x"), secret.tag(b"x"));
        assert_ne!(secret.tag(b"x"), secret.tag(b"y"));
        assert_ne!(secret.tag(b"x"), Secret::new(&"b".repeat(32)).unwrap().tag(b"x"));
        let hash = secret.hash(&Credential::new("x").unwrap()).to_string();
        assert!(!hash.starts_with(&hex::encode(secret.tag(b"x"))));
    }

    #[test]
    fn the_token_of_the_services_is_derived_from_the_secret() {
        // printf %s 0123456789abcdef0123456789abcdef | openssl dgst -sha256 -hmac 'kube-credentials service token v1'
        let secret = Secret::new("0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(
            secret.service_token().as_str(),
            "c8bd2800aedf35b1e48416bbf50242ef1b7abebea293f58647f8636078be5aa9"
        );
        assert_eq!(format!("{:?}", secret.service_token()), "ServiceToken(redacted)");
    }

    #[test]
    fn debug_output_shows_the_fingerprint_and_not_the_key() {
        let secret = Secret::new("0123456789abcdef0123456789abcdef").unwrap();
        assert_eq!(format!("{secret:?}"), format!("Secret {{ key_id: KeyId({}), .. }}", secret.key_id()));
    }

    #[test]
    fn a_fingerprint_has_one_spelling() {
        let key_id = Secret::new(&"a".repeat(32)).unwrap().key_id();
        assert_eq!(key_id.to_string().parse(), Ok(key_id));
        for text in ["", "7ec19c81b77ad98", "7ec19c81b77ad9855", "7EC19C81B77AD985", "g".repeat(16).as_str()]
        {
            assert_eq!(text.parse::<KeyId>(), Err(Error::NotAKeyId), "{text}");
        }
    }

    #[test]
    fn the_fingerprint_tells_keys_apart_and_is_stable() {
        let key = |text: &str| Secret::new(text).unwrap().key_id();
        // printf %s KEY | openssl dgst -sha256 -hmac 'kube-credentials key id v1', the first 16 digits.
        assert_eq!(key("0123456789abcdef0123456789abcdef").to_string(), "7ec19c81b77ad985");
        assert_ne!(key("0123456789abcdef0123456789abcdef"), key("0123456789abcdef0123456789abcdeF"));
    }

    proptest! {
        #[test]
        fn a_hash_depends_on_the_exact_bytes(a in ".{1,40}", b in ".{1,40}") {
            let secret = Secret::new("0123456789abcdef0123456789abcdef").unwrap();
            let hash = |text: &str| secret.hash(&Credential::new(text).unwrap());
            prop_assert_eq!(hash(&a), hash(&a));
            prop_assert_eq!(hash(&a) == hash(&b), a == b);
            prop_assert_ne!(hash(&a), hash(&format!("{a} ")));
        }
    }
}
