//! POST /verify/batch, POST /issue/batch, and POST /check with a list.

use e2e::{ISSUER_TOKEN, Setup, TestApp, needs_own_host, unique, values::names};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_batch_has_a_verdict_for_each_item_in_order() {
    let app = TestApp::any().await;
    let (valid, revoked, unknown) = (unique("valid"), unique("revoked"), unique("unknown"));
    app.issue(&valid).await;
    app.issue(&revoked).await;
    app.revoke(&json!({ "credential": revoked })).await;
    let batch = json!({ "credentials": [valid, unknown, "", revoked, 7, valid] });
    let response = app.post("/verify/batch", &batch).await.expect(200);
    let results = response["results"].as_array().unwrap();
    let outcomes: Value =
        results.iter().map(|result| json!([result["status"], result["error"]["status"]])).collect();
    assert_eq!(
        outcomes,
        json!([
            ["valid", null],
            ["not_found", null],
            [null, 400],
            ["revoked", null],
            [null, 400],
            ["valid", null],
        ])
    );
    assert_eq!(results[2]["error"]["errors"][0]["location"], "body.credentials[2]");
    assert_ne!(results[0]["verificationId"], results[5]["verificationId"]);
    assert_eq!(names(&results[0]).len(), 7);
}

#[tokio::test]
async fn a_full_batch_under_nine_keys_takes_one_check_and_leaves_an_audit_row_per_item() {
    needs_own_host!();
    let retired: Vec<_> = ('b'..='i').map(|letter| letter.to_string().repeat(32)).collect();
    let app = Setup::new()
        .variable("retired_credential_secrets", &retired.join(","))
        .variable("log_level", "info")
        .start()
        .await;
    for i in (0..100).step_by(2) {
        app.issue(&format!("item {i}")).await;
    }
    let batch = json!({ "credentials": (0..100).map(|i| format!("item {i}")).collect::<Vec<_>>() });
    let response = app.post("/verify/batch", &batch).await;
    assert_eq!(response.status, 200, "{}", response.text());
    for (i, result) in response.json()["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(result["isValid"], i % 2 == 0, "{i}: {result}");
    }
    assert_eq!(app.count("verification", "verifications"), 100);
    app.wait_for_log("/verify/batch").await;
    assert_eq!(app.log().matches("\"route\":\"/check\"").count(), 1);
}

#[tokio::test]
async fn a_batch_is_recorded_as_a_whole_or_not_at_all() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.verify("first").await;
    let refused = app.issue("refused").await.json()["credential_hash"].as_str().unwrap().to_owned();
    let is_refused = format!("new.credential_hash = '{refused}'");
    app.database("verification").refuse("verifications", &is_refused, "no");
    let batch = json!({ "credentials": ["a", "b", "refused", "c"] });
    app.post("/verify/batch", &batch).await.assert_problem(503, "unavailable");
    assert_eq!(app.count("verification", "verifications"), 1);
}

#[tokio::test]
async fn a_list_of_hashes_is_checked_in_order() {
    let app = TestApp::any().await;
    let hash = app.issue(&unique("listed")).await.json()["credential_hash"].clone();
    let hashes = json!({ "credential_hashes": ["malformed", hash, "0".repeat(64), "malformed"] });
    let body = app.post("/check", &hashes).await.json();
    let results = body["results"].as_array().unwrap();
    let exists: Vec<_> = results.iter().map(|result| result["exists"].as_bool()).collect();
    assert_eq!(exists, [None, Some(true), Some(false), None]);
    assert_eq!(results[0]["error"]["status"], 400);
    assert_eq!(results[1]["credential_hash"], hash);
    let many = |count: usize| json!({ "credential_hashes": (0..count).map(|i| format!("{i:064x}")).collect::<Vec<_>>() });
    assert_eq!(app.post("/check", &many(900)).await.json()["results"].as_array().unwrap().len(), 900);
    for count in [0, 901] {
        app.post("/check", &many(count)).await.assert_problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn a_batch_of_credentials_is_issued_in_order() {
    let app = TestApp::any().await;
    let (given, issued) = (unique("given"), unique("issued"));
    app.issue(&issued).await;
    let metadata = json!({ "holder": "Ada" });
    let batch = json!({ "credentials": [
        { "credential": given, "metadata": metadata },
        { "generate": true, "ttl_seconds": 60 },
        { "credential": issued },
        { "credential": given },
        { "credential": "" },
        7,
        { "generate": true },
    ] });
    let response = app.post("/issue/batch", &batch).await.expect(200);
    let results = response["results"].as_array().unwrap();
    let errors: Value = results.iter().map(|result| result["error"]["status"].clone()).collect();
    assert_eq!(errors, json!([null, null, 409, 409, 400, 400, null]));
    assert_eq!(results[4]["error"]["errors"][0]["location"], "body.credentials[4].credential");
    assert!(results[1]["expires_at"].is_string() && results[6].get("expires_at").is_none());
    let generated = [&results[1]["credential"], &results[6]["credential"]];
    assert_ne!(generated[0], generated[1]);
    let verdicts = json!({ "credentials": [given, generated[0], generated[1]] });
    let verdicts = app.post("/verify/batch", &verdicts).await.json();
    for (index, verdict) in verdicts["results"].as_array().unwrap().iter().enumerate() {
        assert_eq!(verdict["isValid"], true, "{index}");
    }
    assert_eq!(verdicts["results"][0]["metadata"], metadata);
}

#[tokio::test]
async fn a_full_batch_is_issued_once() {
    let app = TestApp::any().await;
    let name = unique("full");
    let items: Vec<_> = (0..100).map(|i| json!({ "credential": format!("{name} {i}") })).collect();
    for status in [Value::Null, json!(409)] {
        let response = app.post("/issue/batch", &json!({ "credentials": items })).await.json();
        for result in response["results"].as_array().unwrap() {
            assert_eq!(result["error"]["status"], status, "{result}");
        }
    }
    for count in [0, 101] {
        let many = json!({ "credentials": vec![json!({ "generate": true }); count] });
        app.post("/issue/batch", &many).await.assert_problem(400, "invalid-request");
    }
}

#[tokio::test]
async fn a_batch_is_issued_as_a_whole_or_not_at_all() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("first").await;
    app.database("issuance").refuse("credentials", "new.metadata IS NOT NULL", "no");
    let batch = json!({ "credentials": [
        { "generate": true }, { "generate": true, "metadata": {} }, { "credential": "a" },
    ] });
    app.post("/issue/batch", &batch).await.assert_problem(503, "unavailable");
    assert_eq!(app.count("issuance", "credentials"), 1);
}

#[tokio::test]
async fn a_batch_is_guarded_like_a_single_issue() {
    needs_own_host!();
    let app = Setup::new().variable("issuer_token", ISSUER_TOKEN).start().await;
    let batch = json!({ "credentials": [{ "generate": true }] });
    app.post("/issue/batch", &batch).await.assert_problem(401, "unauthorized");
    let request = app.request(Method::POST, "/issue/batch").bearer_auth(ISSUER_TOKEN);
    assert_eq!(app.send(request.json(&batch)).await.status, 200);
}
