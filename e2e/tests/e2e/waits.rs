//! How long a request waits for others, and which times it reports.

use std::time::{Duration, Instant};

use credentials::Timestamp;
use e2e::{
    Setup, TestApp,
    mock::{Mock, check_one, json_response},
    needs_own_host,
    values::now,
};
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// README's limit on the time of a request, and an allowance for a busy machine.
const MAX_WAIT: Duration = Duration::from_secs(5);
const MARGIN: Duration = Duration::from_millis(1500);

/// Verification alone, with this mock as issuance.
async fn verification_with(mock: &Mock) -> TestApp {
    // With nine keys, a batch of 100 makes a full list of hashes.
    let retired: Vec<_> = ('b'..='i').map(|letter| letter.to_string().repeat(32)).collect();
    Setup::new()
        .component("verification")
        .variable("issuance_url", &mock.url)
        .variable("retired_credential_secrets", &retired.join(","))
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verification_waits_for_issuance_longer_than_five_seconds() {
    needs_own_host!();
    let mock = Mock::stalling_after(b"").await;
    let app = &verification_with(&mock).await;
    join_all((0..24_u64).map(|i| async move {
        tokio::time::sleep(Duration::from_millis(100 * i)).await;
        let credentials: Vec<_> = (0..100).map(|item| format!("{i}-{item}")).collect();
        let started = Instant::now();
        let response = app.post("/verify/batch", &json!({ "credentials": credentials })).await;
        response.assert_problem(503, "unavailable");
        assert!(started.elapsed() < MAX_WAIT + MARGIN, "request {i} waited for {:?}", started.elapsed());
    }))
    .await;
    assert_eq!(app.count("verification", "verifications"), 0);
}

#[tokio::test]
async fn a_verdict_from_a_delayed_response_has_the_time_of_the_question() {
    needs_own_host!();
    let (before, expires_at) = (now(), Timestamp::from_millis(now().as_millis() + 1000).unwrap());
    let record =
        r#""exists": true, "status": "active", "worker_id": "w", "issued_at": "2025-10-08T23:30:00.000Z""#;
    for (members, status) in [
        (record.to_owned(), "valid"),
        (r#""exists": false"#.to_owned(), "not_found"),
        (format!(r#"{record}, "expires_at": "{expires_at}""#), "expired"),
    ] {
        let mock = Mock::answering_after(Duration::from_secs(2), json_response(&check_one(&members))).await;
        let app = Setup::new().component("verification").variable("issuance_url", &mock.url).start().await;
        let asked = now();
        let verdict = app.verify("a").await.json();
        let answered = now();
        assert_eq!(verdict["status"], status, "{verdict}");
        let verified_at: Timestamp = verdict["verifiedAt"].as_str().unwrap().parse().unwrap();
        assert!(before <= asked && asked <= verified_at && verified_at <= answered, "{verdict}");
        // A credential may be issued or revoked while issuance answers, but it stays expired.
        let waited = verified_at.as_millis() - asked.as_millis();
        assert_eq!(waited >= 1900, status == "expired", "{waited} ms: {verdict}");
        let recorded: i64 = app.query("verification", "SELECT verified_at FROM verifications");
        assert_eq!(recorded, verified_at.as_millis());
    }
}

#[tokio::test]
async fn a_request_waits_only_for_a_lock() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("first").await;
    let database = app.database("issuance");
    for (message, code, is_lock) in
        [("database is locked", "55P03", true), ("Operation was blocked", "57P01", false)]
    {
        database.refuse_with("credentials", "INSERT", "true", message, code);
        let started = Instant::now();
        let problem = app.issue(message).await.assert_problem(503, "unavailable");
        assert_eq!(started.elapsed() > Duration::from_secs(4), is_lock, "{message}: {:?}", started.elapsed());
        let certain = problem["detail"].as_str().unwrap().contains("nothing was decided or changed");
        assert_eq!(certain, is_lock, "{problem}");
        database.accept("credentials");
    }
    assert_eq!(app.issue("last").await.status, 201);
}

#[tokio::test]
async fn a_log_that_cannot_be_written_changes_no_response() {
    needs_own_host!();
    let app = Setup::new().variable("log_level", "debug").with_full_log().start().await;
    assert_eq!(app.issue("a").await.status, 201);
    assert_eq!(app.verify("a").await.json()["isValid"], true);
    app.verify("").await.assert_problem(400, "invalid-request");
    app.database("issuance").refuse("credentials", "true", "refused");
    for response in join_all((0..20).map(|_| app.issue("b"))).await {
        response.assert_problem(503, "unavailable");
    }
    // The hosts themselves log this error.
    let mut connection = app.connect().await.unwrap();
    connection.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nx: \xff\r\n\r\n").await.unwrap();
    let mut response = [0; 12];
    connection.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"HTTP/1.1 500");
    assert_eq!(app.get("/health").await.status, 200);
}

#[tokio::test]
async fn all_waits_of_a_request_add_up_to_at_most_five_seconds() {
    needs_own_host!();
    let mock =
        Mock::answering_after(Duration::from_secs(4), json_response(&check_one(r#""exists": false"#))).await;
    let app = verification_with(&mock).await;
    // Have the instance open the database.
    assert_eq!(app.admin_get("/verifications").await.status, 200);
    let lock = app.lock("verification");
    let app = &app;
    // The second waits for the connection behind the first.
    let responses = join_all([0, 500].map(|millis| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        let started = Instant::now();
        app.verify("a").await.assert_problem(503, "unavailable");
        started.elapsed()
    }))
    .await;
    for waited in responses {
        assert!(waited > Duration::from_secs(4), "it did not wait for the lock: {waited:?}");
        assert!(waited < MAX_WAIT + MARGIN, "{waited:?}");
    }
    drop(lock);
    assert_eq!(app.count("verification", "verifications"), 0);
}

#[tokio::test]
async fn health_waits_for_issuance_and_the_database_at_the_same_time() {
    needs_own_host!();
    let mock = Mock::stalling_after(b"").await;
    let app = verification_with(&mock).await;
    assert_eq!(app.admin_get("/verifications").await.status, 200);
    let checks = async |app: &TestApp| {
        // Results are cached for a second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let started = Instant::now();
        let health = app.get("/health/verification").await;
        assert!(started.elapsed() < MAX_WAIT + MARGIN, "{:?}", started.elapsed());
        assert_eq!(health.status, 503);
        ["database", "issuance"].map(|check| health.json()["checks"][check] == "ok")
    };
    assert_eq!(checks(&app).await, [true, false]);
    let lock = app.lock("verification");
    assert_eq!(checks(&app).await, [false, false]);
    drop(lock);

    let app = Setup::new().start().await;
    assert_eq!(app.get("/health/verification").await.status, 200);
    let _lock = app.lock("verification");
    assert_eq!(checks(&app).await, [false, true]);
}
