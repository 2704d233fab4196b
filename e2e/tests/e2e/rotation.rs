//! Rotating the secret.

use credentials::Secret;
use e2e::{Setup, TestApp, needs_own_host};
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
    app.revoke(&json!({ "credential": "to be revoked" })).await.expect(200);
    assert_eq!(app.verify("to be revoked").await.json()["status"], "revoked");
    // The audit row has the hash from the time of issue.
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
        app.issued(json!({ "credential": format!("under {}", char::from(current as u8 - 1)) })).await;
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

/// In the middle of a rotation some instances have the secrets swapped.
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
        let responses = join_all(
            (0..20).map(|i| if i % 2 == 0 { before.issue(&credential) } else { after.issue(&credential) }),
        );
        let issued = responses.await.iter().filter(|response| response.status == 201).count();
        assert_eq!(issued, 1, "{credential}");
    }
    assert_eq!(before.count("issuance", "credentials"), 10);
}

/// A service with these secrets.
async fn service(component: &'static str, issuance_url: &str, current: &str, retired: &str) -> TestApp {
    Setup::new()
        .component(component)
        .variable("issuance_url", issuance_url)
        .variable("credential_secret", current)
        .variable("retired_credential_secrets", retired)
        .start()
        .await
}

#[tokio::test]
async fn no_verdict_while_issuance_has_a_secret_that_verification_lacks() {
    needs_own_host!();
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let key_id = |secret: &str| Secret::new(secret).unwrap().key_id().to_string();
    for retired in ["", a.as_str()] {
        let issuance = service("issuance", "http://unused.example", &b, retired).await;
        issuance.issue("issued").await;
        let verification = service("verification", &issuance.base_url, &a, "").await;
        for credential in ["issued", "not issued"] {
            verification.verify(credential).await.assert_problem(503, "unavailable");
            let batch = verification.post("/verify/batch", &json!({ "credentials": [credential] })).await;
            batch.assert_problem(503, "unavailable");
        }
        assert_eq!(verification.count("verification", "verifications"), 0);
        let health = verification.get("/health/verification").await;
        assert_eq!(health.status, 503);
        assert!(
            health.json()["checks"]["issuance"].as_str().unwrap().contains("secret"),
            "{}",
            health.text()
        );
        verification.wait_for_log(&key_id(&a)).await;
        // Issuance tells its own keys to services that it recognises.
        assert_eq!(verification.log().contains(&key_id(&b)), retired == a);
        for secret in [&a, &b] {
            assert!(!verification.log().contains(secret.as_str()));
        }
    }
}

/// Follows the order in `docs/operations.md`.
#[tokio::test]
async fn services_on_separate_hosts_can_be_rotated_without_a_gap() {
    needs_own_host!();
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let mut issuance = service("issuance", "http://unused.example", &a, "").await;
    let mut verification = service("verification", &issuance.base_url, &a, "").await;
    issuance.issue("old").await;
    for (to_issuance, current, retired) in
        [(false, &a, b.as_str()), (true, &b, &a), (false, &b, &a), (true, &b, ""), (false, &b, "")]
    {
        let restarted = if to_issuance { &mut issuance } else { &mut verification };
        restarted
            .restart_with(&[("credential_secret", current), ("retired_credential_secrets", retired)])
            .await;
        if to_issuance {
            issuance.issue(&format!("under {current} beside {retired:?}")).await;
        }
        // Each restart changes the port.
        verification.restart_with(&[("issuance_url", &issuance.base_url)]).await;
        assert_eq!(verification.get("/health/verification").await.status, 200);
        let verdict = verification.verify("old").await.json();
        let dropped = !to_issuance && current == &b && retired.is_empty();
        assert_eq!(verdict["status"], if dropped { "not_found" } else { "valid" }, "{current} {retired}");
    }
}
