//! Several replicas of the application on one pair of databases.

use std::{collections::HashSet, iter};

use e2e::{Databases, Setup, TestApp, databases, needs_own_host, needs_postgres};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::counts::assert_counted;

/// Replicas that share new databases.
pub(crate) async fn replicas(count: usize) -> Vec<TestApp> {
    replicas_with(count, |_, setup| setup).await
}

/// The same, each with a setup of its own.
pub(crate) async fn replicas_with(count: usize, own: impl Fn(usize, Setup) -> Setup) -> Vec<TestApp> {
    let setup = |replica| own(replica, Setup::new().without_validation());
    let mut replicas = vec![setup(0).start().await];
    for replica in 1..count {
        replicas.push(setup(replica).databases_of(&replicas[0]).start().await);
    }
    replicas
}

/// Three replicas, each with a current secret of its own, which know one another's: as in the middle of a rotation.
pub(crate) async fn replicas_with_different_secrets() -> Vec<TestApp> {
    let secrets = ["a".repeat(32), "b".repeat(32), "c".repeat(32)];
    replicas_with(3, |replica, setup| {
        let retired: Vec<_> = (1..3).map(|other| secrets[(replica + other) % 3].as_str()).collect();
        setup
            .variable("credential_secret", &secrets[replica])
            .variable("retired_credential_secrets", &retired.join(","))
    })
    .await
}

/// Asserts that one replica knows each of these issued credentials and another has an audit row for each of these
/// verdicts.
pub(crate) async fn assert_nothing_lost(
    one: &TestApp,
    other: &TestApp,
    issued: &[Value],
    verdicts: &[Value],
) {
    for issued in issued {
        let checked = one.check(issued["credential_hash"].as_str().unwrap()).await.json();
        assert_eq!(checked["issued_at"], issued["issued_at"], "{issued}");
    }
    let rows = other.all_pages("/verifications?limit=100").await;
    let rows: HashSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    for verdict in verdicts {
        assert!(rows.contains(verdict["verificationId"].as_str().unwrap()), "{verdict}");
    }
}

/// Asserts that of fifty identical requests to these replicas at once, one issues.
async fn assert_issued_once(replicas: &[TestApp], credential: &str) {
    let responses = join_all(replicas.iter().cycle().take(50).map(|app| app.issue(credential))).await;
    let mut statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 49][..]), "{credential}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_issues_over_three_replicas_give_one_201() {
    needs_own_host!();
    let replicas = replicas(3).await;
    // In the first round all replicas migrate at once.
    for round in 0..6 {
        assert_issued_once(&replicas, &format!("contested-{round}")).await;
    }
    assert_eq!(replicas[0].count("issuance", "credentials"), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_issues_under_different_current_secrets_give_one_201() {
    needs_own_host!();
    let replicas = replicas_with_different_secrets().await;
    for round in 0..20 {
        assert_issued_once(&replicas, &format!("rotating-{round}")).await;
    }
    assert_eq!(replicas[0].count("issuance", "credentials"), 20);
}

/// In any order: a database that locks them one by one must not deadlock.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_overlap_issue_each_credential_once_under_different_current_secrets() {
    needs_own_host!();
    let replicas = replicas_with_different_secrets().await;
    let mut issued = 0;
    for round in 0..6 {
        let mut credentials: Vec<_> = (0..40).map(|i| format!("overlapping-{round}-{i}")).collect();
        let all = json!({ "credentials": credentials });
        let batches: Vec<_> = (0..12)
            .map(|i| {
                credentials.rotate_left(7 * (i % 5));
                credentials.reverse();
                let items =
                    credentials[..20 + i].iter().map(|credential| json!({ "credential": credential }));
                json!({ "credentials": items.collect::<Vec<_>>() })
            })
            .collect();
        let requests = batches.iter().zip(replicas.iter().cycle());
        for response in join_all(requests.map(|(batch, app)| app.post("/issue/batch", batch))).await {
            for result in response.expect(200)["results"].as_array().unwrap() {
                match result.get("error") {
                    None => issued += 1,
                    Some(error) => assert_eq!(error["status"], 409, "{result}"),
                }
            }
        }
        let verdicts = replicas[round % 3].post("/verify/batch", &all).await.expect(200);
        assert!(
            verdicts["results"].as_array().unwrap().iter().all(|item| item["isValid"] == true),
            "{verdicts}"
        );
    }
    assert_eq!((issued, replicas[0].count("issuance", "credentials")), (6 * 40, 6 * 40));
    assert_counted(&replicas[0], "issuance");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_one_replica_holds_at_once_on_the_others() {
    needs_own_host!();
    let replicas = replicas(2).await;
    for round in 0..20 {
        let (one, other) = (&replicas[round % 2], &replicas[(round + 1) % 2]);
        let credential = format!("revoked-{round}");
        one.issued(json!({ "credential": credential })).await;
        assert_eq!(other.verify(&credential).await.json()["status"], "valid");
        other.revoke(&json!({ "credential": credential })).await.expect(200);
        assert_eq!(one.verify(&credential).await.json()["status"], "revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_one_replica_is_good_on_the_others() {
    needs_own_host!();
    let replicas = replicas(3).await;
    for i in 0..10 {
        replicas[i % 3].issued(json!({ "credential": format!("listed-{i}") })).await;
        replicas[i % 3].verify(&format!("listed-{i}")).await.expect(200);
    }
    for list in ["credentials", "verifications"] {
        let rows = TestApp::pages_in_turn(&replicas, &format!("/{list}?limit=3")).await;
        let whole = replicas[0].all_pages(&format!("/{list}?limit=100")).await;
        assert_eq!((rows.len(), &rows), (10, &whole));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_those_of_the_rows_after_races_of_replicas() {
    needs_own_host!();
    let replicas = replicas(3).await;
    let requests = (0..150).zip(replicas.iter().cycle());
    join_all(requests.map(|(i, app)| async move {
        // Each name three times, once at each replica.
        let name = format!("raced {}", i / 3);
        app.issue(&name).await;
        app.verify(&name).await.expect(200);
        app.revoke(&json!({ "credential": name })).await;
        app.post("/verify/batch", &json!({ "credentials": [name, "guess"] })).await.expect(200);
    }))
    .await;
    for service in ["issuance", "verification"] {
        assert_counted(&replicas[0], service);
    }
    let statistics = replicas[1].admin_get("/statistics/issuance").await.expect(200);
    assert_eq!(statistics["totals"], json!({ "issued": 50, "revoked": 50, "used": 0 }));
    let verdicts = replicas[2].admin_get("/statistics/verification").await.expect(200);
    let total: u64 =
        verdicts["totals"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(total, 3 * 150);
    // Otherwise every commit would wait for the one before.
    if databases() == Databases::Postgres {
        let rows = "SELECT count(DISTINCT shard) FROM counts WHERE kind = 'revoked'";
        let shards: i64 = replicas[0].query("verification", rows);
        assert!(shards > 3, "{shards}");
    }
}

/// A request waits neither for a pool that others use up nor for one connection.
#[tokio::test(flavor = "multi_thread")]
async fn more_clients_than_connections_are_all_served() {
    needs_own_host!();
    needs_postgres!();
    let replicas = replicas(2).await;
    let requests = iter::repeat_n(&replicas, 200).enumerate();
    join_all(requests.map(|(i, replicas)| async move {
        let (one, other) = (&replicas[i % 2], &replicas[(i + 1) % 2]);
        let credential = format!("crowd-{i}");
        one.issued(json!({ "credential": credential })).await;
        assert_eq!(other.verify(&credential).await.expect(200)["isValid"], true);
    }))
    .await;
}
