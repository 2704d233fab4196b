//! A stand-in for issuance that misbehaves.

use std::time::Duration;

use credentials::Secret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::SECRET;

/// Replaced by the first hash of the request.
pub const HASH: &str = "HHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHHH";

/// A server that answers each request with fixed bytes.
pub struct Mock {
    pub url: String,
    task: JoinHandle<()>,
}

impl Mock {
    /// Sends these bytes and closes the connection.
    pub async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        Self::start(Duration::ZERO, bytes.into(), Duration::ZERO).await
    }

    /// Sends these bytes after a pause.
    pub async fn answering_after(pause: Duration, bytes: impl Into<Vec<u8>>) -> Self {
        Self::start(pause, bytes.into(), Duration::ZERO).await
    }

    /// Sends these bytes and then leaves the connection open without sending more.
    pub async fn stalling_after(bytes: impl Into<Vec<u8>>) -> Self {
        Self::start(Duration::ZERO, bytes.into(), Duration::from_secs(3600)).await
    }

    async fn start(before: Duration, bytes: Vec<u8>, after: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let bytes = bytes.clone();
                tokio::spawn(async move {
                    let request = read_request(&mut stream).await;
                    tokio::time::sleep(before).await;
                    let _ = stream.write_all(&with_hash(&bytes, &request)).await;
                    tokio::time::sleep(after).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url, task }
    }
}

/// Reads a request's head, and its body according to its content length.
pub async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        let mut part = [0; 4096];
        match stream.read(&mut part).await {
            Ok(length) if length > 0 => request.extend_from_slice(&part[..length]),
            _ => return text,
        }
    }
}

fn with_hash(response: &[u8], request: &str) -> Vec<u8> {
    let (_, body) = request.split_once("\r\n\r\n").unwrap_or_default();
    let is_digit = |character: char| character.is_ascii_digit() || ('a'..='f').contains(&character);
    let hash = body.split(|character| !is_digit(character)).find(|part| part.len() == 64);
    String::from_utf8_lossy(response).replace(HASH, hash.unwrap_or(HASH)).into_bytes()
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The key id of the tests' secret.
pub fn key_id() -> String {
    Secret::new(SECRET).unwrap().key_id().to_string()
}

/// Issuance's response to a list, with these results.
pub fn check_list(results: &str) -> String {
    format!(r#"{{"key_ids": ["{}"], "results": [{results}]}}"#, key_id())
}

/// Issuance's response for a single hash, with these members.
pub fn check_one(members: &str) -> String {
    check_list(&format!(r#"{{"credential_hash": "{HASH}", {members}}}"#))
}

/// A 200 with this JSON body.
pub fn json_response(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
