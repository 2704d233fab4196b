//! The domain of Kube Credentials: what a credential, its hash, a key and a verdict are.
//!
//! Pure and deterministic: time, keys and random bytes come in as parameters, and nothing here reads a
//! clock, a variable or a database.

mod credential;
mod error;
mod hash;
mod id;
mod secret;
mod timestamp;
mod verdict;

pub use credential::Credential;
pub use error::Error;
pub use hash::CredentialHash;
pub use id::{VerificationId, WorkerId};
pub use secret::{KeyId, Secret};
pub use timestamp::Timestamp;
pub use verdict::{IssueRecord, Verdict};
