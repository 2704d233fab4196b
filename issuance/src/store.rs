//! The issued credentials, in this service's own database.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, LazyLock},
};

use credentials::{CheckList, CredentialHash, IssueRecord, KeyId, Reason, Status, Timestamp};
use platform::{
    batch::{Batch, Batcher},
    clock::Deadline,
    database::{
        ALL_ROWS, Access, Database, DatabaseError, ListQuery, Migration, Page, Row, Sql, Value, members,
        to_json,
    },
    edge::Listing,
    migrations,
    statistics::Family,
};
use serde::Serialize;
use serde_json::json;

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = migrations!(
    sqlite: "0001_credentials", "0002_lifecycle", "0003_counts", "0004_key_ids";
    postgres: "0001_credentials"
);

/// What the triggers of the schema count.
pub(crate) const COUNTED: &[Family] = &[
    Family {
        name: "kube_credentials_issued_total",
        help: "Credentials issued.",
        label: None,
        kinds: &["issued"],
    },
    Family {
        name: "kube_credentials_revoked_total",
        help: "Credentials revoked.",
        label: None,
        kinds: &["revoked"],
    },
];

/// Shows whether the database can be read and written, without changing anything.
pub(crate) const PROBE: Sql = Sql {
    sqlite: "UPDATE credentials SET id = id WHERE false",
    postgres: "UPDATE credentials SET key_id = key_id WHERE false",
};

/// The columns of a new credential.
const NEW: &str = "credential_hash, key_id, worker_id, issued_at, expires_at, metadata";

/// The columns of a credential that a check needs.
const CHECKED: &str = "credential_hash, worker_id, issued_at, expires_at, revoked_at, metadata";

/// Inserts new credentials: the elements of a JSON array that exist under none of their `hashes`. One statement decides
/// and reports: on a shared connection, `changes()` could be another request's.
fn insert() -> String {
    let rows = if cfg!(feature = "postgres") {
        format!(
            "SELECT {NEW} FROM not_issued($1::text::json) AS item, json_populate_record(NULL::credentials, item)"
        )
    } else {
        format!(
            "SELECT {} FROM json_each($1) AS new WHERE NOT EXISTS (SELECT 1 FROM credentials \
             WHERE credential_hash IN (SELECT value FROM json_each(new.value, '$.hashes')))",
            members(NEW)
        )
    };
    format!(
        "INSERT INTO credentials ({NEW}) {rows} \
         ON CONFLICT (credential_hash) DO NOTHING RETURNING credential_hash"
    )
}

/// Revokes the credentials of a JSON array of hashes. Right-hand sides see the row before the update, so time and reason
/// stay together. The time is the database's, because the statement may wait for its turn.
const REVOKE: Sql = Sql {
    sqlite: "UPDATE credentials SET \
             revoked_at = coalesce(revoked_at, CAST(round(unixepoch('subsec') * 1000) AS INTEGER)), \
             revocation_reason = CASE WHEN revoked_at IS NULL THEN $1 ELSE revocation_reason END \
             WHERE credential_hash IN (SELECT value FROM json_each($2)) \
             RETURNING credential_hash, revoked_at, revocation_reason",
    postgres: "UPDATE credentials SET \
               revoked_at = coalesce(revoked_at, round(extract(epoch FROM clock_timestamp()) * 1000)::bigint), \
               revocation_reason = CASE WHEN revoked_at IS NULL THEN $1 ELSE revocation_reason END \
               WHERE credential_hash = ANY (ARRAY(SELECT json_array_elements_text($2::text::json))) \
               RETURNING credential_hash, revoked_at, revocation_reason",
};

/// A credential's hash is one of a JSON array.
const IS_ASKED_FOR: Sql = Sql {
    sqlite: "credential_hash IN (SELECT value FROM json_each($1))",
    // An array, because PostgreSQL expects a hundred rows of the function and may read the whole table instead.
    postgres: "credential_hash = ANY (ARRAY(SELECT json_array_elements_text($1::text::json)))",
};

/// The table of issued credentials.
pub(crate) struct Store {
    database: Arc<Database>,
    inserts: Batcher<Insert>,
    lookups: Batcher<Lookup>,
}

/// Inserts the credentials of several requests at once.
struct Insert(Arc<Database>);

/// Looks up the hashes of several requests at once.
struct Lookup(Arc<Database>);

/// A credential to be issued.
pub(crate) struct NewCredential {
    /// Its hashes under all keys, at least one; it is issued under the first.
    pub(crate) hashes: Vec<CredentialHash>,
    pub(crate) key_id: KeyId,
    pub(crate) record: IssueRecord,
}

/// A credential as stored and as shown in lists.
#[derive(Serialize)]
pub(crate) struct StoredCredential {
    credential_hash: CredentialHash,
    key_id: String,
    #[serde(flatten)]
    pub(crate) record: IssueRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

/// The first revocation of a credential.
pub(crate) struct Revocation {
    pub(crate) credential_hash: CredentialHash,
    pub(crate) revoked_at: Timestamp,
    pub(crate) reason: Option<Reason>,
}

impl Store {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self {
            inserts: Batcher::new(Insert(Arc::clone(&database)), 1),
            lookups: Batcher::new(Lookup(Arc::clone(&database)), 1),
            database,
        }
    }

    /// Inserts credentials in one statement; `false` for those that already exist under any of their hashes. Among
    /// several for the same credential, in this or in concurrent calls, exactly one gets `true`.
    pub(crate) async fn insert(
        &self,
        credentials: Vec<NewCredential>,
        deadline: Deadline,
    ) -> Result<Vec<bool>, DatabaseError> {
        if credentials.is_empty() { Ok(Vec::new()) } else { self.inserts.run(credentials, deadline).await }
    }

    /// The records of the credentials with these hashes, by hash. Hashes that were not issued are missing.
    pub(crate) async fn find(
        &self,
        hashes: Vec<CredentialHash>,
        deadline: Deadline,
    ) -> Result<HashMap<CredentialHash, IssueRecord>, DatabaseError> {
        if hashes.is_empty() { Ok(HashMap::new()) } else { self.lookups.run(hashes, deadline).await }
    }

    /// Revokes the credential with any of these hashes; an earlier revocation stands. `None` if there is no such
    /// credential.
    pub(crate) async fn revoke(
        &self,
        hashes: &[CredentialHash],
        reason: Option<&Reason>,
        deadline: Deadline,
    ) -> Result<Option<Revocation>, DatabaseError> {
        let rows = self
            .database
            .query(
                Access::Write(hashes.len()),
                REVOKE.text(),
                [reason.map(Reason::as_str).into(), to_json(&hashes)?],
                deadline,
            )
            .await?;
        let revocation = |row: &Row| {
            Ok(Revocation {
                credential_hash: row.get("credential_hash")?,
                revoked_at: row.get("revoked_at")?,
                reason: row.get("revocation_reason")?,
            })
        };
        let revocations = rows.iter().map(revocation).collect::<Result<Vec<_>, DatabaseError>>()?;
        Ok(revocations.into_iter().min_by_key(|revocation| revocation.revoked_at))
    }

    /// A page of credentials, newest first; `now` tells active from expired ones.
    pub(crate) async fn list(
        &self,
        listing: &Listing<Status>,
        after: Option<Vec<Value>>,
        now: Timestamp,
        deadline: Deadline,
    ) -> Result<Page<StoredCredential>, DatabaseError> {
        list_query(listing, after, now).page(&self.database, deadline, StoredCredential::from_row).await
    }

    /// The fingerprints of the secrets that credentials were issued under.
    pub(crate) async fn key_ids(&self, deadline: Deadline) -> Result<Vec<KeyId>, DatabaseError> {
        let statement = "SELECT key_id FROM key_ids ORDER BY key_id";
        let rows = self.database.query(Access::Read(ALL_ROWS), statement, [], deadline).await?;
        rows.iter().map(|row| row.get("key_id")).collect()
    }

    /// The database, for what it counts.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

fn list_query(listing: &Listing<Status>, after: Option<Vec<Value>>, now: Timestamp) -> ListQuery {
    let columns = format!("id, key_id, revocation_reason, {CHECKED}");
    let mut query = ListQuery::new("credentials", columns, &["issued_at", "id"], listing.limit.get());
    // A hash has at most one row.
    if listing.credential_hash.is_none() {
        query = query.index(match listing.status {
            None | Some(Status::Active) => "credentials_by_time",
            Some(Status::Expired) => "credentials_expiring",
            Some(Status::Revoked) => "credentials_revoked",
        });
    }
    query = match listing.status {
        None => query,
        Some(Status::Revoked) => query.filter("revoked_at IS NOT NULL", []),
        Some(Status::Expired) => query
            .filter("expires_at IS NOT NULL", [])
            .scan("revoked_at IS NULL AND expires_at <= ?", [now.into()]),
        Some(Status::Active) => {
            query.scan("revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", [now.into()])
        }
    };
    if let Some(hash) = &listing.credential_hash {
        query = query.filter("credential_hash = ?", [hash.to_string().into()]);
    }
    query.range(listing.since.map(Into::into), listing.until.map(Into::into), after)
}

impl StoredCredential {
    fn from_row(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            credential_hash: row.get("credential_hash")?,
            key_id: row.get("key_id")?,
            record: record(row)?,
            reason: row.get("revocation_reason")?,
        })
    }
}

/// Reads the columns [`CHECKED`], but for the hash.
fn record(row: &Row) -> Result<IssueRecord, DatabaseError> {
    Ok(IssueRecord {
        worker_id: row.get("worker_id")?,
        issued_at: row.get("issued_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
        metadata: row.get("metadata")?,
    })
}

impl NewCredential {
    /// The members [`NEW`], and `hashes`, none of which may exist already.
    fn row(&self) -> serde_json::Value {
        let record = &self.record;
        json!({
            "credential_hash": self.hashes.first(),
            "hashes": self.hashes,
            "key_id": self.key_id,
            "worker_id": record.worker_id,
            "issued_at": record.issued_at.as_millis(),
            "expires_at": record.expires_at.map(Timestamp::as_millis),
            "metadata": record.metadata.as_ref().map(|metadata| metadata.as_str()),
        })
    }
}

impl Batch for Insert {
    type Item = Vec<NewCredential>;
    /// Whether each was inserted.
    type Output = Vec<bool>;
    type Error = DatabaseError;

    async fn run(
        &self,
        requests: &[Vec<NewCredential>],
        deadline: Deadline,
    ) -> Result<Vec<Vec<bool>>, DatabaseError> {
        static INSERT: LazyLock<String> = LazyLock::new(insert);

        let mut new: Vec<_> = requests.iter().flatten().collect();
        // PostgreSQL locks rows in this order, which must be the same everywhere.
        new.sort_by_cached_key(|new| new.hashes.first().map(ToString::to_string));
        let rows: Vec<_> = new.into_iter().map(NewCredential::row).collect();
        let inserted =
            self.0.try_once(Access::Write(rows.len()), &INSERT, [to_json(&rows)?], deadline).await?;
        let hashes = inserted.iter().map(|row| row.get("credential_hash"));
        let mut hashes = hashes.collect::<Result<HashSet<CredentialHash>, DatabaseError>>()?;
        // Among several for the same credential, the first gets the row.
        let mut added = |new: &NewCredential| new.hashes.first().is_some_and(|hash| hashes.remove(hash));
        Ok(requests.iter().map(|credentials| credentials.iter().map(&mut added).collect()).collect())
    }
}

impl Batch for Lookup {
    type Item = Vec<CredentialHash>;
    type Output = HashMap<CredentialHash, IssueRecord>;
    type Error = DatabaseError;

    async fn run(
        &self,
        requests: &[Vec<CredentialHash>],
        deadline: Deadline,
    ) -> Result<Vec<HashMap<CredentialHash, IssueRecord>>, DatabaseError> {
        static SELECT: LazyLock<String> =
            LazyLock::new(|| format!("SELECT {CHECKED} FROM credentials WHERE {}", IS_ASKED_FOR.text()));
        let hashes: Vec<_> = requests.iter().flatten().collect();
        let mut found = HashMap::new();
        // A libSQL server sends at most 10 MB of rows.
        for hashes in hashes.chunks(CheckList::MAX_HASHES) {
            let access = Access::Read(hashes.len());
            for row in self.0.try_once(access, &SELECT, [to_json(&hashes)?], deadline).await? {
                found.insert(row.get::<CredentialHash>("credential_hash")?, record(&row)?);
            }
        }
        let of_request = |hashes: &Vec<CredentialHash>| {
            let known = hashes.iter().filter_map(|hash| Some((*hash, found.get(hash)?.clone())));
            known.collect()
        };
        Ok(requests.iter().map(of_request).collect())
    }
}

#[cfg(test)]
mod tests;
