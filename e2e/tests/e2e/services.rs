//! The services recognise each other by a token that is derived from their secret.

use credentials::Secret;
use e2e::{ADMIN_TOKEN, Response, SECRET, Setup, TestApp, needs_own_host};
use reqwest::Method;
use serde_json::{Value, json};

fn service_token(secret: &str) -> String {
    Secret::new(secret).unwrap().service_token().as_str().to_owned()
}

async fn post_as(app: &TestApp, token: &str, path: &str, body: &Value) -> Response {
    app.send(app.request(Method::POST, path).bearer_auth(token).json(body)).await
}

async fn issue(app: &TestApp) -> Value {
    let body =
        json!({ "credential": "a", "ttl_seconds": 3600, "max_uses": 3, "metadata": { "holder": "Ada" } });
    app.issued(body).await["credential_hash"].clone()
}

#[tokio::test]
async fn a_check_tells_strangers_whether_a_credential_counts_and_services_everything() {
    needs_own_host!();
    // The responses to services are not part of the API.
    let retired = "r".repeat(32);
    let app =
        Setup::new().variable("retired_credential_secrets", &retired).without_validation().start().await;
    let hash = issue(&app).await;
    app.verify("a").await.expect(200);
    let members = |value: &Value| {
        let mut members: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        members.sort_unstable();
        members.join(" ")
    };
    let (one, list) = (json!({ "credential_hash": hash }), json!({ "credential_hashes": [hash] }));
    let wrong = service_token(&"w".repeat(32));
    let right = service_token(SECRET);
    let altered = format!("{}0", &right[..63]);
    for token in [&wrong, &altered, &right[..62], &right.to_uppercase(), ADMIN_TOKEN, SECRET] {
        let answer = post_as(&app, token, "/check", &one).await.expect(200);
        assert_eq!(members(&answer), "exists issued_at status worker_id", "{token}");
        let answer = post_as(&app, token, "/check", &list).await.expect(200);
        assert_eq!(members(&answer), "results", "{token}");
        assert_eq!(
            members(&answer["results"][0]),
            "credential_hash exists issued_at status worker_id",
            "{token}"
        );
    }
    for token in [right, service_token(&retired)] {
        let answer = post_as(&app, &token, "/check", &one).await.expect(200);
        assert_eq!(members(&answer), "exists expires_at issued_at max_uses metadata status uses worker_id");
        assert_eq!((&answer["max_uses"], &answer["uses"]), (&json!(3), &json!(1)));
        let answer = post_as(&app, &token, "/check", &list).await.expect(200);
        assert_eq!(answer["key_ids"].as_array().unwrap().len(), 2);
        assert_eq!(answer["results"][0]["metadata"], json!({ "holder": "Ada" }));
    }
}

#[tokio::test]
async fn only_a_service_takes_uses() {
    needs_own_host!();
    let app = Setup::new().without_validation().start().await;
    let hash = issue(&app).await;
    let use_of = |hash: &Value| json!({ "uses": [{ "credential_hash": hash }] });
    let right = service_token(SECRET);
    app.post("/check/use", &use_of(&hash)).await.assert_problem(401, "unauthorized");
    for token in [&service_token(&"w".repeat(32)), &right[1..], ADMIN_TOKEN] {
        post_as(&app, token, "/check/use", &use_of(&hash)).await.assert_problem(401, "unauthorized");
    }
    let uses = async || app.query::<u32>("issuance", "SELECT sum(uses) FROM credentials");
    assert_eq!(uses().await, 0);
    let taken = post_as(&app, &right, "/check/use", &use_of(&hash)).await.expect(200)["results"][0].clone();
    assert_eq!((&taken["status"], &taken["uses_left"], uses().await), (&json!("active"), &json!(2), 1));
    let unlimited = app.issued(json!({ "credential": "b" })).await["credential_hash"].clone();
    for hash in [unlimited, json!("0".repeat(64))] {
        let result =
            post_as(&app, &right, "/check/use", &use_of(&hash)).await.expect(200)["results"][0].clone();
        assert_eq!(result["error"]["status"], 404, "{result}");
    }
    // The database's clock says whether it has expired.
    let database = app.database("issuance");
    for (end, status) in [
        (format!("expires_at = {} + 60000", database.now()), "active"),
        (format!("expires_at = {}", database.now()), "expired"),
        (format!("revoked_at = {}", database.now()), "revoked"),
    ] {
        database.execute(&format!("UPDATE credentials SET {end} WHERE max_uses = 3"));
        let result =
            post_as(&app, &right, "/check/use", &use_of(&hash)).await.expect(200)["results"][0].clone();
        assert_eq!(result["status"], status, "{result}");
    }
    assert_eq!(uses().await, 2);
}

#[tokio::test]
async fn without_a_common_secret_there_is_no_verdict_and_health_says_why() {
    needs_own_host!();
    let issuance = Setup::new().component("issuance").start().await;
    issuance.issue("a").await.expect(201);
    let verification = Setup::new()
        .component("verification")
        .variable("issuance_url", &issuance.base_url)
        .variable("credential_secret", &"w".repeat(32))
        .start()
        .await;
    verification.verify("a").await.assert_problem(503, "unavailable");
    verification.wait_for_log("does not recognise").await;
    let health = verification.get("/health/verification").await.expect(503);
    assert!(health["checks"]["issuance"].as_str().unwrap().contains("the same secret"), "{health}");
}

#[tokio::test]
async fn a_client_at_its_limit_of_failures_takes_no_use() {
    needs_own_host!();
    // Two instances of verification: neither remembers whom the other has refused.
    let setup = || Setup::new().variable("verify_failures_per_minute", "3");
    let one = setup().start().await;
    let other = setup().databases_of(&one).start().await;
    one.issued(json!({ "credential": "invite", "max_uses": 5 })).await;
    let uses = || one.query::<u32>("issuance", "SELECT sum(uses) FROM credentials");
    // A minute that ends meanwhile begins with no failures.
    for _ in 0..3 {
        let batch = json!({ "credentials": ["x", "invite", "x", "x", "invite", "invite"] });
        let (before, minute) = (uses(), minute(&one));
        let response = one.post("/verify/batch", &batch).await.expect(200);
        let later = other.verify("invite").await;
        if minute != self::minute(&one) {
            continue;
        }
        let statuses: Vec<_> = response["results"]
            .as_array()
            .unwrap()
            .iter()
            .map(|result| result["status"].as_str().unwrap_or("refused"))
            .collect();
        assert_eq!(statuses, ["not_found", "valid", "not_found", "not_found", "refused", "refused"]);
        later.assert_problem(429, "too-many-failures");
        assert_eq!(uses(), before + 1);
        return;
    }
    panic!("each attempt took longer than a minute");
}

fn minute(app: &TestApp) -> i64 {
    let database = app.database("verification");
    database.query(&format!("SELECT {} / 60000", database.now()))
}
