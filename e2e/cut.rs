//! A proxy that cuts responses off.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A TCP proxy that closes each connection after this many bytes of response.
pub struct CuttingProxy {
    pub url: String,
    bytes: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl CuttingProxy {
    /// A proxy to this URL that cuts nothing yet.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(url: &str) -> Self {
        let upstream = url.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let bytes = Arc::new(AtomicUsize::new(usize::MAX));
        let limit = Arc::clone(&bytes);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (upstream, limit) = (upstream.clone(), limit.load(Ordering::SeqCst));
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(upstream).await {
                        forward(client, server, limit).await;
                    }
                });
            }
        });
        Self { url, bytes, task }
    }

    /// Cuts the responses on new connections after this many bytes.
    pub fn cut_after(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::SeqCst);
    }

    /// Cuts no more.
    pub fn cut_nothing(&self) {
        self.cut_after(usize::MAX);
    }
}

/// Forwards until either side ends, or the response has this many bytes. The server's response is read in full first, so that
/// what it was asked for has happened.
async fn forward(client: TcpStream, server: TcpStream, mut left: usize) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut part = [0; 16 * 1024];
    while let Ok(length) = from_server.read(&mut part).await {
        let length = length.min(left);
        if length == 0 || to_client.write_all(&part[..length]).await.is_err() {
            break;
        }
        left -= length;
        if left == 0 {
            break;
        }
    }
    requests.abort();
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}
