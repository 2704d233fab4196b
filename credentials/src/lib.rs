//! The domain of Kube Credentials: credentials, hashes, keys and verdicts.
//!
//! Pure and deterministic: times, keys and random bytes are parameters, and nothing here reads a clock, a variable or a
//! database.

mod check;
mod credential;
mod error;
mod expiry;
mod generated;
mod hash;
mod id;
mod idempotency;
mod key_ring;
mod metadata;
mod reason;
mod record;
mod secret;
mod timestamp;
mod uses;
mod verdict;
mod whole_number;

pub use check::{CheckAnswer, CheckList};
pub use credential::Credential;
pub use error::Error;
pub use expiry::TtlSeconds;
pub use generated::generate;
pub use hash::CredentialHash;
pub use id::{VerificationId, WorkerId};
pub use idempotency::{IdempotencyKey, IdempotentRequest};
pub use key_ring::KeyRing;
pub use metadata::Metadata;
pub use reason::Reason;
pub use record::{IssueRecord, Status};
pub use secret::{KeyId, Secret, ServiceToken, Tag};
pub use timestamp::Timestamp;
pub use uses::{MaxUses, Use, UseAnswer, UseList};
pub use verdict::{Verdict, VerdictStatus};
