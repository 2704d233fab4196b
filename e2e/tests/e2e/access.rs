//! Who may: bearer tokens.

use reqwest::{Method, header::AUTHORIZATION};
use serde_json::json;

use e2e::{ADMIN_TOKEN, Answer, Setup, TestApp, needs_own_host, unique};

/// The admin routes, each with a request that would succeed or be a 404.
const ADMIN_ROUTES: [(Method, &str); 3] =
    [(Method::POST, "/revoke"), (Method::GET, "/credentials"), (Method::GET, "/verifications")];

async fn ask(app: &TestApp, method: &Method, path: &str, authorization: Option<&str>) -> Answer {
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
async fn admin_routes_ask_for_the_admins_token() {
    needs_own_host!();
    let app = Setup::new().variable("admin_token", "first, second").start().await;
    for (method, path) in ADMIN_ROUTES {
        for token in ["Bearer first", "bearer second"] {
            let answer = ask(&app, &method, path, Some(token)).await;
            assert!([200, 404].contains(&answer.status), "{path}: {}", answer.text());
        }
        for none in [None, Some("Basic Zmlyc3Q6c2Vjb25k"), Some("first")] {
            let answer = ask(&app, &method, path, none).await;
            answer.assert_problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"kube-credentials\""));
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        }
        for wrong in ["Bearer third", "Bearer First", "Bearer first,second"] {
            let answer = ask(&app, &method, path, Some(wrong)).await;
            answer.assert_problem(401, "unauthorized");
            assert!(answer.header("www-authenticate").unwrap().ends_with("error=\"invalid_token\""));
            assert!(!answer.text().contains("third"));
        }
    }
}

#[tokio::test]
async fn admin_routes_are_closed_while_no_token_is_configured() {
    needs_own_host!();
    let app = Setup::new().variable("admin_token", "").start().await;
    for (method, path) in ADMIN_ROUTES {
        for token in [None, Some("Bearer "), Some("Bearer x")] {
            ask(&app, &method, path, token).await.assert_problem(403, "forbidden");
        }
    }
}

#[tokio::test]
async fn issuing_is_open_until_an_issuers_token_is_configured() {
    needs_own_host!();
    let mut app = Setup::new().start().await;
    assert_eq!(ask(&app, &Method::POST, "/issue", None).await.status, 201);
    app.restart_with(&[("issuer_token", "old,new")]).await;
    for token in ["Bearer old", "BEARER new"] {
        assert_eq!(ask(&app, &Method::POST, "/issue", Some(token)).await.status, 201);
    }
    ask(&app, &Method::POST, "/issue", None).await.assert_problem(401, "unauthorized");
    let admin = format!("Bearer {ADMIN_TOKEN}");
    ask(&app, &Method::POST, "/issue", Some(&admin)).await.assert_problem(401, "unauthorized");
    // A stranger is not told what is wrong with the body, and the other routes stay open.
    app.send(app.request(Method::POST, "/issue").body("{")).await.assert_problem(401, "unauthorized");
    assert_eq!(app.verify("x").await.status, 200);
    assert_eq!(app.check("x").await.status, 200);
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_allows_to_send_one() {
    needs_own_host!();
    let app = Setup::new().variable("issuer_token", "t").start().await;
    for path in ["/issue", "/revoke", "/credentials", "/verifications"] {
        let request = app
            .request(Method::OPTIONS, path)
            .header("origin", "https://a.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let answer = app.send(request).await;
        assert_eq!(answer.status, 204, "{path}");
        assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    }
}
