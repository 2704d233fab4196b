//! The audit rows, in this service's own database.

use credentials::{CredentialHash, Timestamp, Verdict, VerificationId, WorkerId};
use platform::{Database, DatabaseError, RequestId, migrations};

/// The table of verifications.
pub(crate) struct Store {
    database: Database,
}

/// One verdict on one credential, as it is recorded.
pub(crate) struct Verification<'a> {
    pub(crate) id: VerificationId,
    pub(crate) request_id: &'a RequestId,
    pub(crate) credential_hash: &'a CredentialHash,
    pub(crate) verdict: &'a Verdict,
    pub(crate) verified_by: &'a WorkerId,
    pub(crate) verified_at: Timestamp,
}

impl Store {
    pub(crate) const fn new() -> Self {
        Self { database: Database::new("verification", migrations!["0001_verifications"]) }
    }

    /// Writes the audit row.
    pub(crate) async fn record(&self, verification: &Verification<'_>) -> Result<(), DatabaseError> {
        self.database
            .query(
                "INSERT INTO verifications \
                 (id, request_id, credential_hash, status, verified_by, verified_at) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    verification.id.to_string().into(),
                    verification.request_id.as_str().into(),
                    verification.credential_hash.to_string().into(),
                    verification.verdict.status().into(),
                    verification.verified_by.as_str().into(),
                    verification.verified_at.as_millis().into(),
                ],
            )
            .await
            .map(drop)
    }

    /// Whether the database can be read and written, without changing anything.
    pub(crate) async fn probe(&self) -> Result<(), DatabaseError> {
        self.database
            .query("UPDATE verifications SET request_id = request_id WHERE false", [])
            .await
            .map(drop)
    }
}
