//! Real PostgreSQL servers.

use std::{
    fs,
    io::Write,
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

use launch::{Signal, postgres_user};
use tempfile::TempDir;

use crate::{disk::Disk, free_address, tools};

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

/// The server's program, if it is installed. Its folder has the others.
pub fn program() -> Option<PathBuf> {
    let programs = launch::postgres_programs().inspect_err(|reason| tools::miss(&reason.to_string()));
    programs.ok().map(|folder| folder.join("postgres"))
}

/// A server with the users `postgres`, `issuance` and `verification`. It always listens on the same port, and is stopped
/// when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    pub host: &'static str,
    pub port: u16,
    programs: PathBuf,
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
    /// If PostgreSQL is missing: see [`program`].
    pub fn shared() -> Arc<Self> {
        static SHARED: LazyLock<Arc<PostgresServer>> = LazyLock::new(|| {
            let program = program().expect("the tests on PostgreSQL need PostgreSQL");
            let mut server = PostgresServer::without_data(&program, "127.0.0.1", free_port());
            server.is_shared = true;
            Arc::new(server.with_users("trust", "-c max_connections=1000 -c fsync=off"))
        });
        Arc::clone(&SHARED)
    }

    /// Starts a server.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(program: &Path) -> Self {
        Self::start_at(program, "127.0.0.1", "")
    }

    /// Starts a server at this address of this machine, with settings such as `-c max_connections=10`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_at(program: &Path, host: &'static str, settings: &str) -> Self {
        Self::without_data(program, host, free_port()).with_users("scram-sha-256", settings)
    }

    /// Starts a server with all its files but its messages on this disk.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start_on(program: &Path, disk: &Disk) -> Self {
        let server = Self::without_data(program, "127.0.0.1", free_port());
        symlink(disk.path(), server.path("data")).unwrap();
        server.with_users("scram-sha-256", "")
    }

    fn without_data(program: &Path, host: &'static str, port: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        chown(folder.path(), postgres_user(), None).unwrap();
        let programs = program.parent().unwrap().to_owned();
        let (settings, process) = Default::default();
        Self { host, port, programs, folder, is_shared: false, settings, process }
    }

    /// Makes the data, starts the server and adds the users.
    fn with_users(self, authentication: &str, settings: &str) -> Self {
        let password = self.path("password");
        fs::write(&password, PASSWORD).unwrap();
        chown(&password, postgres_user(), None).unwrap();
        let authentication = format!("--auth={authentication}");
        self.run(
            "initdb",
            &["--username=postgres", &authentication, "--no-sync", "--pwfile=password", "--pgdata=data"],
        );
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
        let standby = Self::without_data(&self.programs.join("postgres"), host, self.port);
        let source = self.address("application_name=standby");
        standby.run("pg_basebackup", &["--pgdata=data", "-R", "--checkpoint=fast", "--dbname", &source]);
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
        let mut command = self.command(Path::new("sh"));
        command.args(["-c", SUPERVISE, "sh"]).arg(self.programs.join("postgres")).args(["-D", "data"]);
        command.args(["-p", &self.port.to_string(), "-c", "unix_socket_directories="]);
        command.arg("-c").arg(format!("listen_addresses={}", self.host));
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
        let id = fs::read_to_string(self.path("data/postmaster.pid")).ok()?.lines().next()?.parse().ok()?;
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
        format!("host={} port={} user=postgres password={PASSWORD} {parameters}", self.host, self.port)
    }

    /// A client as `postgres`. It reads statements from stdin and stops at the first error.
    pub(crate) fn psql(&self, database: &str) -> Command {
        let mut psql = Command::new(self.programs.join("psql"));
        let [column, row] = SEPARATORS.map(String::from);
        psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]);
        psql.args(["--field-separator", &column, "--record-separator", &row]);
        psql.arg(self.address(&format!("dbname={database} connect_timeout=2 sslmode=prefer")));
        psql.env("PGOPTIONS", "-c client_min_messages=warning").stdin(Stdio::piped());
        psql.stdout(Stdio::piped()).stderr(Stdio::piped());
        psql
    }

    /// Runs statements. Returns the number of rows that the last one changed.
    ///
    /// # Panics
    /// If one fails.
    pub fn execute(&self, database: &str, statements: &str) -> usize {
        let output = self.run_psql(&mut self.psql(database), statements).unwrap();
        output.lines().last().and_then(|tag| tag.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    /// The rows of a query, as text.
    ///
    /// # Panics
    /// If it fails.
    pub fn query(&self, database: &str, query: &str) -> Vec<Vec<String>> {
        self.try_query(database, query).unwrap()
    }

    /// The same. Fails if the query does.
    ///
    /// # Errors
    /// The reason, and the server's log.
    pub fn try_query(&self, database: &str, query: &str) -> Result<Vec<Vec<String>>, String> {
        let output = self.run_psql(self.psql(database).arg("--quiet"), query)?;
        let [column, row] = SEPARATORS;
        let rows = output.trim_end_matches('\n').split_terminator(row);
        Ok(rows.map(|row| row.split(column).map(str::to_owned).collect()).collect())
    }

    fn run_psql(&self, psql: &mut Command, statements: &str) -> Result<String, String> {
        let mut process = psql.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let statements = statements.to_owned();
        // psql may end before it has read everything.
        let writer = thread::spawn(move || drop(stdin.write_all(statements.as_bytes())));
        let output = process.wait_with_output().unwrap();
        writer.join().unwrap();
        if !output.status.success() {
            return Err(format!("{}\n{}", String::from_utf8_lossy(&output.stderr), self.log()));
        }
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs one of PostgreSQL's programs to its end.
    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = self.command(&self.programs.join(program));
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A command in the server's folder, as a user that may run it.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some(user) = postgres_user() {
            command.uid(user).gid(user);
        }
        command.current_dir(self.folder.path());
        command
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
            let _ = self.server.run_psql(&mut self.server.psql("postgres"), &drop);
        }
    }
}

fn free_port() -> u16 {
    free_address().rsplit(':').next().unwrap().parse().unwrap()
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
