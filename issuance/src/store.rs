//! The credentials that were issued, in this service's own database.

use credentials::{CredentialHash, IssueRecord, KeyId, Timestamp, WorkerId};
use platform::{Database, DatabaseError, Row, migrations};

/// The table of issued credentials.
pub(crate) struct Store {
    database: Database,
}

impl Store {
    pub(crate) const fn new() -> Self {
        Self { database: Database::new("issuance", migrations!["0001_credentials"]) }
    }

    /// Adds a credential; `false` if it is there already, whoever added it. Of any number at once, one gets `true`.
    pub(crate) async fn insert(
        &self,
        hash: &CredentialHash,
        key_id: KeyId,
        record: &IssueRecord,
    ) -> Result<bool, DatabaseError> {
        // One statement decides and reports: the connection is shared, so `changes()` could be another request's.
        let inserted = self
            .database
            .query(
                "INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at) VALUES (?, ?, ?, ?) \
                 ON CONFLICT (credential_hash) DO NOTHING RETURNING id",
                [
                    hash.to_string().into(),
                    key_id.to_string().into(),
                    record.issued_by.as_str().into(),
                    record.issued_at.as_millis().into(),
                ],
            )
            .await?;
        Ok(!inserted.is_empty())
    }

    /// What is known of the credential with this hash.
    pub(crate) async fn find(&self, hash: &CredentialHash) -> Result<Option<IssueRecord>, DatabaseError> {
        let rows = self
            .database
            .query(
                "SELECT worker_id, issued_at FROM credentials WHERE credential_hash = ?",
                [hash.to_string().into()],
            )
            .await?;
        rows.first().map(issue_record).transpose()
    }

    /// Whether the database can be read and written, without changing anything.
    pub(crate) async fn probe(&self) -> Result<(), DatabaseError> {
        self.database.query("UPDATE credentials SET id = id WHERE false", []).await.map(drop)
    }
}

fn issue_record(row: &Row) -> Result<IssueRecord, DatabaseError> {
    let record = || {
        Some(IssueRecord {
            issued_by: WorkerId::named(row.get::<&str>(0)?),
            issued_at: Timestamp::from_millis(row.get(1)?).ok()?,
        })
    };
    record().ok_or(DatabaseError::UnexpectedRow)
}
