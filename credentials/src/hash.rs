//! The keyed hash that represents a credential everywhere but in the request that presents it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

/// HMAC-SHA256 (RFC 2104, FIPS 180-4) of a credential: 32 bytes, written as 64 lowercase hexadecimal digits.
///
/// Made by [`Secret::hash`](crate::Secret::hash), or parsed from digits of either case.
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
        fn a_hash_is_written_in_lower_case(text in "[0-9a-fA-F]{64}|[0-9a-fA-F]{60,68}|.{0,70}") {
            let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let hash = text.parse::<CredentialHash>();
            prop_assert_eq!(hash.is_ok(), is_hash);
            if let Ok(hash) = hash {
                prop_assert_eq!(hash.to_string(), text.to_ascii_lowercase());
            }
        }
    }

    #[test]
    fn only_64_hexadecimal_digits_are_a_hash() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(digits.parse::<CredentialHash>(), digits.to_uppercase().parse());
        for text in [
            "",
            &digits[1..],
            &format!("{digits}0"),
            &format!(" {digits}"),
            &format!("{digits}\n"),
            &format!("sha256:{digits}"),
            &format!("0x{}", &digits[2..]),
            &format!("０{}", &digits[3..]),
        ] {
            assert_eq!(text.parse::<CredentialHash>(), Err(Error::NotAHash), "{text:?}");
        }
    }
}
