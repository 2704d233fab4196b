//! The keyed hash that stands for a credential outside the request that presents it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

/// HMAC-SHA256 (RFC 2104, FIPS 180-4) of a credential: 32 bytes, written as 64 lowercase hexadecimal digits.
///
/// Made by [`Secret::hash`](crate::Secret::hash), or parsed from its text. Upper-case digits are refused, so each hash
/// has exactly one spelling.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CredentialHash([u8; Self::BYTES]);

impl CredentialHash {
    /// The size of a hash in bytes.
    pub const BYTES: usize = 32;
}

impl From<[u8; CredentialHash::BYTES]> for CredentialHash {
    fn from(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }
}

impl FromStr for CredentialHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Error::NotAHash);
        }
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| Error::NotAHash)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; 2 * Self::BYTES];
        hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialHash({self})")
    }
}

impl Serialize for CredentialHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CredentialHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hash_round_trips_through_its_text(bytes: [u8; 32]) {
            let hash = CredentialHash::from(bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        }

        #[test]
        fn a_hash_has_one_spelling(text in "[0-9a-fA-F]{60,68}|.{0,70}") {
            if let Ok(hash) = text.parse::<CredentialHash>() {
                prop_assert_eq!(hash.to_string(), text);
            }
        }
    }

    #[test]
    fn only_64_lowercase_hexadecimal_digits_are_a_hash() {
        let digits = "0123456789abcdef".repeat(4);
        assert!(digits.parse::<CredentialHash>().is_ok());
        for text in
            ["", &digits[1..], &format!("{digits}0"), &digits.to_uppercase(), &format!(" {}", &digits[1..])]
        {
            assert_eq!(text.parse::<CredentialHash>(), Err(Error::NotAHash), "{text:?}");
        }
    }
}
