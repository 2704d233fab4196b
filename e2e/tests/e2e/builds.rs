//! The two builds of the components behave alike.

use std::io::{Write, stderr};

use e2e::{Setup, SpinVersion, TestApp, Wasi, databases, needs_own_host, on_spin};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The hash of the credential `a` under the tests' secret.
const HASH: &str = "cf0b85d2600f80aeac297c8426948d4cb62870ea63306f9c4ed07ecb5a402b24";

/// Requests in order: method, path, headers and body. `HASH` stands for [`HASH`].
const REQUESTS: &[(&str, &str, &str, &str)] = &[
    ("POST", "/issue", JSON, r#"{"credential": "a"}"#),
    ("POST", "/issue", JSON, r#"{"credential": "a"}"#),
    (
        "POST",
        "/issue",
        JSON,
        r#"{"credential": "b", "metadata": {"n": 1}, "expires_at": "9999-01-01T00:00:00Z"}"#,
    ),
    ("POST", "/issue", JSON, r#"{"credential": ""}"#),
    ("POST", "/issue", JSON, r#"{"credential": "a""#),
    ("POST", "/issue", JSON, "\u{fffd}"),
    ("POST", "/issue", "", r#"{"credential": "c"}"#),
    ("POST", "/issue", "expect: 100-continue\r\ncontent-type: text/plain\r\n", "{}"),
    ("POST", "/issue", JSON, TOO_LONG),
    (
        "POST",
        "/issue",
        "transfer-encoding: chunked\r\ncontent-type: application/json\r\n",
        "3\r\n{}x\r\n0\r\n\r\n",
    ),
    ("POST", "/issue/x", JSON, "{}"),
    ("PUT", "/issue", JSON, "{}"),
    ("BREW", "/issue", "", ""),
    ("HEAD", "/issue", "", ""),
    ("POST", "/check", JSON, r#"{"credential_hash": "HASH"}"#),
    ("POST", "/check", JSON, r#"{"credential_hashes": ["HASH", "HASH"]}"#),
    ("POST", "/check", JSON, r#"{"credential_hashes": ["HASH", 1]}"#),
    ("POST", "/verify", JSON, r#"{"credential": "a"}"#),
    ("POST", "/verify", JSON, r#"{"credential": "b"}"#),
    ("POST", "/verify", JSON, r#"{"credential": "unknown"}"#),
    ("POST", "/verify?x=y", JSON, r#"{"credential": 1}"#),
    ("POST", "/verify/batch", JSON, r#"{"credentials": ["a", "unknown", 1]}"#),
    ("POST", "/revoke", JSON, r#"{"credential": "a"}"#),
    ("POST", "/revoke", ADMIN, r#"{"credential": "a", "reason": "lost"}"#),
    ("POST", "/revoke", ADMIN, r#"{"credential": "a", "reason": "again"}"#),
    ("POST", "/revoke", ADMIN, r#"{"credential": "unknown"}"#),
    ("POST", "/verify", JSON, r#"{"credential": "a"}"#),
    ("GET", "/credentials?credential_hash=HASH", ADMIN, ""),
    ("GET", "/credentials?cursor=x", ADMIN, ""),
    ("GET", "/credentials", "authorization: Bearer x\r\n", ""),
    ("GET", "/verifications?status=valid", ADMIN, ""),
    ("HEAD", "/verifications", ADMIN, ""),
    ("GET", "/health", "", ""),
    ("HEAD", "/health/verification", "", ""),
    ("GET", "/health/verification", "", ""),
    ("OPTIONS", "/verify", "origin: http://a.example\r\naccess-control-request-method: POST\r\n", ""),
    ("GET", "/health", "origin: http://a.example\r\n", ""),
    ("GET", "/", "", ""),
    ("HEAD", "/", "", ""),
    ("GET", "/app.js", "accept-encoding: gzip\r\n", ""),
    ("GET", "/openapi.yaml", "", ""),
    ("GET", "/nothing?a=b", "accept: text/html\r\n", ""),
    ("GET", "/nothing", "x-many: a\r\nx-many: b\r\n", ""),
];

const JSON: &str = "content-type: application/json\r\n";
const ADMIN: &str = "content-type: application/json\r\nauthorization: Bearer an-end-to-end-admin-token\r\n";

/// Longer than the longest body allowed.
const TOO_LONG: &str = "TOO LONG";

#[tokio::test]
async fn both_builds_give_the_same_responses_including_headers() {
    needs_own_host!();
    if on_spin()
        && let Err(reason) = SpinVersion::on_path().unwrap().check(Wasi::V0_3)
    {
        let _ = writeln!(stderr(), "skipped a test: {reason}");
        return;
    }
    let mut responses = Vec::new();
    for wasi in Wasi::ALL {
        let app = Setup::of_build(wasi, databases()).variable("worker_id", "w").start().await;
        let mut of_build = Vec::new();
        for request in REQUESTS {
            of_build.push(stable(&exchange(&app, *request).await));
        }
        responses.push(of_build);
    }
    for (request, (older, newer)) in REQUESTS.iter().zip(responses[0].iter().zip(&responses[1])) {
        assert!(newer.starts_with("HTTP/1.1 "), "{request:?}: {newer}");
        assert_eq!(older, newer, "{request:?}");
    }
}

/// Sends a request over a new connection and returns the raw response.
async fn exchange(app: &TestApp, (method, path, headers, body): (&str, &str, &str, &str)) -> Vec<u8> {
    let path = path.replace("HASH", HASH);
    let body = if body == TOO_LONG { " ".repeat(100_000) } else { body.replace("HASH", HASH) };
    let length = if headers.contains("chunked") {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: kube.example\r\nconnection: close\r\nx-request-id: {}\r\n{headers}{length}\r\n{body}",
        "0".repeat(32)
    );
    let mut stream = app.connect().await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.unwrap();
    response
}

/// A response without times and random ids.
fn stable(response: &[u8]) -> String {
    let text = String::from_utf8_lossy(response);
    let mut stable = String::new();
    for line in text.split_inclusive('\n').filter(|line| !line.starts_with("date: ")) {
        for word in line.split_inclusive(['"', ' ']) {
            let end = word.len() - word.trim_end_matches(['"', ' ']).len();
            let bare = &word[..word.len() - end];
            let is_time = bare.len() == 24 && bare.ends_with('Z') && bare.starts_with("2");
            let is_id = bare.len() == 36 && bare.matches('-').count() == 4;
            stable.push_str(if is_time {
                "TIME"
            } else if is_id {
                "ID"
            } else {
                bare
            });
            stable.push_str(&word[word.len() - end..]);
        }
    }
    stable
}
