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

#[tokio::test]
async fn a_list_has_an_answer_for_each_hash_and_the_keys_of_the_issuer() {
    let app = TestApp::any().await;
    let issued = app.issued(json!({ "credential": unique("listed") })).await;
    let hash = issued["credential_hash"].as_str().unwrap();
    let answer = app.post("/check", &json!({ "credential_hashes": [hash, "0"] })).await.json();
    assert_eq!(answer["key_ids"][0], issued["key_id"]);
    assert_eq!(answer["results"][0]["credential_hash"], hash);
    assert_eq!(answer["results"][0]["exists"], true);
    assert_eq!(answer["results"][1], json!({ "credential_hash": "0", "exists": false }));
}

#[tokio::test]
async fn a_list_with_a_repeated_hash_is_refused_and_not_answered_at_length() {
    let app = TestApp::any().await;
    let metadata = json!({ "note": "x".repeat(4000) });
    let issued = app.issued(json!({ "credential": unique("long"), "metadata": metadata })).await;
    let hash = issued["credential_hash"].as_str().unwrap();
    let answer = app.post("/check", &json!({ "credential_hashes": vec![hash; 900] })).await;
    let problem = answer.assert_problem(400, "invalid-request");
    assert_eq!(problem["errors"][0]["location"], "body.credential_hashes[1]");
    assert!(answer.body.len() < 1000, "{} bytes", answer.body.len());
}
