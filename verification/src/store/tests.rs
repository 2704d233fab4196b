//! How audit rows are read and deleted.

use platform::testing::{Plans, ranges};

use super::*;

/// A script that adds 3,000 rows, one in each second, with these SQL expressions of their number `i`.
fn rows(status: &str, hash: &str) -> String {
    format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
         INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at) \
         SELECT format('%08x-%04x-7000-8000-%012x', i * 1000 >> 16, i * 1000 & 65535, i), 'r', {hash}, {status}, \
         'w', i * 1000 FROM n"
    )
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000).unwrap()
}

#[test]
fn every_page_is_read_in_the_order_of_an_index_whatever_the_filters_and_the_rows() {
    let (one, seven, each) = ("format('%064x', 7)", "format('%064x', i % 7)", "format('%064x', i)");
    let all =
        "CASE i % 4 WHEN 0 THEN 'valid' WHEN 1 THEN 'revoked' WHEN 2 THEN 'expired' ELSE 'not_found' END";
    let few = "CASE i % 1000 WHEN 0 THEN 'revoked' ELSE 'valid' END";
    let mut scripts = Vec::new();
    for status in ["'valid'", "'not_found'", all, few] {
        scripts.extend([one, seven, each].map(|hash| rows(status, hash)));
    }
    let plans = Plans::new(MIGRATIONS, &scripts);
    let mut hash = [0; 32];
    hash[31] = 7;
    let statuses = [VerdictStatus::Valid, VerdictStatus::Revoked, VerdictStatus::NotFound];
    for status in [None].into_iter().chain(statuses.map(Some)) {
        for credential_hash in [None, Some(hash.into())] {
            for (since, until, after) in ranges(|seconds| vec![first_at(time(seconds))]) {
                let (since, until) = (since.map(time), until.map(time));
                let listing = Listing { status, credential_hash, since, until, ..Listing::default() };
                let found = plans.of(&list_query(&listing, after.clone()), &[first_at(time(1200))]);
                let is_below = (until.is_some() || after.is_some()).then_some("id<?");
                let (index, equal) = match (credential_hash, status) {
                    (Some(_), _) => ("INDEX verifications_by_credential", Some("credential_hash=?")),
                    (None, Some(_)) => ("INDEX verifications_by_status", Some("status=?")),
                    (None, None) => ("PRIMARY KEY", None),
                };
                let plan = |is_from: Option<_>| {
                    let terms: Vec<_> = [equal, is_from, is_below].into_iter().flatten().collect();
                    match terms.as_slice() {
                        [] => "SCAN verifications".to_owned(),
                        terms => format!("SEARCH verifications USING {index} ({})", terms.join(" AND ")),
                    }
                };
                let mut expected = vec![plan(since.map(|_| "id>?"))];
                if since.is_none() && status.is_some() && credential_hash.is_some() {
                    // A scan is read from its end.
                    expected.push(plan(Some("id>?")));
                }
                expected.sort_unstable();
                assert_eq!(found, expected, "{listing:?} {after:?}");
            }
        }
    }
}

#[test]
fn the_oldest_rows_are_those_from_before_an_age_by_the_databases_clock() {
    let database = rusqlite::Connection::open_in_memory().unwrap();
    for migration in MIGRATIONS {
        database.execute_batch(migration.sql).unwrap();
    }
    let now: i64 = database.query_row("SELECT unixepoch() * 1000", [], |row| row.get(0)).unwrap();
    let day = 24 * 60 * 60 * 1000;
    for age in [-day, 0, day - 60_000, day + 60_000, 2 * day, now] {
        let id = VerificationId::new(Timestamp::from_millis(now - age).unwrap(), [7; 10]).to_string();
        let row = "INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at) \
                   VALUES (?1, 'r', 'h', 'valid', 'w', ?2)";
        database.execute(row, rusqlite::params![id, now - age]).unwrap();
    }
    let delete = |age: i64, limit: i64| database.execute(DELETE_OLDEST.sqlite, [age, limit]).unwrap();
    assert_eq!(delete(i64::from(u32::MAX) * 1000, 9), 0, "an age of more than there is time since 1970");
    assert_eq!(delete(day, 2), 2);
    let oldest = "SELECT max(?1 - verified_at) FROM verifications";
    let age: i64 = database.query_row(oldest, [now], |row| row.get(0)).unwrap();
    assert_eq!(age, day + 60_000, "the oldest go first");
    assert_eq!(delete(day, 9), 1);
    assert_eq!(delete(day, 9), 0);
    let plan = format!("EXPLAIN QUERY PLAN {}", DELETE_OLDEST.sqlite);
    let mut plan = database.prepare(&plan).unwrap();
    let steps = plan.query_map([1, 1], |row| row.get::<_, String>(3)).unwrap().map(Result::unwrap);
    let steps: Vec<_> = steps.collect();
    assert!(
        steps.iter().any(|step| step.contains("SEARCH verifications USING PRIMARY KEY (id<?)")),
        "{steps:?}"
    );
    assert!(steps.iter().all(|step| !step.starts_with("SCAN verifications")), "{steps:?}");
}
