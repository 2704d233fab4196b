//! No database, log or response contains credentials or secrets.

use std::fs;

use credentials::Secret;
use e2e::{ADMIN_TOKEN, Databases, SECRET, Setup, databases, needs_own_host};
use serde_json::json;

use crate::uses::post_with_key;

#[tokio::test]
async fn no_credential_and_no_secret_is_stored_or_logged() {
    needs_own_host!();
    let app = Setup::new().variable("log_level", "debug").start().await;
    let credential = "plaintext-that-must-not-stay-anywhere";
    let mut responses = vec![
        app.issue(credential).await,
        app.issue(credential).await,
        app.verify(credential).await,
        app.verify(&format!("{credential}-unknown")).await,
        app.get(&format!("/issue/{credential}")).await,
        app.get(&format!("/verify/x?credential={credential}")).await,
    ];
    let generated = app.issued(json!({ "generate": true })).await["credential"].as_str().unwrap().to_owned();
    let key = "an-idempotency-key-of-22-characters";
    let once =
        post_with_key(&app, "/issue", key, &json!({ "generate": true, "max_uses": 2 })).await.expect(201);
    let once = once["credential"].as_str().unwrap();
    responses.push(post_with_key(&app, "/verify", key, &json!({ "credential": once })).await);
    responses.push(post_with_key(&app, "/issue", key, &json!({ "credential": "other" })).await);
    responses.push(app.verify(&generated).await);
    responses.push(app.post("/verify/batch", &json!({ "credentials": [credential, generated] })).await);
    responses.push(app.revoke(&json!({ "credential": generated })).await);
    responses.push(app.admin_get("/credentials").await);
    responses.push(app.admin_get("/verifications").await);
    // The response may repeat a misplaced credential, but the log may not.
    app.post("/issue", &json!({ "credential": [credential] })).await;
    app.post("/issue", &json!({ credential: "x" })).await;
    app.check(credential).await;
    app.database("verification").refuse("verifications", "true", "no");
    responses.push(app.verify(credential).await);
    app.wait_for_log("\"status\":503").await;

    let service_token = Secret::new(SECRET).unwrap().service_token().clone();
    let secrets = [credential, SECRET, ADMIN_TOKEN, &generated, once, key, service_token.as_str()];
    let is_clean = |bytes: &[u8]| {
        secrets.iter().all(|secret| bytes.windows(secret.len()).all(|window| window != secret.as_bytes()))
    };
    for (service, table) in
        [("issuance", "credentials"), ("issuance", "uses"), ("verification", "verifications")]
    {
        let rows = format!("{:?}", app.database(service).rows(&format!("SELECT * FROM {table}")));
        assert!(rows.len() > 50 && is_clean(rows.as_bytes()), "{rows}");
    }
    if databases() == Databases::Files {
        let files: Vec<_> = fs::read_dir(app.data_folder()).unwrap().collect();
        assert!(files.len() >= 2, "there are no databases");
        for file in files {
            assert!(is_clean(&fs::read(file.unwrap().path()).unwrap()));
        }
    }
    let log = app.log();
    assert!(log.contains("\"level\":\"INFO\""), "there is no log:\n{log}");
    assert!(is_clean(log.as_bytes()), "{log}");
    for response in responses {
        assert!(is_clean(&response.body), "{}", response.text());
    }
}
