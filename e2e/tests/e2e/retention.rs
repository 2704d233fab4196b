//! `audit_retention_days`.

use std::time::{Duration, Instant};

use e2e::{Database, Databases, Setup, databases, needs_own_host, read};
use serde_json::json;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Inserts audit rows of this age, with ids like the service's.
fn add_old_rows(database: &Database, count: i64, age: i64) {
    let (id, now) = (database.verification_id("ms", &format!("{age} + i")), database.now());
    database.execute(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}), \
         t (ms) AS (SELECT {now} - {age}) \
         INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at) \
         SELECT {id}, 'old', 'h', 'valid', 'w', ms FROM n, t"
    ));
}

#[tokio::test]
async fn expired_audit_rows_are_deleted_a_few_at_a_time_and_others_kept() {
    needs_own_host!();
    let app = Setup::new().variable("audit_retention_days", "30").start().await;
    app.verify("a").await;
    let database = app.database("verification");
    add_old_rows(&database, 250, 31 * DAY);
    add_old_rows(&database, 50, 29 * DAY);
    let older_than = |days: i64| {
        let time = format!("{} - {}", database.now(), days * DAY);
        let sql = format!("SELECT count(*) FROM verifications WHERE verified_at < {time}");
        app.query::<i64>("verification", &sql)
    };
    let mut before = older_than(30);
    assert_eq!(before, 250);
    // On average, one row in sixteen triggers a deletion.
    for _ in 0..1000 {
        app.verify("a").await;
        let after = older_than(30);
        assert!(before - after <= 100, "{before} - {after}");
        before = after;
        if before == 0 {
            break;
        }
    }
    assert_eq!(before, 0);
    assert_eq!(older_than(28), 50);
}

#[tokio::test]
async fn batches_delete_more_than_they_add() {
    needs_own_host!();
    let app = Setup::new().variable("audit_retention_days", "30").start().await;
    app.verify("a").await;
    add_old_rows(&app.database("verification"), 1000, 31 * DAY);
    let batch = json!({ "credentials": (0..100).map(|i| format!("{i}")).collect::<Vec<_>>() });
    for _ in 0..6 {
        assert_eq!(app.post("/verify/batch", &batch).await.status, 200);
    }
    let old = "SELECT count(*) FROM verifications WHERE request_id = 'old'";
    assert_eq!(app.query::<i64>("verification", old), 0);
}

#[tokio::test]
async fn the_documented_statement_clears_a_backlog_and_reads_nothing_else() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.verify("a").await;
    let database = app.database("verification");
    add_old_rows(&database, 1500, 91 * DAY);
    add_old_rows(&database, 20, 89 * DAY);
    let (document, begin, end) = databases().either(
        ("operations.md", "verification.db \"", ";"),
        ("postgresql.md", "--command \"WITH deleted", "\")\" -gt"),
    );
    let document = read(&format!("docs/{document}"));
    let statement = document.split(begin).find(|text| text.contains("DELETE FROM verifications")).unwrap();
    let statement = statement.split(end).next().unwrap();
    let deleted: Vec<_> = (0..3)
        .map(|_| match databases() {
            Databases::Files => database.execute(statement),
            Databases::Postgres => database.query(&format!("WITH deleted{statement}")),
        })
        .collect();
    assert_eq!(deleted, [1000, 500, 0]);
    // With so few rows PostgreSQL may prefer to read them all.
    if databases() == Databases::Files {
        let plan = database.rows(&format!("EXPLAIN QUERY PLAN {statement}"));
        assert!(plan.iter().all(|step| !step[3].starts_with("SCAN verifications")), "{plan:?}");
    }
}

#[tokio::test]
async fn by_default_nothing_is_deleted() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.verify("a").await;
    add_old_rows(&app.database("verification"), 10, 5000 * DAY);
    for i in 0..40 {
        app.verify(&format!("{i}")).await;
    }
    assert_eq!(app.count("verification", "verifications"), 51);
}

#[tokio::test]
async fn an_invalid_retention_is_a_503_that_the_log_explains() {
    needs_own_host!();
    for days in ["-1", "soon", ""] {
        let app = Setup::new().variable("audit_retention_days", days).start().await;
        app.verify("a").await.assert_problem(503, "unavailable");
        app.wait_for_log("audit_retention_days must be a whole number from 0 to 365000").await;
        assert_eq!(app.issue("a").await.status, 201);
    }
}

#[tokio::test]
async fn a_database_that_is_too_busy_to_delete_delays_no_verdict() {
    needs_own_host!();
    let app = Setup::new().variable("audit_retention_days", "30").start().await;
    app.get("/health/verification").await;
    let database = app.database("verification");
    add_old_rows(&database, 10, 31 * DAY);
    database.refuse_with("verifications", "DELETE", "true", "database is locked", "55P03");
    for _ in 0..200 {
        let started = Instant::now();
        assert_eq!(app.verify("a").await.status, 200);
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    }
    app.wait_for_log("old audit rows were not deleted").await;
}
