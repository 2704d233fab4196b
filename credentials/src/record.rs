//! The record of an issued credential.

use serde::{Deserialize, Serialize};

use crate::{Metadata, Timestamp, WorkerId};

/// A credential's history, with the member names of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueRecord {
    /// The worker that issued it.
    pub worker_id: WorkerId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it expires, if ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The issuer's metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// The state of a credential at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Neither expired nor revoked.
    Active,
    /// Its expiry has passed.
    Expired,
    /// Revoked, which is final.
    Revoked,
}

impl IssueRecord {
    /// The status at `now`. A credential is expired from the instant of `expires_at`; revoked outranks expired.
    pub fn status_at(&self, now: Timestamp) -> Status {
        if self.revoked_at.is_some() {
            Status::Revoked
        } else if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            Status::Expired
        } else {
            Status::Active
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn time(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    pub(crate) fn record(expires_at: Option<i64>, revoked_at: Option<i64>) -> IssueRecord {
        IssueRecord {
            worker_id: WorkerId::named("worker-1"),
            issued_at: time(0),
            expires_at: expires_at.map(time),
            revoked_at: revoked_at.map(time),
            metadata: None,
        }
    }

    #[test]
    fn a_credential_is_expired_from_the_instant_of_its_expiry() {
        assert_eq!(record(Some(100), None).status_at(time(99)), Status::Active);
        assert_eq!(record(Some(100), None).status_at(time(100)), Status::Expired);
        assert_eq!(record(None, None).status_at(time(i64::from(u32::MAX))), Status::Active);
    }

    #[test]
    fn revoked_outranks_expired() {
        assert_eq!(record(Some(100), Some(50)).status_at(time(60)), Status::Revoked);
        assert_eq!(record(Some(100), Some(150)).status_at(time(200)), Status::Revoked);
    }
}
