//! POST /check.

use e2e::{TestApp, unique};
use serde_json::json;

#[tokio::test]
async fn an_issued_hash_exists_with_its_issuer_and_time() {
    let app = TestApp::any().await;
    let issued = app.issue(&unique("checked")).await.json();
    let answer = app.check(issued["credential_hash"].as_str().unwrap()).await;
    let expected = json!({
        "exists": true,
        "worker_id": issued["worker_id"],
        "issued_at": issued["issued_at"],
        "status": "active",
    });
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn an_unissued_or_malformed_hash_does_not_exist() {
    let app = TestApp::any().await;
    let issued = app.issue(&unique("upper")).await.json();
    let upper = issued["credential_hash"].as_str().unwrap().to_uppercase();
    for hash in [&"0".repeat(64), &upper, "", "x", &"0".repeat(63), "' OR 1=1 --"] {
        let answer = app.check(hash).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "exists": false })), "{hash:?}");
    }
}
