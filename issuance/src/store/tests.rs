//! How credentials are read.

use platform::testing::{Plans, ranges};

use super::*;

/// A script that adds 3,000 rows, one in each second, with these SQL expressions of their number `i`.
fn rows(expires_at: &str, revoked_at: &str, max_uses: &str) -> String {
    format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
         INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at, expires_at, revoked_at, max_uses, uses) \
         SELECT format('%064x', i), 'k', 'w', i * 1000, {expires_at}, {revoked_at}, {max_uses}, i % 2 FROM n"
    )
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000).unwrap()
}

fn key(seconds: i64) -> Vec<Value> {
    vec![time(seconds).into(), seconds.into()]
}

#[test]
fn every_page_is_read_in_the_order_of_an_index_whatever_the_filters_and_the_rows() {
    let mut scripts = Vec::new();
    for expires_at in ["NULL", "i", "CASE i % 2 WHEN 0 THEN i END", "CASE i % 1000 WHEN 0 THEN i END"] {
        for revoked_at in ["NULL", "i", "CASE i % 3 WHEN 0 THEN i END", "CASE i % 1000 WHEN 1 THEN i END"] {
            for max_uses in ["NULL", "1", "CASE i % 1000 WHEN 2 THEN 1 END"] {
                scripts.push(rows(expires_at, revoked_at, max_uses));
            }
        }
    }
    let plans = Plans::new(MIGRATIONS, &scripts);
    let statuses = [Status::Active, Status::Expired, Status::Revoked, Status::UsedUp];
    for status in [None].into_iter().chain(statuses.map(Some)) {
        for credential_hash in [None, Some([0; 32].into())] {
            for (since, until, after) in ranges(key) {
                let (since, until) = (since.map(time), until.map(time));
                let listing = Listing { status, credential_hash, since, until, ..Listing::default() };
                let query = list_query(&listing, after.clone(), time(1700));
                let found = plans.of(&query, &key(1200));
                if credential_hash.is_some() {
                    // There is one row, at most.
                    let plan =
                        "SEARCH credentials USING INDEX sqlite_autoindex_credentials_1 (credential_hash=?)";
                    assert_eq!(found, [plan], "{listing:?} {after:?}");
                    continue;
                }
                let index = match status {
                    None | Some(Status::Active) => "credentials_by_time",
                    Some(Status::Expired) => "credentials_expiring",
                    Some(Status::Revoked) => "credentials_revoked",
                    Some(Status::UsedUp) => "credentials_limited",
                };
                let is_below = (until.is_some() || after.is_some()).then_some("issued_at<?");
                let plan = |is_from: Option<_>| {
                    let terms: Vec<_> = [is_from, is_below].into_iter().flatten().collect();
                    match terms.as_slice() {
                        [] => format!("SCAN credentials USING INDEX {index}"),
                        terms => format!("SEARCH credentials USING INDEX {index} ({})", terms.join(" AND ")),
                    }
                };
                let mut expected = vec![plan(since.map(|_| "issued_at>?"))];
                if since.is_none()
                    && matches!(status, Some(Status::Active | Status::Expired | Status::UsedUp))
                {
                    // A scan is read from its end.
                    expected.push(plan(Some("issued_at>?")));
                }
                expected.sort_unstable();
                assert_eq!(found, expected, "{listing:?} {after:?}");
            }
        }
    }
}
