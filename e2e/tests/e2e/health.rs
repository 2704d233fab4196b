//! GET and HEAD /health of both services.

use e2e::{
    Setup, TestApp, Wasi, needs_own_host,
    values::{is_timestamp, names},
    wasi,
};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_healthy_service_identifies_itself() {
    let app = TestApp::any().await;
    for (path, service) in
        [("/health", "issuance"), ("/health/issuance", "issuance"), ("/health/verification", "verification")]
    {
        let body = app.get(path).await.expect(200);
        assert_eq!(names(&body), ["service", "status", "timestamp", "version", "worker"]);
        assert_eq!(body["status"], "healthy");
        assert_eq!(body["service"], service);
        assert!(is_timestamp(&body["timestamp"]), "{body}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let app = TestApp::any().await;
    for path in ["/health", "/health/issuance", "/health/verification"] {
        let (get, head) = (app.get(path).await, app.send(app.request(Method::HEAD, path)).await);
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-type"), get.header("content-type"));
        assert!(head.header("content-length").is_some_and(|length| length != "0"));
        assert!(head.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn a_short_secret_makes_both_services_unhealthy_and_unavailable() {
    needs_own_host!();
    let app = Setup::new().variable("credential_secret", "31 bytes are one byte too few..").start().await;
    for path in ["/health", "/health/verification"] {
        let response = app.get(path).await;
        assert_eq!(response.status, 503);
        assert!(response.header("retry-after").is_some());
        let body = response.json();
        assert_eq!(body["status"], "unhealthy");
        assert!(body["checks"]["secret"].as_str().unwrap().contains("32 bytes"), "{body}");
        assert_eq!(body["checks"]["database"], "ok");
    }
    for response in [app.issue("a").await, app.verify("a").await, app.check(&"0".repeat(64)).await] {
        response.assert_problem(503, "unavailable");
        assert!(!response.text().contains("secret"), "{}", response.text());
    }
    app.wait_for_log("retired_credential_secrets: must have at least 32 bytes").await;
    assert_eq!(app.count("issuance", "credentials"), 0);
    assert_eq!(app.count("verification", "verifications"), 0);
}

#[tokio::test]
async fn a_secret_in_quotes_is_refused() {
    needs_own_host!();
    let digits = "0123456789abcdef".repeat(4);
    for (name, value) in [
        ("credential_secret", format!("\"{digits}\"")),
        ("credential_secret", format!("'{digits}'")),
        ("retired_credential_secrets", format!("\"{digits},{digits}\"")),
        ("retired_credential_secrets", format!("{digits}, '{digits}'")),
    ] {
        let app = Setup::new().variable(name, &value).start().await;
        for path in ["/health", "/health/verification"] {
            let health = app.get(path).await;
            assert_eq!((health.status, &health.json()["status"]), (503, &"unhealthy".into()), "{name}");
            assert!(health.json()["checks"]["secret"].as_str().unwrap().ends_with("must not be in quotes"));
        }
        app.issue("a").await.assert_problem(503, "unavailable");
        app.wait_for_log("must not be in quotes").await;
        assert!(!app.log().contains(&digits));
    }
}

#[tokio::test]
async fn an_unusable_origin_or_name_is_a_setting_that_health_names() {
    needs_own_host!();
    for (name, value) in [
        ("cors_origin", "https://*.example"),
        ("cors_origin", "https://a.example, b.example"),
        ("cors_origin", "\"*\""),
        ("worker_id", &"x".repeat(129)),
    ] {
        let app = Setup::new().variable(name, value).start().await;
        for path in ["/health", "/health/verification"] {
            let health = app.get(path).await;
            assert_eq!((health.status, &health.json()["status"]), (503, &"unhealthy".into()), "{value}");
            assert!(
                health.json()["checks"]["settings"].as_str().unwrap().starts_with(name),
                "{}",
                health.text()
            );
        }
        for response in [app.issue("a").await, app.verify("a").await] {
            response.assert_problem(503, "unavailable");
        }
        app.wait_for_log(&format!("{name} must")).await;
    }
}

#[tokio::test]
async fn health_and_the_log_name_keys_in_use_that_are_not_configured() {
    needs_own_host!();
    let (a, b) = ("a".repeat(32), "b".repeat(32));
    let mut app = Setup::new().variable("credential_secret", &a).start().await;
    assert_eq!(
        names(&app.get("/health").await.json()),
        ["service", "status", "timestamp", "version", "worker"]
    );
    let issued = app.issued(json!({ "credential": "under a" })).await;
    let key_id = issued["key_id"].as_str().unwrap();
    assert_eq!(names(&app.get("/health").await.json()).len(), 5);

    // No stored credential matches.
    app.restart_with(&[("credential_secret", &b)]).await;
    for path in ["/health", "/health/issuance"] {
        let health = app.get(path).await;
        assert_eq!((health.status, &health.json()["status"]), (503, &"unhealthy".into()));
        assert!(health.json()["checks"]["keys"].as_str().unwrap().contains(key_id), "{}", health.text());
    }
    let verification = app.get("/health/verification").await.json();
    assert!(verification["checks"]["issuance"].as_str().unwrap().contains("unhealthy"), "{verification}");
    app.wait_for_log(key_id).await;

    // With the old secret retired, all of them match.
    app.restart_with(&[("retired_credential_secrets", &a)]).await;
    let health = app.get("/health").await;
    assert_eq!((health.status, health.json().get("warnings")), (200, None));
    app.issued(json!({ "credential": "under b" })).await;

    // Without it, some of them do.
    app.restart_with(&[("retired_credential_secrets", "")]).await;
    let health = app.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &"healthy".into()));
    assert!(health.json()["warnings"]["keys"].as_str().unwrap().contains(key_id), "{}", health.text());
    assert_eq!(app.get("/health/verification").await.status, 200);
    app.wait_for_log("health check warns").await;
    assert!(app.log().contains(key_id));
}

#[tokio::test]
async fn health_costs_no_more_than_one_round_of_checks_a_second() {
    needs_own_host!();
    // With WASI 0.2 each request has its own instance, so nothing is cached.
    if wasi() == Wasi::V0_2 {
        return;
    }
    let app = Setup::new().variable("log_level", "info").start().await;
    for _ in 0..40 {
        assert_eq!(app.get("/health/verification").await.status, 200);
    }
    app.wait_for_log("\"route\":\"/health/verification\"").await;
    let rounds = app.log().matches("\"route\":\"/check\"").count();
    assert!((1..=8).contains(&rounds), "{rounds} rounds for 40 requests:\n{}", app.log());
}
