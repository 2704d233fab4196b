//! Requests with an `Idempotency-Key`: sent again, they have one effect and one response.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use e2e::{
    ADMIN_TOKEN, ISSUER_TOKEN, Response, Setup, Signal, TestApp, cut::CuttingProxy, free_address,
    needs_own_host, unique,
};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    counts::assert_counted,
    replicas::{replicas, replicas_with_different_secrets},
    uses::{KEY, post_with_key},
};

async fn issue_with_key(app: &TestApp, key: &str, body: &Value) -> Response {
    post_with_key(app, "/issue", key, body).await
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_response() {
    needs_own_host!();
    let replicas = replicas_with_different_secrets().await;
    for (key, body) in [
        ("generated-0123456789abcdef", json!({ "generate": true, "ttl_seconds": 3600, "max_uses": 2 })),
        ("given-0123456789abcdef0123", json!({ "credential": "given", "metadata": { "a": [1, 2.50] } })),
    ] {
        let first = issue_with_key(&replicas[0], key, &body).await;
        first.expect(201);
        for app in replicas.iter().chain(&replicas) {
            let again = issue_with_key(app, &format!("\"{key}\""), &body).await;
            assert_eq!((again.status, again.text()), (201, first.text()));
        }
        let credential = body["credential"]
            .as_str()
            .map_or_else(|| first.json()["credential"].as_str().unwrap().to_owned(), ToOwned::to_owned);
        assert_eq!(replicas[1].verify(&credential).await.json()["isValid"], true);
        // Without the key, and with another, it is a credential that exists.
        let given = json!({ "credential": credential });
        replicas[2].post("/issue", &given).await.assert_problem(409, "already-issued");
        issue_with_key(&replicas[2], KEY, &given).await.assert_problem(409, "already-issued");
    }
    assert_eq!(replicas[0].count("issuance", "credentials"), 2);
    let generated = json!({ "generate": true });
    let other = issue_with_key(&replicas[0], KEY, &generated).await.expect(201)["credential"].clone();
    assert_ne!(other, replicas[0].issued(generated.clone()).await["credential"]);
    assert_eq!(issue_with_key(&replicas[0], KEY, &generated).await.expect(201)["credential"], other);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_twins_over_three_replicas_get_one_response() {
    needs_own_host!();
    for replicas in [replicas(3).await, replicas_with_different_secrets().await] {
        for round in 0..5 {
            let key = format!("twins-0123456789abcdef-{round}");
            let body = json!({ "generate": true, "metadata": { "round": round } });
            let twins = replicas.iter().cycle().take(50).map(|app| issue_with_key(app, &key, &body));
            let responses: HashSet<_> = join_all(twins)
                .await
                .into_iter()
                .map(|response| {
                    response.expect(201);
                    response.text()
                })
                .collect();
            assert_eq!(responses.len(), 1, "{responses:?}");
        }
        assert_eq!(replicas[0].count("issuance", "credentials"), 5);
        assert_counted(&replicas[0], "issuance");
    }
}

#[tokio::test]
async fn a_repeated_batch_gets_the_same_results() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issued(json!({ "credential": "old" })).await;
    let batch = json!({ "credentials": [
        { "generate": true },
        { "credential": "old" },
        { "credential": "" },
        { "credential": "new", "max_uses": 1 },
        { "credential": "new" },
        { "generate": true, "ttl_seconds": 60 },
    ] });
    let first = post_with_key(&app, "/issue/batch", KEY, &batch).await;
    let results = first.expect(200)["results"].clone();
    let statuses = results.as_array().unwrap().iter().map(|item| item["error"]["status"].as_u64());
    let expected = [None, Some(409), Some(400), None, Some(409), None];
    assert_eq!(statuses.collect::<Vec<_>>(), expected, "{results}");
    assert_ne!(results[0]["credential"], results[5]["credential"]);
    for _ in 0..2 {
        assert_eq!(post_with_key(&app, "/issue/batch", KEY, &batch).await.text(), first.text());
    }
    assert_eq!(app.count("issuance", "credentials"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_other_content_is_refused_and_issues_nothing() {
    needs_own_host!();
    let replicas = replicas_with_different_secrets().await;
    let app = &replicas[0];
    app.issued(json!({ "credential": "old" })).await;
    // The first item is issued by another request, so only the second one tells.
    let first = json!({ "credentials": [{ "credential": "old" }, { "generate": true }] });
    post_with_key(app, "/issue/batch", KEY, &first).await.expect(200);
    for (path, body) in [
        ("/issue", json!({ "generate": true })),
        ("/issue", json!({ "credential": "old" })),
        ("/issue/batch", json!({ "credentials": [{ "credential": "a" }] })),
        ("/issue/batch", json!({ "credentials": [{ "credential": "a" }, { "generate": true }] })),
        (
            "/issue/batch",
            json!({ "credentials": [{ "credential": "old" }, { "generate": true }, { "generate": true }] }),
        ),
        (
            "/issue/batch",
            json!({ "credentials": [{ "credential": "old" }, { "generate": true, "max_uses": 1 }] }),
        ),
    ] {
        for app in &replicas {
            let response = post_with_key(app, path, KEY, &body).await;
            response.assert_problem(422, "idempotency-key-reused");
        }
    }
    assert_eq!(app.count("issuance", "credentials"), 2);
    // At the same time, in one statement or in several, one of two requests issues all that it asks for.
    for round in 0..20 {
        let key = format!("contested-0123456789abcdef-{round}");
        let body = |name: &str| {
            let items = (0..8).map(|i| json!({ "credential": format!("{name}-{round}-{i}") }));
            json!({ "credentials": items.collect::<Vec<_>>() })
        };
        let bodies: Vec<_> = ["one", "other"].map(body).into_iter().cycle().take(12).collect();
        let requests = bodies.iter().zip(replicas.iter().cycle());
        let responses =
            join_all(requests.map(|(body, app)| post_with_key(app, "/issue/batch", &key, body))).await;
        let issued: HashSet<_> =
            responses.iter().filter(|response| response.status == 200).map(Response::text).collect();
        assert_eq!(issued.len(), 1, "{issued:?}");
        assert!(!issued.iter().next().unwrap().contains("error"), "{issued:?}");
        assert!(responses.iter().all(|response| [200, 422].contains(&response.status)));
        assert_eq!(app.count("issuance", "credentials"), 2 + 8 * (round + 1));
    }
}

#[tokio::test]
async fn after_a_day_or_its_end_a_credential_is_not_returned_again() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let database = app.database("issuance");
    let body = json!({ "generate": true });
    let first = issue_with_key(&app, KEY, &body).await.expect(201);
    for (age, status) in [(86_390, 201), (86_410, 409)] {
        database.execute(&format!("UPDATE credentials SET issued_at = {} - {age}000", database.now()));
        assert_eq!(issue_with_key(&app, KEY, &body).await.status, status, "{age}");
    }
    issue_with_key(&app, KEY, &json!({ "credential": "x" }))
        .await
        .assert_problem(422, "idempotency-key-reused");
    assert_eq!(app.verify(first["credential"].as_str().unwrap()).await.json()["isValid"], true);
    for (index, (body, end)) in [
        (json!({ "generate": true }), None),
        (json!({ "generate": true, "max_uses": 1 }), Some("uses = 1")),
        (json!({ "generate": true, "ttl_seconds": 3600 }), Some("expires_at = issued_at + 1")),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("ended-0123456789abcdef-{index}");
        let issued = issue_with_key(&app, &key, &body).await.expect(201);
        let hash = issued["credential_hash"].as_str().unwrap();
        match end {
            None => drop(app.revoke(&json!({ "credential_hash": hash })).await.expect(200)),
            Some(end) => {
                let row = format!("UPDATE credentials SET {end} WHERE credential_hash = '{hash}'");
                assert_eq!(database.execute(&row), 1);
            }
        }
        let problem = issue_with_key(&app, &key, &body).await.assert_problem(409, "already-issued");
        assert_eq!(problem.get("credential"), None);
    }
    assert_eq!(app.count("issuance", "credentials"), 4);
}

#[tokio::test]
async fn a_key_belongs_to_the_token_that_it_was_sent_with() {
    needs_own_host!();
    let tokens = format!("{ISSUER_TOKEN},another-token-of-an-issuer");
    let app = Setup::new().variable("issuer_token", &tokens).start().await;
    let issue = async |token: &str| {
        let request = app.request(Method::POST, "/issue").header("idempotency-key", KEY).bearer_auth(token);
        app.send(request.json(&json!({ "generate": true }))).await
    };
    let first = issue(ISSUER_TOKEN).await.expect(201);
    let other = issue("another-token-of-an-issuer").await.expect(201);
    assert_ne!(first["credential"], other["credential"]);
    assert_eq!(issue(ISSUER_TOKEN).await.expect(201), first);
    issue(ADMIN_TOKEN).await.assert_problem(401, "unauthorized");
}

#[tokio::test]
async fn a_malformed_key_is_refused_wherever_keys_are_read() {
    let app = TestApp::any().await;
    for key in ["short", "", &"x".repeat(129), "with spaces 0123456789abcdef", "\"0123456789abcdef012345"] {
        for (path, body) in [
            ("/issue", json!({ "credential": unique("malformed") })),
            ("/issue/batch", json!({ "credentials": [{ "credential": unique("malformed") }] })),
            ("/verify", json!({ "credential": "a" })),
            ("/verify/batch", json!({ "credentials": ["a"] })),
        ] {
            let problem = post_with_key(&app, path, key, &body).await.assert_problem(400, "invalid-request");
            assert_eq!(problem["errors"][0]["location"], "header.Idempotency-Key", "{path} {key:?}");
        }
    }
    let twice =
        app.request(Method::POST, "/verify").header("idempotency-key", KEY).header("idempotency-key", KEY);
    let response = app.send(twice.json(&json!({ "credential": "a" }))).await;
    response.assert_problem(400, "invalid-request");
    // Elsewhere the header means nothing.
    app.send(app.request(Method::GET, "/health").header("idempotency-key", "x")).await.expect(200);
}

/// Both services behind proxies that cut responses off.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_cut_off_anywhere_costs_nothing() {
    needs_own_host!();
    let issuance = Setup::new().without_validation().start().await;
    let to_issuance = CuttingProxy::start(&issuance.base_url).await;
    let app = Setup::new()
        .without_validation()
        .databases_of(&issuance)
        .variable("issuance_url", &to_issuance.url)
        .start()
        .await;
    let to_app = CuttingProxy::start(&app.base_url).await;
    let client = TestApp::at(&to_app.url);
    let send = async |path, key: &str, body: &Value| {
        let request = client.request(Method::POST, path).header("connection", "close");
        client.try_send(request.header("idempotency-key", key).json(body)).await
    };
    for round in 0..40_usize {
        let cut = round * 23;
        let key = format!("cut-0123456789abcdef-{round}");
        let body = json!({ "generate": true, "max_uses": 2 });
        to_app.cut_after(cut);
        let first = send("/issue", &key, &body).await.ok();
        to_app.cut_nothing();
        let issued = send("/issue", &key, &body).await.unwrap();
        let credential = issued.expect(201)["credential"].clone();
        if let Some(first) = first {
            assert_eq!(first.text(), issued.text());
        }
        let verify = json!({ "credential": credential });
        to_issuance.cut_after(cut);
        let between = send("/verify", &key, &verify).await.unwrap();
        assert!([200, 503].contains(&between.status), "{}", between.text());
        to_issuance.cut_nothing();
        to_app.cut_after(cut);
        let _ = send("/verify", &key, &verify).await;
        to_app.cut_nothing();
        let verdict = send("/verify", &key, &verify).await.unwrap().expect(200);
        assert_eq!((&verdict["status"], &verdict["usesLeft"]), (&json!("valid"), &json!(1)), "{round}");
    }
    assert_eq!(issuance.count("issuance", "credentials"), 40);
    assert_eq!(issuance.query::<usize>("issuance", "SELECT sum(uses) FROM credentials"), 40);
}

#[tokio::test]
async fn a_use_whose_verdict_cannot_be_recorded_is_granted_to_the_repetition() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issued(json!({ "credential": "invite", "max_uses": 1 })).await;
    let body = json!({ "credential": "invite" });
    let database = app.database("verification");
    app.get("/health/verification").await.expect(200);
    database.refuse("verifications", "true", "no");
    let problem = post_with_key(&app, "/verify", KEY, &body).await.assert_problem(503, "unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("a use has been taken"), "{problem}");
    database.accept("verifications");
    assert_eq!(app.verify("invite").await.expect(200)["status"], "used_up");
    let verdict = post_with_key(&app, "/verify", KEY, &body).await.expect(200);
    assert_eq!((&verdict["status"], &verdict["usesLeft"]), (&json!("valid"), &json!(0)));
    assert_eq!(app.count("verification", "verifications"), 2);
}

/// Clients that repeat each request until it is answered, on a host that is killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_until_it_is_answered_happens_once_however_often_the_host_is_killed() {
    needs_own_host!();
    const CLIENTS: usize = 16;
    const KILLS: usize = 4;

    let address = free_address();
    let mut app = Setup::new().without_validation().listen(&address).start().await;
    app.get("/health/verification").await.expect(200);
    let base_url = app.base_url.clone();
    let (done, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let repeat = async |client: &TestApp, path, key: &str, body: &Value| loop {
        let request = client.request(Method::POST, path).header("idempotency-key", key).json(body);
        match client.try_send(request).await {
            Ok(response) if response.status < 500 => return response,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let clients = join_all((0..CLIENTS).map(|number| {
        let (base_url, done, is_over, repeat) = (&base_url, &done, &is_over, &repeat);
        async move {
            let client = TestApp::at(base_url);
            let mut pairs = 0;
            while !is_over.load(Ordering::SeqCst) {
                let key = format!("killed-0123456789abcdef-{number}-{pairs}");
                let issued =
                    repeat(&client, "/issue", &key, &json!({ "generate": true, "max_uses": 2 })).await;
                let credential = issued.expect(201)["credential"].clone();
                let verdict = repeat(&client, "/verify", &key, &json!({ "credential": credential })).await;
                let verdict = verdict.expect(200);
                assert_eq!((&verdict["status"], &verdict["usesLeft"]), (&json!("valid"), &json!(1)));
                pairs += 1;
                done.fetch_add(1, Ordering::SeqCst);
            }
            pairs
        }
    }));
    let killer = async {
        for _ in 0..KILLS {
            let before = done.load(Ordering::SeqCst);
            while done.load(Ordering::SeqCst) < before + 2 * CLIENTS {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            app.signal(Signal::SIGKILL);
            app.restart().await;
        }
        is_over.store(true, Ordering::SeqCst);
    };
    let (pairs, ()) = tokio::join!(clients, killer);
    let pairs: usize = pairs.into_iter().sum();
    assert_eq!(app.count("issuance", "credentials"), pairs);
    assert_eq!(app.query::<usize>("issuance", "SELECT sum(uses) FROM credentials"), pairs);
    assert_counted(&app, "issuance");
}
