//! POST /verify and its audit rows.

use credentials::Timestamp;
use e2e::{
    Setup, TestApp, needs_own_host, unique,
    values::{is_timestamp, names},
};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_issued_credential_is_valid_with_its_issuer_and_time() {
    let app = TestApp::any().await;
    let credential = unique("valid");
    let issued = app.issue(&credential).await.json();
    let body = app.verify(&credential).await.expect(200);
    assert_eq!(
        names(&body),
        ["isValid", "issuedAt", "issuedBy", "message", "status", "verificationId", "verifiedAt"]
    );
    assert_eq!(body["isValid"], true);
    assert_eq!(body["status"], "valid");
    assert_eq!(body["issuedBy"], issued["worker_id"]);
    assert_eq!(body["issuedAt"], issued["issued_at"]);
    assert!(body["message"].as_str().unwrap().starts_with("credential verified by "), "{body}");
    assert!(is_timestamp(&body["verifiedAt"]), "{body}");
    assert!(body["verifiedAt"].as_str() >= body["issuedAt"].as_str(), "{body}");
}

#[tokio::test]
async fn an_unissued_credential_is_not_found() {
    let app = TestApp::any().await;
    let response = app.verify(&unique("never")).await;
    assert_eq!(response.status, 200);
    let body = response.json();
    assert_eq!(body["isValid"], false);
    assert_eq!(body["status"], "not_found");
    assert!(body["message"].as_str().unwrap().contains("not found"), "{body}");
    assert_eq!(body.get("issuedBy"), None);
    assert_eq!(body.get("issuedAt"), None);
}

#[tokio::test]
async fn every_verdict_leaves_one_audit_row_that_agrees_with_the_response() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let hash = app.issue("audited").await.json()["credential_hash"].clone();
    for (credential, request_id) in [("audited", "audit.1"), ("unknown", "audit.2")] {
        let request = app.request(Method::POST, "/verify").header("x-request-id", request_id);
        let response = app.send(request.json(&json!({ "credential": credential }))).await;
        assert_eq!(response.header("x-request-id"), Some(request_id));
        let body = response.json();

        let rows = app.database("verification").rows(&format!(
            "SELECT id, credential_hash, CASE WHEN is_valid THEN 'true' ELSE 'false' END, status, verified_by, \
             verified_at FROM verifications WHERE request_id = '{request_id}'"
        ));
        let [id, row_hash, is_valid, status, by, at] = &rows[0][..] else { panic!("{rows:?}") };
        assert_eq!(body["verificationId"], *id);
        assert_eq!(body["status"], *status);
        assert_eq!(body["isValid"].to_string(), *is_valid);
        let at = Timestamp::from_millis(at.parse().unwrap()).unwrap();
        assert_eq!(body["verifiedAt"], at.to_string());
        assert_eq!(hash == *row_hash, credential == "audited");
        assert!(by.starts_with("verification-worker-"), "{rows:?}");
    }
    assert_eq!(app.count("verification", "verifications"), 2);
}

#[tokio::test]
async fn a_request_without_a_verdict_leaves_no_audit_row() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.verify("a").await;
    app.verify("").await.assert_problem(400, "invalid-request");
    app.post("/verify", &json!({ "credential": 1 })).await.assert_problem(400, "invalid-request");
    app.get("/verify").await.assert_problem(405, "method-not-allowed");
    assert_eq!(app.count("verification", "verifications"), 1);
}

#[tokio::test]
async fn the_request_id_is_passed_on_to_issuance() {
    needs_own_host!();
    let app = Setup::new().variable("log_level", "info").start().await;
    let request = app.request(Method::POST, "/verify").header("x-request-id", "follow-me");
    app.send(request.json(&json!({ "credential": "a" }))).await;
    app.wait_for_log("\"service\":\"verification\"").await;
    let log = app.log();
    let lines = |service: &str| {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["service"] == service && line["request_id"] == "follow-me").count()
    };
    assert_eq!((lines("issuance"), lines("verification")), (1, 1), "{log}");
}
