//! How PostgreSQL runs the statements of requests: it logs the plan of each.

use credentials::Timestamp;
use e2e::{Setup, TestApp, needs_own_host, needs_postgres, postgres::PostgresServer, values::now};
use serde_json::json;

const SETTINGS: &str = "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 \
                        -c auto_explain.log_nested_statements=on -c auto_explain.log_analyze=on \
                        -c auto_explain.log_timing=off -c fsync=off";

/// A row each second. One in a thousand is revoked, one expired.
fn fill(app: &TestApp, rows: usize) {
    let database = app.database("issuance");
    let (hash, now) = (database.hex("i", 64), database.now());
    let numbers =
        format!("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})");
    database.execute(&format!(
        "{numbers} INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at, expires_at, revoked_at) \
         SELECT {hash}, 'k', 'w', {now} - i * 1000, CASE WHEN i % 1000 = 1 THEN {now} - 1 WHEN i % 2 = 0 THEN {now} * 2 END, \
         CASE WHEN i % 1000 = 2 THEN {now} END FROM n"
    ));
    let database = app.database("verification");
    let id = database.verification_id(&format!("({now} - i * 1000)"), "i");
    database.execute(&format!(
        "{numbers} INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at) \
         SELECT {id}, 'r', {hash}, CASE WHEN i % 1000 = 1 THEN 'revoked' ELSE 'valid' END, 'w', {now} - i * 1000 FROM n"
    ));
}

/// Every kind of page of both lists.
async fn request_pages(app: &TestApp, rows: usize) {
    let hash = format!("{:064x}", rows / 3);
    let time = |back: usize| {
        let millis = now().as_millis() - 1000 * i64::try_from(back).unwrap();
        Timestamp::from_millis(millis).unwrap().to_string()
    };
    let (since, until) = (time(rows * 3 / 4), time(rows / 4));
    let ranges = [
        String::new(),
        format!("&since={since}"),
        format!("&until={until}"),
        format!("&since={since}&until={until}"),
    ];
    let statuses = ["valid", "expired", "revoked", "not_found"];
    for (list, statuses) in
        [("credentials", &["active", "expired", "revoked"][..]), ("verifications", &statuses)]
    {
        let filters = statuses.iter().map(|status| format!("&status={status}")).chain([String::new()]);
        for filter in filters.flat_map(|filter| [format!("{filter}&credential_hash={hash}"), filter]) {
            for range in &ranges {
                for limit in [1, 50, 1000] {
                    let path = format!("/{list}?limit={limit}{filter}{range}");
                    let page = app.admin_get(&path).await.expect(200);
                    if let Some(cursor) = page["next_cursor"].as_str() {
                        app.admin_get(&format!("{path}&cursor={cursor}")).await.expect(200);
                    }
                }
            }
        }
    }
}

/// The logged plans of statements on the big tables, each with its statement.
fn plans(log: &str) -> Vec<String> {
    let entry = |entry: &str| {
        let lines: Vec<_> = entry.lines().skip(1).take_while(|line| line.starts_with('\t')).collect();
        lines.join("\n")
    };
    log.split("  plan:")
        .skip(1)
        .map(entry)
        .filter(|plan| plan.contains(" on credentials") || plan.contains(" on verifications"))
        .collect()
}

/// With statistics and without: both occur, and change plans.
#[tokio::test(flavor = "multi_thread")]
async fn every_page_and_every_request_reads_few_rows_by_an_index() {
    needs_own_host!();
    needs_postgres!();
    const ROWS: usize = 200_000;
    let server = PostgresServer::start("127.0.0.1", SETTINGS).into();
    let app = Setup::on(&server)
        .without_validation()
        .variable("audit_retention_days", "1")
        .variable("verify_failures_per_minute", "1000000")
        .start()
        .await;
    app.issued(json!({ "credential": "first" })).await;
    app.verify("first").await.expect(200);
    for service in ["issuance", "verification"] {
        app.database(service).execute("ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf()");
    }
    fill(&app, ROWS);
    for analyse in [false, true] {
        if analyse {
            for service in ["issuance", "verification"] {
                app.database(service).execute("ANALYZE");
            }
        }
        let before = server.log().len();
        request_pages(&app, ROWS).await;
        for i in 0..20 {
            let credential = format!("planned-{analyse}-{i}");
            app.issued(json!({ "credential": credential })).await;
            app.verify(&credential).await.expect(200);
            app.revoke(&json!({ "credential": credential })).await.expect(200);
            app.verify("unknown").await.expect(200);
            let batch: Vec<_> = (0..100).map(|item| format!("{credential}-{item}")).collect();
            app.post("/verify/batch", &json!({ "credentials": batch })).await.expect(200);
        }
        let log = server.log();
        let plans = plans(&log[before..]);
        assert!(plans.len() > 200, "{} plans:\n{log}", plans.len());
        for plan in plans {
            let reads_all =
                plan.contains("Seq Scan on credentials") || plan.contains("Seq Scan on verifications");
            assert!(!reads_all, "analysed: {analyse}\n{plan}");
            // A page may examine 10,000 rows; other statements find theirs.
            let is_page = plan.contains("ORDER BY issued_at DESC") || plan.contains("ORDER BY id DESC");
            let removed =
                plan.lines().filter_map(|line| line.trim().strip_prefix("Rows Removed by Filter: "));
            let removed = removed.map(|rows| rows.parse::<usize>().unwrap()).max().unwrap_or(0);
            assert!(removed <= if is_page { 10_000 } else { 100 }, "analysed: {analyse}\n{plan}");
            // A credential has one row.
            let sorts =
                plan.contains("->  Sort ") && !plan.contains("Scan using credentials_credential_hash_key");
            assert!(!(is_page && sorts), "analysed: {analyse}\n{plan}");
        }
    }
}
