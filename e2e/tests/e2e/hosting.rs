//! What the host lets the components do, and how it exits.

use std::time::Duration;

use e2e::{
    Setup, Signal, databases,
    mock::{Mock, check_one, json_response},
    needs_own_host, on_spin,
};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_component_opens_only_granted_databases() {
    needs_own_host!();
    let host = "\"postgres://{{ issuance_database_host }}:{{ issuance_database_port }}\", ";
    let (granted, none) =
        databases().either(("sqlite_databases = [\"issuance\"]", "sqlite_databases = []"), (host, ""));
    let app = Setup::new().edit_manifest(granted, none).start().await;
    app.issue("a").await.assert_problem(503, "unavailable");
    app.wait_for_log(databases().either("the database issuance cannot be opened", "no connection")).await;
    assert_eq!(app.get("/health").await.json()["checks"]["database"], "the database cannot be used");
}

#[tokio::test]
async fn a_component_calls_only_granted_hosts() {
    needs_own_host!();
    let mock = Mock::answering(json_response(&check_one(r#""exists": false"#))).await;
    for (granted, reached) in
        [(mock.url.as_str(), true), ("http://127.0.0.1:1", false), ("https://*:*", false)]
    {
        let app = Setup::new()
            .component("verification")
            .variable("issuance_url", &mock.url)
            .edit_manifest(
                "allowed_outbound_hosts = [\"{{ issuance_url }}\"",
                &format!("allowed_outbound_hosts = [\"{granted}\""),
            )
            .start()
            .await;
        let response = app.verify("a").await;
        if reached {
            assert_eq!(response.json()["status"], "not_found");
        } else {
            response.assert_problem(503, "unavailable");
        }
    }
}

#[tokio::test]
async fn a_private_component_is_reachable_only_by_chaining() {
    needs_own_host!();
    let mut setup = Setup::new().component("issuance").component("verification");
    for route in ["\"/issue/...\"", "\"/check/...\"", "\"/health/...\"", "\"/health/issuance\""] {
        setup = setup.edit_manifest(&format!("route = {route}"), "route = { private = true }");
    }
    let app = setup.start().await;
    for path in ["/issue", "/check", "/health", "/health/issuance"] {
        let response = app.post(path, &json!({ "credential": "a" })).await;
        assert_eq!((response.status, response.body.len()), (404, 0), "{path}");
    }
    assert_eq!(app.verify("a").await.json()["status"], "not_found");
    assert_eq!(app.get("/health/verification").await.status, 200);
}

#[tokio::test]
async fn a_chaining_host_name_does_not_work_from_outside() {
    needs_own_host!();
    let app = Setup::new().component("issuance").component("verification").start().await;
    // `None`: the host closes the connection without a response.
    for (path, expected) in [("/health", None), ("/elsewhere", Some("HTTP/1.1 404 Not Found"))] {
        let mut stream = app.connect().await.unwrap();
        let head =
            format!("GET {path} HTTP/1.1\r\nhost: issuance.spin.internal\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert_eq!(response.lines().next(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_component_without_its_variables_answers_503() {
    needs_own_host!();
    let without = "log_level = \"{{ log_level }}\"\n\n[component.verification]";
    let with = format!("cors_origin = \"{{{{ cors_origin }}}}\"\n{without}");
    let app = Setup::new().edit_manifest(&with, without).start().await;
    let health = app.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &"unhealthy".into()));
    assert_eq!(health.json()["checks"]["settings"], "a variable cannot be read");
    for path in ["/issue", "/issue/x"] {
        let response = app.get(path).await;
        response.assert_problem(503, "unavailable");
        assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    }
    app.wait_for_log("the variable cors_origin cannot be read").await;
    app.verify("a").await.assert_problem(503, "unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_finished_before_the_host_exits() {
    needs_own_host!();
    if on_spin() {
        eprintln!("skipped: Spin exits at once");
        return;
    }
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut app = Setup::new().start().await;
        app.issue("before").await;
        let lock = app.lock("issuance");
        let (response, ()) = tokio::join!(app.issue("in flight"), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            app.signal(signal);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(app.connect().await.is_err());
            drop(lock);
        });
        assert_eq!(response.status, 201, "{}", response.text());
        assert_eq!(app.wait_for_exit(), Some(0));
        assert_eq!(app.count("issuance", "credentials"), 2);
    }
}
