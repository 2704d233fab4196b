//! A proxy that serves an application below a path, as nginx does with `location /creds/`.

use axum::{Router, extract::Request, http::StatusCode, response::Response};
use reqwest::{Client, redirect::Policy};
use tokio::{net::TcpListener, task::JoinHandle};

const PREFIX: &str = "/creds";

/// Stops when dropped.
pub struct Prefix {
    /// The application's URL, without a trailing slash.
    pub url: String,
    task: JoinHandle<()>,
}

impl Prefix {
    /// Puts a proxy in front of the application at this URL.
    pub async fn of(app: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{PREFIX}", listener.local_addr().unwrap());
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        let app = app.to_owned();
        let router = Router::new().fallback(move |request| forward(client.clone(), app.clone(), request));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, task }
    }
}

async fn forward(client: Client, app: String, request: Request) -> Response {
    let (mut head, body) = request.into_parts();
    let target = head.uri.to_string();
    let Some(path) = target.strip_prefix(PREFIX).filter(|path| path.starts_with('/')) else {
        let mut missing = Response::default();
        *missing.status_mut() = StatusCode::NOT_FOUND;
        return missing;
    };
    head.headers.remove("host");
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let request = client.request(head.method, format!("{app}{path}")).headers(head.headers).body(body);
    let upstream = request.send().await.unwrap();
    let (status, headers) = (upstream.status(), upstream.headers().clone());
    let mut response = Response::new(upstream.bytes().await.unwrap().into());
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

impl Drop for Prefix {
    fn drop(&mut self) {
        self.task.abort();
    }
}
