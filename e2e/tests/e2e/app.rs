//! The application under test: started, asked, looked into, killed and restarted.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use reqwest::{Client, Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "openapi.rs"]
pub mod openapi;

/// The secret that every application under test has, unless a test sets another.
pub const SECRET: &str = "an end-to-end secret of 32 bytes or more";

/// The token for the admin routes.
pub const ADMIN_TOKEN: &str = "an-end-to-end-admin-token";

/// How long a host may take to answer its first request; the first ever compiles the components.
const START_TIME: Duration = Duration::from_secs(120);

/// An application that is being served, and the client that talks to it.
pub struct TestApp {
    pub base_url: String,
    client: Client,
    /// `None` for an application that was there before.
    own: Option<Own>,
}

/// What belongs to an application that the test started itself.
struct Own {
    folder: TempDir,
    setup: Setup,
    process: Process,
}

/// How an application is started.
#[derive(Clone)]
pub struct Setup {
    variables: BTreeMap<String, String>,
    components: Vec<&'static str>,
    manifest_edits: Vec<(String, String)>,
    data_folder: String,
}

struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
}

/// An answer, read to its end, and one that `openapi.yaml` has.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl TestApp {
    /// Any application that issues and verifies: one of its own, or the one at `E2E_BASE_URL`.
    pub async fn any() -> Self {
        match env::var("E2E_BASE_URL") {
            Ok(base_url) => {
                Self { base_url: base_url.trim_end_matches('/').to_owned(), client: Client::new(), own: None }
            }
            Err(_) => Setup::new().start().await,
        }
    }

    /// A request without a body.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base_url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, path).json(body)).await
    }

    pub async fn issue(&self, credential: &str) -> Answer {
        self.post("/issue", &json!({ "credential": credential })).await
    }

    pub async fn check(&self, hash: &str) -> Answer {
        self.post("/check", &json!({ "credential_hash": hash })).await
    }

    pub async fn verify(&self, credential: &str) -> Answer {
        self.post("/verify", &json!({ "credential": credential })).await
    }

    /// A request with the admin's token, which every application under test has unless a test sets another.
    pub fn admin(&self, method: Method, path: &str) -> RequestBuilder {
        let token = match &self.own {
            Some(_) => ADMIN_TOKEN.to_owned(),
            None => env::var("E2E_ADMIN_TOKEN").expect("E2E_BASE_URL needs E2E_ADMIN_TOKEN beside it"),
        };
        self.request(method, path).bearer_auth(token)
    }

    pub async fn admin_get(&self, path: &str) -> Answer {
        Answer::to(self.admin(Method::GET, path)).await
    }

    pub async fn revoke(&self, body: &Value) -> Answer {
        Answer::to(self.admin(Method::POST, "/revoke").json(body)).await
    }

    /// The whole of a list, page by page.
    pub async fn all_pages(&self, path: &str, member: &str) -> Vec<Value> {
        let (mut rows, mut cursor) = (Vec::new(), String::new());
        loop {
            let answer = self.admin_get(&format!("{path}{cursor}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let page = answer.json();
            rows.extend(page[member].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }

    fn own(&self) -> &Own {
        self.own.as_ref().expect("this application was not started by the test")
    }

    /// The application's own folder: its databases are below `data`.
    pub fn folder(&self) -> &Path {
        self.own().folder.path()
    }

    /// A connection to one of the application's databases.
    pub fn database(&self, name: &str) -> rusqlite::Connection {
        let path = self.folder().join("data").join(format!("{name}.db"));
        let database = rusqlite::Connection::open(path).unwrap();
        database.busy_timeout(Duration::from_secs(10)).unwrap();
        database
    }

    /// The only value of a query's only row.
    pub fn query<T: rusqlite::types::FromSql>(&self, database: &str, sql: &str) -> T {
        self.database(database).query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// How many rows a table has; none where it was never made.
    pub fn count(&self, database: &str, table: &str) -> usize {
        let made = format!("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '{table}'");
        if self.query::<i64>(database, &made) == 0 {
            return 0;
        }
        let count: i64 = self.query(database, &format!("SELECT count(*) FROM {table}"));
        usize::try_from(count).unwrap()
    }

    /// What the host and the components have written to stderr so far.
    pub fn log(&self) -> String {
        self.own().process.log.lock().unwrap().clone()
    }

    /// Waits until the log has this text.
    pub async fn wait_for_log(&self, text: &str) {
        for _ in 0..100 {
            if self.log().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the log does not have {text:?}:\n{}", self.log());
    }

    /// Ends the host as a power cut would.
    pub fn kill(&mut self) {
        self.own.as_mut().unwrap().process.kill();
    }

    /// A handle to kill the host with while the application is in use.
    pub fn killer(&self) -> impl FnOnce() + use<> {
        let group = self.own().process.group();
        move || {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }

    /// Asks the host to end; it may take its time.
    pub fn signal(&self, signal: Signal) {
        self.own().process.signal(signal);
    }

    /// Waits for the host to end by itself, and gives its exit code.
    pub fn wait_for_exit(&mut self) -> Option<i32> {
        self.own.as_mut().unwrap().process.child.wait().unwrap().code()
    }

    /// Restarts with an application variable changed.
    pub async fn restart_with(&mut self, variables: &[(&str, &str)]) {
        let own = self.own.as_mut().unwrap();
        for (name, value) in variables {
            own.setup = own.setup.clone().variable(name, value);
        }
        self.restart().await;
    }

    /// Kills the host and starts it again on the same folder, on another port.
    pub async fn restart(&mut self) {
        self.kill();
        let own = self.own.as_mut().unwrap();
        let (process, base_url) = own.setup.spawn(own.folder.path());
        own.process = process;
        self.base_url = base_url;
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

/// Whether only what is at `E2E_BASE_URL` may be tested. Says what is left out, so that it is not taken for tested.
pub fn cannot_start_a_host(test: &str) -> bool {
    let cannot = env::var_os("E2E_BASE_URL").is_some();
    if cannot {
        eprintln!("{test} was left out: it needs a host of its own, and E2E_BASE_URL names another");
    }
    cannot
}

/// Ends a test that needs a host of its own where there can be none.
macro_rules! needs_own_host {
    () => {
        if crate::app::cannot_start_a_host(module_path!()) {
            return;
        }
    };
}
pub(crate) use needs_own_host;

impl Setup {
    pub fn new() -> Self {
        Self {
            variables: BTreeMap::new(),
            components: Vec::new(),
            manifest_edits: Vec::new(),
            data_folder: "data".to_owned(),
        }
        .variable("credential_secret", SECRET)
        .variable("admin_token", ADMIN_TOKEN)
    }

    /// Sets an application variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase()), value.to_owned());
        self
    }

    /// Starts only the components named this way.
    pub fn component(mut self, id: &'static str) -> Self {
        self.components.push(id);
        self
    }

    /// Replaces a text in the manifest that is served.
    pub fn edit_manifest(mut self, from: &str, to: &str) -> Self {
        self.manifest_edits.push((from.to_owned(), to.to_owned()));
        self
    }

    /// Uses the databases of another application that is running.
    pub fn databases_of(self, other: &TestApp) -> Self {
        let data = other.folder().join("data").display().to_string();
        Self { data_folder: data, ..self }
    }

    pub async fn start(self) -> TestApp {
        self.start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts in a folder where a test has put something first.
    pub async fn start_in(self, folder: TempDir) -> TestApp {
        self.write_files(folder.path());
        let (process, base_url) = self.spawn(folder.path());
        let app =
            TestApp { base_url, client: Client::new(), own: Some(Own { folder, setup: self, process }) };
        app.wait_until_it_answers().await;
        app
    }

    /// The project's own manifest and runtime config, moved to the test's folder.
    fn write_files(&self, folder: &Path) {
        let workspace = workspace();
        let mut manifest = fs::read_to_string(workspace.join("spin.toml")).unwrap();
        manifest = manifest
            .replace("source = \"target/", &format!("source = \"{}/", wasm_target_folder().display()));
        for (from, to) in &self.manifest_edits {
            assert!(manifest.contains(from), "spin.toml no longer has {from:?}");
            manifest = manifest.replace(from, to);
        }
        fs::write(folder.join("spin.toml"), manifest).unwrap();
        let config = fs::read_to_string(workspace.join("runtime-config.toml")).unwrap();
        let config = config.replace("path = \"data/", &format!("path = \"{}/", self.data_folder));
        fs::write(folder.join("runtime-config.toml"), config).unwrap();
    }

    fn spawn(&self, folder: &Path) -> (Process, String) {
        let mut command = if env::var("E2E_HOST").is_ok_and(|host| host == "spin") {
            let mut spin = Command::new("spin");
            spin.args(["up", "--state-dir", ".spin"]);
            spin
        } else {
            Command::new(host_program())
        };
        command
            .current_dir(folder)
            .args([
                "--from",
                "spin.toml",
                "--runtime-config-file",
                "runtime-config.toml",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(self.components.iter().flat_map(|id| ["--component-id", id]))
            .envs(&self.variables);
        Process::spawn(&mut command)
    }
}

impl Process {
    /// Starts the host and waits for the line that says where it serves.
    fn spawn(command: &mut Command) -> (Self, String) {
        // In a process group of its own, so that it can be killed together with what it starts, as Spin does.
        let spawned = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = collect(child.stderr.take().unwrap(), Arc::clone(&log));

        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(url) = line.trim_start().strip_prefix("Serving ") {
                    let _ = sender.send(url.trim().to_owned());
                }
            }
        });
        match receiver.recv_timeout(START_TIME) {
            Ok(base_url) => (Self { child, log }, base_url),
            Err(_) => {
                let _ = child.kill();
                stderr.join().unwrap();
                panic!("the host did not start:\n{}", log.lock().unwrap());
            }
        }
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    fn signal(&self, signal: Signal) {
        let _ = killpg(self.group(), signal);
    }

    fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Collects what a stream gives, on a thread of its own.
fn collect(stream: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = into.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}

impl Answer {
    pub async fn to(request: RequestBuilder) -> Self {
        Self::try_to(request).await.unwrap()
    }

    pub async fn try_to(request: RequestBuilder) -> reqwest::Result<Self> {
        let (client, request) = request.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Self { status, headers, body: response.bytes().await?.to_vec() };
        // Not in benchmarks, which share this file: it takes time.
        if env!("CARGO_CRATE_NAME") == "e2e" {
            openapi::assert_conforms(&method, &path, &answer);
        }
        Ok(answer)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} with a body that is no JSON: {}", self.status, self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header that must be there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        assert!(self.headers.get_all(name).iter().count() <= 1, "{name} is there more than once");
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts that this is a whole problem document of this kind, and gives it.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:kube-credentials:problem:{kind}"));
        assert_eq!(problem["status"], status);
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        assert_eq!(problem["message"], problem["detail"]);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        assert_eq!(problem.get("isValid"), None);
        assert_eq!(self.header("retry-after").is_some(), status == 503);
        problem
    }
}

/// A credential that no other test, and no earlier run, has used.
pub fn unique(name: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let time = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{name}-{time:x}-{}-{count}", std::process::id())
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// This program is `<target>/debug/deps/e2e-…`: the host is two folders up from it, the components beside.
fn target_folder() -> PathBuf {
    let program = env::current_exe().unwrap();
    program.ancestors().nth(3).unwrap().to_owned()
}

fn wasm_target_folder() -> PathBuf {
    let folder = target_folder();
    for component in ["issuance", "verification", "web"] {
        let wasm = folder.join(format!("wasm32-wasip2/release/{component}.wasm"));
        assert!(wasm.exists(), "there is no {}: run the tests with cargo xtask test", wasm.display());
    }
    folder
}

fn host_program() -> PathBuf {
    let program = env::current_exe().unwrap().ancestors().nth(2).unwrap().join("kube-credentials-host");
    assert!(program.exists(), "there is no {}: run the tests with cargo xtask test", program.display());
    program
}
