//! The application under test: send requests to it, look into it, restart it.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use launch::{Server, Signal};
use reqwest::{Body, Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{ADMIN_TOKEN, Answer, Setup, libsql::Servers, openapi};

/// How long an application may take to answer once its host serves.
const START_TIME: Duration = Duration::from_secs(60);

/// A running application and a client for it.
pub struct TestApp {
    pub base_url: String,
    client: Client,
    /// Whether each answer must be one that `openapi.yaml` describes.
    validates: bool,
    /// `None` for the application at `E2E_BASE_URL`.
    own: Option<Own>,
}

/// What the test owns of an application that it started.
struct Own {
    folder: TempDir,
    setup: Setup,
    server: Server,
}

impl TestApp {
    /// An application that issues and verifies: the one at `E2E_BASE_URL` if that is set, else a new one.
    pub async fn any() -> Self {
        match env::var("E2E_BASE_URL") {
            Ok(url) => Self { validates: true, ..Self::at(&url) },
            Err(_) => Setup::new().start().await,
        }
    }

    /// A client of what is served at a URL by somebody else, whose answers are not validated.
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
        app.wait_until_it_answers().await;
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
            None => env::var("E2E_ADMIN_TOKEN").expect("E2E_BASE_URL needs E2E_ADMIN_TOKEN beside it"),
        };
        self.request(method, path).bearer_auth(token)
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// Sends a request; fails if the connection does.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let request = request.build()?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answer = Answer::read(self.client.execute(request).await?).await?;
        if self.validates {
            openapi::assert_conforms(&method, &path, &answer);
        }
        Ok(answer)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Posts a body that need not be JSON, as `application/json`.
    pub async fn post_raw(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", "application/json");
        self.send(request.body(body)).await
    }

    pub async fn admin_get(&self, path: &str) -> Answer {
        self.send(self.admin(Method::GET, path)).await
    }

    pub async fn issue(&self, credential: &str) -> Answer {
        self.post("/issue", &json!({ "credential": credential })).await
    }

    /// Issues with this body, and returns the body of the 201.
    pub async fn issued(&self, body: Value) -> Value {
        let answer = self.post("/issue", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    }

    pub async fn check(&self, hash: &str) -> Answer {
        self.post("/check", &json!({ "credential_hash": hash })).await
    }

    pub async fn verify(&self, credential: &str) -> Answer {
        self.post("/verify", &json!({ "credential": credential })).await
    }

    pub async fn revoke(&self, body: &Value) -> Answer {
        self.send(self.admin(Method::POST, "/revoke").json(body)).await
    }

    /// The rows of all pages of a list. The path has a query.
    pub async fn all_pages(&self, path: &str) -> Vec<Value> {
        let (list, _) = path[1..].split_once('?').unwrap();
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = self.admin_get(&format!("{path}{cursor}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page = answer.json();
            rows.extend(page[list].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    /// Opens a TCP connection, for requests that a client library would not send.
    pub async fn connect(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(self.base_url.strip_prefix("http://").unwrap()).await
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("this needs an application that the test started")
    }

    fn own_mut(&mut self) -> &mut Own {
        self.own.as_mut().expect("this needs an application that the test started")
    }

    /// The folder in which the host runs.
    pub fn folder(&self) -> &Path {
        self.own().folder.path()
    }

    /// The folders with the files of the databases.
    pub fn data_folders(&self) -> Vec<PathBuf> {
        match self.servers() {
            Some(servers) => vec![servers.issuance.data_folder(), servers.verification.data_folder()],
            None => vec![self.data_folder()],
        }
    }

    /// The folder of the databases, if they are files.
    pub fn data_folder(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The libSQL servers that its databases are on, if they are.
    pub fn servers(&self) -> Option<Arc<Servers>> {
        self.own().setup.servers.clone()
    }

    /// A connection to one of the databases, past the libSQL server if it is on one.
    pub fn database(&self, name: &str) -> rusqlite::Connection {
        let file = match self.servers() {
            Some(servers) => servers.of(name).data_folder().join("data"),
            None => self.data_folder().join(format!("{name}.db")),
        };
        let database = rusqlite::Connection::open(file).unwrap();
        database.busy_timeout(Duration::from_secs(10)).unwrap();
        database
    }

    /// The first value of a query's first row.
    pub fn query<T: rusqlite::types::FromSql>(&self, database: &str, sql: &str) -> T {
        self.database(database).query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// The number of rows in a table, 0 if the table does not exist.
    pub fn count(&self, database: &str, table: &str) -> usize {
        let exists = format!("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{table}'");
        if self.query::<i64>(database, &exists) == 0 {
            return 0;
        }
        let count: i64 = self.query(database, &format!("SELECT count(*) FROM {table}"));
        usize::try_from(count).unwrap()
    }

    /// What the host and the components have printed so far.
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

    /// Sends the host a signal.
    pub fn signal(&self, signal: Signal) {
        self.own().server.group.signal(signal);
    }

    /// Waits until the host exits, and returns its exit code.
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
        self.wait_until_it_answers().await;
    }

    async fn wait_until_it_answers(&self) {
        let started = Instant::now();
        while started.elapsed() < START_TIME {
            let health = self.request(Method::GET, "/.well-known/spin/health").send().await;
            if health.is_ok_and(|health| health.status() == StatusCode::OK) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the application does not answer:\n{}", self.log());
    }
}
