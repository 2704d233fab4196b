//! The credentials that were issued, in this service's own database.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use credentials::{CredentialHash, IssueRecord, KeyId, Metadata, Reason, Status, Timestamp, WorkerId};
use platform::{Database, DatabaseError, Group, Row, Value, Work, migrations};
use serde::Serialize;

/// The table of issued credentials.
pub(crate) struct Store {
    database: Arc<Database>,
    inserts: Group<Insert>,
    finds: Group<Find>,
}

/// Adds the credentials of several requests at once.
struct Insert(Arc<Database>);

/// Looks up the hashes of several requests at once.
struct Find(Arc<Database>);

/// A credential to be issued.
pub(crate) struct NewCredential {
    /// Its hashes under all keys, at least one: it is issued under the first.
    pub(crate) hashes: Vec<CredentialHash>,
    pub(crate) key_id: KeyId,
    pub(crate) record: IssueRecord,
}

/// A credential as a list shows it.
pub(crate) struct ListedCredential {
    /// Its place in the list: see [`Page::after`].
    pub(crate) place: Place,
    pub(crate) credential_hash: String,
    pub(crate) key_id: String,
    pub(crate) record: IssueRecord,
    pub(crate) reason: Option<Reason>,
}

/// A place in the list of credentials: by time of issuing, then by order of issuing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) issued_at: i64,
    pub(crate) id: i64,
}

/// Which credentials a page of the list has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    pub(crate) status: Option<Status>,
    pub(crate) credential_hash: Option<&'a CredentialHash>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    /// Where the page before ended.
    pub(crate) after: Option<Place>,
    /// What decides between active and expired.
    pub(crate) now: Timestamp,
    pub(crate) limit: u8,
}

/// A revocation as it stands: the first one's time and reason.
pub(crate) struct Revocation {
    pub(crate) credential_hash: String,
    pub(crate) revoked_at: Timestamp,
    pub(crate) reason: Option<Reason>,
}

/// The columns of an [`IssueRecord`].
const RECORD: &str = "worker_id, issued_at, expires_at, revoked_at, metadata";

impl Store {
    pub(crate) fn new() -> Self {
        let migrations = migrations!["0001_credentials", "0002_lifecycle"];
        let database = Arc::new(Database::new("issuance", migrations));
        Self {
            inserts: Group::new(Insert(Arc::clone(&database)), 1),
            finds: Group::new(Find(Arc::clone(&database)), 1),
            database,
        }
    }

    /// Adds a credential; `false` if it is there already under any of its hashes, whoever added it. Of any number at
    /// once, one gets `true`.
    pub(crate) async fn insert(&self, credential: NewCredential) -> Result<bool, DatabaseError> {
        self.inserts.join(credential).await
    }

    /// What is known of the credentials with these hashes, by hash. What was not issued is not in the map.
    pub(crate) async fn find(
        &self,
        hashes: Vec<CredentialHash>,
    ) -> Result<HashMap<String, IssueRecord>, DatabaseError> {
        self.finds.join(hashes).await
    }

    /// Revokes the credential with any of these hashes. Where it is revoked already, that stands. `None` if there is
    /// no such credential.
    pub(crate) async fn revoke(
        &self,
        hashes: &[CredentialHash],
        reason: Option<&Reason>,
    ) -> Result<Option<Revocation>, DatabaseError> {
        // Every right-hand side sees the row as it was: the reason is kept together with its time. That time is taken
        // here and not before, where the statement may still have to wait for its turn.
        let rows = self
            .database
            .query(
                "UPDATE credentials SET \
                 revoked_at = coalesce(revoked_at, CAST(round(unixepoch('subsec') * 1000) AS INTEGER)), \
                 revocation_reason = CASE WHEN revoked_at IS NULL THEN ?1 ELSE revocation_reason END \
                 WHERE credential_hash IN (SELECT value FROM json_each(?2)) \
                 RETURNING credential_hash, revoked_at, revocation_reason",
                [reason.map(Reason::as_str).into(), json(&hashes)?],
            )
            .await?;
        let revocations = rows.iter().map(|row| {
            Ok(Revocation {
                credential_hash: text(row, 0)?,
                revoked_at: optional_time(row, 1)?.ok_or(DatabaseError::UnexpectedRow)?,
                reason: reason_of(row, 2)?,
            })
        });
        let revocations = revocations.collect::<Result<Vec<_>, DatabaseError>>()?;
        Ok(revocations.into_iter().min_by_key(|revocation| revocation.revoked_at))
    }

    /// A page of credentials, newest first, and where the next one begins, if there is more.
    ///
    /// Active and expired ones are told apart row by row, and at most [`MAX_SCANNED`] rows are looked at for a page: so
    /// a page may have fewer rows than its limit, even none, though more come after it.
    pub(crate) async fn list(
        &self,
        page: &Page<'_>,
    ) -> Result<(Vec<ListedCredential>, Option<Place>), DatabaseError> {
        // First how far to look, then what is there: rows that are added in between are newer, and change neither.
        let end = if page.scans() { self.end_of_scan(page).await? } else { None };
        let (statement, parameters) = list_statement(page, end);
        let rows = self.database.query(&statement, parameters).await?;
        let listed = |row: &Row| {
            Ok(ListedCredential {
                place: Place { issued_at: integer(row, 3)?, id: integer(row, 7)? },
                credential_hash: text(row, 0)?,
                key_id: text(row, 1)?,
                record: issue_record(row, 2)?,
                reason: reason_of(row, 8)?,
            })
        };
        let mut listed = rows.iter().map(listed).collect::<Result<Vec<_>, DatabaseError>>()?;
        if listed.len() > usize::from(page.limit) {
            listed.truncate(page.limit.into());
            let next = listed.last().map(|row| row.place);
            return Ok((listed, next));
        }
        Ok((listed, end))
    }

    /// The last place to look at for a page, if the list goes on behind it.
    async fn end_of_scan(&self, page: &Page<'_>) -> Result<Option<Place>, DatabaseError> {
        let (conditions, mut parameters) = page.range();
        parameters.push((MAX_SCANNED - 1).into());
        let statement = format!(
            "SELECT issued_at, id FROM credentials WHERE {conditions} \
             ORDER BY issued_at DESC, id DESC LIMIT 1 OFFSET ?"
        );
        let rows = self.database.query(&statement, parameters).await?;
        rows.first().map(|row| Ok(Place { issued_at: integer(row, 0)?, id: integer(row, 1)? })).transpose()
    }

    /// Whether the database can be read and written, without changing anything.
    pub(crate) async fn probe(&self) -> Result<(), DatabaseError> {
        self.database.query("UPDATE credentials SET id = id WHERE false", []).await.map(drop)
    }
}

/// How many rows are looked at for one page at the most: a few milliseconds' worth.
const MAX_SCANNED: i64 = 10_000;

impl Work for Insert {
    type Item = NewCredential;
    /// Whether it was added.
    type Outcome = bool;
    type Error = DatabaseError;

    fn passes(error: &DatabaseError) -> bool {
        error.passes()
    }

    async fn carry_out(&self, credentials: &[NewCredential]) -> Result<Vec<bool>, DatabaseError> {
        // One statement decides and reports: the connection is shared, so `changes()` could be another request's. One
        // parameter whatever their number, so that the statement's text stays the same.
        let inserted = self
            .0
            .attempt(
                "INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at, expires_at, metadata) \
                 SELECT value ->> '$.hashes[0]', value ->> 'key_id', value ->> 'worker_id', \
                 value ->> 'issued_at', value ->> 'expires_at', value ->> 'metadata' FROM json_each(?) AS new \
                 WHERE NOT EXISTS (SELECT 1 FROM credentials WHERE credential_hash IN \
                 (SELECT value FROM json_each(new.value, '$.hashes'))) \
                 ON CONFLICT (credential_hash) DO NOTHING RETURNING credential_hash",
                [json(&credentials.iter().map(NewRow::from).collect::<Vec<_>>())?],
            )
            .await?;
        let mut inserted =
            inserted.iter().map(|row| text(row, 0)).collect::<Result<HashSet<_>, DatabaseError>>()?;
        // Whoever asked first for what was added is the one who added it.
        let added =
            |new: &NewCredential| new.hashes.first().is_some_and(|hash| inserted.remove(&hash.to_string()));
        Ok(credentials.iter().map(added).collect())
    }
}

impl Work for Find {
    type Item = Vec<CredentialHash>;
    type Outcome = HashMap<String, IssueRecord>;
    type Error = DatabaseError;

    fn passes(error: &DatabaseError) -> bool {
        error.passes()
    }

    async fn carry_out(
        &self,
        requests: &[Vec<CredentialHash>],
    ) -> Result<Vec<HashMap<String, IssueRecord>>, DatabaseError> {
        let hashes: Vec<_> = requests.iter().flatten().collect();
        let rows = self
            .0
            .attempt(
                "SELECT credential_hash, worker_id, issued_at, expires_at, revoked_at, metadata FROM credentials \
                 WHERE credential_hash IN (SELECT value FROM json_each(?))",
                [json(&hashes)?],
            )
            .await?;
        let found = rows.iter().map(|row| Ok((text(row, 0)?, issue_record(row, 1)?)));
        let found = found.collect::<Result<HashMap<_, _>, DatabaseError>>()?;
        let of_request = |hashes: &Vec<CredentialHash>| {
            let texts = hashes.iter().map(ToString::to_string);
            texts.filter_map(|text| found.get(&text).cloned().map(|record| (text, record))).collect()
        };
        Ok(requests.iter().map(of_request).collect())
    }
}

/// A new credential as the statement takes it; times in milliseconds since the Unix epoch.
#[derive(Serialize)]
struct NewRow<'a> {
    hashes: &'a [CredentialHash],
    key_id: String,
    worker_id: &'a str,
    issued_at: i64,
    expires_at: Option<i64>,
    metadata: Option<&'a str>,
}

impl<'a> From<&'a NewCredential> for NewRow<'a> {
    fn from(NewCredential { hashes, key_id, record }: &'a NewCredential) -> Self {
        Self {
            hashes,
            key_id: key_id.to_string(),
            worker_id: record.issued_by.as_str(),
            issued_at: record.issued_at.as_millis(),
            expires_at: record.expires_at.map(Timestamp::as_millis),
            metadata: record.metadata.as_ref().map(Metadata::as_str),
        }
    }
}

impl Page<'_> {
    /// Whether rows have to be looked at to tell whether they are asked for.
    fn scans(&self) -> bool {
        matches!(self.status, Some(Status::Active | Status::Expired))
    }

    /// What an index can tell: only conditions that are asked for, so that SQLite picks the one made for them.
    fn range(&self) -> (String, Vec<Value>) {
        let mut conditions = vec!["true"];
        let mut parameters: Vec<Value> = Vec::new();
        let mut require = |condition: &'static str, values: Vec<Value>| {
            conditions.push(condition);
            parameters.extend(values);
        };
        match self.status {
            Some(Status::Revoked) => require("revoked_at IS NOT NULL", vec![]),
            Some(Status::Expired) => require("expires_at IS NOT NULL", vec![]),
            Some(Status::Active) | None => {}
        }
        if let Some(hash) = self.credential_hash {
            require("credential_hash = ?", vec![hash.to_string().into()]);
        }
        if let Some(since) = self.since {
            require("issued_at >= ?", vec![since.as_millis().into()]);
        }
        // One upper bound: of two, SQLite would search by one and step through all rows between it and the other. A
        // cursor is bound to its filters, so its place lies before `until`.
        match (self.after, self.until) {
            (Some(Place { issued_at, id }), _) => {
                require("(issued_at, id) < (?, ?)", vec![issued_at.into(), id.into()]);
            }
            (None, Some(until)) => require("issued_at < ?", vec![until.as_millis().into()]),
            (None, None) => {}
        }
        (conditions.join(" AND "), parameters)
    }
}

/// The statement for a page, down to `end` if there is one, and the one row more that tells whether there is a next one.
fn list_statement(page: &Page<'_>, end: Option<Place>) -> (String, Vec<Value>) {
    let (mut conditions, mut parameters) = page.range();
    match page.status {
        None | Some(Status::Revoked) => {}
        Some(Status::Expired) => {
            conditions.push_str(" AND revoked_at IS NULL AND expires_at <= ?");
            parameters.push(page.now.as_millis().into());
        }
        Some(Status::Active) => {
            conditions.push_str(" AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)");
            parameters.push(page.now.as_millis().into());
        }
    }
    if let Some(Place { issued_at, id }) = end {
        conditions.push_str(" AND (issued_at, id) >= (?, ?)");
        parameters.extend([issued_at.into(), id.into()]);
    }
    parameters.push((i64::from(page.limit) + 1).into());
    let statement = format!(
        "SELECT credential_hash, key_id, {RECORD}, id, revocation_reason FROM credentials \
         WHERE {conditions} ORDER BY issued_at DESC, id DESC LIMIT ?"
    );
    (statement, parameters)
}

/// Any number of things as one parameter.
fn json(list: &impl Serialize) -> Result<Value, DatabaseError> {
    serde_json::to_string(list).map(Value::from).map_err(|_| DatabaseError::UnexpectedRow)
}

/// The record in a row whose columns from `first` on are [`RECORD`].
fn issue_record(row: &Row, first: usize) -> Result<IssueRecord, DatabaseError> {
    Ok(IssueRecord {
        issued_by: WorkerId::named(text(row, first)?),
        issued_at: optional_time(row, first + 1)?.ok_or(DatabaseError::UnexpectedRow)?,
        expires_at: optional_time(row, first + 2)?,
        revoked_at: optional_time(row, first + 3)?,
        metadata: match optional::<&str>(row, first + 4)? {
            Some(json) => Some(Metadata::new(json).map_err(|_| DatabaseError::UnexpectedRow)?),
            None => None,
        },
    })
}

fn reason_of(row: &Row, column: usize) -> Result<Option<Reason>, DatabaseError> {
    let reason = optional::<&str>(row, column)?.map(Reason::new);
    reason.transpose().map_err(|_| DatabaseError::UnexpectedRow)
}

fn optional_time(row: &Row, column: usize) -> Result<Option<Timestamp>, DatabaseError> {
    let time = optional(row, column)?.map(Timestamp::from_millis);
    time.transpose().map_err(|_| DatabaseError::UnexpectedRow)
}

fn optional<'a, T: TryFrom<&'a Value>>(row: &'a Row, column: usize) -> Result<Option<T>, DatabaseError> {
    match row.values.get(column) {
        Some(Value::Null) => Ok(None),
        _ => row.get(column).map(Some).ok_or(DatabaseError::UnexpectedRow),
    }
}

fn text(row: &Row, column: usize) -> Result<String, DatabaseError> {
    row.get::<&str>(column).map(ToOwned::to_owned).ok_or(DatabaseError::UnexpectedRow)
}

fn integer(row: &Row, column: usize) -> Result<i64, DatabaseError> {
    row.get(column).ok_or(DatabaseError::UnexpectedRow)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How SQLite runs the statement of a page: the index it uses, and whether it has to sort.
    fn plan(page: &Page<'_>) -> String {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        for migration in [
            include_str!("../migrations/0001_credentials.sql"),
            include_str!("../migrations/0002_lifecycle.sql"),
        ] {
            database.execute_batch(migration).unwrap();
        }
        let (statement, parameters) = list_statement(page, page.after);
        let statement = (0..parameters.len()).fold(statement, |statement, _| statement.replacen('?', "1", 1));
        let mut plan = database.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn every_page_is_read_from_an_index_in_its_order() {
        let now = Timestamp::from_millis(1).unwrap();
        let hash = CredentialHash::from([0; 32]);
        let page = Page {
            status: None,
            credential_hash: None,
            since: None,
            until: None,
            after: None,
            now,
            limit: 50,
        };
        let after = Some(Place { issued_at: 1, id: 1 });
        for (page, index) in [
            (page, "credentials_by_time"),
            (Page { after, ..page }, "credentials_by_time"),
            (Page { since: Some(now), until: Some(now), ..page }, "credentials_by_time"),
            (Page { status: Some(Status::Active), ..page }, "credentials_by_time"),
            (Page { status: Some(Status::Expired), ..page }, "credentials_expiring"),
            (Page { status: Some(Status::Revoked), after, ..page }, "credentials_revoked"),
        ] {
            let plan = plan(&page);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{page:?}: {plan}");
        }
        let plan = plan(&Page { credential_hash: Some(&hash), ..page });
        assert!(plan.contains("sqlite_autoindex_credentials_1"), "{plan}");
    }
}
