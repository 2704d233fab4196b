//! Points in time, as the API writes and the databases store them.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, civil::DateTime};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Error;

/// A point in time, to the millisecond, in UTC.
///
/// Written as RFC 3339 with three decimals (`2025-10-08T23:30:00.000Z`), stored as whole milliseconds since the
/// Unix epoch. Limited to the years 0 to 9999, as RFC 3339 is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0000-01-01T00:00:00.000Z.
    const FIRST: i64 = -62_167_219_200_000;
    /// 9999-12-31T23:59:59.999Z.
    const LAST: i64 = 253_402_300_799_999;

    /// The time `millis` milliseconds after 1970-01-01T00:00:00Z, or before it if negative.
    ///
    /// # Errors
    /// [`Error::NotATimestamp`] outside the years 0 to 9999.
    pub fn from_millis(millis: i64) -> Result<Self, Error> {
        if (Self::FIRST..=Self::LAST).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(Error::NotATimestamp)
        }
    }

    /// Whole milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }
}

/// A civil time, because jiff's timestamps do not reach the end of the year 9999.
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

impl FromStr for Timestamp {
    type Err = Error;

    /// Parses an RFC 3339 timestamp with any offset, truncated to the millisecond.
    fn from_str(text: &str) -> Result<Self, Error> {
        if !has_rfc_3339_shape(text) {
            return Err(Error::NotATimestamp);
        }
        let (local, offset_minutes) = match text.strip_suffix(['Z', 'z']) {
            Some(local) => (local, 0),
            None => {
                let (local, offset) = text.split_at_checked(text.len() - 6).ok_or(Error::NotATimestamp)?;
                (local, minutes(offset).ok_or(Error::NotATimestamp)?)
            }
        };
        // Unlike jiff, RFC 3339 does not limit the digits of a fraction.
        let to_the_millisecond = local.get(.."0000-00-00T00:00:00.000".len()).unwrap_or(local);
        let local: DateTime = to_the_millisecond.parse().map_err(|_| Error::NotATimestamp)?;
        let millis =
            i64::try_from(local.duration_since(EPOCH).as_millis()).map_err(|_| Error::NotATimestamp)?;
        Self::from_millis(millis - offset_minutes * 60_000)
    }
}

/// An offset such as `+02:00`, in minutes.
fn minutes(offset: &str) -> Option<i64> {
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let (hours, minutes) = (hours.parse::<i64>().ok()?, minutes.parse::<i64>().ok()?);
    let total = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
    Some(if offset.starts_with('-') { -total } else { total })
}

/// Whether a text has the shape of RFC 3339, section 5.6. jiff also accepts other forms of ISO 8601: times without
/// seconds, decimal commas, names of time zones.
fn has_rfc_3339_shape(text: &str) -> bool {
    /// The rest of a text after a shape, in which `0` stands for any digit.
    fn after<'a>(shape: &str, text: &'a [u8]) -> Option<&'a [u8]> {
        let (front, rest) = text.split_at_checked(shape.len())?;
        let fits = |(byte, shape): (&u8, u8)| match shape {
            b'0' => byte.is_ascii_digit(),
            letter => byte.eq_ignore_ascii_case(&letter),
        };
        front.iter().zip(shape.bytes()).all(fits).then_some(rest)
    }
    let Some(mut rest) = after("0000-00-00T00:00:00", text.as_bytes()) else { return false };
    if let Some((b'.', fraction)) = rest.split_first() {
        let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    ["Z", "+00:00", "-00:00"].into_iter().any(|offset| after(offset, rest) == Some(b""))
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = EPOCH.checked_add(SignedDuration::from_millis(self.0)).map_err(|_| fmt::Error)?;
        write!(f, "{time:.3}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timestamp_is_written_as_rfc_3339_utc_with_milliseconds() {
        assert_eq!(
            Timestamp::from_millis(1_759_966_200_000).unwrap().to_string(),
            "2025-10-08T23:30:00.000Z"
        );
        assert_eq!(Timestamp::from_millis(0).unwrap().to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp::from_millis(-1).unwrap().to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn an_offset_is_converted_to_utc() {
        let time: Timestamp = "2025-10-09T01:30:00.1239+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2025-10-08T23:30:00.123Z");
        let time: Timestamp = "1969-12-31T23:59:59.9999-00:30".parse().unwrap();
        assert_eq!(time.to_string(), "1970-01-01T00:29:59.999Z");
        let last: Timestamp = "9999-12-31T23:59:59.999Z".parse().unwrap();
        assert_eq!(last.to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(
            "2025-10-08t23:30:00z".parse::<Timestamp>().unwrap().to_string(),
            "2025-10-08T23:30:00.000Z"
        );
    }

    #[test]
    fn a_fraction_has_any_number_of_digits_and_is_truncated() {
        for (fraction, millis) in [
            ("", "000"),
            (".1", "100"),
            (".12", "120"),
            (".9999", "999"),
            (".123456789", "123"),
            (".1234567890", "123"),
            (".000999999999999999999999999999999999", "000"),
        ] {
            for offset in ["Z", "z", "+00:00", "-00:00"] {
                let time: Timestamp = format!("2025-10-08T23:30:00{fraction}{offset}").parse().unwrap();
                assert_eq!(time.to_string(), format!("2025-10-08T23:30:00.{millis}Z"), "{fraction}{offset}");
            }
        }
        let time: Timestamp = "1969-12-31T23:59:59.99999999999999Z".parse().unwrap();
        assert_eq!(time.as_millis(), -1);
    }

    #[test]
    fn a_leap_second_is_the_last_second_of_its_minute() {
        let time: Timestamp = "2016-12-31T23:59:60Z".parse().unwrap();
        assert_eq!(time.to_string(), "2016-12-31T23:59:59.000Z");
        assert_eq!("2016-12-31T23:59:61Z".parse::<Timestamp>(), Err(Error::NotATimestamp));
    }

    #[test]
    fn only_rfc_3339_within_the_years_0_to_9999_is_a_timestamp() {
        for text in [
            "",
            "now",
            "2025-10-08",
            "2025-10-08T23:30:00",
            "2025-13-08T23:30:00Z",
            "-000001-01-01T00:00:00Z",
            "10000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00+00:01",
            "2025-10-08T23:30:00+24:00",
            "2025-10-08T24:00:00Z",
            "2025-10-08T23:30Z",
            "2025-10-08T23:30:00,5Z",
            "2025-10-08T23:30:00.Z",
            "2025-10-08T23:30:00+02",
            "2025-10-08T23:30:00+02:00[Europe/Paris]",
            "2025-10-08 23:30:00Z",
            "2025-02-30T00:00:00Z",
            " 2025-10-08T23:30:00Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(Error::NotATimestamp), "{text:?}");
        }
        assert_eq!(Timestamp::from_millis(i64::MAX), Err(Error::NotATimestamp));
        assert_eq!(Timestamp::from_millis(i64::MIN), Err(Error::NotATimestamp));
    }

    proptest! {
        #[test]
        fn a_timestamp_round_trips_through_its_text(millis in -62_167_219_200_000_i64..=253_402_300_799_999) {
            let time = Timestamp::from_millis(millis).unwrap();
            prop_assert_eq!(time.to_string().len(), 24);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
            prop_assert_eq!(time.as_millis(), millis);
        }
    }
}
