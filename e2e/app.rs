//! The application under test: send it requests, look inside, restart it.

use std::{
    env,
    fmt::Debug,
    path::{Path, PathBuf},
    slice,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use launch::{Server, Signal};
use reqwest::{Body, Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    ADMIN_TOKEN, Response, Setup,
    database::{Database, Lock},
    openapi,
    postgres::PostgresDatabases,
};

/// How long an application may take to respond once its host listens.
const START_TIME: Duration = Duration::from_secs(60);

/// A running application, with an HTTP client for it.
pub struct TestApp {
    pub base_url: String,
    client: Client,
    /// Whether every response must be one that `openapi.yaml` describes.
    validates: bool,
    /// `None` for the application at `E2E_BASE_URL`.
    own: Option<Own>,
}

/// The resources of an application that the test started itself.
struct Own {
    // Dropped first: it uses the others.
    server: Server,
    setup: Setup,
    folder: TempDir,
}

impl TestApp {
    /// An application that issues and verifies: the one at `E2E_BASE_URL` if set, otherwise a new one.
    pub async fn any() -> Self {
        match env::var("E2E_BASE_URL") {
            Ok(url) => Self { validates: true, ..Self::at(&url) },
            Err(_) => Setup::new().start().await,
        }
    }

    /// A client for something served elsewhere. Its responses are not validated.
    pub fn at(url: &str) -> Self {
        let base_url = url.trim_end_matches('/').to_owned();
        Self { base_url, client: Client::new(), validates: false, own: None }
    }

    /// Starts a host on the files in this folder.
    pub(crate) async fn start(folder: TempDir, setup: Setup) -> Self {
        let server = setup.serve(folder.path());
        let (base_url, validates) = (server.url.clone(), setup.validates);
        let own = Some(Own { folder, setup, server });
        let app = Self { base_url, client: Client::new(), validates, own };
        app.wait_until_it_responds().await;
        app
    }

    /// A request without a body.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base_url))
    }

    /// A request with the admin token.
    pub fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        let token = match &self.own {
            Some(_) => ADMIN_TOKEN.to_owned(),
            None => env::var("E2E_ADMIN_TOKEN").expect("E2E_BASE_URL requires E2E_ADMIN_TOKEN"),
        };
        self.request(method, path).bearer_auth(token)
    }

    pub async fn send(&self, request: RequestBuilder) -> Response {
        self.try_send(request).await.unwrap()
    }

    /// Sends a request; fails if the connection does.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Response> {
        let request = request.build()?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = Response::read(self.client.execute(request).await?).await?;
        if self.validates {
            openapi::assert_conforms(&method, &path, &response);
        }
        Ok(response)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Response {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Posts a body that need not be JSON, as `application/json`.
    pub async fn post_raw(&self, path: &str, body: impl Into<Body>) -> Response {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body)).await
    }

    pub async fn admin_get(&self, path: &str) -> Response {
        self.send(self.admin(Method::GET, path)).await
    }

    pub async fn issue(&self, credential: &str) -> Response {
        self.post("/issue", &json!({ "credential": credential })).await
    }

    /// Issues with this body and returns the body of the 201.
    pub async fn issued(&self, body: Value) -> Value {
        self.post("/issue", &body).await.expect(201)
    }

    pub async fn check(&self, hash: &str) -> Response {
        self.post("/check", &json!({ "credential_hash": hash })).await
    }

    pub async fn verify(&self, credential: &str) -> Response {
        self.post("/verify", &json!({ "credential": credential })).await
    }

    pub async fn revoke(&self, body: &Value) -> Response {
        self.send(self.admin(Method::POST, "/revoke").json(body)).await
    }

    /// The rows of all pages of a list. The path must have a query.
    pub async fn all_pages(&self, path: &str) -> Vec<Value> {
        Self::pages_in_turn(slice::from_ref(self), path).await
    }

    /// The same, requesting each page from the next of these applications.
    pub async fn pages_in_turn(apps: &[Self], path: &str) -> Vec<Value> {
        let (list, _) = path[1..].split_once('?').unwrap();
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        for turn in 0.. {
            let page = apps[turn % apps.len()].admin_get(&format!("{path}{cursor}")).await.expect(200);
            rows.extend(page[list].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        rows
    }

    /// Opens a TCP connection, for requests that no client library would send.
    pub async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.base_url.strip_prefix("http://").unwrap()).await
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("this needs an application that the test started")
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.as_mut().expect("this needs an application that the test started")
    }

    /// The folder the host runs in.
    pub fn folder(&self) -> &Path {
        self.own().folder.path()
    }

    /// The folder of the databases, when they are files.
    pub fn data_folder(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Its databases on a PostgreSQL server, if they are.
    pub fn postgres(&self) -> Option<Arc<PostgresDatabases>> {
        self.own().setup.postgres.clone()
    }

    /// A direct connection to the database of a service.
    pub fn database(&self, service: &str) -> Database {
        match self.postgres() {
            Some(databases) => Database::postgres(databases, service),
            None => Database::file(&self.data_folder().join(format!("{service}.db"))),
        }
    }

    /// Lets no one write to one of the databases until the lock is dropped.
    pub fn lock(&self, service: &str) -> Lock {
        self.database(service).lock()
    }

    /// The first column of a query's first row.
    pub fn query<T: FromStr<Err: Debug>>(&self, service: &str, query: &str) -> T {
        self.database(service).query(query)
    }

    /// The number of rows in a table; 0 if it does not exist.
    pub fn count(&self, service: &str, table: &str) -> usize {
        self.database(service).count(table)
    }

    /// The output of the host and the components so far.
    pub fn log(&self) -> String {
        self.own().server.log()
    }

    /// Waits until the log contains this text.
    pub async fn wait_for_log(&self, text: &str) {
        for _ in 0..100 {
            if self.log().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the log does not contain {text:?}:\n{}", self.log());
    }

    pub fn signal(&self, signal: Signal) {
        self.own().server.group.signal(signal);
    }

    /// Waits for the host to exit and returns its exit code.
    pub fn wait_for_exit(&mut self) -> Option<i32> {
        self.own_mut().server.group.wait().unwrap().code()
    }

    /// Restarts with other application variables.
    pub async fn restart_with(&mut self, variables: &[(&str, &str)]) {
        let own = self.own_mut();
        for (name, value) in variables {
            own.setup = own.setup.clone().variable(name, value);
        }
        self.restart().await;
    }

    /// Kills the host and starts it again in the same folder, on another port.
    pub async fn restart(&mut self) {
        let own = self.own_mut();
        own.server.group.kill().unwrap();
        own.server = own.setup.serve(own.folder.path());
        self.base_url = own.server.url.clone();
        self.wait_until_it_responds().await;
    }

    async fn wait_until_it_responds(&self) {
        let started = Instant::now();
        while started.elapsed() < START_TIME {
            let health = self.request(Method::GET, "/.well-known/spin/health").send().await;
            if health.is_ok_and(|health| health.status() == StatusCode::OK) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the application does not respond:\n{}", self.log());
    }
}
