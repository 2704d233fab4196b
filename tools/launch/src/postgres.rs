//! A PostgreSQL server on this machine, with a database for each service.

use std::{
    env,
    fs::{self, OpenOptions, Permissions},
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::group::Group;

/// The user to run PostgreSQL as instead of root, which it refuses.
const NOBODY: u32 = 65_534;

/// Where Debian has a folder for each version.
const DEBIAN: &str = "/usr/lib/postgresql";

const START_TIME: Duration = Duration::from_secs(30);

/// A running server with a role and a database for each service. Killed when dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    password: String,
    _group: Option<Group>,
}

impl Postgres {
    /// Starts a server with its data in this folder, which exists. The first time it makes the data; roles and databases
    /// with the names of these services are made as far as they are missing. All roles have the password.
    pub fn start(programs: PathBuf, folder: PathBuf, password: &str, services: [&str; 2]) -> Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { programs, folder, port, password: password.to_owned(), _group: None };
        server.own(&server.folder)?;
        if !server.folder.join("cluster/PG_VERSION").exists() {
            server.init()?;
        }
        server._group = Some(server.serve()?);
        for service in services {
            server.add_database(service)?;
        }
        Ok(server)
    }

    /// The variables with which a service finds its database.
    pub fn variables(&self, service: &str) -> Vec<(String, String)> {
        let name = |setting: &str| format!("SPIN_VARIABLE_{service}_DATABASE_{setting}").to_ascii_uppercase();
        vec![
            (name("host"), Ipv4Addr::LOCALHOST.to_string()),
            (name("port"), self.port.to_string()),
            (name("password"), self.password.clone()),
            (name("tls"), "disable".to_owned()),
        ]
    }

    /// The address of a service's database: a URL with user and password, and what it may be allowed as.
    pub fn url(&self, service: &str) -> (String, String) {
        let host = format!("127.0.0.1:{}", self.port);
        let url = format!("postgres://{service}:{}@{host}/{service}?sslmode=disable", self.password);
        (url, format!("postgres://{host}"))
    }

    /// Runs a script in a service's database as its owner, and returns what psql prints.
    pub fn run(&self, service: &str, script: &str) -> Result<String> {
        self.psql(service, service, script)
    }

    fn init(&self) -> Result<()> {
        let path = self.folder.join("password");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(self.password.as_bytes())?;
        self.own(&path)?;
        let mut init = self.program("initdb");
        init.args(["--username=postgres", "--auth=scram-sha-256", "--pwfile=password"]);
        let output = init.args(["--encoding=UTF8", "--pgdata=cluster"]).stdin(Stdio::null()).output()?;
        fs::remove_file(path)?;
        ensure!(output.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn serve(&self) -> Result<Group> {
        let log = || OpenOptions::new().create(true).append(true).mode(0o600).open(self.folder.join("log"));
        let port = format!("port={}", self.port);
        let mut command = self.program("postgres");
        command.args(["-D", "cluster", "-c", &port, "-c", "listen_addresses=127.0.0.1"]);
        // Two pools of at most 64 connections.
        command.args(["-c", "unix_socket_directories=", "-c", "max_connections=150"]);
        command.stdin(Stdio::null()).stdout(log()?).stderr(log()?);
        let mut group = Group::spawn(&mut command)?;
        let started = Instant::now();
        while self.psql("postgres", "postgres", "SELECT 1").is_err() {
            let ended = group.child.try_wait()?.is_some();
            if ended || started.elapsed() > START_TIME {
                let log = fs::read_to_string(self.folder.join("log"))?;
                let lines: Vec<_> = log.lines().collect();
                bail!("PostgreSQL does not start:\n{}", lines[lines.len().saturating_sub(10)..].join("\n"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(group)
    }

    fn add_database(&self, service: &str) -> Result<()> {
        let psql = |statement: &str| self.psql("postgres", "postgres", statement);
        let has = |table: &str, column: &str| {
            let found = psql(&format!("SELECT 1 FROM {table} WHERE {column} = '{service}'"))?;
            Ok::<_, anyhow::Error>(!found.is_empty())
        };
        let role = if has("pg_roles", "rolname")? { "ALTER" } else { "CREATE" };
        psql(&format!("{role} ROLE {service} LOGIN PASSWORD '{}'", self.password))?;
        if !has("pg_database", "datname")? {
            psql(&format!("CREATE DATABASE {service} OWNER {service}"))?;
        }
        Ok(())
    }

    fn psql(&self, user: &str, database: &str, script: &str) -> Result<String> {
        let mut psql = self.program("psql");
        psql.env("PGPASSWORD", &self.password).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", user, "-d", database, "-qAt", "-v", "ON_ERROR_STOP=1"]);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("psql has no stdin")?;
        let script = script.to_owned();
        // psql may print, or fail, before it has read everything.
        let writer = thread::spawn(move || stdin.write_all(script.as_bytes()));
        let output = child.wait_with_output()?;
        let _ = writer.join();
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// One of PostgreSQL's programs, run in the server's folder by the user who may.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.folder);
        if let Some(user) = postgres_user() {
            command.uid(user).gid(user);
        }
        command
    }

    /// Gives a file or folder to the user of the server, who must also be able to reach it.
    fn own(&self, path: &Path) -> Result<()> {
        if let Some(user) = postgres_user() {
            chown(path, Some(user), Some(user))?;
            let parent = path.parent().context("the data is in a folder")?;
            let mode = fs::metadata(parent)?.permissions().mode();
            fs::set_permissions(parent, Permissions::from_mode(mode | 0o011))?;
        }
        Ok(())
    }
}

/// The user to run PostgreSQL as, if not the current one.
pub fn postgres_user() -> Option<u32> {
    Uid::effective().is_root().then_some(NOBODY)
}

/// The folder of PostgreSQL's programs: that of the `postgres` which `POSTGRES` or PATH names, else Debian's newest.
pub fn postgres_programs() -> Result<PathBuf> {
    let paths = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&paths).map(|folder| folder.join("postgres")).find(|file| file.exists());
    let debian = || {
        let versions = fs::read_dir(DEBIAN).ok()?.flatten();
        versions.map(|version| version.path().join("bin/postgres")).filter(|file| file.exists()).max()
    };
    let postgres = env::var_os("POSTGRES").map(PathBuf::from).or(on_path).or_else(debian);
    let postgres = postgres.context(
        "there is no PostgreSQL: install it (Debian's package postgresql), or set POSTGRES to the path of its program \
         postgres",
    )?;
    let postgres = postgres.canonicalize().with_context(|| format!("there is no {}", postgres.display()))?;
    Ok(postgres.parent().context("a program is in a folder")?.to_owned())
}
