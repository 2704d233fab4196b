//! Expiry, revocation, metadata, generated credentials.

use std::time::Duration;

use e2e::{Response, Setup, TestApp, needs_own_host, unique};
use futures_util::future::join_all;
use serde_json::{Value, json};

#[tokio::test]
async fn a_credential_is_valid_until_the_instant_it_expires() {
    let app = TestApp::any().await;
    let credential = unique("expiring");
    let issued = app.issued(json!({ "credential": credential, "ttl_seconds": 2 })).await;
    let hash = issued["credential_hash"].as_str().unwrap();
    let expires_at = issued["expires_at"].as_str().unwrap();
    assert_eq!(app.check(hash).await.json()["status"], "active");
    let mut verdicts = Vec::new();
    while verdicts.last().is_none_or(|verdict: &Value| verdict["isValid"] == true) {
        verdicts.push(app.verify(&credential).await.json());
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(verdicts.len() < 1000, "it never expires");
    }
    for verdict in &verdicts {
        let before = verdict["verifiedAt"].as_str().unwrap() < expires_at;
        assert_eq!(verdict["isValid"], before, "{verdict} against {expires_at}");
        if before {
            assert_eq!(verdict["expiresAt"], expires_at);
        } else {
            assert_eq!(verdict["status"], "expired");
            assert!(verdict["message"].as_str().unwrap().contains("expired"), "{verdict}");
        }
    }
    assert_eq!(app.check(hash).await.json()["status"], "expired");
    app.issue(&credential).await.assert_problem(409, "already-issued");
}

#[tokio::test]
async fn expires_at_may_have_any_offset() {
    let app = TestApp::any().await;
    let credential = unique("at");
    let body = json!({ "credential": credential, "expires_at": "2199-01-01T02:00:00.5+02:00" });
    assert_eq!(app.issued(body).await["expires_at"], "2199-01-01T00:00:00.500Z");
    assert_eq!(app.verify(&credential).await.json()["expiresAt"], "2199-01-01T00:00:00.500Z");
}

#[tokio::test]
async fn a_time_may_have_any_number_of_digits() {
    let app = TestApp::any().await;
    for (fraction, millis) in
        [("0", "000"), ("123456789", "123"), ("1234567890", "123"), (&"9".repeat(40), "999")]
    {
        let expires_at = format!("2199-01-01T00:00:00.{fraction}Z");
        let issued = app.issued(json!({ "credential": unique("digits"), "expires_at": expires_at })).await;
        assert_eq!(issued["expires_at"], format!("2199-01-01T00:00:00.{millis}Z"));
    }
    let since = "/credentials?limit=1&since=2025-01-01T00:00:00.123456789012Z";
    assert_eq!(app.admin_get(since).await.status, 200);
}

#[tokio::test]
async fn a_reason_that_does_not_survive_a_dump_is_refused() {
    let app = TestApp::any().await;
    let credential = unique("nul");
    app.issued(json!({ "credential": credential })).await;
    for reason in ["\0", "lost\0", "a\0b"] {
        let response = app.revoke(&json!({ "credential": credential, "reason": reason })).await;
        let problem = response.assert_problem(400, "invalid-request");
        let expected = json!([{ "location": "body.reason", "message": "must not contain U+0000" }]);
        assert_eq!(problem["errors"], expected);
    }
    assert_eq!(app.verify(&credential).await.json()["isValid"], true);
    let reason = "two\nlines, \u{1}\u{7f}\u{200e}\u{1f600}";
    let revoked = app.revoke(&json!({ "credential": credential, "reason": reason })).await;
    assert_eq!((revoked.status, &revoked.json()["reason"]), (200, &json!(reason)));
    // Metadata is stored as JSON text, where U+0000 is escaped.
    let metadata = json!({ "note": "a\0b" });
    let credential = unique("nul");
    app.issued(json!({ "credential": credential, "metadata": metadata })).await;
    assert_eq!(app.verify(&credential).await.json()["metadata"], metadata);
}

/// The list with the row of this hash.
async fn listed(app: &TestApp, hash: &str) -> Response {
    app.admin_get(&format!("/credentials?credential_hash={hash}")).await
}

#[tokio::test]
async fn a_revocation_is_final_and_keeps_its_first_time_and_reason() {
    let app = TestApp::any().await;
    let credential = unique("revoked");
    let hash = app.issued(json!({ "credential": credential })).await["credential_hash"].clone();
    let first = app.revoke(&json!({ "credential": credential, "reason": "lost ✉" })).await.expect(200);
    assert_eq!((&first["credential_hash"], &first["reason"]), (&hash, &"lost ✉".into()));
    let verdict = app.verify(&credential).await.json();
    assert_eq!((&verdict["isValid"], &verdict["status"]), (&false.into(), &"revoked".into()));
    assert!(verdict["message"].as_str().unwrap().contains("revoked"), "{verdict}");
    for body in [json!({ "credential": credential }), json!({ "credential_hash": hash, "reason": "other" })] {
        assert_eq!(app.revoke(&body).await.json(), first);
    }
    let listed = listed(&app, hash.as_str().unwrap()).await.json()["credentials"][0].clone();
    assert_eq!((&listed["status"], &listed["revoked_at"]), (&"revoked".into(), &first["revoked_at"]));
    app.issue(&credential).await.assert_problem(409, "already-issued");
}

#[tokio::test]
async fn revoking_an_unissued_credential_is_a_404() {
    let app = TestApp::any().await;
    for body in [json!({ "credential": unique("never") }), json!({ "credential_hash": "0".repeat(64) })] {
        app.revoke(&body).await.assert_problem(404, "not-found");
    }
}

#[tokio::test]
async fn revoked_outranks_expired() {
    let app = TestApp::any().await;
    let credential = unique("both");
    app.issued(json!({ "credential": credential, "ttl_seconds": 1 })).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(app.verify(&credential).await.json()["status"], "expired");
    assert_eq!(app.revoke(&json!({ "credential": credential })).await.status, 200);
    assert_eq!(app.verify(&credential).await.json()["status"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_revocations_agree_and_no_later_verdict_is_valid() {
    needs_own_host!();
    let app = Setup::new().start().await;
    for round in 0..5 {
        let credential = format!("race-{round}");
        app.issued(json!({ "credential": credential })).await;
        let (app, credential) = (&app, &credential);
        let revocations = join_all((0..16).map(|i| async move {
            let body = json!({ "credential": credential, "reason": format!("reason {i}") });
            let response = app.revoke(&body).await;
            let verdict = app.verify(credential).await.json();
            assert_eq!(verdict["status"], "revoked", "{verdict}");
            response.json()
        }));
        let verdicts = join_all((0..32).map(|_| app.verify(credential)));
        let (revocations, verdicts) = tokio::join!(revocations, verdicts);
        assert!(revocations.iter().all(|revocation| *revocation == revocations[0]), "{revocations:?}");
        for verdict in verdicts {
            assert!(["valid", "revoked"].contains(&verdict.json()["status"].as_str().unwrap()));
        }
    }
}

#[tokio::test]
async fn metadata_is_returned_as_sent_and_by_verify_only_while_valid() {
    let app = TestApp::any().await;
    let credential = unique("metadata");
    let metadata =
        r#"{"z":1.0,"a":12345678901234567890123,"e":1E5,"nested":{"b":[null,true],"a":"é \" \\ \u0041"}}"#;
    let body = format!(r#"{{"credential": "{credential}", "metadata": {metadata}, "ttl_seconds": 3600}}"#);
    let response = app.post_raw("/issue", body).await;
    assert_eq!(response.status, 201, "{}", response.text());
    let hash = response.json()["credential_hash"].as_str().unwrap().to_owned();
    assert!(listed(&app, &hash).await.text().contains(&format!("\"metadata\":{metadata}")));
    assert!(app.verify(&credential).await.text().contains(&format!("\"metadata\":{metadata}")));
    app.revoke(&json!({ "credential": credential })).await;
    assert_eq!(app.verify(&credential).await.json().get("metadata"), None);
    assert!(listed(&app, &hash).await.text().contains(&format!("\"metadata\":{metadata}")));
}

#[tokio::test]
async fn metadata_of_4_kib_is_accepted_and_one_byte_more_is_not() {
    let app = TestApp::any().await;
    let frame = json!({ "a": "" }).to_string().len();
    let body = |length: usize| json!({ "credential": unique("large"), "metadata": { "a": "x".repeat(length - frame) } });
    app.issued(body(4096)).await;
    let problem = app.post("/issue", &body(4097)).await.assert_problem(400, "invalid-request");
    assert_eq!(problem["errors"][0]["location"], "body.metadata");
}

#[tokio::test]
async fn a_generated_credential_is_shown_once_and_works() {
    let app = TestApp::any().await;
    let one = app.issued(json!({ "generate": true })).await;
    let other = app.issued(json!({ "generate": true })).await;
    let credential = one["credential"].as_str().unwrap();
    assert!(credential.starts_with("kc_") && credential.len() == 52, "{credential}");
    assert_ne!(one["credential"], other["credential"]);
    assert_eq!(app.verify(credential).await.json()["isValid"], true);
    app.issue(credential).await.assert_problem(409, "already-issued");
}
