//! Inserting new credentials, and finding those that a repeated request asked for.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock},
};

use credentials::{CredentialHash, IssueRecord, KeyId, Timestamp};
use platform::{
    batch::Batch,
    clock::Deadline,
    database::{ALL_ROWS, Access, Database, DatabaseError, Row, members, to_json},
};
use serde::Serialize;
use serde_json::json;

use super::{CHECKED, IS_ONE_OF, record};

/// The columns of a new credential.
const NEW: &str = "credential_hash, key_id, worker_id, issued_at, expires_at, max_uses, metadata, request_tag, \
                   request_index, request_fingerprint";

/// Inserts new credentials: the elements of a JSON array that exist under none of their `hashes`, and whose `request`, if
/// any, was not sent before. One statement decides and reports: on a shared connection, `changes()` could be another
/// request's.
fn insert() -> String {
    let rows = if cfg!(feature = "postgres") {
        format!(
            "SELECT {NEW} FROM not_issued($1::text::json) AS item, json_populate_record(NULL::credentials, item)"
        )
    } else {
        format!(
            "SELECT {} FROM json_each($1) AS new WHERE NOT EXISTS (SELECT 1 FROM credentials \
             WHERE credential_hash IN (SELECT value FROM json_each(new.value, '$.hashes'))) \
             AND NOT EXISTS (SELECT 1 FROM credentials \
             WHERE request_tag IN (SELECT value FROM json_each(new.value, '$.request.tags')) \
             AND (request_index = new.value ->> 'request_index' OR request_fingerprint NOT IN \
             (SELECT value FROM json_each(new.value, '$.request.fingerprints'))))",
            members(NEW)
        )
    };
    format!("INSERT INTO credentials ({NEW}) {rows} ON CONFLICT DO NOTHING RETURNING credential_hash")
}

/// The credentials that were issued by a request with one of these tags.
fn issued_by() -> String {
    format!(
        "SELECT request_tag, request_index, request_fingerprint, {CHECKED} FROM credentials WHERE request_tag {}",
        IS_ONE_OF.text()
    )
}

/// Inserts the credentials of several requests at once.
pub(super) struct Insert(pub(super) Arc<Database>);

/// A credential to be issued.
pub(crate) struct NewCredential {
    /// Its hashes under all keys, at least one; it is issued under the first.
    pub(crate) hashes: Vec<CredentialHash>,
    pub(crate) key_id: KeyId,
    pub(crate) record: IssueRecord,
    /// The request, if it can be repeated.
    pub(crate) request: Option<RequestItem>,
}

/// An item of a request with an idempotency key.
#[derive(Serialize)]
pub(crate) struct RequestItem {
    /// The request's tags under all keys, at least one; the first is stored.
    pub(crate) tags: Vec<String>,
    /// Its fingerprints, likewise.
    pub(crate) fingerprints: Vec<String>,
    /// The item's place in the request.
    pub(crate) index: usize,
}

/// What became of a credential to be issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// It was issued.
    Inserted,
    /// It had been issued before, or the request had been sent before.
    Exists,
    /// A request with other content and the same idempotency key is being served.
    KeyReused,
}

/// A credential that was issued by a request with an idempotency key.
pub(crate) struct IssuedItem {
    pub(crate) tag: String,
    pub(crate) index: usize,
    pub(crate) fingerprint: String,
    pub(crate) credential_hash: CredentialHash,
    pub(crate) record: IssueRecord,
}

impl IssuedItem {
    /// What was issued by a request with one of these tags.
    pub(super) async fn find(
        database: &Database,
        tags: &[String],
        deadline: Deadline,
    ) -> Result<Vec<Self>, DatabaseError> {
        static SELECT: LazyLock<String> = LazyLock::new(issued_by);

        let rows = database.query(Access::Read(ALL_ROWS), &SELECT, [to_json(&tags)?], deadline).await?;
        rows.iter().map(Self::from_row).collect()
    }

    fn from_row(row: &Row) -> Result<Self, DatabaseError> {
        let index: u64 = row.get("request_index")?;
        Ok(Self {
            tag: row.get("request_tag")?,
            index: usize::try_from(index)
                .map_err(|_| DatabaseError::UnexpectedRow { column: "request_index" })?,
            fingerprint: row.get("request_fingerprint")?,
            credential_hash: row.get("credential_hash")?,
            record: record(row)?,
        })
    }
}

impl NewCredential {
    /// The members [`NEW`]; `hashes`, none of which may exist already; and `request`, which may not have been sent before.
    fn row(&self) -> serde_json::Value {
        let (record, request) = (&self.record, self.request.as_ref());
        json!({
            "credential_hash": self.hashes.first(),
            "hashes": self.hashes,
            "key_id": self.key_id,
            "worker_id": record.worker_id,
            "issued_at": record.issued_at.as_millis(),
            "expires_at": record.expires_at.map(Timestamp::as_millis),
            "max_uses": record.max_uses,
            "metadata": record.metadata.as_ref().map(|metadata| metadata.as_str()),
            "request": request,
            "request_tag": request.and_then(|request| request.tags.first()),
            "request_index": request.map(|request| request.index),
            "request_fingerprint": request.and_then(|request| request.fingerprints.first()),
        })
    }
}

/// Which of several requests use the idempotency key of an earlier one for other content.
fn reuse_keys(requests: &[Vec<NewCredential>]) -> Vec<bool> {
    let mut known = HashMap::new();
    let mut reused = Vec::new();
    for credentials in requests {
        let request = credentials.first().and_then(|new| new.request.as_ref());
        reused.push(request.is_some_and(|RequestItem { tags, fingerprints, .. }| {
            *known.entry(tags.first()).or_insert(fingerprints.first()) != fingerprints.first()
        }));
    }
    reused
}

impl Batch for Insert {
    type Item = Vec<NewCredential>;
    type Output = Vec<Insertion>;
    type Error = DatabaseError;

    async fn run(
        &self,
        requests: &[Vec<NewCredential>],
        deadline: Deadline,
    ) -> Result<Vec<Vec<Insertion>>, DatabaseError> {
        static INSERT: LazyLock<String> = LazyLock::new(insert);

        let reused = reuse_keys(requests);
        let mut new: Vec<_> =
            requests.iter().zip(&reused).filter(|(_, reused)| !**reused).flat_map(|(new, _)| new).collect();
        // PostgreSQL locks rows in this order, which must be the same everywhere.
        new.sort_by_cached_key(|new| new.hashes.first().map(ToString::to_string));
        let rows: Vec<_> = new.into_iter().map(NewCredential::row).collect();
        let inserted =
            self.0.try_once(Access::Write(rows.len()), &INSERT, [to_json(&rows)?], deadline).await?;
        let hashes = inserted.iter().map(|row| row.get("credential_hash"));
        let mut hashes = hashes.collect::<Result<HashSet<CredentialHash>, DatabaseError>>()?;
        // Among several for the same credential, the first gets the row.
        let mut insertion = |new: &NewCredential| match new.hashes.first() {
            Some(hash) if hashes.remove(hash) => Insertion::Inserted,
            _ => Insertion::Exists,
        };
        let of_request = |(credentials, reused): (&Vec<NewCredential>, bool)| {
            let of_item = |new| if reused { Insertion::KeyReused } else { insertion(new) };
            credentials.iter().map(of_item).collect()
        };
        Ok(requests.iter().zip(reused).map(of_request).collect())
    }
}
