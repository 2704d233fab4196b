//! The uses of a limited credential, and what the services say to each other with `POST /check/use`.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{CredentialHash, Error, Status, Timestamp, whole_number};

/// How often a credential can be used: 1 to [`MaxUses::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MaxUses(u32);

impl MaxUses {
    /// The most uses that a credential can have.
    pub const MAX: u32 = 1_000_000;

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for MaxUses {
    type Error = Error;

    fn try_from(number: u32) -> Result<Self, Error> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(Error::NotANumberOfUses) }
    }
}

impl<'de> Deserialize<'de> for MaxUses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = whole_number::positive(deserializer)?;
        u32::try_from(number)
            .ok()
            .and_then(|number| Self::try_from(number).ok())
            .ok_or_else(|| de::Error::custom(Error::NotANumberOfUses))
    }
}

/// A use to be taken: an item of the request, which verification writes and issuance reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Use {
    /// The credential's.
    pub credential_hash: CredentialHash,
    /// Identify the use, one under each secret, if it may be asked for again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Whether a use of a limited credential was granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UseAnswer {
    /// The credential's.
    pub credential_hash: CredentialHash,
    /// [`Status::Active`] if the use was granted, and otherwise why not.
    pub status: Status,
    /// How often it could still be used after this use.
    pub uses_left: u32,
    /// When it expires, if ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// The response to a list of uses: one result for each, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UseList {
    /// The results.
    pub results: Vec<UseAnswer>,
}

impl UseList {
    /// The most uses in one request.
    pub const MAX_USES: usize = 100;

    /// The longest response to such a list, in bytes.
    pub const MAX_BYTES: usize = Self::MAX_USES * 512;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_can_be_used_once_to_a_million_times() {
        let read = |json: &str| serde_json::from_str::<MaxUses>(json).ok().map(MaxUses::get);
        for (json, number) in [("1", 1), ("1000000", 1_000_000), ("5.0", 5), ("1e3", 1000)] {
            assert_eq!(read(json), Some(number), "{json}");
        }
        for json in ["0", "-1", "1.5", "1000001", "1e99", "4294967297", "\"5\"", "null", "true", "[1]"] {
            assert_eq!(read(json), None, "{json}");
        }
    }

    #[test]
    fn the_longest_list_of_results_is_within_its_limit() {
        let time = Timestamp::from_millis(253_402_300_799_999).unwrap();
        let result = UseAnswer {
            credential_hash: [0xff; 32].into(),
            status: Status::Revoked,
            uses_left: MaxUses::MAX,
            expires_at: Some(time),
            revoked_at: Some(time),
        };
        let list = UseList { results: vec![result; UseList::MAX_USES] };
        assert!(serde_json::to_string(&list).unwrap().len() <= UseList::MAX_BYTES);
    }
}
