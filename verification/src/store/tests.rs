//! How audit rows are read and deleted.

use platform::Plans;

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
            for (since, until, after) in ranges() {
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
                    // A scan is read from its end on.
                    expected.push(plan(Some("id>?")));
                }
                expected.sort_unstable();
                assert_eq!(found, expected, "{listing:?} {after:?}");
            }
        }
    }
}

/// All combinations of since, until and the key of a cursor.
fn ranges() -> impl Iterator<Item = (Option<Timestamp>, Option<Timestamp>, Option<Vec<Value>>)> {
    (0..8).map(|bits| {
        let has = |bit: i32| bits & bit > 0;
        let after = has(4).then(|| vec![first_at(time(1500))]);
        (has(1).then(|| time(1000)), has(2).then(|| time(2000)), after)
    })
}
