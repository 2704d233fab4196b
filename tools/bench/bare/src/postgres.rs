//! The statements, on PostgreSQL. Each takes a connection from the host's pool: the requests of an instance would wait for
//! each other on one.

use anyhow::{Context, Result};
use spin_sdk::{pg::Connection, variables};

pub(crate) struct Database {
    url: String,
}

impl Database {
    pub(crate) async fn open(_: &str) -> Result<Self> {
        Ok(Self { url: variables::get("database_url").await? })
    }

    pub(crate) async fn issue(&self, hash: &str) -> Result<()> {
        let insert = "INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at) \
                      VALUES ($1, '0123456789abcdef', 'worker-000000', \
                      floor(extract(epoch FROM clock_timestamp()))::bigint * 1000)";
        self.connect().await?.execute(insert, [hash.to_owned().into()]).await?;
        Ok(())
    }

    /// Who issued the credential, and when.
    pub(crate) async fn check(&self, hash: &str) -> Result<Option<(String, i64)>> {
        let select = "SELECT worker_id, issued_at FROM credentials WHERE credential_hash = $1";
        let connection = self.connect().await?;
        let rows = connection.query(select, [hash.to_owned().into()]).await?.collect().await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let worker = row.get("worker_id").context("worker_id is no text")?;
        Ok(Some((worker, row.get("issued_at").context("issued_at is no bigint")?)))
    }

    pub(crate) async fn verify(&self, hash: &str, status: &str) -> Result<()> {
        // The ids sort by time, as the project's do.
        let insert = "INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at) \
             SELECT lpad(floor(extract(epoch FROM now) * 1000)::text, 14, '0') || '-' \
             || left(replace(gen_random_uuid()::text, '-', ''), 20), replace(gen_random_uuid()::text, '-', ''), \
             $1, $2, 'verification-worker-000000', floor(extract(epoch FROM now))::bigint * 1000 \
             FROM clock_timestamp() AS now";
        let parameters = [hash.to_owned().into(), status.to_owned().into()];
        self.connect().await?.execute(insert, parameters).await?;
        Ok(())
    }

    async fn connect(&self) -> Result<Connection> {
        Ok(Connection::open(self.url.as_str()).await?)
    }
}
