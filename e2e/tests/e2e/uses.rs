//! Credentials with a number of uses.

use std::collections::HashMap;

use e2e::{Database, Setup, TestApp, needs_own_host};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    counts::assert_counted,
    replicas::{replicas, replicas_with, replicas_with_different_secrets},
};

pub(crate) const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

/// POST with an `Idempotency-Key`.
pub(crate) async fn post_with_key(app: &TestApp, path: &str, key: &str, body: &Value) -> e2e::Response {
    app.send(app.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

/// How many verdicts there are of each status, and refusals as `error`.
fn tally(verdicts: &[Value]) -> HashMap<&str, usize> {
    let mut tally = HashMap::new();
    for verdict in verdicts {
        *tally.entry(verdict["status"].as_str().unwrap_or("error")).or_default() += 1;
    }
    tally
}

/// Asserts that the audit rows of a credential have these statuses, and that it has this number of uses.
fn assert_recorded(app: &TestApp, hash: &Value, statuses: &[(&str, usize)], uses: u32) {
    let hash = hash.as_str().unwrap();
    for (status, count) in statuses {
        let rows: usize = app.query(
            "verification",
            &format!(
                "SELECT count(*) FROM verifications WHERE credential_hash = '{hash}' AND status = '{status}'"
            ),
        );
        assert_eq!(rows, *count, "{status}");
    }
    let used: u32 =
        app.query("issuance", &format!("SELECT uses FROM credentials WHERE credential_hash = '{hash}'"));
    assert_eq!(used, uses);
    assert_counted(app, "issuance");
    assert_counted(app, "verification");
}

#[tokio::test]
async fn a_credential_is_valid_as_often_as_it_can_be_used() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let issued = app.issued(json!({ "credential": "invite", "max_uses": 2 })).await;
    assert_eq!(issued["max_uses"], 2);
    let asked = app.post("/verify", &json!({ "credential": "invite", "use": false })).await.expect(200);
    assert_eq!((&asked["status"], &asked["usesLeft"]), (&json!("valid"), &json!(2)));
    for left in [1, 0] {
        let verdict = app.verify("invite").await.expect(200);
        assert_eq!((&verdict["isValid"], &verdict["usesLeft"]), (&json!(true), &json!(left)));
    }
    let verdict = app.verify("invite").await.expect(200);
    assert_eq!((&verdict["isValid"], &verdict["status"]), (&json!(false), &json!("used_up")));
    assert_eq!((&verdict["usesLeft"], &verdict["message"]), (&json!(0), &json!("credential used up")));
    assert_eq!(verdict.get("issuedBy"), None);
    let asked = app.post("/verify", &json!({ "credential": "invite", "use": false })).await.expect(200);
    assert_eq!((&asked["status"], &asked["usesLeft"]), (&json!("used_up"), &json!(0)));
    assert_recorded(&app, &issued["credential_hash"], &[("valid", 3), ("used_up", 2)], 2);
    let hash = issued["credential_hash"].as_str().unwrap();
    assert_eq!(app.check(hash).await.expect(200)["status"], "used_up");
    let listed = app.all_pages("/credentials?status=used_up").await;
    assert_eq!((listed.len(), &listed[0]["max_uses"], &listed[0]["uses"]), (1, &json!(2), &json!(2)));
    assert!(app.all_pages("/credentials?status=active").await.is_empty());
    // An unlimited one has neither.
    app.issued(json!({ "credential": "licence" })).await;
    let verdict = app.verify("licence").await.expect(200);
    assert_eq!((&verdict["isValid"], verdict.get("usesLeft")), (&json!(true), None));
    let listed = app.all_pages("/credentials?status=active").await;
    assert_eq!((listed.len(), listed[0].get("max_uses"), listed[0].get("uses")), (1, None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_verifications_over_three_replicas_use_it_five_times() {
    needs_own_host!();
    for replicas in [replicas(3).await, replicas_with_different_secrets().await] {
        let issued = replicas[0].issued(json!({ "credential": "invite", "max_uses": 5 })).await;
        let verify = |app| TestApp::verify(app, "invite");
        let verdicts = join_all(replicas.iter().cycle().take(200).map(verify)).await;
        let verdicts: Vec<_> = verdicts.into_iter().map(|verdict| verdict.expect(200)).collect();
        assert_eq!(tally(&verdicts), HashMap::from([("valid", 5), ("used_up", 195)]));
        let mut left: Vec<_> = verdicts
            .iter()
            .filter(|verdict| verdict["isValid"] == true)
            .map(|verdict| verdict["usesLeft"].as_u64().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2, 3, 4]);
        assert_recorded(&replicas[0], &issued["credential_hash"], &[("valid", 5), ("used_up", 195)], 5);
    }
}

#[tokio::test]
async fn a_batch_uses_one_for_each_item() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let issued = app.issued(json!({ "credential": "invite", "max_uses": 3 })).await;
    let batch = json!({ "credentials": ["invite", "", "invite", "unknown", "invite", "invite"] });
    let results = app.post("/verify/batch", &batch).await.expect(200)["results"].clone();
    let statuses = ["valid", "error", "valid", "not_found", "valid", "used_up"];
    for (result, status) in results.as_array().unwrap().iter().zip(statuses) {
        assert_eq!(result["status"].as_str().unwrap_or("error"), status, "{results}");
    }
    assert_eq!((&results[0]["usesLeft"], &results[4]["usesLeft"]), (&json!(2), &json!(0)));
    let asked = json!({ "credentials": ["invite"], "use": false });
    assert_eq!(app.post("/verify/batch", &asked).await.expect(200)["results"][0]["status"], "used_up");
    assert_recorded(&app, &issued["credential_hash"], &[("valid", 3), ("used_up", 2)], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_with_the_same_key_is_granted_the_same_use() {
    needs_own_host!();
    let replicas = replicas_with_different_secrets().await;
    let issued = replicas[0].issued(json!({ "credential": "invite", "max_uses": 2 })).await;
    let body = json!({ "credential": "invite" });
    // Twins over all replicas.
    let twins = replicas.iter().cycle().take(30).map(|app| post_with_key(app, "/verify", KEY, &body));
    for verdict in join_all(twins).await {
        let verdict = verdict.expect(200);
        assert_eq!((&verdict["status"], &verdict["usesLeft"]), (&json!("valid"), &json!(1)));
    }
    assert_recorded(&replicas[0], &issued["credential_hash"], &[("valid", 30)], 1);
    // The last use belongs to another key; the first is still granted, with and without quotes.
    let other = format!("\"{}\"", KEY.replace('8', "9"));
    assert_eq!(post_with_key(&replicas[1], "/verify", &other, &body).await.expect(200)["usesLeft"], 0);
    assert_eq!(replicas[2].verify("invite").await.expect(200)["status"], "used_up");
    let third = KEY.replace('8', "7");
    assert_eq!(post_with_key(&replicas[0], "/verify", &third, &body).await.expect(200)["status"], "used_up");
    let quoted = format!("\"{KEY}\"");
    let again = post_with_key(&replicas[2], "/verify", &quoted, &body).await.expect(200);
    assert_eq!((&again["status"], &again["usesLeft"]), (&json!("valid"), &json!(1)));
    // But not once the credential is revoked.
    replicas[0].revoke(&body).await.expect(200);
    assert_eq!(post_with_key(&replicas[1], "/verify", KEY, &body).await.expect(200)["status"], "revoked");
    assert_recorded(&replicas[0], &issued["credential_hash"], &[("valid", 32), ("used_up", 2)], 2);
}

#[tokio::test]
async fn a_replica_that_does_not_know_a_new_secret_yet_grants_the_same_use() {
    needs_own_host!();
    // The first step of a rotation, half done.
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    let replicas = replicas_with(2, |replica, setup| {
        let retired = if replica == 0 { "" } else { &new };
        setup.variable("credential_secret", &old).variable("retired_credential_secrets", retired)
    });
    let replicas = replicas.await;
    replicas[0].issued(json!({ "credential": "invite", "max_uses": 20 })).await;
    let body = json!({ "credential": "invite" });
    // Which secret's tag is the first depends on the key.
    for i in 0..10 {
        let key = format!("{KEY}-{i}");
        for app in [&replicas[(i + 1) % 2], &replicas[i % 2]] {
            let verdict = post_with_key(app, "/verify", &key, &body).await.expect(200);
            assert_eq!(verdict["usesLeft"], 19 - i, "{i}");
        }
    }
}

#[tokio::test]
async fn a_repeated_batch_is_granted_the_same_uses() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let issued = app.issued(json!({ "credential": "invite", "max_uses": 5 })).await;
    let batch = json!({ "credentials": ["invite", "invite", "unknown", "invite"] });
    let uses_left = async |body: &Value| {
        let results = post_with_key(&app, "/verify/batch", KEY, body).await.expect(200)["results"].clone();
        results.as_array().unwrap().iter().map(|result| result["usesLeft"].as_u64()).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        assert_eq!(uses_left(&batch).await, [Some(4), Some(3), None, Some(2)]);
    }
    // The place of an item is part of its use.
    assert_eq!(uses_left(&json!({ "credentials": ["", "invite", "", "", "invite"] })).await[4], Some(1));
    assert_recorded(&app, &issued["credential_hash"], &[("valid", 11)], 4);
}

#[tokio::test]
async fn a_use_is_forgotten_after_a_day() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let issued = app.issued(json!({ "credential": "invite", "max_uses": 3 })).await;
    let body = json!({ "credential": "invite" });
    for (age, left) in [(None, 2), (Some(86_390), 2), (Some(86_410), 1), (None, 1)] {
        if let Some(seconds) = age {
            let database: Database = app.database("issuance");
            database.execute(&format!("UPDATE uses SET used_at = {} - {seconds}000", database.now()));
        }
        assert_eq!(post_with_key(&app, "/verify", KEY, &body).await.expect(200)["usesLeft"], left);
        assert_eq!(app.count("issuance", "uses"), 1);
    }
    // Those of others are deleted as new ones come.
    let database = app.database("issuance");
    database.execute(&format!("UPDATE uses SET used_at = {} - 86410000", database.now()));
    let other = KEY.replace('8', "9");
    assert_eq!(post_with_key(&app, "/verify", &other, &body).await.expect(200)["usesLeft"], 0);
    assert_eq!(app.count("issuance", "uses"), 1);
    assert_recorded(&app, &issued["credential_hash"], &[("valid", 5)], 3);
}

#[tokio::test]
async fn nothing_is_used_of_a_credential_that_has_ended() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let revoked = app.issued(json!({ "credential": "revoked", "max_uses": 3 })).await;
    app.verify("revoked").await.expect(200);
    app.revoke(&json!({ "credential": "revoked" })).await.expect(200);
    let expired = app.issued(json!({ "credential": "expired", "max_uses": 3, "ttl_seconds": 3600 })).await;
    app.database("issuance")
        .execute("UPDATE credentials SET expires_at = issued_at + 1 WHERE expires_at > 0");
    for (credential, issued, uses) in [("revoked", revoked, 1), ("expired", expired, 0)] {
        let verdict = app.verify(credential).await.expect(200);
        assert_eq!((&verdict["status"], verdict.get("usesLeft")), (&json!(credential), None));
        assert_recorded(&app, &issued["credential_hash"], &[(credential, 1)], uses);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_leaves_no_use_to_take() {
    needs_own_host!();
    let replicas = replicas(2).await;
    for round in 0..5 {
        let credential = format!("invite-{round}");
        let issued = replicas[0].issued(json!({ "credential": credential, "max_uses": 1000 })).await;
        let revoked = async {
            replicas[1].verify(&credential).await.expect(200);
            let body = json!({ "credential": credential });
            replicas[1].revoke(&body).await.expect(200);
            // Whatever begins now finds it revoked.
            let verdicts = join_all(replicas.iter().cycle().take(6).map(|app| app.verify(&credential))).await;
            for verdict in verdicts {
                assert_eq!(verdict.expect(200)["status"], "revoked");
            }
        };
        let verdicts = join_all(replicas.iter().cycle().take(60).map(|app| app.verify(&credential)));
        let (verdicts, ()) = tokio::join!(verdicts, revoked);
        let verdicts: Vec<_> = verdicts.into_iter().map(|verdict| verdict.expect(200)).collect();
        let valid = tally(&verdicts).get("valid").copied().unwrap_or(0) + 1;
        assert_recorded(&replicas[0], &issued["credential_hash"], &[("valid", valid)], valid as u32);
    }
}
