//! Failures of issuance or a database: a 503 without a verdict or a wrong state, and the reason only in the log.

use std::{
    fs,
    time::{Duration, Instant},
};

use e2e::{
    Setup, TestApp, databases, free_address,
    mock::{HASH, Mock, check_list as results, check_one as result, json_response, key_id},
    needs_files, needs_own_host,
};
use futures_util::future::join_all;
use serde_json::json;

/// Verification alone, with issuance at this URL.
async fn verification_with(issuance_url: &str) -> TestApp {
    Setup::new().component("verification").variable("issuance_url", issuance_url).start().await
}

async fn assert_no_verdict(app: &TestApp, logged: &str) {
    let response = app.verify("anything").await;
    response.assert_problem(503, "unavailable");
    app.wait_for_log(logged).await;
    assert!(!response.text().contains(logged), "{}", response.text());
    let health = app.get("/health/verification").await;
    assert_eq!(health.status, 503);
    assert_eq!(app.count("verification", "verifications"), 0);
}

#[tokio::test]
async fn no_verdict_while_issuance_is_unreachable() {
    needs_own_host!();
    let app = verification_with(&format!("http://{}", free_address())).await;
    assert_no_verdict(&app, "the request failed").await;
    let health = app.get("/health/verification").await.json();
    assert_eq!(health["status"], "unhealthy");
    assert!(health["checks"]["issuance"].as_str().unwrap().contains("issuance"), "{health}");
    assert_eq!(health["checks"]["database"], "ok");
}

#[tokio::test]
async fn no_verdict_when_issuance_is_slow() {
    needs_own_host!();
    let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"exists\"";
    for mock in [Mock::stalling_after(b"").await, Mock::stalling_after(half).await] {
        let app = verification_with(&mock.url).await;
        let started = Instant::now();
        let response = app.verify("anything").await;
        let elapsed = started.elapsed();
        response.assert_problem(503, "unavailable");
        assert!((4..7).contains(&elapsed.as_secs()), "{elapsed:?}");
        app.wait_for_log("no complete response in time").await;
        assert_eq!(app.count("verification", "verifications"), 0);
    }
}

#[tokio::test]
async fn a_slow_issuance_does_not_hold_up_other_requests() {
    needs_own_host!();
    let mock = Mock::stalling_after(b"").await;
    let app = verification_with(&mock.url).await;
    let slow = join_all((0..20).map(|_| app.verify("anything")));
    let quick = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        for _ in 0..20 {
            app.verify("").await.assert_problem(400, "invalid-request");
        }
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    };
    let (slow, ()) = tokio::join!(slow, quick);
    for response in slow {
        response.assert_problem(503, "unavailable");
    }
}

#[tokio::test]
async fn no_verdict_when_issuance_answers_nonsense() {
    needs_own_host!();
    let record = r#""worker_id": "w", "issued_at": "2025-10-08T23:30:00.000Z""#;
    let active = format!(r#""exists": true, {record}, "status": "active""#);
    for (sound, status) in [(r#""exists": false"#, "not_found"), (&active, "valid")] {
        let mock = Mock::answering(json_response(&result(sound))).await;
        let app = verification_with(&mock.url).await;
        assert_eq!(app.verify("anything").await.json()["status"], status);
    }
    let bodies = [
        String::new(),
        "null".to_owned(),
        "[false]".to_owned(),
        "<html></html>".to_owned(),
        "{}".to_owned(),
        r#"{"exists": false}"#.to_owned(),
        results(""),
        results(&format!(r#"{{"credential_hash": "{}", "exists": false}}"#, "0".repeat(64))),
        results(r#"{"exists": false}"#),
        results(&format!(r#"["{HASH}", true, "w", "2025-10-08T23:30:00.000Z", "active", null, null, null]"#)),
        results(&format!(r#"["{HASH}", false, null, null, null, null, null, null]"#)),
        result(r#""exists": false, "revoked_at": "2025-10-08T23:30:00.000Z""#),
        result(r#""exists": "true""#),
        result(r#""exists": true"#),
        result(r#""exists": false, "exists": false"#),
        result(&format!(r#""exists": false, {record}, "status": "active""#)),
        result(r#""exists": true, "worker_id": "w", "issued_at": "yesterday", "status": "active""#),
        result(&format!(r#""exists": true, {record}"#)),
        result(&format!(r#""exists": true, {record}, "status": "suspended""#)),
        result(&format!(r#""exists": true, {record}, "status": "active", "expires_at": "never""#)),
        result(&format!(r#""exists": true, {record}, "status": "active", "metadata": []"#)),
        result(r#""exists": false"#).replace("key_ids", "keys"),
        result(r#""exists": false"#).replace(&format!("\"{}\"", key_id()), ""),
        results(&vec![format!(r#"{{"credential_hash": "{HASH}", "exists": false}}"#); 2].join(",")),
    ];
    let responses = [
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 17\r\n\r\n{\"exists\": false}",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 17\r\n\r\n{\"exists\": false}",
        "HTTP/1.1 302 Found\r\nlocation: /check\r\ncontent-length: 17\r\n\r\n{\"exists\": false}",
        "HTTP/1.1 200 OK\r\ncontent-length: 170\r\n\r\n{\"exists\": false}",
        "SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for response in bodies.map(|body| json_response(&body)).into_iter().chain(responses.map(str::to_owned)) {
        let mock = Mock::answering(response.as_str()).await;
        let app = verification_with(&mock.url).await;
        app.verify("anything").await.assert_problem(503, "unavailable");
        assert_eq!(app.count("verification", "verifications"), 0, "{response}");
    }
    let long = json_response(&format!("{{\"exists\": false, \"x\": \"{}\"}}", "x".repeat(6_000_000)));
    let mock = Mock::answering(long).await;
    assert_no_verdict(&verification_with(&mock.url).await, "longer than").await;
}

#[tokio::test]
async fn services_on_different_hosts_work_together() {
    needs_own_host!();
    let issuance = Setup::new().component("issuance").start().await;
    let verification = verification_with(&issuance.base_url).await;
    assert_eq!(issuance.issue("split").await.status, 201);
    assert_eq!(verification.verify("split").await.json()["isValid"], true);
    assert_eq!(verification.verify("other").await.json()["status"], "not_found");
    assert_eq!(verification.get("/health/verification").await.status, 200);
    // Each host serves only its own component.
    assert_eq!(issuance.verify("split").await.status, 404);
    assert_eq!(verification.issue("split").await.status, 404);
}

#[tokio::test]
async fn no_verdict_when_the_audit_row_cannot_be_written() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("a").await;
    assert_eq!(app.verify("a").await.status, 200);
    app.database("verification").refuse("verifications", "true", "disk on fire");
    let response = app.verify("a").await;
    response.assert_problem(503, "unavailable");
    assert!(!response.text().contains("fire"));
    app.wait_for_log("disk on fire").await;
    app.database("verification").accept("verifications");
    assert_eq!(app.verify("a").await.json()["isValid"], true);
    assert_eq!(app.count("verification", "verifications"), 2);
}

#[tokio::test]
async fn a_locked_database_is_a_503_until_it_is_unlocked() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("before").await;
    app.verify("before").await;
    for (database, health) in [("issuance", "/health"), ("verification", "/health/verification")] {
        let lock = app.lock(database);
        let started = Instant::now();
        let (write, healthy) = tokio::join!(
            async {
                match database {
                    "issuance" => app.issue("during").await,
                    _ => app.verify("before").await,
                }
            },
            app.get(health)
        );
        write.assert_problem(503, "unavailable");
        assert!(!write.text().contains("locked"));
        app.wait_for_log(databases().either("database is locked", "due to statement timeout")).await;
        assert_eq!(healthy.status, 503);
        assert!(healthy.json()["checks"]["database"].as_str().unwrap().contains("cannot be used"));
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        drop(lock);
        assert_eq!(app.get(health).await.status, 200);
    }
    assert_eq!(app.count("issuance", "credentials"), 1);
    assert_eq!(app.count("verification", "verifications"), 1);
    assert_eq!(app.issue("during").await.status, 201);
    assert_eq!(app.verify("before").await.json()["isValid"], true);
}

#[tokio::test]
async fn concurrent_writes_to_a_locked_database_fail_together_and_are_not_written_later() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("before").await;
    let lock = app.lock("issuance");
    let started = Instant::now();
    let bodies: Vec<_> = (0..32).map(|i| json!({ "credential": format!("during-{i}") })).collect();
    for response in join_all(bodies.iter().map(|body| app.post("/issue", body))).await {
        response.assert_problem(503, "unavailable");
    }
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    drop(lock);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(app.count("issuance", "credentials"), 1);
}

#[tokio::test]
async fn a_short_lock_only_delays() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("before").await;
    let lock = app.lock("issuance");
    let (issued, ()) = tokio::join!(app.issue("waits"), async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        drop(lock);
    });
    assert_eq!(issued.status, 201, "{}", issued.text());
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_unchanged() {
    needs_own_host!();
    // On PostgreSQL it belongs to its service, as if that had made it.
    let sql = databases().either("", "SET ROLE issuance; ").to_owned()
        + "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name TEXT, applied_at INTEGER); \
           INSERT INTO schema_migrations VALUES (999, '0999_future', 0); \
           CREATE TABLE credentials (something_else TEXT);";
    let app = Setup::new()
        .start_with_databases(|service, database| {
            if service == "issuance" {
                database.execute(&sql);
            }
        })
        .await;
    let file = app.data_folder().join("issuance.db");
    let before = fs::read(&file).ok();
    app.issue("b").await.assert_problem(503, "unavailable");
    app.verify("a").await.assert_problem(503, "unavailable");
    app.wait_for_log("schema version 999").await;
    assert_eq!(app.get("/health").await.status, 503);
    assert_eq!(fs::read(&file).ok(), before);
    let tables = databases().either(
        "SELECT count(*) FROM sqlite_master WHERE type = 'table'",
        "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'",
    );
    assert_eq!(app.query::<i64>("issuance", tables), 2);
    assert_eq!(app.count("issuance", "schema_migrations"), 1);
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_a_503_and_left_unchanged() {
    needs_own_host!();
    needs_files!();
    let content = "this is not a database, and someone may want to keep it. ".repeat(100);
    let app =
        Setup::new().start_with_files(|data| fs::write(data.join("issuance.db"), &content).unwrap()).await;
    let started = Instant::now();
    for response in join_all((0..12).map(|_| app.issue("a"))).await {
        response.assert_problem(503, "unavailable");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    app.wait_for_log("not a database").await;
    assert_eq!(fs::read_to_string(app.data_folder().join("issuance.db")).unwrap(), content);
}
