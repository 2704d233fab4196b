//! What a verification comes to.

use crate::{Timestamp, WorkerId};

/// What issuance knows of a credential that was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssueRecord {
    /// The worker that issued it.
    pub issued_by: WorkerId,
    /// When it was issued.
    pub issued_at: Timestamp,
}

/// The answer to "does this credential count?". There is none for "we could not find out": that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Issued, and counts.
    Valid(IssueRecord),
    /// Never issued under a key that is still configured.
    NotFound,
}

impl Verdict {
    /// The verdict on a credential, given what issuance knows of it.
    pub fn of(record: Option<IssueRecord>) -> Self {
        record.map_or(Self::NotFound, Self::Valid)
    }

    /// Whether the credential counts.
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_))
    }

    /// The verdict as one word, for answers and audit rows.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::NotFound => "not_found",
        }
    }

    /// The verdict as a sentence, naming who verified.
    pub fn message(&self, verified_by: &WorkerId) -> String {
        match self {
            Self::Valid(_) => format!("credential verified by {verified_by}"),
            Self::NotFound => "credential not found: it was not issued here".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_issued_is_valid_and_all_else_is_not_found() {
        let record = IssueRecord {
            issued_by: WorkerId::named("worker-1"),
            issued_at: Timestamp::from_millis(0).unwrap(),
        };
        let valid = Verdict::of(Some(record));
        assert!(valid.is_valid());
        assert_eq!(valid.status(), "valid");
        assert_eq!(valid.message(&WorkerId::named("v")), "credential verified by v");

        let not_found = Verdict::of(None);
        assert!(!not_found.is_valid());
        assert_eq!(not_found.status(), "not_found");
    }
}
