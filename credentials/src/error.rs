//! Every way in which outside data can fail to become a domain value.

use crate::Secret;

/// Why a value was refused. No message repeats the value: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A credential is any string but the empty one.
    #[error("must not be empty")]
    EmptyCredential,
    /// The text is not 64 lowercase hexadecimal digits.
    #[error("must be 64 lowercase hexadecimal digits")]
    NotAHash,
    /// The HMAC key is shorter than [`Secret::MIN_BYTES`].
    #[error("must have at least {} bytes", Secret::MIN_BYTES)]
    SecretTooShort,
    /// The time is no RFC 3339 timestamp, or lies outside the years 0 to 9999.
    #[error("must be an RFC 3339 timestamp")]
    NotATimestamp,
}
