//! Caddy in front of the application, with the configuration in `deploy/`: what it adds, and its own responses.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use e2e::{
    MAX_RESPONSE_TIME, Response, Setup, TestApp, free_address, mock::Mock, needs_own_host, read, tools,
};
use launch::Group;
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::nginx::{self, NOBODY};

/// Caddy in front of an application, without TLS. Killed when dropped.
struct Caddy {
    front: TestApp,
    _group: Group,
    folder: TempDir,
}

impl Caddy {
    /// Starts with an edited configuration.
    async fn start(program: &Path, application: &str, edit: impl Fn(String) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = free_address();
        let config = edit(read("deploy/systemd/Caddyfile"))
            .replace("127.0.0.1:3000", application)
            .replace("credentials.example.com", &format!("http://{address}"))
            .replacen("{\n", "{\n\tadmin off\n", 1);
        let file = folder.path().join("Caddyfile");
        fs::write(&file, config).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut caddy = Command::new(program);
        caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(file).env("HOME", folder.path());
        let group = Group::spawn(caddy.stdin(Stdio::null()).stderr(log)).unwrap();
        let front = TestApp::at(&format!("http://{address}"));
        let caddy = Self { front, _group: group, folder };
        let started = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "Caddy does not listen: {}", caddy.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        caddy
    }

    /// Caddy's log so far.
    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// Shortens the timeouts from ten seconds to one.
fn quick(config: String) -> String {
    config.replace(" 10s", " 1s")
}

#[track_caller]
fn assert_own(response: &Response, status: u16, kind: &str) -> String {
    assert_eq!(response.header("strict-transport-security"), Some("max-age=31536000"));
    nginx::assert_own("Caddy", response, status, kind)
}

#[tokio::test]
async fn responses_of_caddy_itself_are_problem_documents_and_its_log_names_no_client_and_no_path() {
    let Some(program) = tools::find("caddy", "CADDY", &[]) else { return };
    let dead = Caddy::start(&program, NOBODY, quick).await;
    let get = |id| dead.front.request(Method::GET, "/Pa55word").header("x-request-id", id);
    let response = dead.front.send(get("client-1.a_B")).await;
    assert_eq!(assert_own(&response, 502, "bad-gateway"), "client-1.a_B");
    for id in [r#"a","status":200"#, r"a\", "a b", "{http.request.host}"] {
        let response = dead.front.send(get(id)).await;
        let replaced = assert_own(&response, 502, "bad-gateway");
        assert_eq!(replaced.len(), 36, "{id}");
        assert!(replaced.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-'), "{id}");
    }

    for path in ["/check/use", "/check//%75se?a"] {
        assert_own(&dead.front.post(path, &json!({})).await, 404, "not-found");
    }

    let replica = Mock::stalling_after("").await;
    let hung = Caddy::start(&program, &replica.url.replace("http://", ""), quick).await;
    let response = hung.front.send(hung.front.request(Method::GET, "/Pa55word")).await;
    assert_own(&response, 504, "gateway-timeout");

    for log in [dead.log(), hung.log()] {
        // Caddy does write a log.
        assert!(log.contains("serving initial configuration"), "{log}");
        assert!(!log.contains("Pa55word") && !log.contains("remote_"), "{log}");
    }
}

#[tokio::test]
async fn responses_of_the_application_pass_caddy_with_each_header_once() {
    needs_own_host!();
    let Some(program) = tools::find("caddy", "CADDY", &[]) else { return };
    let app = Setup::new().variable("cors_origin", "https://app.example").start().await;
    let caddy = Caddy::start(&program, &app.base_url.replace("http://", ""), |config| config).await;
    for (path, status) in [("/health", 200), ("/none", 404), ("/issue", 405)] {
        for (origin, allowed) in [("https://app.example", true), ("https://other.example", false)] {
            let request = caddy.front.request(Method::GET, path).header("origin", origin);
            let response = caddy.front.send(request.header("x-request-id", "abc.1")).await;
            assert_eq!(response.status, status, "{path}");
            assert_eq!(response.header("access-control-allow-origin"), allowed.then_some(origin), "{path}");
            assert_eq!(response.header("x-request-id"), Some("abc.1"), "{path}");
            assert_eq!(response.header("strict-transport-security"), Some("max-age=31536000"), "{path}");
        }
    }
}

#[test]
fn caddy_waits_longer_than_the_application_takes_but_not_forever() {
    let config = read("deploy/systemd/Caddyfile");
    let waits = config.lines().find_map(|line| line.trim().strip_prefix("response_header_timeout "));
    let waits: u64 = waits.unwrap().strip_suffix('s').unwrap().parse().unwrap();
    assert!(waits > MAX_RESPONSE_TIME.as_secs());
}
