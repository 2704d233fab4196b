//! The audit rows, in this service's own database.

use std::sync::Arc;

use credentials::{CredentialHash, Timestamp, VerdictStatus, VerificationId, WorkerId};
use platform::{Database, DatabaseError, Group, RequestId, Row, Value, Work, migrations};
use serde::Serialize;

/// The table of verifications.
pub(crate) struct Store {
    database: Arc<Database>,
    records: Group<Record>,
}

/// Writes the audit rows of several requests at once.
struct Record(Arc<Database>);

/// One verdict on one credential, as it is recorded.
#[derive(Serialize)]
pub(crate) struct Verification {
    pub(crate) id: VerificationId,
    pub(crate) request_id: RequestId,
    pub(crate) credential_hash: CredentialHash,
    pub(crate) status: VerdictStatus,
    pub(crate) verified_by: WorkerId,
    /// Milliseconds since the Unix epoch.
    pub(crate) verified_at: i64,
}

/// An audit row as a list shows it.
#[derive(Serialize)]
pub(crate) struct ListedVerification {
    id: String,
    request_id: String,
    credential_hash: String,
    is_valid: bool,
    status: String,
    verified_by: String,
    verified_at: Timestamp,
}

/// Which audit rows a page of the list has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    pub(crate) status: Option<VerdictStatus>,
    pub(crate) credential_hash: Option<&'a CredentialHash>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    /// The id with which the page before ended.
    pub(crate) after: Option<&'a str>,
    pub(crate) limit: u8,
}

impl Store {
    pub(crate) fn new() -> Self {
        let migrations = migrations!["0001_verifications", "0002_lists"];
        let database = Arc::new(Database::new("verification", migrations));
        Self { records: Group::new(Record(Arc::clone(&database)), 1), database }
    }

    /// Writes the audit rows of a request: all of them, or on an error none.
    pub(crate) async fn record(&self, verifications: Vec<Verification>) -> Result<(), DatabaseError> {
        self.records.join(verifications).await
    }

    /// Deletes at most `limit` of the rows from before a time, the oldest first.
    pub(crate) async fn delete_before(&self, time: Timestamp, limit: u32) -> Result<(), DatabaseError> {
        self.database
            .query(
                "DELETE FROM verifications WHERE id IN \
                 (SELECT id FROM verifications WHERE id < ? ORDER BY id LIMIT ?)",
                [VerificationId::first_at(time).to_string().into(), limit.into()],
            )
            .await
            .map(drop)
    }

    /// A page of audit rows, newest first, and the id after which the next one begins, if there is more.
    pub(crate) async fn list(
        &self,
        page: &Page<'_>,
    ) -> Result<(Vec<ListedVerification>, Option<String>), DatabaseError> {
        let (statement, parameters) = list_statement(page);
        let rows = self.database.query(&statement, parameters).await?;
        let listed = rows.iter().map(|row| listed(row).ok_or(DatabaseError::UnexpectedRow));
        let mut listed = listed.collect::<Result<Vec<_>, _>>()?;
        let more = listed.len() > usize::from(page.limit);
        listed.truncate(page.limit.into());
        let next = listed.last().filter(|_| more).map(|row| row.id.clone());
        Ok((listed, next))
    }

    /// Whether the database can be read and written, without changing anything.
    pub(crate) async fn probe(&self) -> Result<(), DatabaseError> {
        self.database
            .query("UPDATE verifications SET request_id = request_id WHERE false", [])
            .await
            .map(drop)
    }
}

impl Work for Record {
    type Item = Vec<Verification>;
    type Outcome = ();
    type Error = DatabaseError;

    fn passes(error: &DatabaseError) -> bool {
        error.passes()
    }

    async fn carry_out(&self, requests: &[Vec<Verification>]) -> Result<Vec<()>, DatabaseError> {
        // One parameter whatever their number, so that the statement's text stays the same.
        let rows: Vec<_> = requests.iter().flatten().collect();
        let rows = serde_json::to_string(&rows).map_err(|_| DatabaseError::UnexpectedRow)?;
        self.0
            .attempt(
                "INSERT INTO verifications \
                 (id, request_id, credential_hash, status, verified_by, verified_at) \
                 SELECT value ->> 'id', value ->> 'request_id', value ->> 'credential_hash', \
                 value ->> 'status', value ->> 'verified_by', value ->> 'verified_at' FROM json_each(?)",
                [rows.into()],
            )
            .await?;
        Ok(vec![(); requests.len()])
    }
}

/// The statement for a page and the one row more that tells whether there is a next one: only conditions that are asked for, so that SQLite picks the index made for them.
///
/// An id begins with its row's time, so a range of time is a range of ids.
fn list_statement(page: &Page<'_>) -> (String, Vec<Value>) {
    let first_at = |time: Timestamp| VerificationId::first_at(time).to_string();
    // One upper bound: of two, SQLite would search by one and step through all rows between it and the other.
    let before = page.until.map(first_at).into_iter().chain(page.after.map(ToOwned::to_owned)).min();
    let conditions = [
        ("credential_hash = ?", page.credential_hash.map(ToString::to_string)),
        ("status = ?", page.status.map(|status| status.as_str().to_owned())),
        ("id >= ?", page.since.map(first_at)),
        ("id < ?", before),
    ];
    let (conditions, mut parameters): (Vec<_>, Vec<Value>) = conditions
        .into_iter()
        .filter_map(|(condition, value)| value.map(|value| (condition, Value::from(value))))
        .unzip();
    let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
    parameters.push((i64::from(page.limit) + 1).into());
    let statement = format!(
        "SELECT id, request_id, credential_hash, is_valid, status, verified_by, verified_at \
         FROM verifications WHERE {conditions} ORDER BY id DESC LIMIT ?"
    );
    (statement, parameters)
}

fn listed(row: &Row) -> Option<ListedVerification> {
    let text = |column| row.get::<&str>(column).map(ToOwned::to_owned);
    Some(ListedVerification {
        id: text(0)?,
        request_id: text(1)?,
        credential_hash: text(2)?,
        is_valid: row.get(3)?,
        status: text(4)?,
        verified_by: text(5)?,
        verified_at: Timestamp::from_millis(row.get(6)?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How SQLite runs the statement of a page: the index it uses, and whether it has to sort.
    fn plan(page: &Page<'_>) -> String {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        for migration in [
            include_str!("../migrations/0001_verifications.sql"),
            include_str!("../migrations/0002_lists.sql"),
        ] {
            database.execute_batch(migration).unwrap();
        }
        let (statement, parameters) = list_statement(page);
        let statement = (0..parameters.len()).fold(statement, |statement, _| statement.replacen('?', "1", 1));
        let mut plan = database.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn every_page_is_read_from_an_index_in_its_order() {
        let time = Timestamp::from_millis(1).unwrap();
        let hash = CredentialHash::from([0; 32]);
        let page =
            Page { status: None, credential_hash: None, since: None, until: None, after: None, limit: 50 };
        for (page, index) in [
            (page, "SCAN verifications"),
            (Page { after: Some("x"), ..page }, "USING PRIMARY KEY"),
            (Page { since: Some(time), until: Some(time), after: Some("x"), ..page }, "USING PRIMARY KEY"),
            (Page { status: Some(VerdictStatus::Valid), ..page }, "verifications_by_status"),
            (
                Page { status: Some(VerdictStatus::Valid), since: Some(time), after: Some("x"), ..page },
                "verifications_by_status",
            ),
            (Page { credential_hash: Some(&hash), after: Some("x"), ..page }, "verifications_by_credential"),
        ] {
            let plan = plan(&page);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{page:?}: {plan}");
        }
    }

    #[test]
    fn a_page_has_one_upper_bound_the_lower_of_its_end_of_time_and_its_cursor() {
        let time = Timestamp::from_millis(1_759_966_200_000).unwrap();
        let page = Page {
            status: None,
            credential_hash: None,
            since: None,
            until: Some(time),
            after: None,
            limit: 50,
        };
        for (after, bound) in [
            ("0199c629-0000-7000-8000-000000000000", "0199c629-0000-7000-8000-000000000000"),
            ("0199c629-ffff-7000-8000-000000000000", "0199c629-00c0-7000-8000-000000000000"),
        ] {
            let (statement, parameters) = list_statement(&Page { after: Some(after), ..page });
            assert_eq!(statement.matches("id <").count(), 1);
            assert!(matches!(&parameters[0], Value::Text(text) if text == bound), "{parameters:?}");
        }
    }
}
