//! The record of an issued credential.

use serde::{Deserialize, Serialize};

use crate::{MaxUses, Metadata, Timestamp, WorkerId};

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
    /// How often it can be used, if there is a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<MaxUses>,
    /// How often it has been used; only counted if there is a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// The issuer's metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

/// The state of a credential at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// None of the others.
    Active,
    /// Its expiry has passed.
    Expired,
    /// Revoked, which is final.
    Revoked,
    /// Used as often as it can be.
    UsedUp,
}

impl IssueRecord {
    /// The status at `now`. A credential is expired from the instant of `expires_at`. Revoked outranks expired, and expired
    /// outranks used up.
    pub fn status_at(&self, now: Timestamp) -> Status {
        if self.revoked_at.is_some() {
            Status::Revoked
        } else if self.expires_at.is_some_and(|expires_at| now >= expires_at) {
            Status::Expired
        } else if self.uses_left() == Some(0) {
            Status::UsedUp
        } else {
            Status::Active
        }
    }

    /// How often it can still be used, if there is a limit.
    pub fn uses_left(&self) -> Option<u32> {
        self.max_uses.map(|max_uses| max_uses.get().saturating_sub(self.uses.unwrap_or(0)))
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
            max_uses: None,
            uses: None,
            metadata: None,
        }
    }

    pub(crate) fn used(uses: u32, max_uses: u32, record: IssueRecord) -> IssueRecord {
        IssueRecord { max_uses: Some(max_uses.try_into().unwrap()), uses: Some(uses), ..record }
    }

    #[test]
    fn a_credential_is_expired_from_the_instant_of_its_expiry() {
        assert_eq!(record(Some(100), None).status_at(time(99)), Status::Active);
        assert_eq!(record(Some(100), None).status_at(time(100)), Status::Expired);
        assert_eq!(record(None, None).status_at(time(i64::from(u32::MAX))), Status::Active);
    }

    #[test]
    fn revoked_outranks_expired_and_expired_outranks_used_up() {
        assert_eq!(record(Some(100), Some(50)).status_at(time(60)), Status::Revoked);
        assert_eq!(record(Some(100), Some(150)).status_at(time(200)), Status::Revoked);
        let used_up = |expires_at, revoked_at| used(3, 3, record(expires_at, revoked_at));
        assert_eq!(used_up(None, None).status_at(time(200)), Status::UsedUp);
        assert_eq!(used_up(Some(100), None).status_at(time(200)), Status::Expired);
        assert_eq!(used_up(None, Some(100)).status_at(time(200)), Status::Revoked);
    }

    #[test]
    fn a_credential_is_used_up_with_its_last_use() {
        for (uses, left, status) in
            [(0, 3, Status::Active), (2, 1, Status::Active), (3, 0, Status::UsedUp), (4, 0, Status::UsedUp)]
        {
            let record = used(uses, 3, record(None, None));
            assert_eq!((record.uses_left(), record.status_at(time(9))), (Some(left), status));
        }
        assert_eq!(record(None, None).uses_left(), None);
    }
}
