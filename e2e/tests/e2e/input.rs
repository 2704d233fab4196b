//! Bad input of every kind: a clear 400, 413 or 415, and nothing stored.

use std::time::Duration;

use reqwest::{Body, Method};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use e2e::{TestApp, unique};

/// The routes that take a body, each with its member.
const ROUTES: [(&str, &str); 3] =
    [("/issue", "credential"), ("/check", "credential_hash"), ("/verify", "credential")];

#[tokio::test]
async fn what_is_not_json_is_malformed() {
    let app = TestApp::any().await;
    for (path, member) in ROUTES {
        let bodies: Vec<Vec<u8>> = vec![
            b"".to_vec(),
            b" ".to_vec(),
            b"{".to_vec(),
            b"hello".to_vec(),
            format!("{{\"{member}\": \"a\"}} {{}}").into(),
            format!("{{\"{member}\": \"a\",}}").into(),
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
async fn json_of_the_wrong_shape_is_refused_with_the_place_that_is_wrong() {
    let app = TestApp::any().await;
    for (path, member) in ROUTES {
        let location = format!("body.{member}");
        for (body, location, message) in [
            ("null".to_owned(), "body", "must be a JSON object"),
            ("[\"a\"]".to_owned(), "body", "must be a JSON object"),
            ("\"a\"".to_owned(), "body", "must be a JSON object"),
            ("{}".to_owned(), &location, "is required"),
            (format!("{{\"{member}\": 12345}}"), &location, "must be a string"),
            (format!("{{\"{member}\": [\"a\"]}}"), &location, "must be a string"),
            (format!("{{\"{member}\": \"a\", \"{member}\": \"a\"}}"), &location, "must not be given twice"),
            (
                format!("{{\"{member}\": \"a\", \"expires_att\": 1}}"),
                "body.expires_att",
                "is not a known member",
            ),
        ] {
            let answer = app.post_raw(path, body.clone()).await;
            let problem = answer.assert_problem(400, "invalid-request");
            assert_eq!(
                problem["errors"],
                json!([{ "location": location, "message": message }]),
                "{path} {body}"
            );
            assert!(!answer.text().contains("12345"), "the value is not repeated");
        }
    }
}

#[tokio::test]
async fn the_empty_credential_is_refused() {
    let app = TestApp::any().await;
    for answer in [app.issue("").await, app.verify("").await] {
        let problem = answer.assert_problem(400, "invalid-request");
        assert_eq!(
            problem["errors"],
            json!([{ "location": "body.credential", "message": "must not be empty" }])
        );
    }
}

#[tokio::test]
async fn a_body_must_say_it_is_json_or_say_nothing() {
    let app = TestApp::any().await;
    for (path, member) in ROUTES {
        let body = |name| json!({ member: unique(name) }).to_string();
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"]
        {
            let request = app.request(Method::POST, path).header("content-type", content_type);
            app.send(request.body(body("type"))).await.assert_problem(415, "unsupported-media-type");
        }
        for content_type in ["application/json; charset=utf-8", "APPLICATION/JSON"] {
            let request = app.request(Method::POST, path).header("content-type", content_type);
            let answer = app.send(request.body(body("type"))).await;
            assert!([200, 201].contains(&answer.status), "{path} {content_type}");
        }
        let answer = app.send(app.request(Method::POST, path).body(body("type"))).await;
        assert!([200, 201].contains(&answer.status), "{path} without a content type");
    }
}

fn body_of(member: &str, length: usize) -> String {
    let frame = json!({ member: "" }).to_string().len();
    let text = format!("{}{}", unique("long"), "x".repeat(length));
    json!({ member: text[..length - frame] }).to_string()
}

#[tokio::test]
async fn a_body_of_64_kib_passes_and_a_longer_one_is_413_however_it_is_sent() {
    let app = TestApp::any().await;
    for (path, member) in ROUTES {
        let answer = app.post_raw(path, body_of(member, 64 * 1024)).await;
        assert!([200, 201].contains(&answer.status), "{path}: {}", answer.text());
        for length in [64 * 1024 + 1, 256 * 1024, 900 * 1024] {
            let declared = app.post_raw(path, body_of(member, length)).await;
            declared.assert_problem(413, "payload-too-large");

            let body = body_of(member, length).into_bytes();
            let chunks: Vec<_> =
                body.chunks(10_000).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
            let chunked = app.post_raw(path, Body::wrap_stream(futures_util::stream::iter(chunks))).await;
            chunked.assert_problem(413, "payload-too-large");
        }
    }
}

/// What a server has answered within five seconds to these bytes, on a connection that stays open.
async fn raw(app: &TestApp, bytes: &[u8]) -> String {
    let mut stream = app.connect().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = vec![0; 8192];
    let length =
        tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_has_all_arrived() {
    let app = TestApp::any().await;
    let declared = b"POST /issue HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n{\"credential\": \"";
    assert!(raw(&app, declared).await.starts_with("HTTP/1.1 413"));

    let mut chunked = b"POST /verify HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..70 {
        chunked.extend_from_slice(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes());
    }
    assert!(raw(&app, &chunked).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_is_refused_at_once() {
    let app = TestApp::any().await;
    let head = b"POST /issue HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\nexpect: 100-continue\r\n\r\n";
    assert!(raw(&app, head).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing_and_the_service_goes_on() {
    let app = TestApp::any().await;
    let credential = unique("broken");
    for _ in 0..3 {
        let mut stream = app.connect().await.unwrap();
        let head = "POST /issue HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n";
        stream.write_all(format!("{head}{{\"credential\": \"{credential}\"").as_bytes()).await.unwrap();
    }
    assert_eq!(app.verify(&credential).await.json()["isValid"], false);
    assert_eq!(app.issue(&credential).await.status, 201);
}
