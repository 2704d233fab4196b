//! Databases from earlier versions.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use e2e::{Databases, Setup, TestApp, libsql, needs_files, needs_own_host};
use futures_util::future::join_all;
use rusqlite::Connection;
use serde_json::json;

use crate::counts::assert_counted;

const ISSUANCE: &str = include_str!("../../fixtures/issuance-schema-1.sql");
const VERIFICATION: &str = include_str!("../../fixtures/verification-schema-1.sql");

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_the_first_version_are_migrated_and_keep_their_data() {
    needs_own_host!();
    let app = Setup::new()
        .start_with_data(|data| {
            for (file, dump) in [("issuance.db", ISSUANCE), ("verification.db", VERIFICATION)] {
                Connection::open(data.join(file)).unwrap().execute_batch(dump).unwrap();
            }
        })
        .await;
    // Enough requests for several instances to migrate at once.
    for verdict in join_all((0..40).map(|_| app.verify("from the first version"))).await {
        let verdict = verdict.json();
        assert_eq!(verdict["isValid"], true, "{verdict}");
        assert_eq!(verdict["issuedBy"], "first-version");
        assert_eq!(verdict["issuedAt"], "2026-11-23T16:42:51.939Z");
    }
    app.issue("another one").await.assert_problem(409, "already-issued");
    app.revoke(&json!({ "credential": "another one" })).await.expect(200);
    assert_eq!(app.all_pages("/credentials?limit=1").await.len(), 2);
    let first = app.all_pages("/verifications?limit=9&until=2026-11-23T16:42:53Z").await;
    assert_eq!(first.len(), 2);
    assert!(first.iter().all(|row| row["request_id"] == "first" && row["verified_by"] == "first-version"));
    for (database, versions) in [("issuance", 4), ("verification", 3)] {
        assert_eq!(app.count(database, "schema_migrations"), versions);
        assert_counted(&app, database);
        assert_eq!(app.query::<String>(database, "PRAGMA integrity_check"), "ok");
    }
}

/// Runs a statement on issuance's database, bypassing the application.
async fn run(app: &TestApp, sql: &str) {
    let Some(servers) = app.servers() else { return app.database("issuance").execute_batch(sql).unwrap() };
    servers.issuance.execute(sql).await;
}

/// Slows the migration to at least seven seconds, in three statements because a server closes streams whose statement
/// takes 10 s.
async fn slow_down(app: &TestApp, factor: u128) {
    const SAMPLE: u128 = 1_000_000;
    let count = |steps: u128| {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {steps}) \
             SELECT count(*) AS steps FROM n"
        )
    };
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        run(app, &count(SAMPLE)).await;
        fastest = fastest.min(started.elapsed());
    }
    let steps = factor * SAMPLE * 2_300 / fastest.as_millis();
    run(app, &format!("CREATE VIEW slow AS {}", count(steps))).await;
    let trigger = "CREATE TRIGGER slow_migration AFTER INSERT ON schema_migrations WHEN new.version > 1 BEGIN \
                   UPDATE schema_migrations SET applied_at = (SELECT steps FROM slow) WHERE version = new.version; END";
    run(app, trigger).await;
}

/// All kinds of databases; only files, with a note, if there is no libSQL server.
fn databases() -> Vec<Databases> {
    let servers = [Databases::Libsql, Databases::LibsqlHttp];
    let servers = if libsql::program().is_some() { &servers[..] } else { &[] };
    [&[Databases::Files], servers].concat()
}

/// Creates an old database of issuance.
fn old_database(data: &Path) {
    Connection::open(data.join("issuance.db")).unwrap().execute_batch(ISSUANCE).unwrap();
}

/// After 5 s a libSQL server revokes a transaction's lock if another connection asks for it.
#[tokio::test(flavor = "multi_thread")]
async fn instances_that_wait_for_a_migration_do_not_interrupt_it() {
    needs_own_host!();
    for databases in databases().into_iter().filter(|databases| *databases != Databases::Files) {
        // Try again with longer statements if the machine was busier during the calibration.
        let mut factors = [1, 2].into_iter();
        while migrate_slowly(databases, factors.next().expect("the migration is not slow enough")).await
            < Duration::from_secs(7)
        {}
    }
}

/// Sends requests to two replicas until the migration is done and returns how long that took.
async fn migrate_slowly(databases: Databases, factor: u128) -> Duration {
    let setup = || {
        let setup = Setup::new().databases(databases).component("issuance").without_validation();
        setup.variable("log_level", "debug")
    };
    let first = setup().start_with_data(old_database).await;
    let second = setup().databases_of(&first).start().await;
    let replicas = &[first, second];
    slow_down(&replicas[0], factor).await;
    let started = Instant::now();
    join_all((0..12).map(|client| async move {
        loop {
            let response = replicas[client % 2].check(&"0".repeat(64)).await;
            if response.status == 200 {
                break;
            }
            response.assert_problem(503, "unavailable");
            assert!(started.elapsed() < Duration::from_secs(120), "{databases:?}: it never ends");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }))
    .await;
    assert_eq!(replicas[0].count("issuance", "schema_migrations"), 4);
    let logs = replicas.each_ref().map(TestApp::log).concat();
    assert!(!logs.contains("Transaction timed out"), "{databases:?}:\n{logs}");
    assert_eq!(logs.matches(r#""message":"migrated""#).count(), 3, "{databases:?}:\n{logs}");
    started.elapsed()
}

/// The instance that claimed the migration is gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_migration_is_restarted() {
    needs_own_host!();
    for databases in databases() {
        let app = Setup::new().databases(databases).component("issuance").start_with_data(old_database).await;
        let claim =
            "INSERT INTO schema_migrations (version, name, applied_at) VALUES (-1, 60, unixepoch() + 2)";
        run(&app, claim).await;
        let started = Instant::now();
        let response = app.check(&"0".repeat(64)).await;
        assert_eq!(response.status, 200, "{databases:?}: {}", response.text());
        // With files, the lock shows that the instance is gone.
        let waited = started.elapsed();
        assert!(
            databases == Databases::Files || waited > Duration::from_secs(1),
            "{databases:?}: {waited:?}"
        );
        assert_eq!(app.count("issuance", "schema_migrations"), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_restored_from_a_dump_gets_a_write_ahead_log() {
    needs_own_host!();
    needs_files!();
    let original = Setup::new().start().await;
    original.issue("before").await;
    original.verify("before").await;
    let app = Setup::new()
        .start_with_data(|data| {
            for database in ["issuance", "verification"] {
                let file = data.join(format!("{database}.db"));
                let copy = format!("VACUUM INTO '{}'", file.display());
                original.database(database).execute_batch(&copy).unwrap();
                let mode: String = Connection::open(file)
                    .unwrap()
                    .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
                    .unwrap();
                assert_eq!(mode, "delete");
            }
        })
        .await;
    assert_eq!(app.verify("before").await.json()["isValid"], true);
    assert_eq!(app.issue("after").await.status, 201);
    for database in ["issuance", "verification"] {
        assert_eq!(app.query::<String>(database, "PRAGMA journal_mode"), "wal");
    }
}
