//! GET and HEAD /health of both services.

use e2e::{
    Setup, TestApp, needs_own_host,
    values::{is_timestamp, names},
};
use reqwest::Method;

#[tokio::test]
async fn a_healthy_service_identifies_itself() {
    let app = TestApp::any().await;
    for (path, service) in
        [("/health", "issuance"), ("/health/issuance", "issuance"), ("/health/verification", "verification")]
    {
        let answer = app.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
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
        let answer = app.get(path).await;
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
        let body = answer.json();
        assert_eq!(body["status"], "unhealthy");
        assert!(body["checks"]["secret"].as_str().unwrap().contains("32 bytes"), "{body}");
        assert_eq!(body["checks"]["database"], "ok");
    }
    for answer in [app.issue("a").await, app.verify("a").await, app.check(&"0".repeat(64)).await] {
        answer.assert_problem(503, "unavailable");
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    app.wait_for_log("retired_credential_secrets: must have at least 32 bytes").await;
    assert_eq!(app.count("issuance", "credentials"), 0);
    assert_eq!(app.count("verification", "verifications"), 0);
}
