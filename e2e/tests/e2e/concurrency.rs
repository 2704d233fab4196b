//! Many requests at once: nothing lost, nothing doubled, nothing mixed up.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use e2e::{Setup, needs_own_host};

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_identical_issues_at_once_exactly_one_wins() {
    needs_own_host!();
    let app = Setup::new().start().await;
    for round in 0..4 {
        let credential = format!("contested-{round}");
        let mut statuses: Vec<_> = join_all((0..50).map(|_| app.issue(&credential)))
            .await
            .iter()
            .map(|answer| answer.status)
            .collect();
        statuses.sort_unstable();
        assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 49][..]));
    }
    assert_eq!(app.count("issuance", "credentials"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_different_issues_at_once_none_is_lost() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let answers = join_all((0..300).map(|i| {
        let app = &app;
        async move { app.issue(&format!("different-{i}")).await }
    }))
    .await;
    let hashes: HashSet<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, 201, "{}", answer.text());
            answer.json()["credential_hash"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(hashes.len(), 300);
    assert_eq!(app.count("issuance", "credentials"), 300);
    for hash in &hashes {
        assert_eq!(app.check(hash).await.json()["exists"], true);
    }
}

/// Instances are shared by up to 16 requests at once, and their connection too: whatever leaks from one request into
/// another shows as an answer that does not belong to its request.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_belongs_to_its_request() {
    needs_own_host!();
    let app = Setup::new().start().await;
    // Every third is issued beforehand, so that valid, unknown and duplicate answers are all mixed.
    let mut issued = HashMap::new();
    for i in (0..240).step_by(3) {
        issued.insert(i, app.issue(&format!("mixed-{i}")).await.json());
    }
    let app = &app;
    let issued = &issued;
    join_all((0..240).map(|i| async move {
        let credential = format!("mixed-{i}");
        let ask = |path: &str, id: String, body| {
            let request = app.request(Method::POST, path).header("x-request-id", id.clone()).json(&body);
            async move {
                let answer = app.send(request).await;
                assert_eq!(answer.header("x-request-id"), Some(id.as_str()));
                answer
            }
        };
        let verified = ask("/verify", format!("verify-{i}"), json!({ "credential": credential })).await;
        assert_eq!(verified.status, 200, "{}", verified.text());
        assert_eq!(verified.json()["isValid"], issued.contains_key(&i), "{credential}");
        if let Some(record) = issued.get(&i) {
            assert_eq!(verified.json()["issuedAt"], record["issued_at"]);
            let checked =
                ask("/check", format!("check-{i}"), json!({ "credential_hash": record["credential_hash"] }))
                    .await;
            assert_eq!(checked.json()["issued_at"], record["issued_at"]);
        }
        let again = ask("/issue", format!("issue-{i}"), json!({ "credential": credential })).await;
        assert_eq!(again.status, if issued.contains_key(&i) { 409 } else { 201 }, "{credential}");
        if again.status == 201 {
            let hash = again.json()["credential_hash"].clone();
            let checked = ask("/check", format!("check-{i}"), json!({ "credential_hash": hash })).await;
            assert_eq!(checked.json()["issued_at"], again.json()["issued_at"]);
        }
    }))
    .await;

    // One audit row for each verdict, with the request's own id, hash and status.
    let database = app.database("verification");
    let mut statement =
        database.prepare("SELECT request_id, credential_hash, status FROM verifications").unwrap();
    let rows: Vec<(String, String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows.len(), 240);
    let by_request: HashMap<_, _> = rows.into_iter().map(|(id, hash, status)| (id, (hash, status))).collect();
    assert_eq!(by_request.len(), 240);
    for i in 0..240 {
        let (hash, status) = &by_request[&format!("verify-{i}")];
        match issued.get(&i) {
            Some(record) => assert_eq!(
                (hash.as_str().into(), status.as_str()),
                (record["credential_hash"].clone(), "valid")
            ),
            None => assert_eq!(status, "not_found"),
        }
    }
}

/// A burst as the very first requests starts several instances at once, each of which opens and migrates.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_onto_empty_databases_succeeds() {
    needs_own_host!();
    for _ in 0..3 {
        let app = Setup::new().start().await;
        let app = &app;
        let issues = join_all((0..64).map(|i| async move { app.issue(&format!("burst-{i}")).await }));
        let verdicts = join_all((0..64).map(|i| async move { app.verify(&format!("other-{i}")).await }));
        let (issues, verdicts) = tokio::join!(issues, verdicts);
        for answer in issues {
            assert_eq!(answer.status, 201, "{}\n{}", answer.text(), app.log());
        }
        for answer in verdicts {
            assert_eq!(answer.status, 200, "{}\n{}", answer.text(), app.log());
        }
        assert_eq!(app.count("issuance", "credentials"), 64);
        assert_eq!(app.count("verification", "verifications"), 64);
        for database in ["issuance", "verification"] {
            assert_eq!(app.query::<String>(database, "PRAGMA journal_mode"), "wal");
            assert_eq!(app.count(database, "schema_migrations"), 2);
        }
    }
}

/// Requests that wait at the same time share a statement: one that the database refuses must fail alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_written_fails_no_other_request() {
    needs_own_host!();
    let app = Setup::new().start().await;
    // The tables are made by the first request.
    app.issue("first").await;
    app.verify("first").await;
    let refuse = |table: &str, column: &str| {
        format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN NEW.{column} LIKE '%refused%' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    };
    app.database("issuance").execute_batch(&refuse("credentials", "metadata")).unwrap();
    app.database("verification").execute_batch(&refuse("verifications", "request_id")).unwrap();
    let is_refused = |i: usize| i.is_multiple_of(20);

    join_all((0..200).map(|i| {
        let app = &app;
        async move {
            let metadata = json!({ "note": if is_refused(i) { "refused" } else { "fine" } });
            let body = json!({ "credential": format!("shared-{i}"), "metadata": metadata });
            let issued = app.post("/issue", &body).await;
            if is_refused(i) {
                issued.assert_problem(503, "unavailable");
            } else {
                assert_eq!(issued.status, 201, "{}", issued.text());
            }
        }
    }))
    .await;
    assert_eq!(app.count("issuance", "credentials"), 191);

    join_all((0..200).map(|i| {
        let app = &app;
        async move {
            let id = format!("{}-{i}", if is_refused(i) { "refused" } else { "fine" });
            let body = json!({ "credential": format!("shared-{}", i + 1) });
            let request = app.request(Method::POST, "/verify").header("x-request-id", id).json(&body);
            let verified = app.send(request).await;
            if is_refused(i) {
                verified.assert_problem(503, "unavailable");
            } else {
                assert_eq!(
                    verified.json()["isValid"],
                    !is_refused(i + 1) && i + 1 < 200,
                    "{}",
                    verified.text()
                );
            }
        }
    }))
    .await;
    assert_eq!(app.count("verification", "verifications"), 191);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_hold_nobody_else_up() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("there").await;
    let started = Instant::now();
    join_all((0..300_u64).map(|i| {
        let app = &app;
        async move {
            if i.is_multiple_of(3) {
                let hang_up = Duration::from_micros(300 * (i % 17));
                let _ = tokio::time::timeout(hang_up, app.issue(&format!("gone-{i}"))).await;
            } else {
                assert_eq!(app.issue(&format!("stays-{i}")).await.status, 201);
                assert_eq!(app.verify(&format!("stays-{i}")).await.json()["isValid"], true);
            }
        }
    }))
    .await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let stays = "SELECT count(*) FROM verifications WHERE status = 'valid'";
    assert_eq!(app.query::<i64>("verification", stays), 200);
}
