//! Plaintext and secret are in no file, log or answer.

use std::fs;

use crate::app::{SECRET, Setup, needs_own_host};

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
        assert!(!contains(&bytes, credential) && !contains(&bytes, SECRET));
    }
    assert!(searched > 4096, "the databases were not there to search");
    let log = app.log();
    assert!(log.contains("\"level\":\"INFO\""), "the log was not there to search:\n{log}");
    assert!(!contains(log.as_bytes(), credential) && !contains(log.as_bytes(), SECRET), "{log}");
    for answer in answers {
        assert!(!contains(&answer.body, credential) && !contains(&answer.body, SECRET), "{}", answer.text());
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
