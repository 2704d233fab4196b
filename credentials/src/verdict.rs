//! What a verification comes to.

use crate::{IssueRecord, Status, Timestamp, WorkerId};

/// The answer to "does this credential count?". There is none for "we could not find out": that is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Issued, and counts.
    Valid(IssueRecord),
    /// Issued for a time that is over since then.
    Expired(Option<Timestamp>),
    /// Revoked, since then.
    Revoked(Option<Timestamp>),
    /// Never issued under a key that is still configured.
    NotFound,
}

impl Verdict {
    /// The verdict at a time, given what issuance knows of the credential and the status that it sees.
    ///
    /// Where the clocks of the two services differ, the earlier end of a credential's life counts.
    pub fn of(record: Option<(IssueRecord, Status)>, now: Timestamp) -> Self {
        let Some((record, seen)) = record else { return Self::NotFound };
        match (record.status_at(now), seen) {
            (Status::Revoked, _) | (_, Status::Revoked) => Self::Revoked(record.revoked_at),
            (Status::Expired, _) | (_, Status::Expired) => Self::Expired(record.expires_at),
            (Status::Active, Status::Active) => Self::Valid(record),
        }
    }

    /// Whether the credential counts.
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_))
    }

    /// Its place among several verdicts on one credential, of which the lowest counts.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Revoked(_) => 0,
            Self::Expired(_) => 1,
            Self::Valid(_) => 2,
            Self::NotFound => 3,
        }
    }

    /// The verdict as one word, for answers and audit rows.
    pub fn status(&self) -> &'static str {
        match self {
            Self::Valid(_) => "valid",
            Self::Expired(_) => "expired",
            Self::Revoked(_) => "revoked",
            Self::NotFound => "not_found",
        }
    }

    /// The verdict as a sentence, naming who verified or since when the credential no longer counts.
    pub fn message(&self, verified_by: &WorkerId) -> String {
        let since = |time: &Option<Timestamp>| time.map(|time| format!(" since {time}")).unwrap_or_default();
        match self {
            Self::Valid(_) => format!("credential verified by {verified_by}"),
            Self::Expired(time) => format!("credential expired{}", since(time)),
            Self::Revoked(time) => format!("credential revoked{}", since(time)),
            Self::NotFound => "credential not found: it was not issued here".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{record, time};

    #[test]
    fn what_counts_is_valid_and_what_does_not_says_why() {
        let verifier = WorkerId::named("v");
        for (given, status, message) in [
            (Some((record(None, None), Status::Active)), "valid", "credential verified by v"),
            (
                Some((record(Some(50), None), Status::Expired)),
                "expired",
                "credential expired since 1970-01-01T00:00:00.050Z",
            ),
            (
                Some((record(Some(50), Some(60)), Status::Revoked)),
                "revoked",
                "credential revoked since 1970-01-01T00:00:00.060Z",
            ),
            (None, "not_found", "credential not found: it was not issued here"),
        ] {
            let verdict = Verdict::of(given, time(100));
            assert_eq!((verdict.status(), verdict.message(&verifier).as_str()), (status, message));
            assert_eq!(verdict.is_valid(), status == "valid");
        }
    }

    #[test]
    fn of_two_clocks_the_one_that_ends_the_credential_counts() {
        assert_eq!(
            Verdict::of(Some((record(Some(100), None), Status::Active)), time(100)).status(),
            "expired"
        );
        assert_eq!(
            Verdict::of(Some((record(Some(100), None), Status::Expired)), time(99)).status(),
            "expired"
        );
        assert_eq!(Verdict::of(Some((record(None, None), Status::Revoked)), time(99)).status(), "revoked");
    }
}
