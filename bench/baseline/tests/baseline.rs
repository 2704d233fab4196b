//! The baseline keeps the components' contract as far as the load uses it.

#![allow(clippy::unwrap_used, reason = "a failure fails the test")]

use axum::{Router, body::Body, http::Request};
use credentials::{Credential, Secret};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

const SECRET: &str = "a secret of 32 bytes for the tests";

struct TestServer {
    router: Router,
    folder: TempDir,
}

impl TestServer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let router = baseline::router(SECRET, &file("issuance.db"), &file("verification.db")).unwrap();
        Self { router, folder }
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    async fn issue(&self, credential: &str) -> (u16, Value) {
        self.post("/issue", &json!({"credential": credential})).await
    }

    fn count(&self, name: &str, table: &str) -> i64 {
        let database = rusqlite::Connection::open(self.folder.path().join(name)).unwrap();
        database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn an_issued_credential_is_valid_and_exists() {
    let server = TestServer::start();
    let (status, issued) = server.issue("a").await;
    assert_eq!(status, 201, "{issued}");
    let hash = Secret::new(SECRET).unwrap().hash(&Credential::new("a").unwrap()).to_string();
    assert_eq!(issued["credential_hash"], hash);

    let (status, verdict) = server.post("/verify", &json!({"credential": "a"})).await;
    assert_eq!((status, &verdict["isValid"], &verdict["status"]), (200, &json!(true), &json!("valid")));
    assert_eq!((&verdict["issuedBy"], &verdict["issuedAt"]), (&issued["worker_id"], &issued["issued_at"]));

    let (status, known) = server.post("/check", &json!({"credential_hash": hash})).await;
    let expected = json!({
        "exists": true, "worker_id": issued["worker_id"], "issued_at": issued["issued_at"], "status": "active"
    });
    assert_eq!((status, known), (200, expected));
}

#[tokio::test]
async fn an_unknown_credential_is_not_found_and_the_verdict_is_recorded() {
    let server = TestServer::start();
    let (status, verdict) = server.post("/verify", &json!({"credential": "a"})).await;
    assert_eq!((status, &verdict["isValid"], &verdict["status"]), (200, &json!(false), &json!("not_found")));
    assert_eq!(server.count("verification.db", "verifications"), 1);
    for hash in ["0".repeat(64), "no hash".to_owned()] {
        let (status, known) = server.post("/check", &json!({"credential_hash": hash})).await;
        assert_eq!((status, known), (200, json!({"exists": false})));
    }
}

#[tokio::test]
async fn concurrent_requests_issue_a_credential_once() {
    let server = TestServer::start();
    let mut asked = Vec::new();
    for _ in 0..8 {
        let router = server.router.clone();
        asked.push(tokio::spawn(async move {
            let request = Request::post("/issue").body(Body::from(r#"{"credential": "a"}"#)).unwrap();
            router.oneshot(request).await.unwrap().status().as_u16()
        }));
    }
    let mut statuses = Vec::new();
    for answer in asked {
        statuses.push(answer.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409, 409, 409]);
    assert_eq!(server.count("issuance.db", "credentials"), 1);
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let server = TestServer::start();
    for (path, body) in [
        ("/issue", json!({"credential": ""})),
        ("/issue", json!({"credental": "a"})),
        ("/verify", json!({"credential": 1})),
        ("/check", json!({})),
    ] {
        assert_eq!(server.post(path, &body).await.0, 400, "{path} {body}");
    }
}
