//! A database file: one writer on a thread of its own, and a pool of readers.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use credentials::{
    CredentialHash, IssueRecord, KeyId, Metadata, Timestamp, VerdictStatus, VerificationId, WorkerId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::{mpsc, oneshot};

use crate::schema::{ISSUANCE, Schema, VERIFICATION};

/// As under Spin. There is one writer, so only a checkpoint or another process can block it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The capacity of the queue of writes.
const QUEUE: usize = 1024;

/// Both databases.
pub(crate) struct Store {
    issuance: Database,
    verification: Database,
}

/// A credential to issue.
pub(crate) struct NewCredential {
    pub(crate) hash: CredentialHash,
    pub(crate) key_id: KeyId,
    pub(crate) record: IssueRecord,
}

/// An audit row to write.
pub(crate) struct Verification {
    pub(crate) id: VerificationId,
    pub(crate) request_id: String,
    pub(crate) hash: CredentialHash,
    pub(crate) status: VerdictStatus,
    pub(crate) verified_by: WorkerId,
    pub(crate) verified_at: Timestamp,
}

impl Store {
    /// Opens both databases, applies their migrations and starts their writers.
    pub(crate) fn open(issuance: &Path, verification: &Path) -> Result<Self> {
        Ok(Self {
            issuance: Database::open(issuance, ISSUANCE)?,
            verification: Database::open(verification, VERIFICATION)?,
        })
    }

    /// Adds a credential; returns `false` if it exists. It is on disk once this returns.
    pub(crate) async fn insert(&self, new: NewCredential) -> Result<bool> {
        self.issuance
            .write(move |database| {
                let mut insert = database.prepare_cached(
                    "INSERT INTO credentials \
                     (credential_hash, key_id, worker_id, issued_at, expires_at, metadata) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (credential_hash) DO NOTHING",
                )?;
                let rows = insert.execute(params![
                    new.hash.to_string(),
                    new.key_id.to_string(),
                    new.record.worker_id.as_str(),
                    new.record.issued_at.as_millis(),
                    new.record.expires_at.map(Timestamp::as_millis),
                    new.record.metadata.as_ref().map(Metadata::as_str),
                ])?;
                Ok(rows == 1)
            })
            .await
    }

    /// Finds the credential with this hash.
    pub(crate) fn find(&self, hash: CredentialHash) -> Result<Option<IssueRecord>> {
        self.issuance.read(|database| {
            let mut select = database.prepare_cached(
                "SELECT worker_id, issued_at, expires_at, revoked_at, metadata FROM credentials \
                 WHERE credential_hash = ?1",
            )?;
            select.query_row([hash.to_string()], |row| Ok(issue_record(row))).optional()?.transpose()
        })
    }

    /// Writes an audit row. It is on disk once this returns.
    pub(crate) async fn record(&self, verification: Verification) -> Result<()> {
        self.verification
            .write(move |database| {
                let mut insert = database.prepare_cached(
                    "INSERT INTO verifications \
                     (id, request_id, credential_hash, status, verified_by, verified_at) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?;
                insert.execute(params![
                    verification.id.to_string(),
                    verification.request_id,
                    verification.hash.to_string(),
                    verification.status.as_str(),
                    verification.verified_by.as_str(),
                    verification.verified_at.as_millis(),
                ])?;
                Ok(())
            })
            .await
    }

    /// Whether both databases can be read.
    pub(crate) fn probe(&self) -> Result<()> {
        for database in [&self.issuance, &self.verification] {
            database.read(|database| {
                Ok(database.query_row("SELECT count(*) FROM schema_migrations", [], |_| Ok(()))?)
            })?;
        }
        Ok(())
    }
}

fn issue_record(row: &Row<'_>) -> Result<IssueRecord> {
    let time = |millis: Option<i64>| millis.map(Timestamp::from_millis).transpose();
    Ok(IssueRecord {
        worker_id: WorkerId::named(row.get::<_, String>(0)?),
        issued_at: Timestamp::from_millis(row.get(1)?)?,
        expires_at: time(row.get(2)?)?,
        revoked_at: time(row.get(3)?)?,
        metadata: row
            .get_ref(4)?
            .as_str_or_null()
            .map_err(rusqlite::Error::from)?
            .map(Metadata::new)
            .transpose()?,
    })
}

/// A statement for the writer.
type Write = Box<dyn FnOnce(&Connection) + Send>;

struct Database {
    path: PathBuf,
    writes: mpsc::Sender<Write>,
    /// Idle connections. Reads block their thread, so there are at most as many as worker threads.
    readers: Mutex<Vec<Connection>>,
}

impl Database {
    fn open(path: &Path, schema: Schema) -> Result<Self> {
        let context = || format!("cannot open the database {}", path.display());
        let mut writer = connect(path).with_context(context)?;
        schema.apply(&mut writer).with_context(context)?;
        let (writes, mut queue) = mpsc::channel::<Write>(QUEUE);
        // Statements commit one by one in order of arrival, so the lock is never contended.
        thread::Builder::new().name(format!("{}-writer", schema.label)).spawn(move || {
            while let Some(write) = queue.blocking_recv() {
                write(&writer);
            }
        })?;
        Ok(Self { path: path.to_owned(), writes, readers: Mutex::new(Vec::new()) })
    }

    /// Runs a statement on the writer's thread and waits for its commit.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, outcome) = oneshot::channel();
        // Sending fails if the client has disconnected.
        let write: Write = Box::new(move |database| drop(answer.send(work(database))));
        self.writes.send(write).await.ok().context("the writer has ended")?;
        outcome.await.context("the writer has ended")?
    }

    /// Runs a query on the calling thread: it takes microseconds, less than a switch to another thread.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let readers = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = readers().pop();
        let reader = match idle {
            Some(reader) => reader,
            None => connect(&self.path)?,
        };
        let result = work(&reader);
        readers().push(reader);
        result
    }
}

/// Opens a connection. With `synchronous=FULL`, SQLite's default, a commit is on disk when it returns.
fn connect(path: &Path) -> Result<Connection> {
    let database = Connection::open(path)?;
    database.busy_timeout(BUSY_TIMEOUT)?;
    database.pragma_update(None, "synchronous", "FULL")?;
    Ok(database)
}
