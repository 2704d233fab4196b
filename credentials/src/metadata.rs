//! JSON that an issuer attaches to a credential.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::Error;

/// A JSON object of at most [`Metadata::MAX_BYTES`], kept as it was sent, including the order of its members and every
/// digit of its numbers. Only white space between tokens is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata(String);

impl Metadata {
    /// The longest object, in bytes without white space between tokens.
    pub const MAX_BYTES: usize = 4096;

    /// Takes the text of a JSON object.
    ///
    /// # Errors
    /// [`Error::NotMetadata`] for anything else, duplicate members, lone surrogates, or more than 64 levels;
    /// [`Error::MetadataTooLong`] beyond [`Metadata::MAX_BYTES`].
    pub fn new(json: &str) -> Result<Self, Error> {
        let json = json.trim_ascii();
        let sound = serde_json::from_str::<&RawValue>(json).is_ok_and(|raw| is_sound(raw, 0));
        if !json.starts_with('{') || !sound {
            return Err(Error::NotMetadata);
        }
        let compact = without_white_space(json);
        if compact.len() > Self::MAX_BYTES { Err(Error::MetadataTooLong) } else { Ok(Self(compact)) }
    }

    /// The object's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::new(raw.get()).map_err(de::Error::custom)
    }
}

/// Drops white space outside strings from valid JSON.
fn without_white_space(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|&character| {
            let keep = in_string || !character.is_ascii_whitespace();
            match character {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                _ => {}
            }
            keep
        })
        .collect()
}

/// Whether well-formed JSON has no duplicate members, no lone surrogates, and at most [`MAX_DEPTH`] levels.
fn is_sound(json: &RawValue, depth: usize) -> bool {
    let text = json.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            depth < MAX_DEPTH
                && serde_json::from_str::<Members>(text).is_ok_and(|Members(members)| {
                    let mut names = HashSet::new();
                    members.iter().all(|(name, value)| names.insert(name) && is_sound(value, depth + 1))
                })
        }
        Some(b'[') => {
            depth < MAX_DEPTH
                && serde_json::from_str::<Vec<&RawValue>>(text)
                    .is_ok_and(|items| items.iter().all(|item| is_sound(item, depth + 1)))
        }
        Some(b'"') => serde_json::from_str::<String>(text).is_ok(),
        _ => true,
    }
}

/// How deeply objects and arrays may be nested.
const MAX_DEPTH: usize = 64;

/// The members of an object in order, including duplicates.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_order_and_digits_are_kept() {
        let sent = r#" {"z": 1.0, "a" : 12345678901234567890123, "e": 1E5, "s": "a \" b\\ ", "n": [ null, {} ], "h": -1e400} "#;
        let kept =
            r#"{"z":1.0,"a":12345678901234567890123,"e":1E5,"s":"a \" b\\ ","n":[null,{}],"h":-1e400}"#;
        let metadata = Metadata::new(sent).unwrap();
        assert_eq!(metadata.as_str(), kept);
        assert_eq!(serde_json::to_string(&metadata).unwrap(), kept);
        assert_eq!(serde_json::from_str::<Metadata>(sent).unwrap(), metadata);
    }

    #[test]
    fn only_a_sound_object_is_metadata() {
        for json in [
            "[]",
            "null",
            "\"a\"",
            "1",
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": {"b": 1, "b": 1}}"#,
            r#"{"a": [{"b": 1, "b": 1}]}"#,
            r#"{"a": "\ud800"}"#,
            r#"{"\udc00": 1}"#,
            "{",
        ] {
            assert_eq!(Metadata::new(json), Err(Error::NotMetadata), "{json}");
        }
    }

    /// Stored JSON contains U+0000 only as an escape, which survives dumps like any other text.
    #[test]
    fn an_escaped_nul_stays_escaped() {
        let metadata = Metadata::new(r#"{"a": "\u0000"}"#).unwrap();
        assert_eq!(metadata.as_str(), r#"{"a":"\u0000"}"#);
        assert_eq!(Metadata::new("{\"a\": \"\0\"}"), Err(Error::NotMetadata));
    }

    #[test]
    fn nesting_is_limited_to_64_levels() {
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Metadata::new(&nested(64)).is_ok());
        assert_eq!(Metadata::new(&nested(65)), Err(Error::NotMetadata));
        assert_eq!(Metadata::new(&nested(2000)), Err(Error::NotMetadata));
    }

    #[test]
    fn length_is_limited_to_4_kib_without_white_space() {
        let object = |length: usize| format!(r#"{{ "a" : "{}" }}"#, "x".repeat(length - r#"{"a":""}"#.len()));
        assert!(Metadata::new(&object(4096)).is_ok());
        assert_eq!(Metadata::new(&object(4097)), Err(Error::MetadataTooLong));
    }
}
