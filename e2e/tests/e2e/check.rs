//! POST /check.

use e2e::{TestApp, unique};
use serde_json::json;

#[tokio::test]
async fn an_issued_hash_exists_with_its_issuer_and_time() {
    let app = TestApp::any().await;
    let issued = app.issue(&unique("checked")).await.json();
    let response = app.check(issued["credential_hash"].as_str().unwrap()).await;
    let expected = json!({
        "exists": true,
        "worker_id": issued["worker_id"],
        "issued_at": issued["issued_at"],
        "status": "active",
    });
    assert_eq!((response.status, response.json()), (200, expected));
}

#[tokio::test]
async fn an_unissued_hash_does_not_exist() {
    let app = TestApp::any().await;
    for hash in ["0".repeat(64), "fF".repeat(32)] {
        let response = app.check(&hash).await;
        assert_eq!((response.status, response.json()), (200, json!({ "exists": false })), "{hash:?}");
    }
}

/// Strings that are almost this hash.
fn malformed(hash: &str) -> Vec<String> {
    vec![
        String::new(),
        "x".to_owned(),
        hash[1..].to_owned(),
        format!("{hash}0"),
        format!(" {hash}"),
        format!("{hash}\n"),
        format!("sha256:{hash}"),
        format!("0x{hash}"),
        format!("\u{200e}{hash}"),
        format!("{}g", &hash[1..]),
        "' OR 1=1 --".to_owned(),
    ]
}

#[tokio::test]
async fn a_string_that_is_not_a_hash_is_refused_at_its_place() {
    let app = TestApp::any().await;
    let issued = app.issued(json!({ "credential": unique("malformed") })).await;
    let hash = issued["credential_hash"].as_str().unwrap();
    let message = "must be 64 hexadecimal digits";
    for text in malformed(hash) {
        let expected = json!([{ "location": "body.credential_hash", "message": message }]);
        let problem = app.check(&text).await.assert_problem(400, "invalid-request");
        assert_eq!(problem["errors"], expected, "{text:?}");
        let problem =
            app.revoke(&json!({ "credential_hash": text })).await.assert_problem(400, "invalid-request");
        assert_eq!(problem["errors"], expected, "{text:?}");
        let list = app.post("/check", &json!({ "credential_hashes": [text, hash] })).await.json();
        let expected = json!([{ "location": "body.credential_hashes[0]", "message": message }]);
        assert_eq!(list["results"][0]["error"]["errors"], expected, "{text:?}");
        assert_eq!(list["results"][1]["exists"], true);
    }
    for text in ["x", "sha256:0", &format!("%20{hash}"), &format!("{hash}0")] {
        let list = app.admin_get(&format!("/credentials?credential_hash={text}")).await;
        let problem = list.assert_problem(400, "invalid-request");
        assert_eq!(problem["errors"][0]["location"], "query.credential_hash", "{text:?}");
    }
    assert_eq!(app.check(hash).await.json()["status"], "active");
}

#[tokio::test]
async fn digits_of_either_case_are_the_same_hash_and_are_written_in_lower_case() {
    let app = TestApp::any().await;
    let issued = app.issued(json!({ "credential": unique("upper") })).await;
    let hash = issued["credential_hash"].as_str().unwrap();
    let upper = hash.to_uppercase();
    assert_eq!(app.check(&upper).await.json()["exists"], true);
    let list = app.post("/check", &json!({ "credential_hashes": [upper] })).await.json();
    assert_eq!(
        (&list["results"][0]["credential_hash"], &list["results"][0]["exists"]),
        (&json!(hash), &json!(true))
    );
    let twice = app.post("/check", &json!({ "credential_hashes": [hash, upper] })).await;
    let problem = twice.assert_problem(400, "invalid-request");
    assert_eq!(problem["errors"][0]["location"], "body.credential_hashes[1]");
    assert_eq!(app.all_pages(&format!("/credentials?credential_hash={upper}")).await.len(), 1);
    let revoked = app.revoke(&json!({ "credential_hash": upper })).await;
    assert_eq!((revoked.status, &revoked.json()["credential_hash"]), (200, &json!(hash)));
    assert_eq!(app.check(hash).await.json()["status"], "revoked");
}

#[tokio::test]
async fn a_list_has_a_result_for_each_hash_and_the_keys_of_the_issuer() {
    let app = TestApp::any().await;
    let issued = app.issued(json!({ "credential": unique("listed") })).await;
    let hash = issued["credential_hash"].as_str().unwrap();
    let other = "0".repeat(64);
    let response = app.post("/check", &json!({ "credential_hashes": [hash, other] })).await.json();
    assert_eq!(response.get("key_ids"), None);
    assert_eq!(response["results"][0]["credential_hash"], hash);
    assert_eq!(response["results"][0]["exists"], true);
    assert_eq!(response["results"][1], json!({ "credential_hash": other, "exists": false }));
}

#[tokio::test]
async fn a_list_with_a_repeated_hash_gets_a_short_refusal() {
    let app = TestApp::any().await;
    let metadata = json!({ "note": "x".repeat(4000) });
    let issued = app.issued(json!({ "credential": unique("long"), "metadata": metadata })).await;
    let hash = issued["credential_hash"].as_str().unwrap();
    let response = app.post("/check", &json!({ "credential_hashes": vec![hash; 900] })).await;
    let problem = response.assert_problem(400, "invalid-request");
    assert_eq!(problem["errors"][0]["location"], "body.credential_hashes[1]");
    assert!(response.body.len() < 1000, "{} bytes", response.body.len());
}
