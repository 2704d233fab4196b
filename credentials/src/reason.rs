//! Why a credential was revoked.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::Error;

/// A text of at most [`Reason::MAX_CHARACTERS`] characters (Unicode scalar values).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// The longest reason, in characters.
    pub const MAX_CHARACTERS: usize = 500;

    /// Takes the text as it is.
    ///
    /// # Errors
    /// [`Error::ReasonTooLong`] beyond [`Reason::MAX_CHARACTERS`].
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if text.chars().count() > Self::MAX_CHARACTERS { Err(Error::ReasonTooLong) } else { Ok(Self(text)) }
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
}
