//! Databases of earlier versions.

use e2e::{Setup, needs_own_host};
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
    // Enough requests that several instances migrate at once.
    for verdict in join_all((0..40).map(|_| app.verify("from the first version"))).await {
        let verdict = verdict.json();
        assert_eq!(verdict["isValid"], true, "{verdict}");
        assert_eq!(verdict["issuedBy"], "first-version");
        assert_eq!(verdict["issuedAt"], "2026-11-23T16:42:51.939Z");
    }
    app.issue("another one").await.assert_problem(409, "already-issued");
    let revoked = app.revoke(&json!({ "credential": "another one" })).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert_eq!(app.all_pages("/credentials?limit=1").await.len(), 2);
    let first = app.all_pages("/verifications?limit=9&until=2026-11-23T16:42:53Z").await;
    assert_eq!(first.len(), 2);
    assert!(first.iter().all(|row| row["request_id"] == "first" && row["verified_by"] == "first-version"));
    for (database, migrations) in [("issuance", 4), ("verification", 3)] {
        assert_eq!(app.count(database, "schema_migrations"), migrations);
        assert_counted(&app, database);
        assert_eq!(app.query::<String>(database, "PRAGMA integrity_check"), "ok");
    }
}
