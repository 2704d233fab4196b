//! nginx in front of the application, with the configuration in `deploy/`: what it adds, and its own responses.

use std::{process::Command, time::Duration};

use e2e::{
    MAX_RESPONSE_TIME, Response, Setup, free_address,
    mock::{Mock, json_response},
    needs_own_host,
    openapi::assert_valid,
    read, tools,
};
use reqwest::{Method, header::HeaderMap};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{balancer::Nginx, uses::KEY};

/// An address that refuses connections.
pub(crate) const NOBODY: &str = "127.0.0.1:1";

/// Sends bytes that no client library would send and reads the whole response.
pub(crate) async fn send_raw(address: &str, request: &str) -> Response {
    let (mut read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let mut bytes = Vec::new();
    // The response may come before the whole request is read.
    let (_, received) = tokio::join!(write.write_all(request.as_bytes()), read.read_to_end(&mut bytes));
    received.unwrap();
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Response {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.map(|line| line.split_once(": ").unwrap()) {
        headers.append(name.parse::<reqwest::header::HeaderName>().unwrap(), value.parse().unwrap());
    }
    Response { status, headers, body: body.into() }
}

fn address(replica: &Mock) -> String {
    replica.url.replace("http://", "")
}

/// A request without a body, with these header lines after `Host`.
fn request(line: &str, headers: &str) -> String {
    format!("{line}\r\nHost: kube\r\nConnection: close\r\n{headers}\r\n")
}

/// Asserts that this is a proxy's own problem document, with the headers that all responses have, and returns its
/// request id.
#[track_caller]
pub(crate) fn assert_own(server: &str, response: &Response, status: u16, kind: &str) -> String {
    let problem = response.assert_problem(status, kind);
    assert_valid(&json!({ "$ref": "#/components/schemas/Problem" }), &problem, "the response of a proxy");
    assert_eq!(response.header("server"), Some(server), "not the proxy's own response");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    assert_eq!(response.header("access-control-expose-headers"), Some("x-request-id"));
    assert_eq!(response.header("allow").is_some(), status == 405);
    problem["request_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn responses_of_nginx_itself_are_problem_documents_and_its_log_names_no_client_and_no_path() {
    let Some(program) = Nginx::program() else { return };
    let long = "a".repeat(9000);
    let body = "a".repeat(2_000_000);
    let dead = Nginx::start(&program, &[NOBODY.to_owned()]).await;
    let with_key = format!("Idempotency-Key: {KEY}\r\nContent-Length: 2\r\n");
    let chunked_with_key = format!("Idempotency-Key: {KEY}\r\nTransfer-Encoding: chunked\r\n");
    for (sent, status, kind) in [
        (request("GET /Pa55word HTTP/1.1", ""), 502, "bad-gateway"),
        (request("GET /Pa55word HTTP/1.1", "Origin: https://app.example\r\n"), 502, "bad-gateway"),
        (request("POST /issue HTTP/1.1", "Content-Length: 2\r\n") + "{}", 502, "bad-gateway"),
        (request("POST /issue HTTP/1.1", "Content-Length: 2000000\r\n") + &body, 413, "payload-too-large"),
        (
            request("POST /issue HTTP/1.1", "Transfer-Encoding: chunked\r\n") + "1e8480\r\n" + &body + "\r\n",
            413,
            "payload-too-large",
        ),
        (request(&format!("GET /{long} HTTP/1.1"), ""), 414, "uri-too-long"),
        (request("GET / HTTP/1.1", &format!("X-Long: {long}\r\n")), 431, "header-fields-too-large"),
        (request("TRACE / HTTP/1.1", ""), 405, "method-not-allowed"),
        (request("POST /issue HTTP/1.1", "Transfer-Encoding: gzip\r\n"), 501, "not-implemented"),
        (request("GET / HTTP/2.0", ""), 505, "http-version-not-supported"),
        (request("POST / HTTP/1.1", "Content-Length: x\r\n"), 400, "malformed-request"),
        (request("GET / HTTP/1.1", "Host: again\r\n"), 400, "malformed-request"),
        (request("GET /%zz HTTP/1.1", ""), 400, "malformed-request"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "malformed-request"),
        ("Pa55word\r\n\r\n".to_owned(), 400, "malformed-request"),
        (request("GET /problem HTTP/1.1", ""), 404, "not-found"),
        (request("POST /issue HTTP/1.1", &with_key) + "{}", 502, "bad-gateway"),
        (
            request("POST /issue/batch HTTP/1.1", &chunked_with_key) + "1e8480\r\n" + &body + "\r\n",
            413,
            "payload-too-large",
        ),
        (request("POST /check/use HTTP/1.1", "Content-Length: 2\r\n") + "{}", 404, "not-found"),
        (request("POST /check//%75se?a HTTP/1.1", "Content-Length: 2\r\n") + "{}", 404, "not-found"),
    ] {
        let response = send_raw(&dead.address, &sent).await;
        assert_own("nginx", &response, status, kind);
    }

    // With a timeout of one second instead of ten.
    let replica = Mock::stalling_after("").await;
    let quick = |config: String| config.replace("_timeout 10s;", "_timeout 1s;");
    let hung =
        Nginx::start_with(&program, &[address(&replica)], tempfile::tempdir().unwrap(), "", quick).await;
    let response = send_raw(&hung.address, &request("GET /Pa55word HTTP/1.1", "")).await;
    assert_own("nginx", &response, 504, "gateway-timeout");

    assert_eq!((dead.log(), hung.log()), (String::new(), String::new()));
}

#[tokio::test]
async fn nginx_keeps_a_well_formed_request_id_and_replaces_any_other() {
    let Some(program) = Nginx::program() else { return };
    let nginx = Nginx::start(&program, &[NOBODY.to_owned()]).await;
    let longest = "x".repeat(128);
    for id in ["client-1.a_B", &longest] {
        let response =
            send_raw(&nginx.address, &request("GET / HTTP/1.1", &format!("X-Request-Id: {id}\r\n"))).await;
        assert_eq!(assert_own("nginx", &response, 502, "bad-gateway"), *id);
    }
    let too_long = "x".repeat(129);
    for id in [r#"a","status":200,"b":""#, r"a\", "a b", "ü", &too_long, "{request_id}", "$host"] {
        let response =
            send_raw(&nginx.address, &request("GET / HTTP/1.1", &format!("X-Request-Id: {id}\r\n"))).await;
        let replaced = assert_own("nginx", &response, 502, "bad-gateway");
        assert_eq!(replaced.len(), 32, "{id}");
        assert!(replaced.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
}

#[tokio::test]
async fn responses_of_the_application_pass_nginx_with_each_header_once() {
    needs_own_host!();
    let Some(program) = Nginx::program() else { return };
    let app = Setup::new().variable("cors_origin", "https://app.example").start().await;
    let nginx = Nginx::start(&program, &[app.base_url.replace("http://", "")]).await;
    let front = nginx.front();
    for (method, path, status) in [
        (Method::GET, "/health", 200),
        (Method::GET, "/none", 404),
        (Method::DELETE, "/issue", 405),
        (Method::POST, "/revoke", 401),
        (Method::POST, "/verify", 415),
    ] {
        for (origin, allowed) in [("https://app.example", true), ("https://other.example", false)] {
            let request = front.request(method.clone(), path);
            let response = front.send(request.header("origin", origin).header("x-request-id", "abc.1")).await;
            assert_eq!(response.status, status, "{path}");
            assert_eq!(response.header("access-control-allow-origin"), allowed.then_some(origin), "{path}");
            assert_eq!(response.header("x-request-id"), Some("abc.1"), "{path}");
            assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
            assert!(response.header("cache-control").is_some(), "{path}");
            assert_eq!(response.header("strict-transport-security"), None, "{path}");
        }
    }
    // This is the application's response, not nginx's.
    front.post_raw("/issue", "a".repeat(70_000)).await.assert_problem(413, "payload-too-large");
    let preflight = front.request(Method::OPTIONS, "/issue").header("origin", "https://app.example");
    let response = front.send(preflight.header("access-control-request-method", "POST")).await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("access-control-allow-origin"), Some("https://app.example"));
}

/// The value of a directive in `nginx.conf`, in seconds.
fn seconds(directive: &str) -> u64 {
    let config = read("deploy/nginx/nginx.conf");
    let values: Vec<_> = config
        .lines()
        .filter_map(|line| line.trim().strip_prefix(directive)?.strip_prefix(' ')?.strip_suffix("s;"))
        .collect();
    assert_eq!(values.len(), 1, "{directive}");
    values[0].parse().unwrap()
}

#[tokio::test]
async fn nginx_waits_longer_than_the_application_takes_but_not_forever() {
    let deadline = MAX_RESPONSE_TIME.as_secs();
    let (sending, reading) = (seconds("proxy_send_timeout"), seconds("proxy_read_timeout"));
    assert!(deadline < sending && deadline < reading);
    // There is time for another try after a replica hangs.
    let last = seconds("proxy_next_upstream_timeout");
    assert!(reading < last);
    assert!(last + seconds("proxy_connect_timeout") + reading <= 30);

    let Some(program) = Nginx::program() else { return };
    let pause = MAX_RESPONSE_TIME + Duration::from_secs(1);
    let slow = Mock::answering_after(pause, json_response("{}")).await;
    let nginx = Nginx::start(&program, &[address(&slow)]).await;
    assert_eq!(nginx.front().verify("slow").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_announces_hsts_with_every_response_over_tls() {
    let Some(program) = Nginx::program() else { return };
    let (openssl, curl) = (tools::find("openssl", "OPENSSL", &[]), tools::find("curl", "CURL", &[]));
    let (Some(openssl), Some(curl)) = (openssl, curl) else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(openssl)
        .args("req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost".split(' '))
        .args("-keyout key.pem -out certificate.pem".split(' '))
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    // The commented-out TLS lines in listen.conf.
    let tls_address = free_address();
    let listen = read("deploy/nginx/listen.conf");
    let tls = listen.lines().filter_map(|line| line.strip_prefix('#')).filter(|line| line.ends_with(';'));
    let tls: String = tls.collect();
    let tls = tls.replace("listen 443", &format!("listen {tls_address}")).replace("/etc/nginx/", "");
    let replica = Mock::answering(json_response("{}")).await;
    let nginx = Nginx::start_with(&program, &[address(&replica)], folder, &tls, |config| config).await;
    let get = |path: String| {
        let mut command = Command::new(&curl);
        command.args(["--insecure", "--silent", "--show-error", "--include", "--http1.1"]);
        let output = command.arg(format!("https://{tls_address}{path}")).output().unwrap();
        parse(&output.stdout)
    };
    for (response, status) in
        [(get("/health".to_owned()), 200), (get("/".to_owned() + &"a".repeat(9000)), 414)]
    {
        assert_eq!(response.status, status);
        assert_eq!(response.header("strict-transport-security"), Some("max-age=31536000"));
    }
    assert_eq!(nginx.front().get("/health").await.header("strict-transport-security"), None);
    let response = send_raw(&tls_address, &request("GET / HTTP/1.1", "")).await;
    assert_own("nginx", &response, 400, "malformed-request");
    assert_eq!(nginx.log(), "");
}
