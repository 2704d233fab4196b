//! POST /issue.

use e2e::{
    Setup, TestApp, needs_own_host, unique,
    values::{is_timestamp, names},
};
use serde_json::Value;

fn is_lowercase_hex(value: &Value, length: usize) -> bool {
    value.as_str().is_some_and(|text| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[tokio::test]
async fn issuing_answers_with_hash_time_worker_and_key_but_not_the_credential() {
    let app = TestApp::any().await;
    let credential = unique("issued");
    let response = app.issue(&credential).await;
    assert_eq!(response.status, 201, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body = response.json();
    assert_eq!(names(&body), ["credential_hash", "issued_at", "key_id", "message", "worker_id"]);
    assert!(is_lowercase_hex(&body["credential_hash"], 64), "{body}");
    assert!(is_lowercase_hex(&body["key_id"], 16), "{body}");
    assert!(is_timestamp(&body["issued_at"]), "{body}");
    assert_eq!(body["message"], format!("credential issued by {}", body["worker_id"].as_str().unwrap()));
    assert!(!response.text().contains(&credential));
}

#[tokio::test]
async fn a_credential_is_issued_once() {
    let app = TestApp::any().await;
    let credential = unique("once");
    assert_eq!(app.issue(&credential).await.status, 201);
    app.issue(&credential).await.assert_problem(409, "already-issued");
    app.issue(&credential).await.assert_problem(409, "already-issued");
}

#[tokio::test]
async fn credentials_are_compared_byte_by_byte() {
    let app = TestApp::any().await;
    let stem = unique("Exact");
    let variants = [
        stem.clone(),
        stem.to_lowercase(),
        format!(" {stem}"),
        format!("{stem} "),
        format!("{stem}\n"),
        format!("{stem}\0"),
        format!("{stem}\u{e9}"),
        format!("{stem}e\u{301}"),
        format!("{stem}\u{200b}"),
        format!("{stem}😀"),
        format!("{stem}{}", "x".repeat(60_000)),
    ];
    for credential in &variants {
        assert_eq!(app.issue(credential).await.status, 201, "{credential:?}");
    }
    for credential in &variants {
        assert_eq!(app.issue(credential).await.status, 409, "{credential:?}");
        assert_eq!(app.verify(credential).await.json()["isValid"], true, "{credential:?}");
    }
}

#[tokio::test]
async fn the_hash_is_hmac_sha256_under_the_secret() {
    needs_own_host!();
    let app = Setup::new().variable("credential_secret", "0123456789abcdef0123456789abcdef").start().await;
    let body = app.issue("MySecurePassword123!").await.json();
    // printf %s 'MySecurePassword123!' | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef
    assert_eq!(body["credential_hash"], "5aa7dba528d776185f987f1b93443578c319759ef791fc2bb9d951d03c907843");
}

#[tokio::test]
async fn a_worker_is_named_by_its_setting_or_by_a_random_id() {
    needs_own_host!();
    let app = Setup::new().variable("worker_id", "pod-7").start().await;
    assert_eq!(app.issue("a").await.json()["message"], "credential issued by pod-7");
    assert_eq!(app.verify("a").await.json()["message"], "credential verified by pod-7");

    let app = Setup::new().start().await;
    let body = app.issue("a").await.json();
    let random = body["worker_id"].as_str().unwrap().strip_prefix("worker-").unwrap();
    assert!(is_lowercase_hex(&random.into(), 6), "{body}");
}
