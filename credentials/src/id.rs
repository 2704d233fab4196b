//! Identifiers of workers and audit rows, made from random bytes that the caller provides.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::{Error, Timestamp};

/// The name of a replica or instance of a service, as it appears in responses and audit rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(String);

impl WorkerId {
    /// The longest name that can be configured, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The name that an operator configured.
    ///
    /// # Errors
    /// [`Error::WorkerIdTooLong`] beyond [`WorkerId::MAX_BYTES`]; [`Error::Nul`] for a name with U+0000.
    pub fn configured(name: String) -> Result<Self, Error> {
        if name.contains('\0') {
            return Err(Error::Nul);
        }
        if name.len() > Self::MAX_BYTES { Err(Error::WorkerIdTooLong) } else { Ok(Self(name)) }
    }

    /// The name as stored, unchecked.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// A random name: the prefix and six hexadecimal digits.
    pub fn random(prefix: &str, random: [u8; 3]) -> Self {
        Self(format!("{prefix}-{}", hex::encode(random)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identifier of one verification and of its audit row: a UUID of version 7 (RFC 9562, section 5.7).
///
/// Its text sorts by time, which keeps recent rows together in the index, and does not reveal how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationId(uuid::Uuid);

impl VerificationId {
    /// The identifier for a verification at `time`. A time before 1970 counts as 1970.
    pub fn new(time: Timestamp, random: [u8; 10]) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The smallest identifier at `time`: exactly the earlier ones sort before it.
    pub fn first_at(time: Timestamp) -> Self {
        Self::new(time, [0; 10])
    }
}

impl fmt::Display for VerificationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for VerificationId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unnamed_worker_gets_six_random_digits() {
        assert_eq!(WorkerId::random("worker", [0xab, 0xc1, 0x23]).as_str(), "worker-abc123");
    }

    #[test]
    fn a_configured_name_is_bounded_and_has_no_nul() {
        let configured = |name: &str| WorkerId::configured(name.to_owned());
        assert!(configured(&"é".repeat(64)).is_ok());
        assert_eq!(configured(&"x".repeat(129)), Err(Error::WorkerIdTooLong));
        assert_eq!(configured("pod\0"), Err(Error::Nul));
    }

    #[test]
    fn verification_ids_are_version_7_uuids_that_sort_by_time() {
        let id =
            |millis, random| VerificationId::new(Timestamp::from_millis(millis).unwrap(), random).to_string();
        assert_eq!(id(1_759_966_200_000, [0; 10]), "0199c629-00c0-7000-8000-000000000000");
        assert!(id(1, [0xff; 10]) < id(2, [0; 10]));
        assert_ne!(id(1, [0; 10]), id(1, [1; 10]));
        let first = VerificationId::first_at(Timestamp::from_millis(2).unwrap()).to_string();
        assert!(id(1, [0xff; 10]) < first && first <= id(2, [0; 10]));
    }
}
