//! Real PostgreSQL servers.

use std::{
    fs,
    os::unix::{
        fs::{chown, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use launch::{Cluster, Signal, output, postgres_user};
use tempfile::TempDir;

use crate::{disk::Disk, tools};

/// The password of every user: `postgres` and the services.
pub const PASSWORD: &str = "pa55-w0rd";

const START_TIME: Duration = Duration::from_secs(60);

/// Runs a server until stdin ends, as it does when this process ends, in whatever way.
const SUPERVISE: &str = r#"
exec 2>> log
"$@" < /dev/null >> log &
cat > /dev/null
kill -QUIT $!; kill -CONT $!; wait $!
[ -z "$REMOVED" ] || rm -rf "$REMOVED"
"#;

/// Between columns in the output of psql, and between rows.
const SEPARATORS: [char; 2] = ['\u{1f}', '\u{1e}'];

/// The folder of its programs, if they are installed.
pub fn programs() -> Option<PathBuf> {
    launch::postgres_programs().inspect_err(|reason| tools::miss(&reason.to_string())).ok()
}

/// A server with the users `postgres`, `issuance` and `verification`. It always listens on the same port, and is stopped
/// when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    pub cluster: Cluster,
    folder: TempDir,
    /// Whether the folder is removed by [`SUPERVISE`], because nothing drops this.
    is_shared: bool,
    /// Of the last start.
    settings: Mutex<String>,
    /// [`SUPERVISE`].
    process: Mutex<Option<Child>>,
}

impl PostgresServer {
    /// The server of all tests that do not break it.
    ///
    /// # Panics
    /// If it does not start, or PostgreSQL is missing.
    pub fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<PostgresServer>> = LazyLock::new(|| {
            let mut server = PostgresServer::without_data("127.0.0.1");
            server.is_shared = true;
            Arc::new(server.with_users("trust", "-c max_connections=1000 -c fsync=off"))
        });
        Arc::clone(&SHARED)
    }

    /// Starts a server at this address of this machine, with settings such as `-c max_connections=10`.
    ///
    /// # Panics
    /// If it does not start, or PostgreSQL is missing.
    pub fn start(host: &'static str, settings: &str) -> Self {
        Self::without_data(host).with_users("scram-sha-256", settings)
    }

    /// Starts a server with its data on this disk.
    ///
    /// # Panics
    /// If it does not start, or PostgreSQL is missing.
    pub fn start_on(disk: &Disk) -> Self {
        let server = Self::without_data("127.0.0.1");
        symlink(disk.path(), server.path("cluster")).unwrap();
        server.with_users("scram-sha-256", "")
    }

    fn without_data(host: &'static str) -> Self {
        let programs = programs().expect("the tests on PostgreSQL need PostgreSQL");
        let folder = tempfile::tempdir().unwrap();
        let cluster = Cluster::new(programs, folder.path().to_owned(), host, PASSWORD).unwrap();
        let (settings, process) = Default::default();
        Self { cluster, folder, is_shared: false, settings, process }
    }

    /// Makes the data, starts the server and adds the users.
    fn with_users(self, authentication: &str, settings: &str) -> Self {
        self.cluster.init(&["--no-sync", &format!("--auth={authentication}")]).unwrap();
        self.restart(settings);
        for user in ["issuance", "verification"] {
            self.execute("postgres", &format!("CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'"));
        }
        self
    }

    /// Starts a standby at another address, with the same port, that the server waits for with each commit.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_standby(&self, host: &'static str) -> Self {
        let mut standby = Self::without_data(host);
        standby.cluster.port = self.cluster.port;
        let mut copy = standby.cluster.program("pg_basebackup");
        copy.args(["--pgdata=cluster", "-R", "--checkpoint=fast", "--dbname"]);
        output(copy.arg(self.address("application_name=standby")), "").unwrap();
        standby.restart("");
        self.execute("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'standby'");
        self.execute("postgres", "SELECT pg_reload_conf()");
        let state = "SELECT coalesce(max(sync_state), '') FROM pg_stat_replication";
        let started = Instant::now();
        while self.query("postgres", state)[0][0] != "sync" {
            assert!(started.elapsed() < START_TIME, "the standby does not replicate:\n{}", standby.log());
            thread::sleep(Duration::from_millis(50));
        }
        standby
    }

    /// Makes a standby the primary, which waits for no standby of its own.
    pub fn promote(&self) {
        self.execute("postgres", "SELECT pg_promote()");
        self.execute("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
        self.execute("postgres", "SELECT pg_reload_conf()");
    }

    /// Starts it again with other settings.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&self, settings: &str) {
        self.stop();
        settings.clone_into(&mut self.settings.lock().unwrap());
        self.start_again();
    }

    /// Starts it again after [`kill`](Self::kill), with the same settings.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_again(&self) {
        let started = Instant::now();
        // What is left of a killed server may still hold its memory or its port.
        while !self.try_start() {
            assert!(started.elapsed() < START_TIME, "PostgreSQL does not start:\n{}", self.log());
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts it and waits until it serves. `false` if it exits before.
    fn try_start(&self) -> bool {
        let server = self.cluster.server();
        let mut command = self.cluster.command(Path::new("sh"));
        command.args(["-c", SUPERVISE, "sh"]).arg(server.get_program()).args(server.get_args());
        command.args(self.settings.lock().unwrap().split_whitespace());
        if self.is_shared {
            command.env("REMOVED", self.folder.path());
        }
        *self.process.lock().unwrap() = Some(command.stdin(Stdio::piped()).process_group(0).spawn().unwrap());
        let started = Instant::now();
        while self.try_query("postgres", "SELECT 1").is_err() {
            if self.postmaster().is_none() && started.elapsed() > Duration::from_secs(1) {
                self.stop();
                return false;
            }
            assert!(started.elapsed() < START_TIME, "PostgreSQL does not serve:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Stops it, without a checkpoint.
    fn stop(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            self.signal(Signal::SIGCONT);
            drop(process.stdin.take());
            process.wait().unwrap();
        }
    }

    /// Kills the server, as a crash would.
    pub fn kill(&self) {
        self.signal(Signal::SIGKILL);
        self.stop();
    }

    /// Sends a signal to all its processes, the one that starts the others first.
    pub fn signal(&self, signal: Signal) {
        let Some(postmaster) = self.postmaster() else { return };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let processes = format!("{postmaster} {}", children.unwrap_or_default());
        let kill = format!("kill -{} {processes} 2> /dev/null", signal as i32);
        Command::new("sh").args(["-c", &kill]).status().unwrap();
    }

    /// The id of the process that starts the others, if it runs.
    fn postmaster(&self) -> Option<u32> {
        let id =
            fs::read_to_string(self.path("cluster/postmaster.pid")).ok()?.lines().next()?.parse().ok()?;
        let command = fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
        (command.trim() == "postgres").then_some(id)
    }

    /// Starts it again with TLS: with a certificate for `localhost` from an authority of its own. Returns that of the
    /// authority.
    ///
    /// # Panics
    /// If there is no OpenSSL, or the server does not start.
    pub fn restart_with_tls(&self) -> String {
        let files = ["ca.key", "ca.pem", "server.key", "server.pem"].map(|name| self.path(name));
        let [ca_key, ca, key, certificate] = files.each_ref().map(|path| path.to_str().unwrap());
        let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
        let authority = ["-subj", "/CN=test", "-addext", "basicConstraints=critical,CA:TRUE"];
        openssl(&[&new[..], &authority, &["-keyout", ca_key, "-out", ca]].concat());
        let signed = ["-subj", "/CN=localhost", "-CA", ca, "-CAkey", ca_key];
        let extensions = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"];
        openssl(&[&new[..], &signed, &extensions, &["-keyout", key, "-out", certificate]].concat());
        chown(key, postgres_user(), None).unwrap();
        self.restart(&format!("-c ssl=on -c ssl_cert_file={certificate} -c ssl_key_file={key}"));
        fs::read_to_string(ca).unwrap()
    }

    /// A connection string, with more parameters.
    pub fn address(&self, parameters: &str) -> String {
        let Cluster { host, port, .. } = self.cluster;
        format!("host={host} port={port} user=postgres password={PASSWORD} {parameters}")
    }

    /// A client as `postgres`, which reads statements from stdin and stops at the first error.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut psql = self.cluster.psql("postgres", database);
        let [column, row] = SEPARATORS.map(String::from);
        psql.args(["--field-separator", &column, "--record-separator", &row]);
        psql.env("PGOPTIONS", "-c client_min_messages=warning");
        psql
    }

    /// Runs statements. Returns the number of rows that the last one changed.
    ///
    /// # Panics
    /// If one fails.
    pub fn execute(&self, database: &str, statements: &str) -> usize {
        let tags = output(&mut self.psql(database), statements).unwrap();
        tags.lines().last().and_then(|tag| tag.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    /// The rows of a query, as text.
    ///
    /// # Panics
    /// If it fails.
    pub fn query(&self, database: &str, query: &str) -> Vec<Vec<String>> {
        self.try_query(database, query).unwrap()
    }

    /// The same. Fails if the query does.
    pub fn try_query(&self, database: &str, query: &str) -> Result<Vec<Vec<String>>> {
        let output = output(self.psql(database).arg("--quiet"), query)?;
        let [column, row] = SEPARATORS;
        let rows = output.trim_end_matches('\n').split_terminator(row);
        Ok(rows.map(|row| row.split(column).map(str::to_owned).collect()).collect())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The databases of an application, one for each service. They are dropped with this.
#[derive(Debug)]
pub struct PostgresDatabases {
    pub server: Arc<PostgresServer>,
    prefix: String,
}

impl PostgresDatabases {
    /// Creates empty databases.
    ///
    /// # Panics
    /// If the server does not serve.
    pub fn create(server: Arc<PostgresServer>) -> Self {
        static COUNTER: AtomicUsize = AtomicUsize::new(0);
        let prefix = format!("app_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        for service in ["issuance", "verification"] {
            server.execute("postgres", &format!("CREATE DATABASE {prefix}_{service} OWNER {service}"));
        }
        Self { server, prefix }
    }

    /// The name of a service's database.
    pub fn name(&self, service: &str) -> String {
        format!("{}_{service}", self.prefix)
    }
}

impl Drop for PostgresDatabases {
    fn drop(&mut self) {
        for service in ["issuance", "verification"] {
            let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name(service));
            // The server may be gone.
            let _ = self.server.try_query("postgres", &drop);
        }
    }
}

fn openssl(arguments: &[&str]) {
    output(Command::new("openssl").args(arguments), "").unwrap();
}
