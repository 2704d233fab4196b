//! What the host grants the components, and how it ends.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use e2e::{
    Setup, Signal,
    mock::{HASH, Mock},
    needs_own_host, on_spin,
};

#[tokio::test]
async fn a_component_reaches_only_databases_it_was_granted() {
    needs_own_host!();
    let app = Setup::new()
        .edit_manifest("sqlite_databases = [\"issuance\"]", "sqlite_databases = []")
        .start()
        .await;
    app.issue("a").await.assert_problem(503, "unavailable");
    app.wait_for_log("the database issuance cannot be opened").await;
    assert_eq!(app.get("/health").await.json()["checks"]["database"], "the database cannot be used");
}

#[tokio::test]
async fn a_component_reaches_only_hosts_it_was_granted() {
    needs_own_host!();
    let mock = Mock::answering_json(&format!(
        r#"{{"results": [{{"credential_hash": "{HASH}", "exists": false}}]}}"#
    ))
    .await;
    for (granted, reached) in
        [(mock.url.as_str(), true), ("http://127.0.0.1:1", false), ("https://*:*", false)]
    {
        let app = Setup::new()
            .component("verification")
            .variable("issuance_url", &mock.url)
            .edit_manifest(
                "allowed_outbound_hosts = [\"{{ issuance_url }}\"]",
                &format!("allowed_outbound_hosts = [\"{granted}\"]"),
            )
            .start()
            .await;
        let answer = app.verify("a").await;
        if reached {
            assert_eq!(answer.json()["status"], "not_found");
        } else {
            answer.assert_problem(503, "unavailable");
        }
    }
}

#[tokio::test]
async fn a_component_with_a_private_route_is_reached_by_chaining_only() {
    needs_own_host!();
    let mut setup = Setup::new().component("issuance").component("verification");
    for route in ["\"/issue/...\"", "\"/check/...\"", "\"/health/...\"", "\"/health/issuance\""] {
        setup = setup.edit_manifest(&format!("route = {route}"), "route = { private = true }");
    }
    let app = setup.start().await;
    for path in ["/issue", "/check", "/health", "/health/issuance"] {
        let answer = app.post(path, &json!({ "credential": "a" })).await;
        assert_eq!((answer.status, answer.body.len()), (404, 0), "{path}");
    }
    assert_eq!(app.verify("a").await.json()["status"], "not_found");
    assert_eq!(app.get("/health/verification").await.status, 200);
}

#[tokio::test]
async fn a_chained_host_name_is_no_way_in_from_outside() {
    needs_own_host!();
    let app = Setup::new().component("issuance").component("verification").start().await;
    for (path, expected) in [("/health", None), ("/elsewhere", Some("HTTP/1.1 404 Not Found"))] {
        let mut stream = app.connect().await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: issuance.spin.internal\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.lines().next(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_component_without_its_settings_answers_503_and_verification_gives_no_verdict() {
    needs_own_host!();
    let granted =
        "cors_origin = \"{{ cors_origin }}\"\nlog_level = \"{{ log_level }}\"\n\n[component.issuance.build]";
    let not_granted = "log_level = \"{{ log_level }}\"\n\n[component.issuance.build]";
    let app = Setup::new().edit_manifest(granted, not_granted).start().await;
    for path in ["/issue", "/issue/x", "/health"] {
        let answer = app.get(path).await;
        answer.assert_problem(503, "unavailable");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    app.wait_for_log("the variable cors_origin cannot be read").await;
    app.verify("a").await.assert_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_finished_before_the_host_ends() {
    needs_own_host!();
    if on_spin() {
        eprintln!("left out: Spin ends at once");
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        assert_in_flight_is_finished_after(signal).await;
    }
}

async fn assert_in_flight_is_finished_after(signal: Signal) {
    let mut app = Setup::new().start().await;
    app.issue("before").await;
    let lock = app.database("issuance");
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (answer, ()) = tokio::join!(app.issue("in flight"), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        app.signal(signal);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(app.connect().await.is_err());
        lock.execute_batch("ROLLBACK").unwrap();
    });
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(app.wait_for_exit(), Some(0));
    assert_eq!(app.count("issuance", "credentials"), 2);
}
