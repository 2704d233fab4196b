//! The limit on failed verifications, and the addresses in audit rows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{Response, Setup, TestApp, databases, needs_files, needs_own_host};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::counts::assert_counted;

/// The rest of the current minute.
fn left() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Duration::from_secs(60) - Duration::from_millis((now.as_millis() % 60_000) as u64)
}

/// Waits for the next minute if less than this is left of the current one, so that a test stays within one.
pub(crate) async fn at_least(time: Duration) {
    if left() < time {
        tokio::time::sleep(left() + Duration::from_millis(100)).await;
    }
}

/// An application with a limit. The current minute has only begun.
async fn limited(failures: u32, variables: &[(&str, &str)]) -> TestApp {
    at_least(Duration::from_secs(20)).await;
    let mut setup = Setup::new().variable("verify_failures_per_minute", &failures.to_string());
    for (name, value) in variables {
        setup = setup.variable(name, value);
    }
    setup.start().await
}

/// Verifies with this header.
async fn verify_with(app: &TestApp, header: (&str, &str), credential: &str) -> Response {
    let request = app.request(Method::POST, "/verify").header(header.0, header.1);
    app.send(request.json(&json!({ "credential": credential }))).await
}

/// The status of a verification forwarded through these addresses.
async fn verify_from(app: &TestApp, forwarded: &str, credential: &str) -> u16 {
    verify_with(app, ("x-forwarded-for", forwarded), credential).await.status
}

#[tokio::test]
async fn a_client_with_too_many_failures_gets_no_verdict_right_or_wrong() {
    needs_own_host!();
    let app = limited(3, &[]).await;
    app.issue("right").await;
    for guess in ["a", "b", "c"] {
        assert_eq!(app.verify("right").await.json()["isValid"], true);
        assert_eq!(app.verify(guess).await.json()["status"], "not_found");
    }
    for guess in ["right", "d"] {
        let refused = app.verify(guess).await;
        refused.assert_problem(429, "too-many-failures");
        let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds) && seconds.abs_diff(left().as_secs()) <= 2, "{seconds}");
        assert_eq!(refused.header("ratelimit-policy"), Some(r#""failures";q=3;w=60"#));
        assert_eq!(refused.header("ratelimit").unwrap(), format!(r#""failures";r=0;t={seconds}"#));
        assert!(!refused.text().contains("isValid"));
    }
    let batch = app.post("/verify/batch", &json!({ "credentials": ["right", "d", ""] })).await;
    batch.assert_problem(429, "too-many-failures");
    // Other requests are unaffected.
    app.post("/verify", &json!({})).await.assert_problem(400, "invalid-request");
    assert_eq!(app.issue("another").await.status, 201);

    let totals = app.admin_get("/statistics/verification").await.json()["totals"].clone();
    assert_eq!(
        totals,
        json!({ "valid": 3, "expired": 0, "revoked": 0, "used_up": 0, "not_found": 3, "refused": 4 })
    );
    assert_counted(&app, "verification");
}

#[tokio::test]
async fn a_batch_counts_each_of_its_items() {
    needs_own_host!();
    let app = limited(5, &[]).await;
    app.issue("right").await;
    let guesses = json!({ "credentials": ["right", "a", "b", "c", ""] });
    assert_eq!(app.post("/verify/batch", &guesses).await.status, 200);
    // Two failures are left.
    let guesses = json!({ "credentials": ["right", "d", "right", "e", "f", "right"] });
    let response = app.post("/verify/batch", &guesses).await;
    assert_eq!(response.status, 200, "{}", response.text());
    let statuses: Vec<_> = response.json()["results"].as_array().unwrap().iter().map(status_of).collect();
    assert_eq!(statuses, ["valid", "not_found", "valid", "not_found", "429", "429"]);
    assert_eq!(response.header("ratelimit-policy"), Some(r#""failures";q=5;w=60"#));
    assert!(response.header("ratelimit").unwrap().starts_with(r#""failures";r=0;t="#));
    app.verify("right").await.assert_problem(429, "too-many-failures");
    assert_eq!(app.count("verification", "verifications"), 8);
    let totals = app.admin_get("/statistics/verification").await.json()["totals"].clone();
    assert_eq!(
        totals,
        json!({ "valid": 3, "expired": 0, "revoked": 0, "used_up": 0, "not_found": 5, "refused": 3 })
    );
    assert_counted(&app, "verification");
}

/// The status of an item's verdict or of its error.
fn status_of(item: &Value) -> String {
    item["status"].as_str().map_or_else(|| item["error"]["status"].to_string(), ToOwned::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_batches_get_no_more_verdicts_than_are_left() {
    needs_own_host!();
    let app = limited(5, &[]).await;
    app.issue("right").await;
    let guesses: Vec<_> =
        (0..100).map(|i| if i % 20 == 19 { "right".to_owned() } else { format!("{i}") }).collect();
    let guesses = json!({ "credentials": guesses });
    let responses = join_all((0..40).map(|_| app.post("/verify/batch", &guesses))).await;
    let mut verdicts = 0;
    for response in &responses {
        match response.status {
            200 => {
                let items = response.json()["results"].as_array().unwrap().clone();
                let statuses: Vec<_> = items.iter().map(status_of).collect();
                verdicts += statuses.iter().filter(|status| *status == "not_found").count();
                // After the last failure no verdict is told, wrong or right.
                let told = statuses.iter().take_while(|status| *status != "429").count();
                assert!(statuses[told..].iter().all(|status| status == "429"), "{statuses:?}");
            }
            _ => drop(response.assert_problem(429, "too-many-failures")),
        }
    }
    assert_eq!(verdicts, 5);
    let not_found: i64 =
        app.query("verification", "SELECT count(*) FROM verifications WHERE status = 'not_found'");
    assert_eq!(not_found, 5);
    assert_counted(&app, "verification");
}

#[tokio::test]
async fn without_a_limit_every_verdict_has_its_audit_row() {
    needs_own_host!();
    let app = limited(0, &[]).await;
    app.issue("right").await;
    for guess in ["right", "a", "a", "b"] {
        assert_eq!(app.verify(guess).await.status, 200);
    }
    let batch = app.post("/verify/batch", &json!({ "credentials": ["right", "c"] })).await;
    assert_eq!(batch.status, 200);
    assert_eq!(app.count("verification", "verifications"), 6);
    let totals = app.admin_get("/statistics/verification").await.json()["totals"].clone();
    assert_eq!(
        totals,
        json!({ "valid": 2, "expired": 0, "revoked": 0, "used_up": 0, "not_found": 4, "refused": 0 })
    );
    assert_counted(&app, "verification");
}

#[tokio::test]
async fn a_header_that_is_not_text_hides_no_client() {
    needs_own_host!();
    let app = limited(2, &[("trusted_proxies", "1")]).await;
    for (forwarded, status) in [
        ("203.0.113.7", 200),
        ("é, 203.0.113.7", 200),
        ("\u{200b}é\u{80} ,203.0.113.7", 429),
        ("198.51.100.1, é,\t203.0.113.7 ", 429),
        // The proxy names another client.
        ("é, 203.0.113.8", 200),
        // The proxy names no client: such requests share the limit of its own address.
        ("é", 200),
        ("unknown", 200),
        ("203.0.113.9, é", 429),
    ] {
        assert_eq!(verify_from(&app, forwarded, "guess").await, status, "{forwarded}");
    }
}

#[tokio::test]
async fn forged_addresses_change_nothing_and_the_log_says_that_there_may_be_a_proxy() {
    needs_own_host!();
    let app = limited(3, &[]).await;
    for i in 0..3 {
        assert_eq!(verify_from(&app, &format!("203.0.113.{i}"), "guess").await, 200);
    }
    assert_eq!(verify_from(&app, "203.0.113.9", "guess").await, 429);
    for forged in ["203.0.113.9:1", "0.0.0.0:0", "unknown"] {
        assert_eq!(verify_with(&app, ("spin-client-addr", forged), "guess").await.status, 429, "{forged}");
    }
    app.wait_for_log("trusted_proxies must say so").await;
    assert_eq!(app.log().matches("trusted_proxies must say so").count(), 1);
}

#[tokio::test]
async fn behind_proxies_each_client_has_its_own_limit() {
    needs_own_host!();
    let app = limited(2, &[("trusted_proxies", "1")]).await;
    for _ in 0..2 {
        // Addresses that the client claims to have come through do not matter.
        assert_eq!(verify_from(&app, "198.51.100.1, 203.0.113.7", "guess").await, 200);
    }
    for forged in ["203.0.113.7", "198.51.100.2, 203.0.113.7", "2001:db8::1,203.0.113.7:4711"] {
        assert_eq!(verify_from(&app, forged, "guess").await, 429, "{forged}");
    }
    // IPv6 clients are limited by their /64 network.
    for (address, status) in [
        ("203.0.113.8", 200),
        ("2001:db8::1", 200),
        ("2001:db8::2", 200),
        ("2001:db8::3", 429),
        ("2001:db8:0:1::1", 200),
        ("203.0.113.7, 203.0.113.9", 200),
    ] {
        assert_eq!(verify_from(&app, address, "guess").await, status, "{address}");
    }
    // More addresses were forwarded than are trusted, so there may be another proxy.
    app.wait_for_log("trusted_proxies must say so").await;
}

#[tokio::test]
async fn the_log_does_not_suspect_a_proxy_where_all_forwarded_addresses_are_believed() {
    needs_own_host!();
    let app = limited(2, &[("trusted_proxies", "2")]).await;
    for forwarded in ["203.0.113.7", "198.51.100.1, 203.0.113.7"] {
        for _ in 0..3 {
            verify_from(&app, forwarded, "guess").await;
        }
        assert_eq!(verify_from(&app, forwarded, "guess").await, 429);
    }
    assert!(!app.log().contains("trusted_proxies"), "{}", app.log());
}

#[tokio::test]
async fn no_verdict_whose_audit_row_is_dropped() {
    needs_own_host!();
    let app = limited(2, &[]).await;
    app.issue("right").await;
    assert_eq!(app.verify("right").await.status, 200);
    app.database("verification").execute(databases().either(
        "CREATE TRIGGER lost INSTEAD OF INSERT ON attempts BEGIN SELECT RAISE(IGNORE); END",
        "CREATE OR REPLACE FUNCTION record(items json, max_failures bigint) \
         RETURNS TABLE (id text, failures bigint, refused boolean, millis_left bigint) LANGUAGE sql AS \
         $$ SELECT '', 0::bigint, false, 0::bigint WHERE false $$",
    ));
    for credential in ["right", "guess"] {
        let response = app.verify(credential).await;
        response.assert_problem(503, "unavailable");
        assert!(!response.text().contains("isValid"));
    }
    let batch = app.post("/verify/batch", &json!({ "credentials": ["right", "guess"] })).await;
    batch.assert_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_does_not_pass_the_limit_and_replicas_share_the_count() {
    needs_own_host!();
    const BURST: usize = 40;
    let one = limited(20, &[]).await;
    one.issue("right").await;
    let other = Setup::new().variable("verify_failures_per_minute", "20").databases_of(&one).start().await;
    let mut answered = 0;
    for _ in 0..3 {
        let responses = join_all((0..BURST).map(|i| [&one, &other][i % 2].verify("guess"))).await;
        for response in &responses {
            assert!([200, 429].contains(&response.status), "{}", response.text());
        }
        answered += responses.iter().filter(|response| response.status == 200).count();
    }
    assert_eq!(answered, 20);
    for app in [&one, &other] {
        app.verify("right").await.assert_problem(429, "too-many-failures");
    }
    assert_eq!(one.count("verification", "verifications"), answered);
    let totals = one.admin_get("/statistics/verification").await.json()["totals"].clone();
    assert_eq!(totals["not_found"], answered);
    assert_eq!(totals["refused"], 3 * BURST - answered + 2);
}

#[tokio::test]
async fn a_new_minute_begins_with_no_failures_and_no_address_outlasts_it() {
    needs_own_host!();
    let app = limited(2, &[]).await;
    app.issue("right").await;
    for _ in 0..2 {
        app.verify("guess").await;
    }
    app.verify("right").await.assert_problem(429, "too-many-failures");
    assert_eq!(app.count("verification", "failures"), 1);
    let seconds = app.verify("right").await.header("retry-after").unwrap().parse().unwrap();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    assert_eq!(app.verify("right").await.json()["isValid"], true);
    assert_eq!(app.count("verification", "failures"), 0);
    assert_eq!(app.verify("guess").await.status, 200);
    app.database("verification").execute("UPDATE failures SET minute = minute - 1");
    assert_eq!(app.get("/health/verification").await.status, 200);
    assert_eq!(app.count("verification", "failures"), 0);
}

#[tokio::test]
async fn addresses_are_recorded_only_where_the_operator_wants_them() {
    needs_own_host!();
    let mut app = limited(600, &[("trusted_proxies", "1")]).await;
    assert_eq!(verify_from(&app, "203.0.113.7", "guess").await, 200);
    assert_eq!(app.admin_get("/verifications").await.json()["verifications"][0].get("client_address"), None);
    assert_eq!(app.count("verification", "failures"), 1);
    app.restart_with(&[("audit_client_address", "true")]).await;
    for address in ["203.0.113.7", "2001:db8::7"] {
        assert_eq!(verify_from(&app, address, "guess").await, 200);
    }
    let list = app.admin_get("/verifications").await.json();
    assert_eq!(list["verifications"][0]["client_address"], "2001:db8::7");
    assert_eq!(list["verifications"][1]["client_address"], "203.0.113.7");
    assert_eq!(list["verifications"][2].get("client_address"), None);
}

#[tokio::test]
async fn addresses_that_are_not_recorded_are_in_no_file() {
    needs_own_host!();
    needs_files!();
    let app = limited(600, &[("trusted_proxies", "1"), ("log_level", "debug")]).await;
    assert_eq!(verify_from(&app, "203.0.113.7", "guess").await, 200);
    // The database, and its write-ahead log if there is one.
    let files = std::fs::read_dir(app.data_folder()).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.map(|file| std::fs::read(file).unwrap()).collect();
    let contain = |text: &str| {
        files.iter().any(|file| file.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert!(contain("not_found") && !contain("203.0.113.7"));
    assert!(!app.log().contains("203.0.113.7"));
}

#[tokio::test]
async fn the_limit_can_be_turned_off() {
    needs_own_host!();
    let app = limited(0, &[]).await;
    for _ in 0..7 {
        let guesses = json!({ "credentials": vec!["guess"; 100] });
        assert_eq!(app.post("/verify/batch", &guesses).await.status, 200);
    }
    assert_eq!(app.count("verification", "failures"), 0);
}

#[tokio::test]
async fn by_default_the_limit_is_600() {
    needs_own_host!();
    at_least(Duration::from_secs(20)).await;
    let app = Setup::new().start().await;
    for _ in 0..6 {
        let guesses = json!({ "credentials": vec!["guess"; 100] });
        assert_eq!(app.post("/verify/batch", &guesses).await.status, 200);
    }
    app.verify("guess").await.assert_problem(429, "too-many-failures");
}

#[tokio::test]
async fn no_verdict_that_cannot_be_counted() {
    needs_own_host!();
    let app = limited(2, &[]).await;
    app.issue("right").await;
    assert_eq!(app.verify("right").await.status, 200);
    for (table, credential) in [("counts", "right"), ("failures", "guess")] {
        let database = app.database("verification");
        database.refuse(table, "true", "no");
        let response = app.verify(credential).await;
        response.assert_problem(503, "unavailable");
        assert!(!response.text().contains("isValid"));
        assert_eq!(app.count("verification", "verifications"), 1);
        database.accept(table);
    }
    for _ in 0..2 {
        assert_eq!(app.verify("guess").await.status, 200);
    }
    app.verify("right").await.assert_problem(429, "too-many-failures");
    assert_counted(&app, "verification");
}

#[tokio::test]
async fn an_unusable_setting_is_a_503_that_the_log_explains() {
    needs_own_host!();
    for (name, value, rule) in [
        ("verify_failures_per_minute", "many", "must be a whole number from 0 to 1000000"),
        ("trusted_proxies", "-1", "must be a whole number from 0 to 16"),
        ("audit_client_address", "yes", "must be true or false"),
        ("metrics_token", "short", "must have at least 16 characters in each token"),
        ("verifier_token", "schlüssel-zum-verifizieren", "must have only letters, digits"),
        ("cors_origin", "https://*.example", "must be * or a comma-separated list of origins"),
        ("worker_id", &"x".repeat(129), "must have at most 128 bytes"),
    ] {
        let app = Setup::new().variable(name, value).component("verification").start().await;
        app.verify("a").await.assert_problem(503, "unavailable");
        app.wait_for_log(&format!("{name} {rule}")).await;
        let health = app.get("/health/verification").await;
        assert_eq!((health.status, &health.json()["status"]), (503, &json!("unhealthy")));
        let check = health.json()["checks"]["settings"].as_str().unwrap().to_owned();
        assert!(check.starts_with(&format!("{name} {rule}")), "{check}");
    }
}
