//! Why outside data cannot become a domain value.

use crate::Secret;

/// Why a value was refused. No message repeats the value: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The credential is the empty string.
    #[error("must not be empty")]
    EmptyCredential,
    /// The text is not 64 hexadecimal digits.
    #[error("must be 64 hexadecimal digits")]
    NotAHash,
    /// The HMAC key is shorter than [`Secret::MIN_BYTES`].
    #[error("must have at least {} bytes", Secret::MIN_BYTES)]
    SecretTooShort,
    /// The HMAC key is in quotes, which some parsers of `.env` files remove and others make part of the key.
    #[error("must not be in quotes")]
    SecretInQuotes,
    /// More retired secrets than [`KeyRing::MAX_RETIRED`](crate::KeyRing::MAX_RETIRED).
    #[error("must be at most {} secrets", crate::KeyRing::MAX_RETIRED)]
    TooManySecrets,
    /// The metadata is not a JSON object, has duplicate members or lone surrogates, or is nested too deeply.
    #[error("must be a JSON object without duplicate members, at most 64 levels deep")]
    NotMetadata,
    /// The metadata is longer than [`Metadata::MAX_BYTES`](crate::Metadata::MAX_BYTES).
    #[error("must be at most {} bytes", crate::Metadata::MAX_BYTES)]
    MetadataTooLong,
    /// The reason is longer than [`Reason::MAX_CHARACTERS`](crate::Reason::MAX_CHARACTERS).
    #[error("must be at most {} characters", crate::Reason::MAX_CHARACTERS)]
    ReasonTooLong,
    /// A text to be stored contains U+0000, which does not survive dumps or other databases.
    #[error("must not contain U+0000")]
    Nul,
    /// The worker's name is longer than [`WorkerId::MAX_BYTES`](crate::WorkerId::MAX_BYTES).
    #[error("must have at most {} bytes", crate::WorkerId::MAX_BYTES)]
    WorkerIdTooLong,
    /// The text is not 16 lowercase hexadecimal digits.
    #[error("must be 16 lowercase hexadecimal digits")]
    NotAKeyId,
    /// The idempotency key has other characters, or more or fewer than it may.
    #[error("must have 22 to 128 characters: letters, digits, - and _")]
    NotAnIdempotencyKey,
    /// The number of uses is out of range.
    #[error("must be a whole number from 1 to {}", crate::MaxUses::MAX)]
    NotANumberOfUses,
    /// The expiry is not in the future.
    #[error("must be in the future")]
    NotInTheFuture,
    /// The time is not an RFC 3339 timestamp, or is outside the years 0 to 9999.
    #[error("must be an RFC 3339 timestamp")]
    NotATimestamp,
}
