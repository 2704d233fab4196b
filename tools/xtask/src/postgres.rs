//! The server of `cargo xtask up --database postgres`: an installed PostgreSQL, with its data in `data/postgres`.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use launch::{Group, workspace};
use nix::unistd::Uid;

use crate::process::{output, run, step};

/// PostgreSQL refuses to run as root, and runs as nobody then.
const NOBODY: u32 = 65_534;

/// Where Debian has a folder for each version.
const DEBIAN: &str = "/usr/lib/postgresql";

const START_TIME: Duration = Duration::from_secs(30);

/// A running server with a role and a database for each service. Killed when dropped.
pub(crate) struct LocalServer {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    password: String,
    group: Option<Group>,
}

impl LocalServer {
    /// Starts the server; makes its data folder, and roles and databases with these names, unless they are there.
    pub(crate) fn start(services: [&str; 2]) -> Result<Self> {
        let programs = programs()?;
        step(&format!("starting PostgreSQL ({}) in data/postgres", programs.display()));
        let folder = workspace().join("data/postgres");
        DirBuilder::new().recursive(true).mode(0o711).create(workspace().join("data"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { programs, folder, port, password: String::new(), group: None };
        server.own(&server.folder)?;
        server.password = server.password()?;
        if !server.folder.join("cluster/PG_VERSION").exists() {
            run(server.program("initdb").args(["--username=postgres", "--auth=scram-sha-256"]).args([
                "--pwfile=password",
                "--encoding=UTF8",
                "--pgdata=cluster",
            ]))?;
        }
        server.serve()?;
        for service in services {
            server.add_database(service)?;
        }
        Ok(server)
    }

    /// The variables with which a service finds its database.
    pub(crate) fn variables(&self, service: &str) -> Vec<(String, String)> {
        let name = |setting: &str| format!("SPIN_VARIABLE_{service}_DATABASE_{setting}").to_ascii_uppercase();
        vec![
            (name("host"), Ipv4Addr::LOCALHOST.to_string()),
            (name("port"), self.port.to_string()),
            (name("password"), self.password.clone()),
            (name("tls"), "disable".to_owned()),
        ]
    }

    fn serve(&mut self) -> Result<()> {
        let log = || OpenOptions::new().create(true).append(true).mode(0o600).open(self.folder.join("log"));
        let port = format!("port={}", self.port);
        let mut command = self.program("postgres");
        command.args(["-D", "cluster", "-c", &port, "-c", "listen_addresses=127.0.0.1"]);
        // Two pools of at most 64 connections.
        command.args(["-c", "unix_socket_directories=", "-c", "max_connections=150"]);
        command.stdin(Stdio::null()).stdout(log()?).stderr(log()?);
        let mut group = Group::spawn(&mut command)?;
        let started = Instant::now();
        while self.psql("SELECT 1").is_err() {
            let ended = group.child.try_wait()?.is_some();
            if ended || started.elapsed() > START_TIME {
                let log = fs::read_to_string(self.folder.join("log"))?;
                let lines: Vec<_> = log.lines().collect();
                bail!("PostgreSQL does not start:\n{}", lines[lines.len().saturating_sub(10)..].join("\n"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        self.group = Some(group);
        Ok(())
    }

    fn add_database(&self, service: &str) -> Result<()> {
        let has = |table: &str, column: &str| {
            let found = self.psql(&format!("SELECT 1 FROM {table} WHERE {column} = '{service}'"))?;
            Ok::<_, anyhow::Error>(!found.is_empty())
        };
        let role = if has("pg_roles", "rolname")? { "ALTER" } else { "CREATE" };
        self.psql(&format!("{role} ROLE {service} LOGIN PASSWORD '{}'", self.password))?;
        if !has("pg_database", "datname")? {
            self.psql(&format!("CREATE DATABASE {service} OWNER {service}"))?;
        }
        Ok(())
    }

    /// Runs a statement as `postgres`, and returns what psql prints.
    fn psql(&self, statement: &str) -> Result<String> {
        let mut psql = self.program("psql");
        psql.env("PGPASSWORD", &self.password).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        psql.args(["-U", "postgres", "-d", "postgres", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", statement]);
        output(psql.stderr(Stdio::null())).context("psql failed")
    }

    /// The password of all roles: a random one, kept beside the data.
    fn password(&self) -> Result<String> {
        let path = self.folder.join("password");
        if !path.exists() {
            let mut random = [0; 16];
            getrandom::fill(&mut random)?;
            let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
            file.write_all(hex::encode(random).as_bytes())?;
            file.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
        }
        self.own(&path)?;
        let password = fs::read_to_string(&path)?;
        ensure!(!password.is_empty(), "{} is empty", path.display());
        Ok(password)
    }

    /// One of PostgreSQL's programs, run in the server's folder by the user who may.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.folder);
        if Uid::effective().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn own(&self, path: &Path) -> Result<()> {
        if Uid::effective().is_root() {
            chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }
}

/// The folder of PostgreSQL's programs: that of the `postgres` which `POSTGRES` or PATH names, else Debian's newest.
fn programs() -> Result<PathBuf> {
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
