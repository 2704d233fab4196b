//! Whole numbers in JSON.

use std::fmt;

use serde::{
    Deserializer,
    de::{self, Unexpected, Visitor},
};

/// Reads a whole number, at least one.
pub(crate) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_u64(Positive)
}

struct Positive;

impl Visitor<'_> for Positive {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a positive integer")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        if number == 0 { Err(E::invalid_value(Unexpected::Unsigned(0), &self)) } else { Ok(number) }
    }

    /// JSON has only one number type: `60.0` is the integer 60, as in JSON Schema.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<u64, E> {
        if number < 1.0 || number.fract() != 0.0 {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        // Exact, or saturated and thus too large.
        Ok(number as u64)
    }
}
