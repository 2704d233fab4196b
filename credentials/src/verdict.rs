//! What a verification comes to.

use serde::{Deserialize, Serialize};

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

/// A verdict as one word, for answers, audit rows and filters. Of several on one credential, the least counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictStatus {
    /// Revoked.
    Revoked,
    /// Expired.
    Expired,
    /// Issued, and counts.
    Valid,
    /// Not issued.
    NotFound,
}

impl VerdictStatus {
    /// The word, as it is serialised.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Valid => "valid",
            Self::NotFound => "not_found",
        }
    }
}

impl Verdict {
    /// The verdict at a time on what was issued, given what issuance knows of it and the status that it sees.
    ///
    /// Where the clocks of the two services differ, the earlier end of a credential's life counts.
    pub fn of(record: IssueRecord, seen: Status, now: Timestamp) -> Self {
        match (record.status_at(now), seen) {
            (Status::Revoked, _) | (_, Status::Revoked) => Self::Revoked(record.revoked_at),
            (Status::Expired, _) | (_, Status::Expired) => Self::Expired(record.expires_at),
            (Status::Active, Status::Active) => Self::Valid(record),
        }
    }

    /// A time at which the verdict is true, for one that was asked for and answered at these times.
    ///
    /// An end is final, so it holds when the answer is there. But what counts may have ended while the answer was on its
    /// way: of that it is only known that it had not when the question was asked.
    pub fn time(&self, asked: Timestamp, answered: Timestamp) -> Timestamp {
        match self {
            Self::Valid(record) => asked.max(record.issued_at).min(answered),
            Self::NotFound => asked,
            Self::Expired(_) | Self::Revoked(_) => answered,
        }
    }

    /// Whether the credential counts.
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_))
    }

    /// The verdict as one word.
    pub fn status(&self) -> VerdictStatus {
        match self {
            Self::Valid(_) => VerdictStatus::Valid,
            Self::Expired(_) => VerdictStatus::Expired,
            Self::Revoked(_) => VerdictStatus::Revoked,
            Self::NotFound => VerdictStatus::NotFound,
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

    fn judged(expires_at: Option<i64>, revoked_at: Option<i64>, seen: Status, now: i64) -> Verdict {
        Verdict::of(record(expires_at, revoked_at), seen, time(now))
    }

    #[test]
    fn what_counts_is_valid_and_what_does_not_says_why() {
        let verifier = WorkerId::named("v");
        for (verdict, status, message) in [
            (judged(None, None, Status::Active, 100), "valid", "credential verified by v"),
            (
                judged(Some(50), None, Status::Expired, 100),
                "expired",
                "credential expired since 1970-01-01T00:00:00.050Z",
            ),
            (
                judged(Some(50), Some(60), Status::Revoked, 100),
                "revoked",
                "credential revoked since 1970-01-01T00:00:00.060Z",
            ),
            (Verdict::NotFound, "not_found", "credential not found: it was not issued here"),
        ] {
            assert_eq!((verdict.status().as_str(), verdict.message(&verifier).as_str()), (status, message));
            assert_eq!(verdict.is_valid(), status == "valid");
            assert_eq!(serde_json::to_value(verdict.status()).unwrap(), status);
        }
    }

    #[test]
    fn a_verdict_is_about_a_time_at_which_it_is_true() {
        let at = |verdict: &Verdict, asked, answered| verdict.time(time(asked), time(answered)).as_millis();
        let valid = Verdict::Valid(IssueRecord { issued_at: time(40), ..record(None, None) });
        assert_eq!(at(&valid, 50, 90), 50, "it may have been revoked since");
        assert_eq!(at(&valid, 30, 90), 40, "it was issued while it was asked about");
        assert_eq!(at(&valid, 10, 20), 20, "the issuer's clock is ahead");
        assert_eq!(at(&Verdict::NotFound, 50, 90), 50, "it may have been issued since");
        assert_eq!(at(&Verdict::Expired(Some(time(60))), 50, 90), 90);
        assert_eq!(at(&Verdict::Revoked(Some(time(60))), 50, 90), 90);
    }

    #[test]
    fn of_two_clocks_the_one_that_ends_the_credential_counts() {
        assert_eq!(judged(Some(100), None, Status::Active, 100).status(), VerdictStatus::Expired);
        assert_eq!(judged(Some(100), None, Status::Expired, 99).status(), VerdictStatus::Expired);
        assert_eq!(judged(None, None, Status::Revoked, 99).status(), VerdictStatus::Revoked);
    }
}
