//! The plaintext of a credential.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

use crate::Error;

/// Any non-empty string, exactly as it was sent: no trimming, case folding or Unicode normalisation.
///
/// It cannot be printed or serialised, and its memory is wiped on drop; handlers drop it as soon as it is hashed. The
/// buffers of the incoming request are not wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Zeroizing<String>);

impl Credential {
    /// Takes the string as it is.
    ///
    /// # Errors
    /// [`Error::EmptyCredential`] for the empty string.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = Zeroizing::new(text.into());
        if text.is_empty() { Err(Error::EmptyCredential) } else { Ok(Self(text)) }
    }

    /// The UTF-8 bytes, which are hashed.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(redacted)")
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_string_is_not_a_credential() {
        assert_eq!(Credential::new(""), Err(Error::EmptyCredential));
        assert!(Credential::new(" ").is_ok());
        assert!(Credential::new("\0").is_ok());
    }

    #[test]
    fn debug_output_does_not_show_the_plaintext() {
        let credential = Credential::new("hunter2").unwrap();
        assert_eq!(format!("{credential:?}"), "Credential(redacted)");
    }

    #[test]
    fn json_escapes_are_resolved_and_nothing_else_is_touched() {
        let credential: Credential = serde_json::from_str(r#"" A\u0000\u00e9\ud83d\ude00\n ""#).unwrap();
        assert_eq!(credential.as_bytes(), " A\0é😀\n ".as_bytes());
    }
}
