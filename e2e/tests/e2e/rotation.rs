//! Rotation of the secret.

use e2e::{Setup, needs_own_host};
use futures_util::future::join_all;
use serde_json::json;

#[tokio::test]
async fn a_credential_counts_until_its_secret_is_dropped() {
    needs_own_host!();
    let (a, b) = ("a".repeat(32), "b".repeat(40));
    let mut app = Setup::new().variable("credential_secret", &a).start().await;
    let under_a = app.issue("old").await.json();
    app.issue("to be revoked").await;

    app.restart_with(&[("credential_secret", &b), ("retired_credential_secrets", &a)]).await;
    let verdict = app.verify("old").await.json();
    assert_eq!((&verdict["isValid"], &verdict["issuedAt"]), (&true.into(), &under_a["issued_at"]));
    app.issue("old").await.assert_problem(409, "already-issued");
    let under_b = app.issue("new").await.json();
    assert_ne!(under_a["key_id"], under_b["key_id"]);
    let revoked = app.revoke(&json!({ "credential": "to be revoked" })).await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert_eq!(app.verify("to be revoked").await.json()["status"], "revoked");
    // The audit row has the hash under which the credential was issued.
    let hash = under_a["credential_hash"].as_str().unwrap();
    assert_eq!(app.all_pages(&format!("/verifications?credential_hash={hash}")).await.len(), 1);

    app.restart_with(&[("retired_credential_secrets", "")]).await;
    assert_eq!(app.verify("old").await.json()["status"], "not_found");
    assert_eq!(app.verify("new").await.json()["isValid"], true);
}

#[tokio::test]
async fn up_to_eight_retired_secrets_count() {
    needs_own_host!();
    let secret = |letter: char| letter.to_string().repeat(32);
    let mut app = Setup::new().variable("credential_secret", &secret('a')).start().await;
    for current in 'b'..='i' {
        app.issue(&format!("under {}", char::from(current as u8 - 1))).await;
        let retired: Vec<_> = ('a'..current).rev().map(secret).collect();
        app.restart_with(&[
            ("credential_secret", &secret(current)),
            ("retired_credential_secrets", &retired.join(",")),
        ])
        .await;
    }
    for letter in 'a'..='h' {
        assert_eq!(app.verify(&format!("under {letter}")).await.json()["isValid"], true, "{letter}");
    }
    let nine: Vec<_> = ('j'..='r').map(secret).collect();
    app.restart_with(&[("retired_credential_secrets", &nine.join(","))]).await;
    app.verify("under a").await.assert_problem(503, "unavailable");
    assert!(app.get("/health").await.json()["checks"]["secret"].as_str().unwrap().contains("at most 8"));
}

/// In the middle of a rotation, some instances have the secrets the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn instances_with_swapped_secrets_issue_a_credential_once() {
    needs_own_host!();
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let setup = |current, retired| {
        Setup::new().variable("credential_secret", current).variable("retired_credential_secrets", retired)
    };
    let before = setup(&a, &b).start().await;
    let after = setup(&b, &a).databases_of(&before).start().await;
    for round in 0..10 {
        let credential = format!("rotating-{round}");
        let answers = join_all(
            (0..20).map(|i| if i % 2 == 0 { before.issue(&credential) } else { after.issue(&credential) }),
        );
        let issued = answers.await.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(issued, 1, "{credential}");
    }
    assert_eq!(before.count("issuance", "credentials"), 10);
}
