//! The audit rows, in this service's own database.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use credentials::{CredentialHash, Timestamp, VerdictStatus, VerificationId, WorkerId};
use platform::{
    batch::{Batch, Batcher},
    clock::Deadline,
    database::{
        Access, Database, DatabaseError, ListQuery, Migration, Page, Row, Sql, Value, members, to_json,
    },
    edge::Listing,
    migrations,
    request_id::RequestId,
    statistics::Family,
};
use serde::Serialize;

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = migrations!(
    sqlite: "0001_verifications", "0002_lists", "0003_limits_and_counts";
    postgres: "0001_verifications"
);

/// What the triggers of the schema count.
pub(crate) const COUNTED: &[Family] = &[
    Family {
        name: "kube_credentials_verifications_total",
        help: "Verdicts given, by status.",
        label: Some("status"),
        kinds: &["valid", "expired", "revoked", "used_up", "not_found"],
    },
    Family {
        name: "kube_credentials_refused_total",
        help: "Verifications refused because too many of the client's had failed.",
        label: None,
        kinds: &["refused"],
    },
];

/// Shows whether the database can be read and written, by forgetting the failures of past minutes.
pub(crate) const PROBE: Sql = Sql {
    sqlite: "DELETE FROM failures WHERE minute < unixepoch() / 60",
    postgres: "DELETE FROM failures WHERE minute < floor(extract(epoch FROM now()) / 60)",
};

/// The columns of an audit row: the members of a [`Verification`].
const COLUMNS: &str = "id, request_id, credential_hash, status, verified_by, verified_at, client_address";

/// Deletes rows older than `$1` milliseconds, at most `$2`. An id begins with its row's time in milliseconds: 12
/// hexadecimal digits, with a hyphen after the eighth.
const DELETE_OLDEST: Sql = Sql {
    sqlite: "DELETE FROM verifications WHERE id IN (SELECT id FROM verifications WHERE id < \
             (SELECT substr(time, 1, 8) || '-' || substr(time, 9) FROM \
             (SELECT printf('%012x', max(0, CAST(unixepoch('subsec') * 1000 AS INTEGER) - $1)) AS time)) \
             ORDER BY id LIMIT $2)",
    postgres: "DELETE FROM verifications WHERE id IN (SELECT id FROM verifications WHERE id < \
               (SELECT substr(time, 1, 8) || '-' || substr(time, 9) FROM \
               (SELECT lpad(to_hex(greatest(0, floor(extract(epoch FROM now()) * 1000)::bigint - $1)), 12, '0') \
               AS time) AS oldest) ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)",
};

/// The failures of a client in the current minute.
const FAILURES: Sql = Sql {
    sqlite: "SELECT coalesce((SELECT count FROM failures WHERE minute = unixepoch() / 60 AND client = $1), 0) AS count, \
             60000 - CAST(unixepoch('subsec') * 1000 AS INTEGER) % 60000 AS millis_left",
    postgres: "SELECT coalesce((SELECT count FROM failures WHERE minute = millis / 60000 AND client = $1), 0) AS count, \
               60000 - millis % 60000 AS millis_left \
               FROM (SELECT floor(extract(epoch FROM now()) * 1000)::bigint AS millis) AS clock",
};

/// Counts refusals: the elements of a JSON array.
const REFUSE: Sql = Sql {
    sqlite: "INSERT INTO counts (hour, kind, count) \
             SELECT value ->> 'hour', 'refused', value ->> 'count' FROM json_each($1) WHERE true \
             ON CONFLICT DO UPDATE SET count = count + excluded.count",
    postgres: "INSERT INTO counts (hour, kind, shard, count) \
               SELECT hour, 'refused', pg_backend_pid() % 64, sum(count) \
               FROM json_to_recordset($1::text::json) AS refusal (hour bigint, count bigint) GROUP BY hour ORDER BY hour \
               ON CONFLICT (hour, kind, shard) DO UPDATE SET count = counts.count + excluded.count",
};

/// Records verifications, the elements of a JSON array: each becomes an audit row, or is counted as refused if its client
/// has had `$2` failures before it. Its failures before it are those in the table plus those before it in the statement.
/// There is a client only if there is a limit.
fn record() -> String {
    if cfg!(feature = "postgres") {
        return "SELECT id, failures, refused, millis_left FROM record($1::text::json, $2)".to_owned();
    }
    // SQLite reads all rows before it fires a trigger. It numbers parameters like `$2` as they come, whatever their names.
    format!(
        "INSERT INTO attempts ({COLUMNS}, client, failures, refused) \
         SELECT {}, value ->> 'client', failures, \
         value ->> 'client' IS NOT NULL AND failures >= ?2 FROM \
         (SELECT value, coalesce((SELECT count FROM failures WHERE minute = unixepoch() / 60 \
         AND client = value ->> 'client'), 0) + count(*) FILTER (WHERE value ->> 'status' <> 'valid') OVER \
         (PARTITION BY value ->> 'client' ORDER BY key ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) \
         AS failures FROM json_each(?1)) \
         RETURNING id, failures, refused, \
         60000 - CAST(unixepoch('subsec') * 1000 AS INTEGER) % 60000 AS millis_left",
        members(COLUMNS)
    )
}

/// The table of verifications.
pub(crate) struct Store {
    database: Arc<Database>,
    records: Batcher<Record>,
    refusals: Batcher<Refuse>,
}

/// Writes the audit rows of several requests at once.
struct Record {
    database: Arc<Database>,
    /// How many failures a client may have in a minute.
    limit: u32,
}

/// Counts the refusals of several requests at once.
struct Refuse(Arc<Database>);

/// The outcome of a request's verifications.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// For each, whether it was refused because the client was at its limit before it; a refusal is only counted.
    pub(crate) refused: Vec<bool>,
    /// The client's failures, if they are counted.
    pub(crate) failures: Option<Failures>,
}

/// The failures of a client in the current minute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failures {
    /// Their number, including these.
    pub(crate) count: u64,
    /// How much of the minute is left.
    pub(crate) left: Duration,
}

/// Refusals to be counted.
#[derive(Serialize)]
struct Refusals {
    /// The beginning of the hour, in milliseconds since the Unix epoch.
    hour: i64,
    count: usize,
}

/// An audit row to be written.
#[derive(Serialize)]
pub(crate) struct Verification {
    pub(crate) id: VerificationId,
    pub(crate) request_id: RequestId,
    pub(crate) credential_hash: CredentialHash,
    pub(crate) status: VerdictStatus,
    pub(crate) verified_by: WorkerId,
    /// Milliseconds since the Unix epoch.
    pub(crate) verified_at: i64,
    pub(crate) client_address: Option<IpAddr>,
    /// The client whose failures are counted, as a keyed hash. Without one, the verification is not refused.
    pub(crate) client: Option<String>,
}

/// An audit row as shown in lists.
#[derive(Serialize)]
pub(crate) struct StoredVerification {
    id: String,
    request_id: String,
    credential_hash: CredentialHash,
    is_valid: bool,
    status: String,
    verified_by: WorkerId,
    verified_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<String>,
}

impl Store {
    /// `limit` is how many failures a client may have in a minute.
    pub(crate) fn new(database: Arc<Database>, limit: u32) -> Self {
        Self {
            records: Batcher::new(Record { database: Arc::clone(&database), limit }, 1),
            refusals: Batcher::new(Refuse(Arc::clone(&database)), 1),
            database,
        }
    }

    /// Writes the audit rows of a request, all or none; after an error it may be either. Verifications after the
    /// client's last permitted failure get no row and are counted as refused.
    pub(crate) async fn record(
        &self,
        verifications: Vec<Verification>,
        deadline: Deadline,
    ) -> Result<Recorded, DatabaseError> {
        self.records.run(verifications, deadline).await
    }

    /// The failures of a client, given as a keyed hash, in the current minute.
    pub(crate) async fn failures(
        &self,
        client: String,
        deadline: Deadline,
    ) -> Result<Failures, DatabaseError> {
        let rows = self.database.query(Access::Read(1), FAILURES.text(), [client.into()], deadline).await?;
        let row = rows.first().ok_or(DatabaseError::UnexpectedRow { column: "count" })?;
        Ok(Failures { count: row.get("count")?, left: Duration::from_millis(row.get("millis_left")?) })
    }

    /// Counts verifications that were refused without asking the database.
    pub(crate) async fn refuse(
        &self,
        count: usize,
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<(), DatabaseError> {
        const HOUR: i64 = 60 * 60 * 1000;
        self.refusals.run(Refusals { hour: at.as_millis() / HOUR * HOUR, count }, deadline).await
    }

    /// The database, for what it counts.
    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    /// Deletes up to `limit` rows that are older than `age`, oldest first, without waiting for the connection or retrying.
    ///
    /// The database's clock decides, as for the limit: a replica with a wrong clock must not delete what the others
    /// keep.
    pub(crate) async fn delete_older_than(&self, age: Duration, limit: usize) -> Result<(), DatabaseError> {
        let integer = |number: u128| i64::try_from(number).unwrap_or(i64::MAX).into();
        self.database
            .query_briefly(
                Access::Write(0),
                DELETE_OLDEST.text(),
                [integer(age.as_millis()), integer(limit as u128)],
            )
            .await
            .map(drop)
    }

    /// A page of audit rows, newest first.
    pub(crate) async fn list(
        &self,
        listing: &Listing<VerdictStatus>,
        after: Option<Vec<Value>>,
        deadline: Deadline,
    ) -> Result<Page<StoredVerification>, DatabaseError> {
        list_query(listing, after).page(&self.database, deadline, StoredVerification::from_row).await
    }
}

/// The smallest id of a time: ids begin with their row's time, so a range of time is a range of ids.
fn first_at(time: Timestamp) -> Value {
    VerificationId::first_at(time).to_string().into()
}

fn list_query(listing: &Listing<VerdictStatus>, after: Option<Vec<Value>>) -> ListQuery {
    let columns =
        "id, request_id, credential_hash, is_valid, status, verified_by, verified_at, client_address";
    let query = ListQuery::new("verifications", columns, &["id"], listing.limit.get());
    let hash = listing.credential_hash.map(|hash| [hash.to_string().into()]);
    let status = listing.status.map(|status| [status.as_str().into()]);
    let query = match (hash, status) {
        (None, None) => query,
        (None, Some(status)) => query.index("verifications_by_status").filter("status = ?", status),
        (Some(hash), None) => query.index("verifications_by_credential").filter("credential_hash = ?", hash),
        // An index on both would enlarge each audit row by a third.
        (Some(hash), Some(status)) => query
            .index("verifications_by_credential")
            .filter("credential_hash = ?", hash)
            .scan("status = ?", status),
    };
    query.range(listing.since.map(first_at), listing.until.map(first_at), after)
}

impl StoredVerification {
    fn from_row(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            id: row.get("id")?,
            request_id: row.get("request_id")?,
            credential_hash: row.get("credential_hash")?,
            is_valid: row.get("is_valid")?,
            status: row.get("status")?,
            verified_by: row.get("verified_by")?,
            verified_at: row.get("verified_at")?,
            client_address: row.get("client_address")?,
        })
    }
}

impl Batch for Record {
    type Item = Vec<Verification>;
    type Output = Recorded;
    type Error = DatabaseError;

    async fn run(
        &self,
        requests: &[Vec<Verification>],
        deadline: Deadline,
    ) -> Result<Vec<Recorded>, DatabaseError> {
        static RECORD: LazyLock<String> = LazyLock::new(record);

        let verifications: Vec<_> = requests.iter().flatten().collect();
        let parameters = [to_json(&verifications)?, i64::from(self.limit).into()];
        let rows =
            self.database.try_once(Access::Write(verifications.len()), &RECORD, parameters, deadline).await?;

        let mut results = HashMap::new();
        for row in &rows {
            results.insert(row.get::<String>("id")?, Self::result(row)?);
        }
        let mut failures = HashMap::new();
        let mut recorded = Vec::new();
        for verification in verifications {
            // Without a row it is not known whether the client was at its limit.
            let result = results.remove(&verification.id.to_string());
            let (refused, before, left) = result.ok_or(DatabaseError::UnexpectedRow { column: "id" })?;
            if let Some(client) = &verification.client {
                let failed = verification.status != VerdictStatus::Valid;
                failures.insert(client, Failures { count: before + u64::from(failed), left });
            }
            recorded.push(refused);
        }
        let mut recorded = recorded.into_iter();
        let of_request = |verifications: &Vec<Verification>| Recorded {
            refused: recorded.by_ref().take(verifications.len()).collect(),
            failures: verifications.iter().find_map(|it| failures.get(it.client.as_ref()?).copied()),
        };
        Ok(requests.iter().map(of_request).collect())
    }
}

impl Record {
    /// Whether a verification was refused, the failures before it, and how much of the minute is left.
    fn result(row: &Row) -> Result<(bool, u64, Duration), DatabaseError> {
        Ok((row.get("refused")?, row.get("failures")?, Duration::from_millis(row.get("millis_left")?)))
    }
}

impl Batch for Refuse {
    type Item = Refusals;
    type Output = ();
    type Error = DatabaseError;

    async fn run(&self, refusals: &[Refusals], deadline: Deadline) -> Result<Vec<()>, DatabaseError> {
        self.0.try_once(Access::Write(0), REFUSE.text(), [to_json(&refusals)?], deadline).await?;
        Ok(vec![(); refusals.len()])
    }
}

#[cfg(test)]
mod tests;
