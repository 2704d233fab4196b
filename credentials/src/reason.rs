//! Why a credential was revoked.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::Error;

/// A text of at most [`Reason::MAX_CHARACTERS`] characters (Unicode scalar values) without U+0000.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// The longest reason, in characters.
    pub const MAX_CHARACTERS: usize = 500;

    /// Takes the text as it is.
    ///
    /// # Errors
    /// [`Error::ReasonTooLong`] beyond [`Reason::MAX_CHARACTERS`]; [`Error::Nul`].
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.contains('\0') {
            return Err(Error::Nul);
        }
        if text.chars().count() > Self::MAX_CHARACTERS { Err(Error::ReasonTooLong) } else { Ok(Self(text)) }
    }

    /// The text as stored, unchecked, because earlier versions accepted U+0000.
    pub fn stored(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_limited_in_characters_not_bytes() {
        assert!(Reason::new("é".repeat(500)).is_ok());
        assert_eq!(Reason::new("e".repeat(501)), Err(Error::ReasonTooLong));
    }

    #[test]
    fn a_reason_has_no_nul_but_may_have_any_other_character() {
        for text in ["\0", "a\0b", "lost\0"] {
            assert_eq!(Reason::new(text), Err(Error::Nul), "{text:?}");
        }
        assert!(Reason::new("line\r\n\tline \u{1} \u{7f} \u{200e} \u{fffe} 😀").is_ok());
    }
}
