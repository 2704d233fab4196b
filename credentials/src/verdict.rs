//! The outcome of a verification.

use serde::{Deserialize, Serialize};

use crate::{IssueRecord, Status, Timestamp, WorkerId};

/// Whether a credential is valid, and if not, why. A failure to find out is an error, not a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Issued, and it still counts.
    Valid(IssueRecord),
    /// Used as often as it can be.
    UsedUp,
    /// Expired, at this time.
    Expired(Option<Timestamp>),
    /// Revoked, at this time.
    Revoked(Option<Timestamp>),
    /// Not issued under any configured key.
    NotFound,
}

/// A verdict as one word, for responses, audit rows and filters. Among several for one credential, the first in this order wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictStatus {
    /// Revoked.
    Revoked,
    /// Expired.
    Expired,
    /// Used as often as it can be.
    UsedUp,
    /// Issued, and it still counts.
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
            Self::UsedUp => "used_up",
            Self::Valid => "valid",
            Self::NotFound => "not_found",
        }
    }
}

impl Verdict {
    /// The verdict at `now` on an issued credential, given its record and the status reported by issuance.
    ///
    /// If the services' clocks differ, the credential has ended as soon as either says so.
    pub fn of(record: IssueRecord, seen: Status, now: Timestamp) -> Self {
        match (record.status_at(now), seen) {
            (Status::Revoked, _) | (_, Status::Revoked) => Self::Revoked(record.revoked_at),
            (Status::Expired, _) | (_, Status::Expired) => Self::Expired(record.expires_at),
            (Status::UsedUp, _) | (_, Status::UsedUp) => Self::UsedUp,
            (Status::Active, Status::Active) => Self::Valid(record),
        }
    }

    /// A time at which the verdict was true, given when issuance was asked and when it responded.
    ///
    /// Expiry, revocation and the last use are final, so they still hold when issuance responds. But a valid credential may
    /// have been revoked or used up meanwhile and an unknown one issued: such a verdict is certain only for the time of the
    /// request.
    pub fn time(&self, asked: Timestamp, answered: Timestamp) -> Timestamp {
        match self {
            Self::Valid(record) => asked.max(record.issued_at).min(answered),
            Self::NotFound => asked,
            Self::Expired(_) | Self::Revoked(_) | Self::UsedUp => answered,
        }
    }

    /// Whether the credential is valid.
    pub fn is_valid(&self) -> bool {
        matches!(self, Self::Valid(_))
    }

    /// The verdict as one word.
    pub fn status(&self) -> VerdictStatus {
        match self {
            Self::Valid(_) => VerdictStatus::Valid,
            Self::Expired(_) => VerdictStatus::Expired,
            Self::Revoked(_) => VerdictStatus::Revoked,
            Self::UsedUp => VerdictStatus::UsedUp,
            Self::NotFound => VerdictStatus::NotFound,
        }
    }

    /// The verdict as a sentence that names the verifying worker, or when the credential ended.
    pub fn message(&self, verified_by: &WorkerId) -> String {
        let since = |time: &Option<Timestamp>| time.map(|time| format!(" since {time}")).unwrap_or_default();
        match self {
            Self::Valid(_) => format!("credential verified by {verified_by}"),
            Self::Expired(time) => format!("credential expired{}", since(time)),
            Self::Revoked(time) => format!("credential revoked{}", since(time)),
            Self::UsedUp => "credential used up".to_owned(),
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
    fn a_verdict_says_why_a_credential_is_not_valid() {
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
            (judged(None, None, Status::UsedUp, 100), "used_up", "credential used up"),
            (Verdict::NotFound, "not_found", "credential not found: it was not issued here"),
        ] {
            assert_eq!((verdict.status().as_str(), verdict.message(&verifier).as_str()), (status, message));
            assert_eq!(verdict.is_valid(), status == "valid");
            assert_eq!(serde_json::to_value(verdict.status()).unwrap(), status);
        }
    }

    #[test]
    fn a_verdict_carries_a_time_at_which_it_was_true() {
        let at = |verdict: &Verdict, asked, answered| verdict.time(time(asked), time(answered)).as_millis();
        let valid = Verdict::Valid(IssueRecord { issued_at: time(40), ..record(None, None) });
        assert_eq!(at(&valid, 50, 90), 50, "it may have been revoked since");
        assert_eq!(at(&valid, 30, 90), 40, "it was issued while it was asked about");
        assert_eq!(at(&valid, 10, 20), 20, "the issuer's clock is ahead");
        assert_eq!(at(&Verdict::NotFound, 50, 90), 50, "it may have been issued since");
        assert_eq!(at(&Verdict::Expired(Some(time(60))), 50, 90), 90);
        assert_eq!(at(&Verdict::Revoked(Some(time(60))), 50, 90), 90);
        assert_eq!(at(&Verdict::UsedUp, 50, 90), 90);
    }

    #[test]
    fn the_clock_that_ends_the_credential_first_decides() {
        assert_eq!(judged(Some(100), None, Status::Active, 100).status(), VerdictStatus::Expired);
        assert_eq!(judged(Some(100), None, Status::Expired, 99).status(), VerdictStatus::Expired);
        assert_eq!(judged(None, None, Status::Revoked, 99).status(), VerdictStatus::Revoked);
    }
}
