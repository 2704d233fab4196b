//! The statements, on SQLite.

use anyhow::{Context, Result};
use spin_sdk::sqlite::{Connection, RowResult, Value};

pub(crate) struct Database(Connection);

impl Database {
    pub(crate) async fn open(label: &str) -> Result<Self> {
        let database = Self(Connection::open(label).await?);
        // A commit is on disk before its statement returns, as in the project.
        database.execute("PRAGMA synchronous = FULL", []).await?;
        Ok(database)
    }

    pub(crate) async fn issue(&self, hash: &str) -> Result<()> {
        let insert = "INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at) \
                      VALUES (?, '0123456789abcdef', 'worker-000000', unixepoch() * 1000)";
        self.execute(insert, [hash.to_owned().into()]).await?;
        Ok(())
    }

    /// Who issued the credential, and when.
    pub(crate) async fn check(&self, hash: &str) -> Result<Option<(String, i64)>> {
        let select = "SELECT worker_id, issued_at FROM credentials WHERE credential_hash = ?";
        let rows = self.execute(select, [hash.to_owned().into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let worker = row.get::<&str>(0).context("worker_id is no text")?.to_owned();
        Ok(Some((worker, row.get(1).context("issued_at is no integer")?)))
    }

    pub(crate) async fn verify(&self, hash: &str, status: &str) -> Result<()> {
        // The ids sort by time, as the project's do.
        let insert = "INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at) \
             VALUES (printf('%014d-%s', unixepoch('subsec') * 1000, hex(randomblob(10))), \
             hex(randomblob(16)), ?, ?, 'verification-worker-000000', unixepoch() * 1000)";
        self.execute(insert, [hash.to_owned().into(), status.to_owned().into()]).await?;
        Ok(())
    }

    async fn execute<const N: usize>(
        &self,
        statement: &str,
        parameters: [Value; N],
    ) -> Result<Vec<RowResult>> {
        Ok(self.0.execute(statement, parameters).await?.collect().await?)
    }
}
