//! Bearer tokens.

use e2e::{ADMIN_TOKEN, ISSUER_TOKEN, Response, Setup, TestApp, Wasi, needs_own_host, unique, wasi};
use reqwest::{Method, header::AUTHORIZATION};
use serde_json::json;

/// The admin routes.
const ADMIN_ROUTES: [(Method, &str); 3] =
    [(Method::POST, "/revoke"), (Method::GET, "/credentials"), (Method::GET, "/verifications")];

/// Sends a request that is valid apart from its authorization.
async fn ask(app: &TestApp, method: &Method, path: &str, authorization: Option<&str>) -> Response {
    let mut request = app.request(method.clone(), path);
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    if method == Method::POST {
        request = request.json(&json!({ "credential": unique("access") }));
    }
    app.send(request).await
}

#[tokio::test]
async fn admin_routes_require_an_admin_token() {
    needs_own_host!();
    let tokens = "the-first-admin-token, the-second-admin-token";
    let app = Setup::new().variable("admin_token", tokens).start().await;
    for (method, path) in ADMIN_ROUTES {
        for right in ["Bearer the-first-admin-token", "bearer the-second-admin-token"] {
            let response = ask(&app, &method, path, Some(right)).await;
            assert!([200, 404].contains(&response.status), "{path}: {}", response.text());
        }
        for none in [None, Some("Basic Zmlyc3Q6c2Vjb25k"), Some("the-first-admin-token")] {
            let response = ask(&app, &method, path, none).await;
            response.assert_problem(401, "unauthorized");
            assert_eq!(response.header("www-authenticate"), Some("Bearer realm=\"kube-credentials\""));
            assert_eq!(response.header("access-control-allow-origin"), Some("*"));
        }
        for wrong in [
            "Bearer the-third-admin-token",
            "Bearer The-First-Admin-Token",
            "Bearer the-first-admin-token,the-second-admin-token",
        ] {
            let response = ask(&app, &method, path, Some(wrong)).await;
            response.assert_problem(401, "unauthorized");
            assert!(response.header("www-authenticate").unwrap().ends_with("error=\"invalid_token\""));
            assert!(!response.text().contains("third"));
        }
    }
}

#[tokio::test]
async fn admin_routes_are_forbidden_while_no_admin_token_is_configured() {
    needs_own_host!();
    let app = Setup::new().variable("admin_token", "").start().await;
    for (method, path) in ADMIN_ROUTES {
        for token in [None, Some("Bearer "), Some("Bearer any-admin-token-at-all")] {
            ask(&app, &method, path, token).await.assert_problem(403, "forbidden");
        }
    }
}

#[tokio::test]
async fn issuing_is_open_until_an_issuer_token_is_configured() {
    needs_own_host!();
    let mut app = Setup::new().start().await;
    assert_eq!(ask(&app, &Method::POST, "/issue", None).await.status, 201);
    app.restart_with(&[("issuer_token", "the-old-issuer-token,the-new-issuer-token")]).await;
    for token in ["Bearer the-old-issuer-token", "BEARER the-new-issuer-token"] {
        assert_eq!(ask(&app, &Method::POST, "/issue", Some(token)).await.status, 201);
    }
    ask(&app, &Method::POST, "/issue", None).await.assert_problem(401, "unauthorized");
    let admin = format!("Bearer {ADMIN_TOKEN}");
    ask(&app, &Method::POST, "/issue", Some(&admin)).await.assert_problem(401, "unauthorized");
    // Tokens are checked before the body.
    app.post_raw("/issue", "{").await.assert_problem(401, "unauthorized");
    assert_eq!(app.verify("x").await.status, 200);
    assert_eq!(app.check(&"0".repeat(64)).await.status, 200);
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_allows_the_authorization_header() {
    needs_own_host!();
    let app = Setup::new().variable("issuer_token", ISSUER_TOKEN).start().await;
    for path in ["/issue", "/revoke", "/credentials", "/verifications"] {
        let request = app
            .request(Method::OPTIONS, path)
            .header("origin", "https://a.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let response = app.send(request).await;
        assert_eq!(response.status, 204, "{path}");
        assert!(response.header("access-control-allow-headers").unwrap().contains("authorization"));
    }
}

#[tokio::test]
async fn malformed_tokens_close_the_service_instead_of_opening_it() {
    needs_own_host!();
    for (name, tokens) in [
        ("issuer_token", ","),
        ("issuer_token", "  "),
        ("admin_token", " , ,"),
        ("admin_token", "short"),
        ("issuer_token", "a-token-of-enough-characters,short"),
        ("admin_token", "ein-admin-schlüssel-zum-testen"),
        ("issuer_token", "\"a-token-that-is-in-quotes\""),
        ("admin_token", "a token with blanks in it"),
        ("verifier_token", "short"),
    ] {
        let app = Setup::new().variable(name, tokens).start().await;
        // Each service reads only its own variables.
        let services: &[&str] = match name {
            "issuer_token" => &["issuance"],
            "verifier_token" => &["verification"],
            _ => &["issuance", "verification"],
        };
        if services.contains(&"issuance") {
            app.issue("a").await.assert_problem(503, "unavailable");
            app.revoke(&json!({ "credential": "a" })).await.assert_problem(503, "unavailable");
            assert_eq!(app.count("issuance", "credentials"), 0);
        }
        if services.contains(&"verification") {
            app.verify("a").await.assert_problem(503, "unavailable");
        }
        for service in ["issuance", "verification"] {
            let health = app.get(&format!("/health/{service}")).await;
            let settings = health.json()["checks"]["settings"].as_str().unwrap_or("ok").to_owned();
            assert_eq!(settings.starts_with(name), services.contains(&service), "{}", health.text());
            assert!(!services.contains(&service) || health.status == 503, "{}", health.text());
            assert!(!health.text().contains(tokens.trim_matches([',', ' '])) || tokens.len() < 6);
        }
        app.wait_for_log(&format!("\"reason\":\"{name} ")).await;
    }
}

#[tokio::test]
async fn verifying_is_open_until_a_verifier_token_is_configured_and_then_has_no_limit() {
    needs_own_host!();
    let mut app = Setup::new().variable("verify_failures_per_minute", "2").start().await;
    app.issue("right").await;
    app.restart_with(&[("verifier_token", "the-old-verifier-token,the-new-verifier-token")]).await;
    let batch = json!({ "credentials": ["right", "a", "b", "c"] });
    for (path, body) in [("/verify", json!({ "credential": "right" })), ("/verify/batch", batch)] {
        let ask = |token: Option<&'static str>| {
            let request = app.request(Method::POST, path).json(&body);
            app.send(token.into_iter().fold(request, |request, token| request.bearer_auth(token)))
        };
        for token in ["the-old-verifier-token", "the-new-verifier-token"] {
            let response = ask(Some(token)).await;
            let first =
                if path == "/verify" { response.json() } else { response.json()["results"][0].clone() };
            assert_eq!(first["isValid"], true, "{}", response.text());
            assert_eq!(response.header("ratelimit"), None);
        }
        for wrong in [None, Some(ADMIN_TOKEN), Some("another-verifier-token")] {
            ask(wrong).await.assert_problem(401, "unauthorized");
        }
    }
    // Tokens are checked before the body.
    app.post_raw("/verify", "{").await.assert_problem(401, "unauthorized");
    assert_eq!(app.count("verification", "verifications"), 2 + 2 * 4);
    assert_eq!(app.count("verification", "failures"), 0);
    assert_eq!(app.get("/health/verification").await.status, 200);
}

#[tokio::test]
async fn the_log_of_each_instance_warns_once_that_anyone_may_issue() {
    needs_own_host!();
    let app = Setup::new().start().await;
    for i in 0..5 {
        app.issue(&format!("{i}")).await;
    }
    // With WASI 0.2 each request has its own instance.
    let instances = if wasi() == Wasi::V0_2 { 5 } else { 1 };
    app.wait_for_log("anyone may issue").await;
    assert!(app.log().contains("verify_failures_per_minute does not limit"), "{}", app.log());
    assert_eq!(app.log().matches("anyone may issue").count(), instances, "{}", app.log());
    let app = Setup::new().variable("log_level", "info").variable("issuer_token", ISSUER_TOKEN).start().await;
    app.issue("a").await;
    app.wait_for_log("\"route\":\"/issue\"").await;
    assert!(!app.log().contains("anyone may issue"), "{}", app.log());
}
