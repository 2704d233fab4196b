//! How long a credential is valid.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Timestamp, whole_number};

/// A time to live in whole seconds, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TtlSeconds(u64);

impl TtlSeconds {
    /// The end of this time to live, counted from `start`.
    ///
    /// # Errors
    /// [`Error::NotATimestamp`] beyond the year 9999.
    pub fn after(self, start: Timestamp) -> Result<Timestamp, Error> {
        let millis = i64::try_from(self.0).ok().and_then(|seconds| seconds.checked_mul(1000));
        let end = millis.and_then(|millis| start.as_millis().checked_add(millis));
        Timestamp::from_millis(end.ok_or(Error::NotATimestamp)?)
    }
}

impl<'de> Deserialize<'de> for TtlSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `after` refuses times to live that are too long.
        whole_number::positive(deserializer).map(Self)
    }
}

impl Timestamp {
    /// This time, if it is after `now`.
    ///
    /// # Errors
    /// [`Error::NotInTheFuture`].
    pub fn if_after(self, now: Self) -> Result<Self, Error> {
        if self > now { Ok(self) } else { Err(Error::NotInTheFuture) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_a_positive_integer() {
        for (json, seconds) in [("1", 1), ("60.0", 60), ("1e3", 1000), ("99999999999999999999", u64::MAX)] {
            assert_eq!(serde_json::from_str::<TtlSeconds>(json).unwrap(), TtlSeconds(seconds), "{json}");
        }
        for json in ["0", "0.0", "-1", "-1.0", "1.5", "\"1\"", "true"] {
            let error = serde_json::from_str::<TtlSeconds>(json).unwrap_err().to_string();
            assert!(error.contains("expected a positive integer"), "{json}: {error}");
        }
    }

    #[test]
    fn a_time_to_live_ends_by_the_year_9999() {
        let start = Timestamp::from_millis(500).unwrap();
        assert_eq!(TtlSeconds(1).after(start), Timestamp::from_millis(1500));
        assert_eq!(TtlSeconds(300_000_000_000).after(start), Err(Error::NotATimestamp));
        assert_eq!(TtlSeconds(u64::MAX).after(start), Err(Error::NotATimestamp));
    }

    #[test]
    fn the_present_is_not_the_future() {
        let time = |millis| Timestamp::from_millis(millis).unwrap();
        assert!(time(2).if_after(time(1)).is_ok());
        assert_eq!(time(1).if_after(time(1)), Err(Error::NotInTheFuture));
    }
}
