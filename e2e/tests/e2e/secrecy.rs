//! Plaintext and secret are in no file, log or answer.

use std::fs;

use e2e::{ADMIN_TOKEN, SECRET, Setup, needs_own_host};

#[tokio::test]
async fn no_plaintext_and_no_secret_is_stored_or_logged() {
    needs_own_host!();
    let app = Setup::new().variable("log_level", "debug").start().await;
    let credential = "plaintext-that-must-not-stay-anywhere";
    let mut answers = vec![
        app.issue(credential).await,
        app.issue(credential).await,
        app.verify(credential).await,
        app.verify(&format!("{credential}-unknown")).await,
        app.get(&format!("/issue/{credential}")).await,
        app.get(&format!("/verify/x?credential={credential}")).await,
    ];
    let generated = app.post("/issue", &serde_json::json!({ "generate": true })).await.json();
    let generated = generated["credential"].as_str().unwrap().to_owned();
    answers.push(app.verify(&generated).await);
    answers.push(
        app.post("/verify/batch", &serde_json::json!({ "credentials": [credential, generated] })).await,
    );
    answers.push(app.revoke(&serde_json::json!({ "credential": generated })).await);
    answers.push(app.admin_get("/credentials").await);
    answers.push(app.admin_get("/verifications").await);
    let secrets = [credential, SECRET, ADMIN_TOKEN, generated.as_str()];
    // Written where it does not belong, it may be told back to who wrote it, but not logged.
    app.post("/issue", &serde_json::json!({ "credential": [credential] })).await;
    app.post("/issue", &serde_json::json!({ credential: "x" })).await;
    app.check(credential).await;
    app.database("verification")
        .execute_batch("CREATE TRIGGER t BEFORE INSERT ON verifications BEGIN SELECT raise(ABORT, 'no'); END")
        .unwrap();
    answers.push(app.verify(credential).await);
    app.wait_for_log("\"status\":503").await;

    let mut searched = 0;
    for file in fs::read_dir(app.folder().join("data")).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        searched += bytes.len();
        assert!(secrets.iter().all(|secret| !contains(&bytes, secret)));
    }
    assert!(searched > 4096, "the databases were not there to search");
    let log = app.log();
    assert!(log.contains("\"level\":\"INFO\""), "the log was not there to search:\n{log}");
    assert!(secrets.iter().all(|secret| !contains(log.as_bytes(), secret)), "{log}");
    for answer in answers {
        assert!(secrets.iter().all(|secret| !contains(&answer.body, secret)), "{}", answer.text());
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
