//! Migrations: of empty databases, and of those from earlier versions.

use std::time::{Duration, Instant};

use e2e::{Database, Setup, TestApp, databases, needs_files, needs_own_host, needs_postgres};
use futures_util::future::join_all;
use serde_json::json;

use crate::counts::assert_counted;

const ISSUANCE: &str = include_str!("../../fixtures/issuance-schema-1.sql");
const VERIFICATION: &str = include_str!("../../fixtures/verification-schema-1.sql");

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_the_first_version_are_migrated_and_keep_their_data() {
    needs_own_host!();
    needs_files!();
    let dump = |service: &str| if service == "issuance" { ISSUANCE } else { VERIFICATION };
    let app = Setup::new()
        .start_with_databases(|service, database| {
            database.execute(dump(service));
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
    for (database, versions) in [("issuance", 5), ("verification", 3)] {
        assert_eq!(app.count(database, "schema_migrations"), versions);
        assert_counted(&app, database);
        assert_eq!(app.query::<String>(database, "PRAGMA integrity_check"), "ok");
    }
}

/// Has PostgreSQL take seconds over the migration of issuance: the event trigger waits with each of its tables.
fn slow_down(service: &str, database: &Database) {
    if service == "issuance" {
        database.execute(
            "CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2.4); END $$; \
             CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION slow()",
        );
    }
}

/// Sends requests to these replicas until each has had a response. Returns how long that took.
async fn migrate(replicas: &[TestApp]) -> Duration {
    let started = Instant::now();
    join_all((0..12).map(|client| async move {
        loop {
            let response = replicas[client % replicas.len()].check(&"0".repeat(64)).await;
            if response.status == 200 {
                break;
            }
            response.assert_problem(503, "unavailable");
            assert!(started.elapsed() < Duration::from_secs(60), "it never ends");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }))
    .await;
    started.elapsed()
}

/// How often each of these applications has migrated.
fn migrated(apps: &[TestApp]) -> Vec<usize> {
    apps.iter().map(|app| app.log().matches(r#""message":"migrated""#).count()).collect()
}

/// It takes longer than a request may, and than the server gives a request's statements.
#[tokio::test(flavor = "multi_thread")]
async fn one_replica_migrates_for_as_long_as_it_takes_and_the_others_wait() {
    needs_own_host!();
    needs_postgres!();
    let setup = || Setup::new().component("issuance").variable("log_level", "info").without_validation();
    let first = setup().start_with_databases(|service, database| slow_down(service, &database)).await;
    let second = setup().databases_of(&first).start().await;
    let replicas = [first, second];
    let waited = migrate(&replicas).await;
    assert!(waited > Duration::from_secs(7), "{waited:?}");
    assert_eq!(replicas[0].count("issuance", "schema_migrations"), 2);
    assert_eq!(migrated(&replicas).iter().sum::<usize>(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_the_server_interrupts_leaves_nothing_and_is_repeated() {
    needs_own_host!();
    needs_postgres!();
    let app = Setup::new()
        .component("issuance")
        .variable("log_level", "info")
        .start_with_databases(|service, database| slow_down(service, &database))
        .await;
    let apps = [app];
    let database = apps[0].database("issuance");
    let (_, ()) = tokio::join!(migrate(&apps), async {
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert_eq!(database.count("schema_migrations"), 0);
        // Other tests lock databases of the same server.
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database \
                         WHERE datname = current_database() AND locktype = 'advisory' AND granted";
        assert_eq!(database.rows(terminate), [["t"]]);
    });
    assert_eq!(database.count("schema_migrations"), 2);
    assert_eq!(migrated(&apps), [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_replicas_that_start_on_empty_databases_one_migrates() {
    needs_own_host!();
    let setup = || Setup::new().variable("log_level", "info").without_validation();
    let mut replicas = vec![setup().start().await];
    for _ in 1..5 {
        replicas.push(setup().databases_of(&replicas[0]).start().await);
    }
    for responses in join_all(replicas.iter().map(|app| join_all((0..12).map(|_| app.verify("a"))))).await {
        assert!(responses.iter().all(|response| response.status == 200), "{}", responses[0].text());
    }
    let versions =
        ["issuance", "verification"].map(|service| replicas[0].count(service, "schema_migrations"));
    assert_eq!(versions, databases().either([5, 3], [2, 1]));
    assert_eq!(migrated(&replicas).iter().sum::<usize>(), versions[0] + versions[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_restored_from_a_dump_gets_a_write_ahead_log() {
    needs_own_host!();
    needs_files!();
    let original = Setup::new().start().await;
    original.issue("before").await;
    original.verify("before").await;
    let app = Setup::new()
        .start_with_files(|data| {
            for service in ["issuance", "verification"] {
                let file = data.join(format!("{service}.db"));
                original.database(service).execute(&format!("VACUUM INTO '{}'", file.display()));
                assert_eq!(Database::file(&file).query::<String>("PRAGMA journal_mode = DELETE"), "delete");
            }
        })
        .await;
    assert_eq!(app.verify("before").await.json()["isValid"], true);
    assert_eq!(app.issue("after").await.status, 201);
    for database in ["issuance", "verification"] {
        assert_eq!(app.query::<String>(database, "PRAGMA journal_mode"), "wal");
    }
}
