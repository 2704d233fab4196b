//! Behaviour that all routes share: paths, methods, headers, CORS and request ids.

use e2e::{Setup, TestApp, needs_own_host, unique};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn an_unknown_path_below_a_route_is_a_404_problem() {
    let app = TestApp::any().await;
    for path in [
        "/issue/",
        "/issue/x",
        "/check/x",
        "/verify/x/y",
        "/health/",
        "/health/x",
        "/health/issuance/x",
        "/health/verification/x",
        "/revoke/x",
        "/credentials/x",
        "/verifications/x",
        "/verify/batch/x",
    ] {
        app.get(path).await.assert_problem(404, "not-found");
        app.post(path, &json!({ "credential": "a" })).await.assert_problem(404, "not-found");
    }
}

#[tokio::test]
async fn an_unsupported_method_is_a_405_with_allow() {
    let app = TestApp::any().await;
    for (path, allow) in [
        ("/issue", "POST"),
        ("/check", "POST"),
        ("/verify", "POST"),
        ("/verify/batch", "POST"),
        ("/revoke", "POST"),
        ("/credentials", "GET,HEAD"),
        ("/verifications", "GET,HEAD"),
        ("/health", "GET,HEAD"),
        ("/health/issuance", "GET,HEAD"),
        ("/health/verification", "GET,HEAD"),
    ] {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            if allow.contains(method.as_str()) {
                continue;
            }
            let response = app.send(app.request(method.clone(), path)).await;
            response.assert_problem(405, "method-not-allowed");
            assert_eq!(response.header("allow"), Some(allow), "{method} {path}");
        }
    }
    let head = app.send(app.request(Method::HEAD, "/issue")).await;
    assert_eq!((head.status, head.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn every_response_has_its_length_and_the_security_headers() {
    let app = TestApp::any().await;
    let credential = unique("headers");
    let responses = [
        app.issue(&credential).await,
        app.issue(&credential).await,
        app.verify(&credential).await,
        app.check(&"0".repeat(64)).await,
        app.check("x").await,
        app.issue("").await,
        app.get("/issue").await,
        app.get("/verify/x").await,
        app.get("/health").await,
        app.get("/health/verification").await,
    ];
    for response in responses {
        let length = response.body.len().to_string();
        assert_eq!(response.header("content-length"), Some(length.as_str()), "{}", response.text());
        assert_eq!(response.header("transfer-encoding"), None);
        assert_eq!(response.header("cache-control"), Some("no-store"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert!(response.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn a_well_formed_request_id_is_echoed_and_any_other_replaced() {
    let app = TestApp::any().await;
    let (longest, too_long) = ("x".repeat(128), "x".repeat(129));
    for path in ["/health", "/verify", "/issue/x"] {
        let get_with = |id| app.send(app.request(Method::GET, path).header("x-request-id", id));
        for id in ["a", "A-z_0.9", &longest] {
            assert_eq!(get_with(id).await.header("x-request-id"), Some(id), "{path}");
        }
        for id in ["", "a b", "a/b", "<script>", "a,b", &too_long] {
            let response = get_with(id).await;
            let new = response.header("x-request-id").unwrap();
            assert!(new != id && new.len() == 32, "{path} {id:?} {new}");
        }
    }
}

/// Headers that a page with tracing sends.
const HEADERS: &str = "authorization,baggage,content-type,sentry-trace,traceparent,tracestate,x-request-id";

#[tokio::test]
async fn a_preflight_is_204_without_a_body_and_allows_tracing() {
    let app = TestApp::any().await;
    for path in [
        "/issue",
        "/check",
        "/verify",
        "/verify/batch",
        "/revoke",
        "/credentials",
        "/verifications",
        "/health",
    ] {
        let request = app
            .request(Method::OPTIONS, path)
            .header("origin", "https://app.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", HEADERS);
        let response = app.send(request).await;
        assert_eq!((response.status, response.body.len()), (204, 0), "{path}");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        assert!(response.header("access-control-allow-methods").unwrap().contains("POST"));
        assert_eq!(response.header("access-control-allow-headers"), Some(HEADERS), "{path}");
    }
}

#[tokio::test]
async fn only_configured_origins_are_allowed_even_on_errors() {
    needs_own_host!();
    let app = Setup::new()
        .variable("cors_origin", "https://a.example, https://B.example:443, HTTP://c.example:8080/")
        .start()
        .await;
    for (origin, allowed) in [
        ("https://a.example", true),
        ("https://b.example", true),
        ("http://c.example:8080", true),
        ("http://a.example", false),
        ("https://a.example:8443", false),
        ("https://evil.example", false),
        ("null", false),
    ] {
        for (method, path) in
            [(Method::GET, "/health"), (Method::GET, "/verify"), (Method::OPTIONS, "/issue")]
        {
            let request = app.request(method, path).header("origin", origin);
            let response = app.send(request.header("access-control-request-method", "POST")).await;
            assert_eq!(response.header("access-control-allow-origin"), allowed.then_some(origin), "{path}");
            assert!(response.header("vary").unwrap().contains("origin"));
        }
    }
}
