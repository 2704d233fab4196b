//! GET /credentials and GET /verifications.

use std::time::Duration;

use e2e::{Setup, TestApp, needs_own_host, values::names};
use serde_json::{Value, json};

fn hashes(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["credential_hash"].as_str().unwrap()).collect()
}

/// The rows whose `member` is in this range of times.
fn between(rows: &[Value], member: &str, since: &str, until: &str) -> Vec<Value> {
    let is_between = |row: &&Value| (since..until).contains(&row[member].as_str().unwrap());
    let rows: Vec<_> = rows.iter().filter(is_between).cloned().collect();
    assert!(!rows.is_empty());
    rows
}

/// Issues twelve credentials and returns their hashes. Every third expires, and every fourth is revoked.
async fn with_credentials() -> (TestApp, Vec<String>) {
    let app = Setup::new().start().await;
    let mut issued = Vec::new();
    for i in 0..12 {
        let mut body = json!({ "credential": format!("c{i}"), "metadata": { "i": i } });
        if i % 3 == 0 {
            body["ttl_seconds"] = 1.into();
        }
        issued.push(app.issued(body).await["credential_hash"].as_str().unwrap().to_owned());
        if i % 4 == 0 {
            app.revoke(&json!({ "credential": format!("c{i}"), "reason": "r" })).await;
        }
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    (app, issued)
}

#[tokio::test]
async fn credentials_are_listed_newest_first_page_by_page() {
    needs_own_host!();
    let (app, mut issued) = with_credentials().await;
    issued.reverse();
    for limit in [1, 5, 12, 1000] {
        let rows = app.all_pages(&format!("/credentials?limit={limit}")).await;
        assert_eq!(hashes(&rows), issued, "{limit}");
    }
    let page = app.admin_get("/credentials").await.json();
    let row = &page["credentials"][0];
    assert_eq!(row["metadata"], json!({ "i": 11 }));
    assert_eq!(row["status"], "active");
    assert_eq!(page["credentials"][11]["reason"], "r");
    assert_eq!(page["next_cursor"], Value::Null);
}

#[tokio::test]
async fn credentials_are_filtered_by_status_hash_and_time() {
    needs_own_host!();
    let (app, issued) = with_credentials().await;
    for (status, expected) in [
        ("revoked", (0..12).filter(|i| i % 4 == 0).collect::<Vec<_>>()),
        ("expired", (0..12).filter(|i| i % 3 == 0 && i % 4 != 0).collect()),
        ("active", (0..12).filter(|i| i % 3 != 0 && i % 4 != 0).collect()),
    ] {
        let rows = app.all_pages(&format!("/credentials?limit=2&status={status}")).await;
        let expected: Vec<_> = expected.iter().rev().map(|i: &usize| issued[*i].as_str()).collect();
        assert_eq!(hashes(&rows), expected, "{status}");
        assert!(rows.iter().all(|row| row["status"] == status));
    }
    let rows = app.all_pages(&format!("/credentials?credential_hash={}", issued[3])).await;
    assert_eq!(hashes(&rows), [&issued[3]]);
    let all = app.all_pages("/credentials?limit=100").await;
    let (until, since) = (all[2]["issued_at"].as_str().unwrap(), all[8]["issued_at"].as_str().unwrap());
    let rows = app.all_pages(&format!("/credentials?limit=2&since={since}&until={until}")).await;
    assert_eq!(rows, between(&all, "issued_at", since, until));
}

#[tokio::test]
async fn verifications_are_listed_and_filtered_the_same_way() {
    needs_own_host!();
    let (app, issued) = with_credentials().await;
    for _ in 0..3 {
        for i in 0..14 {
            app.verify(&format!("c{i}")).await;
        }
    }
    let all = app.all_pages("/verifications?limit=7").await;
    assert_eq!(all.len(), 42);
    let times: Vec<_> = all.iter().map(|row| row["verified_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert_eq!(
        names(&all[0]),
        ["credential_hash", "id", "is_valid", "request_id", "status", "verified_at", "verified_by"]
    );
    for status in ["valid", "expired", "revoked", "not_found"] {
        let rows = app.all_pages(&format!("/verifications?limit=4&status={status}")).await;
        let expected: Vec<_> = all.iter().filter(|row| row["status"] == status).cloned().collect();
        assert!(!expected.is_empty());
        assert_eq!(rows, expected, "{status}");
        assert!(rows.iter().all(|row| row["is_valid"] == (status == "valid")));
    }
    let path = format!("/verifications?limit=2&credential_hash={}", issued[1]);
    assert_eq!(app.all_pages(&path).await.len(), 3);
    let (until, since) = (times[10], times[30]);
    let rows = app.all_pages(&format!("/verifications?limit=5&since={since}&until={until}")).await;
    assert_eq!(rows, between(&all, "verified_at", since, until));
}

/// No index covers the verifications of a hash by status.
#[tokio::test]
async fn rows_of_one_hash_and_status_are_found_among_any_number_of_others() {
    needs_own_host!();
    let app = Setup::new().without_validation().start().await;
    app.verify("first").await;
    let hash = "7".repeat(64);
    let database = app.database("verification");
    let id = database.verification_id("ms", "i");
    database.execute(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000), \
         m (i, ms) AS (SELECT i, 1764000000000 + i * 1000 FROM n) INSERT INTO verifications \
         (id, request_id, credential_hash, status, verified_by, verified_at) SELECT {id}, 'r', '{hash}', \
         CASE WHEN i IN (1, 2, 3, 14000) THEN 'revoked' ELSE 'valid' END, 'w', ms FROM m"
    ));
    let path = format!("/verifications?credential_hash={hash}&status=revoked");
    let first = app.admin_get(&path).await.json();
    assert_eq!((&first["verifications"], first["next_cursor"].is_string()), (&json!([]), true));
    for limit in [1, 2, 1000] {
        // 14,000 s and 2 s after the first row.
        for (since, count) in
            [("", 4), ("&since=2025-11-24T19:53:20Z", 1), ("&since=2025-11-24T16:00:02Z", 3)]
        {
            let rows = app.all_pages(&format!("{path}&limit={limit}{since}")).await;
            assert_eq!(rows.len(), count, "{limit} {since}");
            assert!(rows.iter().all(|row| row["status"] == "revoked" && row["credential_hash"] == *hash));
        }
    }
}

#[tokio::test]
async fn an_invalid_parameter_is_named() {
    let app = TestApp::any().await;
    for list in ["/credentials", "/verifications"] {
        for (query, location) in [
            ("limit=0", "query.limit"),
            ("limit=1001", "query.limit"),
            ("limit=x", "query.limit"),
            ("cursor=nonsense", "query.cursor"),
            ("cursor=", "query.cursor"),
            ("status=good", "query.status"),
            ("since=yesterday", "query.since"),
            ("until=2025-10-08", "query.until"),
            ("credential_hash=abc", "query.credential_hash"),
            ("order=up", "query.order"),
        ] {
            let response = app.admin_get(&format!("{list}?{query}")).await;
            let problem = response.assert_problem(400, "invalid-request");
            assert_eq!(problem["errors"][0]["location"], location, "{list}?{query}");
        }
    }
}

#[tokio::test]
async fn a_cursor_works_only_with_its_own_list_and_filters() {
    needs_own_host!();
    let app = Setup::new().start().await;
    for i in 0..3 {
        app.issue(&format!("{i}")).await;
        app.verify(&format!("{i}")).await;
    }
    let page = app.admin_get("/credentials?limit=1").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    for path in [
        format!("/verifications?limit=1&cursor={cursor}"),
        format!("/credentials?limit=1&status=active&cursor={cursor}"),
        format!("/credentials?limit=1&cursor={cursor}A"),
        format!("/credentials?limit=1&cursor={}", &cursor[1..]),
    ] {
        app.admin_get(&path).await.assert_problem(400, "invalid-request");
    }
    assert_eq!(app.admin_get(&format!("/credentials?limit=2&cursor={cursor}")).await.status, 200);
}
