//! Bad input: a clear 400, 413 or 415, and nothing stored.

use std::time::Duration;

use e2e::{TestApp, unique};
use reqwest::{Body, Method};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Routes that take a body, each with the member it requires.
const ROUTES: [(&str, &str); 3] =
    [("/issue", "credential"), ("/check", "credential_hash"), ("/verify", "credential")];

#[tokio::test]
async fn a_body_that_is_not_json_is_malformed() {
    let app = TestApp::any().await;
    for (path, member) in ROUTES {
        let value = value_of(member);
        let bodies: Vec<Vec<u8>> = vec![
            b"".to_vec(),
            b" ".to_vec(),
            b"{".to_vec(),
            b"hello".to_vec(),
            format!("{{\"{member}\": \"{value}\"}} {{}}").into(),
            format!("{{\"{member}\": \"{value}\",}}").into(),
            format!("{{\"{member}\": \"\\ud800\"}}").into(),
            format!("{{\"{member}\": \"\\udc00\\ud800\"}}").into(),
            format!("{{\"{member}\": \"a\nb\"}}").into(),
            [format!("{{\"{member}\": \"").as_bytes(), b"\xc3\x28\"}"].concat(),
            [format!("{{\"{member}\": \"").as_bytes(), b"\xed\xa0\x80\"}"].concat(),
            "[".repeat(60_000).into(),
        ];
        for body in bodies {
            let text = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            let problem = app.post_raw(path, body).await.assert_problem(400, "malformed-json");
            assert_eq!(problem["errors"][0]["location"], "body", "{path} {text}");
        }
    }
}

#[tokio::test]
async fn json_of_the_wrong_shape_is_refused_with_its_location() {
    let app = TestApp::any().await;
    for (path, member) in ROUTES {
        let location = format!("body.{member}");
        let value = value_of(member);
        for (body, location, message) in [
            ("null".to_owned(), "body", "must be a JSON object"),
            ("[\"a\"]".to_owned(), "body", "must be a JSON object"),
            ("\"a\"".to_owned(), "body", "must be a JSON object"),
            ("{}".to_owned(), &location, "is required"),
            (format!("{{\"{member}\": 12345}}"), &location, "must be a string"),
            (format!("{{\"{member}\": [\"a\"]}}"), &location, "must be a string"),
            (
                format!("{{\"{member}\": \"{value}\", \"{member}\": \"{value}\"}}"),
                &location,
                "must not be given twice",
            ),
            (
                format!("{{\"{member}\": \"{value}\", \"expires_att\": 1}}"),
                "body.expires_att",
                "is not a known member",
            ),
        ] {
            let response = app.post_raw(path, body.clone()).await;
            let problem = response.assert_problem(400, "invalid-request");
            let expected = json!([{ "location": location, "message": message }]);
            assert_eq!(problem["errors"], expected, "{path} {body}");
            assert!(!response.text().contains("12345"), "the value is repeated");
        }
    }
}

#[tokio::test]
async fn an_empty_credential_is_refused() {
    let app = TestApp::any().await;
    for response in [app.issue("").await, app.verify("").await] {
        let problem = response.assert_problem(400, "invalid-request");
        let expected = json!([{ "location": "body.credential", "message": "must not be empty" }]);
        assert_eq!(problem["errors"], expected);
    }
}

/// A valid value for the member of one of the routes.
fn value_of(member: &str) -> String {
    if member == "credential_hash" { "0".repeat(64) } else { unique("value") }
}

#[tokio::test]
async fn a_body_of_another_content_type_is_a_415() {
    let app = TestApp::any().await;
    for (path, member) in ROUTES {
        let post = |content_type| {
            let request = app.request(Method::POST, path).header("content-type", content_type);
            app.send(request.body(json!({ member: value_of(member) }).to_string()))
        };
        for other in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/xml",
            "application/jsonp",
            "text/plain; application/json",
            "nonsense",
        ] {
            post(other).await.assert_problem(415, "unsupported-media-type");
        }
        for json in [
            "application/json; charset=utf-8",
            "APPLICATION/JSON",
            "application/json ; charset=utf-8",
            "application/json;\tcharset=utf-8",
            "application/json; charset=utf-8 ; v=1",
            "application/json;charset=\"utf-8\";",
        ] {
            let response = post(json).await;
            assert!([200, 201].contains(&response.status), "{path} {json}: {}", response.text());
        }
    }
}

#[tokio::test]
async fn a_compressed_body_is_a_415_that_says_so_and_changes_nothing() {
    let app = TestApp::any().await;
    let credential = unique("compressed");
    for (path, member) in ROUTES {
        let value = if member == "credential" { credential.clone() } else { value_of(member) };
        let post = |coding: &str| {
            let request = app.request(Method::POST, path).header("content-type", "application/json");
            app.send(request.header("content-encoding", coding).body(json!({ member: value }).to_string()))
        };
        for coding in ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "x-unknown"] {
            let response = post(coding).await;
            let problem = response.assert_problem(415, "unsupported-media-type");
            assert!(problem["detail"].as_str().unwrap().contains("compression"), "{problem}");
            assert_eq!(response.header("accept-encoding"), Some("identity"), "{path} {coding}");
        }
    }
    assert_eq!(app.verify(&credential).await.json()["status"], "not_found");
    let identity = app.request(Method::POST, "/issue").header("content-encoding", "identity");
    assert_eq!(app.send(identity.json(&json!({ "credential": credential }))).await.status, 201);
}

/// Any page may send a body without a content type, and browsers do not send a preflight first.
#[tokio::test]
async fn a_body_without_a_content_type_is_a_415_and_changes_nothing() {
    let app = TestApp::any().await;
    let credential = unique("type");
    for (path, member) in ROUTES {
        let body = json!({ member: credential }).to_string();
        let response = app.send(app.request(Method::POST, path).body(body)).await;
        response.assert_problem(415, "unsupported-media-type");
    }
    assert_eq!(app.verify(&credential).await.json()["status"], "not_found");
}

/// A valid body of this length.
fn body_of(member: &str, length: usize) -> String {
    let frame = json!({ member: "" }).to_string().len();
    let text = format!("{}{}", unique("long"), "x".repeat(length));
    json!({ member: text[..length - frame] }).to_string()
}

#[tokio::test]
async fn a_body_of_64_kib_is_accepted_and_a_longer_one_is_a_413() {
    let app = TestApp::any().await;
    for (path, member) in ROUTES {
        let response = app.post_raw(path, body_of(member, 64 * 1024)).await;
        // Hashes are never that long.
        let expected = if member == "credential" { [200, 201] } else { [400, 400] };
        assert!(expected.contains(&response.status), "{path}: {}", response.text());
        for length in [64 * 1024 + 1, 256 * 1024, 900 * 1024] {
            let body = body_of(member, length).into_bytes();
            let chunks: Vec<_> =
                body.chunks(10_000).map(|chunk| std::io::Result::Ok(chunk.to_vec())).collect();
            let chunked = Body::wrap_stream(futures_util::stream::iter(chunks));
            app.post_raw(path, body).await.assert_problem(413, "payload-too-large");
            app.post_raw(path, chunked).await.assert_problem(413, "payload-too-large");
        }
    }
}

const HEAD: &str = "POST /issue HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";

/// Sends bytes on a connection that stays open and returns whatever arrives within five seconds.
async fn raw(app: &TestApp, request: &str) -> String {
    let mut stream = app.connect().await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = vec![0; 8192];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut response));
    let length = read.await.unwrap().unwrap();
    String::from_utf8_lossy(&response[..length]).into_owned()
}

#[tokio::test]
async fn an_oversized_body_is_refused_before_it_has_arrived() {
    let app = TestApp::any().await;
    let declared = format!("{HEAD}content-length: 100000000\r\n\r\n{{\"credential\": \"");
    assert!(raw(&app, &declared).await.starts_with("HTTP/1.1 413"));

    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = format!("{HEAD}transfer-encoding: chunked\r\n\r\n{}", chunk.repeat(70));
    assert!(raw(&app, &chunked.replace("/issue", "/verify")).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn an_oversized_body_that_expects_100_continue_is_refused_at_once() {
    let app = TestApp::any().await;
    let head = format!("{HEAD}content-length: 100000\r\nexpect: 100-continue\r\n\r\n");
    assert!(raw(&app, &head).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_truncated_body_changes_nothing() {
    let app = TestApp::any().await;
    let credential = unique("truncated");
    for _ in 0..3 {
        let mut stream = app.connect().await.unwrap();
        let request = format!("{HEAD}content-length: 100\r\n\r\n{{\"credential\": \"{credential}\"");
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    assert_eq!(app.verify(&credential).await.json()["isValid"], false);
    assert_eq!(app.issue(&credential).await.status, 201);
}
