//! Something in the place of issuance that does not behave.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// A server that reads a request and then answers with fixed bytes, slowly or not at all.
pub struct Mock {
    pub url: String,
    task: JoinHandle<()>,
}

impl Mock {
    /// Answers every request with these bytes, and closes.
    pub async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        Self::start(bytes.into(), Duration::ZERO).await
    }

    /// Answers every request with a JSON body and status 200.
    pub async fn answering_json(body: &str) -> Self {
        Self::answering(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    /// Takes requests, sends these bytes, and then nothing more, without closing.
    pub async fn stalling_after(bytes: impl Into<Vec<u8>>) -> Self {
        Self::start(bytes.into(), Duration::from_secs(3600)).await
    }

    async fn start(bytes: Vec<u8>, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let bytes = bytes.clone();
                tokio::spawn(async move {
                    let mut request = [0; 16 * 1024];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(&bytes).await;
                    tokio::time::sleep(pause).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { url, task }
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address on which nothing listens.
pub async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
