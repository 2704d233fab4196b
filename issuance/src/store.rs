//! The issued credentials, in this service's own database.

mod insert;
mod uses;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use credentials::{
    CheckList, CredentialHash, IssueRecord, KeyId, MaxUses, Reason, Status, Timestamp, Use, UseAnswer,
};
use platform::{
    batch::{Batch, Batcher},
    clock::Deadline,
    database::{
        ALL_ROWS, Access, Database, DatabaseError, ListQuery, Migration, Page, Row, Sql, Value, to_json,
    },
    edge::Listing,
    migrations,
    statistics::Family,
};
use serde::Serialize;

use insert::Insert;
use uses::Take;

pub(crate) use insert::{Insertion, IssuedItem, NewCredential, RequestItem};

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = migrations!(
    sqlite: "0001_credentials", "0002_lifecycle", "0003_counts", "0004_key_ids", "0005_uses_and_repetitions";
    postgres: "0001_credentials", "0002_uses_and_repetitions"
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
    Family {
        name: "kube_credentials_used_total",
        help: "Uses of limited credentials.",
        label: None,
        kinds: &["used"],
    },
];

/// Shows whether the database can be read and written, without changing anything.
pub(crate) const PROBE: Sql = Sql {
    sqlite: "UPDATE credentials SET id = id WHERE false",
    postgres: "UPDATE credentials SET key_id = key_id WHERE false",
};

/// The columns of a credential that a check needs.
const CHECKED: &str =
    "credential_hash, worker_id, issued_at, expires_at, revoked_at, max_uses, uses, metadata";

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

/// The condition that a column is one of a JSON array.
const IS_ONE_OF: Sql = Sql {
    sqlite: "IN (SELECT value FROM json_each($1))",
    // An array, because PostgreSQL expects a hundred rows of the function and may read the whole table instead.
    postgres: "= ANY (ARRAY(SELECT json_array_elements_text($1::text::json)))",
};

/// The table of issued credentials.
pub(crate) struct Store {
    database: Arc<Database>,
    inserts: Batcher<Insert>,
    lookups: Batcher<Lookup>,
    uses: Batcher<Take>,
}

/// Looks up the hashes of several requests at once.
struct Lookup(Arc<Database>);

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
            uses: Batcher::new(Take(Arc::clone(&database)), 1),
            database,
        }
    }

    /// Inserts the credentials of a request in one statement, but for those that already exist under any of their hashes, or
    /// that the same request inserted before. Among several for the same credential, in this or in concurrent calls, exactly
    /// one is inserted.
    pub(crate) async fn insert(
        &self,
        credentials: Vec<NewCredential>,
        deadline: Deadline,
    ) -> Result<Vec<Insertion>, DatabaseError> {
        if credentials.is_empty() { Ok(Vec::new()) } else { self.inserts.run(credentials, deadline).await }
    }

    /// The credentials that were issued by a request with one of these tags.
    pub(crate) async fn issued_by(
        &self,
        tags: &[String],
        deadline: Deadline,
    ) -> Result<Vec<IssuedItem>, DatabaseError> {
        IssuedItem::find(&self.database, tags, deadline).await
    }

    /// Takes uses of limited credentials. `None` for what is not a limited credential.
    pub(crate) async fn take(
        &self,
        uses: Vec<Use>,
        deadline: Deadline,
    ) -> Result<Vec<Option<UseAnswer>>, DatabaseError> {
        if uses.is_empty() { Ok(Vec::new()) } else { self.uses.run(uses, deadline).await }
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
            Some(Status::UsedUp) => "credentials_limited",
        });
    }
    query = match listing.status {
        None => query,
        Some(Status::Revoked) => query.filter("revoked_at IS NOT NULL", []),
        Some(Status::Expired) => query
            .filter("expires_at IS NOT NULL", [])
            .scan("revoked_at IS NULL AND expires_at <= ?", [now.into()]),
        Some(Status::UsedUp) => query.filter("max_uses IS NOT NULL", []).scan(
            "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) AND uses >= max_uses",
            [now.into()],
        ),
        Some(Status::Active) => query.scan(
            "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?) \
             AND (max_uses IS NULL OR uses < max_uses)",
            [now.into()],
        ),
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
    let max_uses: Option<MaxUses> = row.get("max_uses")?;
    Ok(IssueRecord {
        worker_id: row.get("worker_id")?,
        issued_at: row.get("issued_at")?,
        expires_at: row.get("expires_at")?,
        revoked_at: row.get("revoked_at")?,
        uses: max_uses.is_some().then(|| row.get("uses")).transpose()?,
        max_uses,
        metadata: row.get("metadata")?,
    })
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
        static SELECT: LazyLock<String> = LazyLock::new(|| {
            format!("SELECT {CHECKED} FROM credentials WHERE credential_hash {}", IS_ONE_OF.text())
        });
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
