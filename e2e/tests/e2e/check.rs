//! POST /check.

use serde_json::json;

use e2e::{TestApp, unique};

#[tokio::test]
async fn an_issued_hash_exists_with_who_and_when() {
    let app = TestApp::any().await;
    let issued = app.issue(&unique("checked")).await.json();
    let answer = app.check(issued["credential_hash"].as_str().unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({
            "exists": true,
            "worker_id": issued["worker_id"],
            "issued_at": issued["issued_at"],
            "status": "active",
        })
    );
}

#[tokio::test]
async fn what_was_not_issued_or_is_no_hash_does_not_exist() {
    let app = TestApp::any().await;
    let issued = app.issue(&unique("upper")).await.json();
    let upper = issued["credential_hash"].as_str().unwrap().to_uppercase();
    for hash in
        ["0".repeat(64), upper, String::new(), "x".to_owned(), "0".repeat(63), "' OR 1=1 --".to_owned()]
    {
        let answer = app.check(&hash).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "exists": false })), "{hash:?}");
    }
}
