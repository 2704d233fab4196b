//! `openapi.yaml` and the services agree.
//!
//! The tests here compare paths and methods, send the document's examples and run Schemathesis. In addition,
//! [`TestApp::send`] validates the responses in all tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    process::Command,
    time::Duration,
};

use e2e::{
    ADMIN_TOKEN, ISSUER_TOKEN, METRICS_TOKEN, Response, Setup, TestApp, needs_own_host,
    openapi::{assert_valid, document, members},
    read, tools,
    values::assert_similar,
    workspace,
};
use reqwest::{Body, Method};
use serde_json::{Value, json};

use crate::{limit::at_least, uses::post_with_key};

/// The secret behind the hashes in the document.
const EXAMPLE_SECRET: &str = "the example secret of openapi.yaml";

/// The document's paths with their operations.
fn paths() -> impl Iterator<Item = (&'static String, &'static Value)> {
    members(&document()["paths"]).iter()
}

#[test]
fn manifest_routers_and_document_have_the_same_paths() {
    let documented: BTreeSet<_> = paths().map(|(path, _)| path.clone()).collect();

    let between = |text: &str, before: &str| -> BTreeSet<String> {
        let found = text.split(before).skip(1);
        found.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
    };
    let manifest = between(&read("spin.toml"), "\nroute = \"");
    for route in &manifest {
        let path = match route.trim_end_matches("/...") {
            "" => "/",
            path => path,
        };
        assert!(documented.contains(path), "openapi.yaml lacks the route {route} of spin.toml");
    }
    for path in &documented {
        let is_routed = |route: &String| {
            let below = route.strip_suffix("...");
            below.map_or(route == path, |below| format!("{path}/").starts_with(below))
        };
        assert!(manifest.iter().any(is_routed), "spin.toml has no route for {path}");
    }

    let mut routed = BTreeSet::new();
    for file in ["issuance/src/routes.rs", "verification/src/routes.rs"] {
        let code = read(file);
        routed.extend(between(code.split("#[cfg(test)]").next().unwrap(), ".route(\""));
        let health = code.split("HEALTH_PATHS").nth(1).unwrap().split(';').next().unwrap();
        routed.extend(health.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    // The page's routes are files. `each_path_allows_exactly_the_documented_methods` requests these two.
    routed.extend(documented.iter().filter(|path| ["/", "/openapi.yaml"].contains(&path.as_str())).cloned());
    // The services use this among themselves.
    assert!(routed.remove("/check/use"));
    assert_eq!(documented, routed);
}

#[tokio::test]
async fn each_path_allows_exactly_the_documented_methods() {
    let app = TestApp::any().await;
    for (path, operations) in paths() {
        let methods = members(operations).keys().map(|method| method.to_ascii_uppercase());
        let mut documented: BTreeSet<_> = methods.collect();
        if documented.contains("GET") {
            documented.insert("HEAD".to_owned());
        }
        let response = app.send(app.request(Method::DELETE, path)).await;
        response.assert_problem(405, "method-not-allowed");
        let allowed: BTreeSet<_> = response.header("allow").unwrap().split(',').map(str::to_owned).collect();
        assert_eq!(allowed, documented, "{path}");
        for method in documented {
            let response = app.send(app.request(method.parse().unwrap(), path)).await;
            assert!(![404, 405].contains(&response.status), "{method} {path}: {}", response.status);
        }
    }
}

/// Collects the objects with examples, at any depth, and their places.
fn with_examples(value: &'static Value, place: &str, found: &mut Vec<(String, &'static Value)>) {
    if value.get("schema").is_some() && value.get("examples").is_some() {
        found.push((place.to_owned(), value));
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                with_examples(member, &format!("{place}/{name}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| with_examples(item, place, found)),
        _ => {}
    }
}

#[test]
fn each_example_matches_its_schema() {
    let mut found = Vec::new();
    with_examples(document(), "", &mut found);
    assert!(found.len() >= 25, "openapi.yaml has lost its examples");
    for (place, media) in found {
        for (name, example) in members(&media["examples"]) {
            assert_valid(&media["schema"], &example["value"], &format!("{place}/examples/{name}"));
        }
    }
}

/// The document's example responses.
struct Examples {
    /// Status and body, keyed by operation or shared response and the name of the example.
    responses: BTreeMap<String, (u64, &'static Value)>,
    /// Examples that no response has matched yet.
    unseen: BTreeSet<String>,
}

impl Examples {
    fn new() -> Self {
        let mut responses = BTreeMap::new();
        let mut add = |owner: &str, status: Option<u64>, response: &'static Value| {
            for media in members(&response["content"]).values() {
                for (name, example) in members(&media["examples"]) {
                    let example = &example["value"];
                    let status = status.or_else(|| example["status"].as_u64());
                    let health = if example["status"] == "healthy" { 200 } else { 503 };
                    responses.insert(format!("{owner}/{name}"), (status.unwrap_or(health), example));
                }
            }
        };
        for (_, item) in paths() {
            for operation in members(item).values() {
                for (status, response) in members(&operation["responses"]) {
                    add(operation["operationId"].as_str().unwrap(), status.parse().ok(), response);
                }
            }
        }
        for (name, response) in members(&document()["components"]["responses"]) {
            add(name, None, response);
        }
        let unseen = responses.keys().cloned().collect();
        Self { responses, unseen }
    }

    /// Asserts that the response is this example.
    fn expect(&mut self, example: &str, response: &Response) {
        let (status, expected) = self.responses[example];
        assert_eq!(u64::from(response.status), status, "{example}: {}", response.text());
        let actual = response.json();
        assert_similar(expected, &actual, example);
        // A generated credential has another hash each time.
        if !example.ends_with("/generated") {
            assert_eq!(expected["credential_hash"], actual["credential_hash"], "{example}");
            assert_eq!(expected["key_id"], actual["key_id"], "{example}");
        }
        self.unseen.remove(example);
    }

    /// Sends these example requests and compares the responses with the examples of the same names.
    async fn ask(&mut self, app: &TestApp, path: &str, names: &[&str]) {
        let operation = &document()["paths"][path]["post"];
        for name in names {
            let example = &operation["requestBody"]["content"]["application/json"]["examples"][name]["value"];
            let response = app.send(app.admin(Method::POST, path).json(example)).await;
            self.expect(&format!("{}/{name}", operation["operationId"].as_str().unwrap()), &response);
        }
    }
}

#[tokio::test]
async fn the_service_answers_as_in_the_examples() {
    needs_own_host!();
    let app = Setup::new().variable("credential_secret", EXAMPLE_SECRET).start().await;
    let mut examples = Examples::new();
    let silent = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let stalled = app.post_raw("/issue", Body::wrap_stream(silent));
    let (stalled, ()) = tokio::join!(stalled, expect_other_examples(&app, &mut examples));
    examples.expect("RequestTimeout/stalled", &stalled);
    assert!(examples.unseen.is_empty(), "no response matched {:?}", examples.unseen);
}

async fn expect_other_examples(app: &TestApp, examples: &mut Examples) {
    examples
        .ask(app, "/issue", &["inviteCode", "given", "withExpiryAndMetadata", "generated", "shortLived"])
        .await;
    examples.ask(app, "/check", &["one", "withExpiryAndMetadata", "unknown", "several"]).await;
    examples.ask(app, "/verify", &["lookedUp", "lastUse", "usedUp"]).await;
    examples.ask(app, "/verify", &["valid", "withExpiryAndMetadata", "notFound"]).await;
    examples.ask(app, "/verify/batch", &["several"]).await;
    let given = &examples.responses["issueCredential/given"].1["credential_hash"];
    let hashes = json!({ "credential_hashes": [given, 5] });
    examples.expect("checkCredential/partlyWrong", &app.post("/check", &hashes).await);
    let credentials = json!({ "credentials": ["badge-0042", ""] });
    examples.expect("verifyCredentials/partlyWrong", &app.post("/verify/batch", &credentials).await);

    examples.ask(app, "/revoke", &["byCredential", "byHash"]).await;
    // Avoids waiting for a minute.
    let expire = "UPDATE credentials SET expires_at = issued_at + 1 WHERE expires_at = issued_at + 60000";
    assert_eq!(app.database("issuance").execute(expire), 1);
    examples.ask(app, "/verify", &["revoked", "expired"]).await;
    examples.expect("listCredentials/firstPage", &app.admin_get("/credentials?limit=2").await);
    examples.expect("listVerifications/firstPage", &app.admin_get("/verifications?limit=2").await);
    for (service, example) in
        [("issuance", "getIssuanceStatistics"), ("verification", "getVerificationStatistics")]
    {
        let response = app.admin_get(&format!("/statistics/{service}?by=day")).await;
        examples.expect(&format!("{example}/byDay"), &response);
    }
    examples.ask(app, "/issue/batch", &["several"]).await;
    let credentials = json!({ "credentials": [{ "credential": "badge-0042" }, {}] });
    examples.expect("issueCredentials/partlyIssued", &app.post("/issue/batch", &credentials).await);
    examples.expect("Healthy/healthy", &app.get("/health").await);

    examples.expect("AlreadyIssued/alreadyIssued", &app.issue("MySecurePassword123!").await);
    let key = document()["components"]["parameters"]["IdempotencyKey"]["example"].as_str().unwrap();
    post_with_key(app, "/issue", key, &json!({ "generate": true })).await.expect(201);
    let reused = post_with_key(app, "/issue", key, &json!({ "credential": "another" })).await;
    examples.expect("IdempotencyKeyReused/reused", &reused);
    examples.expect("BadRequest/unknownMember", &app.post("/issue", &json!({ "credental": "typo" })).await);
    let malformed = app.post_raw("/issue", r#"{"credential": "MySecurePassword123!""#).await;
    examples.expect("BadRequest/malformed", &malformed);
    let form = app.request(Method::POST, "/issue").body("credential=x");
    let form = form.header("content-type", "application/x-www-form-urlencoded");
    examples.expect("UnsupportedMediaType/form", &app.send(form).await);
    let compressed = app.request(Method::POST, "/issue").json(&json!({})).header("content-encoding", "gzip");
    examples.expect("UnsupportedMediaType/compressed", &app.send(compressed).await);
    examples.expect("PayloadTooLarge/tooLong", &app.issue(&"x".repeat(64 * 1024)).await);
    examples.expect("BadQuery/limitTooLarge", &app.admin_get("/credentials?limit=1001").await);
    examples.expect("Unauthorized/missingToken", &app.get("/credentials").await);
    let wrong = app.request(Method::GET, "/credentials").bearer_auth("a-wrong-admin-token");
    examples.expect("Unauthorized/wrongToken", &app.send(wrong).await);
    examples.expect("NotIssued/notIssued", &app.revoke(&json!({ "credential": "guesswork" })).await);
    examples.expect("NoSuchPath/noSuchPath", &app.get("/issue/x").await);
    let delete = app.request(Method::DELETE, "/issue");
    examples.expect("MethodNotAllowed/methodNotAllowed", &app.send(delete).await);

    let guessing = Setup::new().variable("verify_failures_per_minute", "1").start().await;
    at_least(Duration::from_secs(5)).await;
    guessing.verify("guess").await;
    examples.expect("TooManyFailures/tooManyFailures", &guessing.verify("guess").await);
    let [retired, unknown] = ["a retired secret", "another secret"].map(|secret| secret.repeat(3));
    let closed = Setup::new().variable("admin_token", "").variable("retired_credential_secrets", &retired);
    let closed = closed.component("issuance").start().await;
    examples.expect("Forbidden/closed", &closed.get("/credentials").await);
    for (secret, example) in [(retired, "otherSecrets"), (unknown, "notRecognised")] {
        let apart = Setup::new().variable("credential_secret", &secret).component("verification");
        let apart = apart.variable("issuance_url", &closed.base_url).start().await;
        examples.expect(&format!("Unavailable/{example}"), &apart.verify("a").await);
    }
    closed.get("/health").await;
    // The code of a server that stops.
    closed.database("issuance").refuse_with("credentials", "INSERT", "true", "refused", "57P01");
    examples.expect("Unavailable/failedUnderWay", &closed.issue("a").await);
    let unconfigured = Setup::new().variable("credential_secret", "short").start().await;
    examples.expect("Unavailable/notConfigured", &unconfigured.verify("a").await);
    examples.expect("Unhealthy/secretTooShort", &unconfigured.get("/health").await);
}

#[tokio::test]
async fn schemathesis_finds_no_failure() {
    /// The same seed generates similar requests.
    const SEED: &str = "1";
    /// Requests of each kind for each operation.
    const MAX_EXAMPLES: &str = "60";

    needs_own_host!();
    let Some(schemathesis) =
        tools::find("schemathesis", "SCHEMATHESIS", &["target/tools/python/bin/schemathesis"])
    else {
        return;
    };
    let app = Setup::new()
        .variable("issuer_token", ISSUER_TOKEN)
        .variable("metrics_token", METRICS_TOKEN)
        // Schemathesis guesses more often than a client may.
        .variable("verify_failures_per_minute", "0")
        .start()
        .await;
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut command = Command::new(schemathesis);
    command
        // Schemathesis writes files into its working directory.
        .current_dir(app.folder())
        .env("PYTHONPATH", workspace())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ISSUER_TOKEN", ISSUER_TOKEN)
        .env("ADMIN_TOKEN", ADMIN_TOKEN)
        .env("METRICS_TOKEN", METRICS_TOKEN)
        .arg("--config-file")
        .arg(workspace().join("e2e/contract/schemathesis.toml"))
        .arg("run")
        .arg(workspace().join("openapi.yaml"))
        .args(["--url", &app.base_url])
        .args(["--seed", &setting("SCHEMATHESIS_SEED", SEED)])
        .args(["--max-examples", &setting("SCHEMATHESIS_MAX_EXAMPLES", MAX_EXAMPLES)]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    // Every operation was tested.
    let operations: usize = paths().map(|(_, item)| members(item).len()).sum();
    assert!(text.contains(&format!("Tested: {operations}\n")), "{text}");
    // Including the checks and links in hooks.py.
    assert!(text.contains(" selected / 15 total"), "{text}");
    assert!(!app.log().contains("panicked"), "{}", app.log());
}
