//! Concurrent requests: none is lost, doubled or mixed up.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use e2e::{Databases, Setup, TestApp, databases, needs_own_host};
use futures_util::{StreamExt, future::join_all, stream};
use reqwest::Method;
use serde_json::json;

/// The number of concurrent requests: enough for several instances, but few enough for a busy machine to serve each
/// within 5 s.
const BURST: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_of_fifty_identical_issues_succeeds() {
    needs_own_host!();
    let app = Setup::new().start().await;
    for round in 0..4 {
        let credential = format!("contested-{round}");
        let responses = join_all((0..50).map(|_| app.issue(&credential))).await;
        let mut statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 49][..]));
    }
    assert_eq!(app.count("issuance", "credentials"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_concurrent_issue_is_lost() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let issued = (0..300).map(|i| app.issued(json!({ "credential": format!("different-{i}") })));
    let hashes: HashSet<_> = stream::iter(issued)
        .buffer_unordered(BURST)
        .map(|body| body["credential_hash"].as_str().unwrap().to_owned())
        .collect()
        .await;
    assert_eq!(hashes.len(), 300);
    assert_eq!(app.count("issuance", "credentials"), 300);
    for hash in &hashes {
        assert_eq!(app.check(hash).await.json()["exists"], true);
    }
}

/// Up to 16 concurrent requests share an instance and its connection. A leak between them would show as a response to
/// the wrong request.
#[tokio::test(flavor = "multi_thread")]
async fn every_response_belongs_to_its_request() {
    needs_own_host!();
    let app = Setup::new().start().await;
    // Issue every third one beforehand for a mix of valid, unknown and duplicate responses.
    let mut issued = HashMap::new();
    for i in (0..240).step_by(3) {
        issued.insert(i, app.issue(&format!("mixed-{i}")).await.json());
    }
    let (app, issued) = (&app, &issued);
    let requests = (0..240).map(|i| async move {
        let credential = format!("mixed-{i}");
        let ask = |path: &str, id: String, body| {
            let request = app.request(Method::POST, path).header("x-request-id", id.clone()).json(&body);
            async move {
                let response = app.send(request).await;
                assert_eq!(response.header("x-request-id"), Some(id.as_str()));
                response
            }
        };
        let check = |hash| ask("/check", format!("check-{i}"), json!({ "credential_hash": hash }));
        let verified = ask("/verify", format!("verify-{i}"), json!({ "credential": credential })).await;
        assert_eq!(verified.status, 200, "{}", verified.text());
        assert_eq!(verified.json()["isValid"], issued.contains_key(&i), "{credential}");
        if let Some(record) = issued.get(&i) {
            assert_eq!(verified.json()["issuedAt"], record["issued_at"]);
            let checked = check(record["credential_hash"].clone()).await;
            assert_eq!(checked.json()["issued_at"], record["issued_at"]);
        }
        let again = ask("/issue", format!("issue-{i}"), json!({ "credential": credential })).await;
        assert_eq!(again.status, if issued.contains_key(&i) { 409 } else { 201 }, "{credential}");
        if again.status == 201 {
            let checked = check(again.json()["credential_hash"].clone()).await;
            assert_eq!(checked.json()["issued_at"], again.json()["issued_at"]);
        }
    });
    stream::iter(requests).buffer_unordered(BURST).collect::<()>().await;

    // Each verdict has one audit row, with the id, hash and status of its request.
    let rows =
        app.database("verification").rows("SELECT request_id, credential_hash, status FROM verifications");
    assert_eq!(rows.len(), 240);
    let by_request: HashMap<_, _> = rows.iter().map(|row| (row[0].clone(), (&row[1], &row[2]))).collect();
    assert_eq!(by_request.len(), 240);
    for i in 0..240 {
        let (hash, status) = &by_request[&format!("verify-{i}")];
        match issued.get(&i) {
            Some(record) => {
                assert_eq!((&record["credential_hash"], status.as_str()), (&hash.as_str().into(), "valid"));
            }
            None => assert_eq!(*status, "not_found"),
        }
    }
}

/// Many first requests start several instances at once, and each of them opens and migrates the database.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_on_empty_databases_succeeds() {
    needs_own_host!();
    for _ in 0..3 {
        let app = Setup::new().start().await;
        let (app, each) = (&app, BURST);
        let issues = join_all((0..each).map(|i| async move { app.issue(&format!("burst-{i}")).await }));
        let verdicts = join_all((0..each).map(|i| async move { app.verify(&format!("other-{i}")).await }));
        let (issues, verdicts) = tokio::join!(issues, verdicts);
        for response in issues {
            assert_eq!(response.status, 201, "{}\n{}", response.text(), app.log());
        }
        for response in verdicts {
            assert_eq!(response.status, 200, "{}\n{}", response.text(), app.log());
        }
        assert_eq!(app.count("issuance", "credentials"), each);
        assert_eq!(app.count("verification", "verifications"), each);
        for (service, versions) in
            databases().either([("issuance", 5), ("verification", 3)], [("issuance", 2), ("verification", 1)])
        {
            if databases() == Databases::Files {
                assert_eq!(app.query::<String>(service, "PRAGMA journal_mode"), "wal");
            }
            assert_eq!(app.count(service, "schema_migrations"), versions);
        }
    }
}

/// One instance creates the database, and the others notice at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_burst_waits_little_longer_than_the_next_one() {
    needs_own_host!();
    /// The time of the slowest request in a burst.
    async fn slowest(app: &TestApp, round: usize) -> Duration {
        let waits = join_all((0..BURST).map(|i| async move {
            let started = Instant::now();
            let issued = app.issue(&format!("burst-{round}-{i}")).await;
            assert_eq!(issued.status, 201, "{}", issued.text());
            started.elapsed()
        }));
        waits.await.into_iter().max().unwrap()
    }
    let mut waits = Vec::new();
    for _ in 0..3 {
        let app = Setup::new().without_validation().start().await;
        waits.push((slowest(&app, 0).await, slowest(&app, 1).await));
    }
    // On PostgreSQL, the first one also logs in on each connection, and may wait for another poll.
    let more = Duration::from_millis(databases().either(300, 700));
    // On a busy machine one round may be slow for other reasons.
    let within = |(first, next): &&(Duration, Duration)| *first < 3 * *next + more;
    assert!(waits.iter().filter(within).count() >= 2, "{waits:?}");
}

/// Concurrent requests share a statement. If the database refuses one row, others may fail with it, but exactly those
/// that were confirmed are stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_the_database_refuses_confirms_nothing() {
    needs_own_host!();
    let app = Setup::new().start().await;
    // Create the tables.
    app.issue("first").await;
    app.verify("first").await;
    app.database("issuance").refuse("credentials", "new.metadata LIKE '%refused%'", "refused");
    app.database("verification").refuse("verifications", "new.request_id LIKE '%refused%'", "refused");
    let is_refused = |i: usize| i.is_multiple_of(20);

    let app = &app;
    let issued = join_all((0..200).map(|i| async move {
        let metadata = json!({ "note": if is_refused(i) { "refused" } else { "fine" } });
        let body = json!({ "credential": format!("shared-{i}"), "metadata": metadata });
        let issued = app.post("/issue", &body).await;
        if issued.status != 201 {
            issued.assert_problem(503, "unavailable");
        }
        assert!(issued.status == 503 || !is_refused(i), "{}", issued.text());
        issued.status == 201
    }))
    .await;
    let confirmed = issued.iter().filter(|issued| **issued).count();
    assert!(confirmed > 20, "only {confirmed} of 190 were issued");
    assert_eq!(app.count("issuance", "credentials"), 1 + confirmed);

    let verified = join_all(issued.iter().enumerate().map(|(i, issued)| async move {
        let id = format!("{}-{i}", if is_refused(i) { "refused" } else { "fine" });
        let body = json!({ "credential": format!("shared-{i}") });
        let request = app.request(Method::POST, "/verify").header("x-request-id", id).json(&body);
        let verified = app.send(request).await;
        if verified.status == 200 {
            assert_eq!(verified.json()["isValid"], *issued, "{}", verified.text());
        } else {
            verified.assert_problem(503, "unavailable");
        }
        assert!(verified.status == 503 || !is_refused(i), "{}", verified.text());
        verified.status == 200
    }))
    .await;
    let told = verified.iter().filter(|told| **told).count();
    assert!(told > 20, "only {told} of 190 were verified");
    assert_eq!(app.count("verification", "verifications"), 1 + told);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_do_not_delay_others() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("first").await;
    let started = Instant::now();
    let app = &app;
    let requests = (0..300_u64).map(|i| async move {
        if i.is_multiple_of(3) {
            let hang_up = Duration::from_micros(300 * (i % 17));
            let _ = tokio::time::timeout(hang_up, app.issue(&format!("gone-{i}"))).await;
        } else {
            assert_eq!(app.issue(&format!("stays-{i}")).await.status, 201);
            assert_eq!(app.verify(&format!("stays-{i}")).await.json()["isValid"], true);
        }
    });
    stream::iter(requests).buffer_unordered(BURST).collect::<()>().await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let stays = "SELECT count(*) FROM verifications WHERE status = 'valid'";
    assert_eq!(app.query::<i64>("verification", stays), 200);
}
