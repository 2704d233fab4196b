//! A PostgreSQL server on this machine, with a database for each service.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use crate::{
    cluster::{Cluster, output},
    group::Group,
};

const START_TIME: Duration = Duration::from_secs(30);

/// How long it may take to stop before it is killed.
const STOP_TIME: Duration = Duration::from_secs(5);

/// A running server with a role and a database for each service. Stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    cluster: Cluster,
    server: Group,
}

impl Postgres {
    /// Starts a server with its data in this folder, which exists. The first time it makes the data; roles and databases
    /// with the names of these services are made as far as they are missing. All roles have the password.
    pub fn start(programs: PathBuf, folder: PathBuf, password: &str, services: [&str; 2]) -> Result<Self> {
        let cluster = Cluster::new(programs, folder, "127.0.0.1", password)?;
        if !cluster.folder.join("cluster/PG_VERSION").exists() {
            cluster.init(&["--auth=scram-sha-256"])?;
        }
        let server = Self { server: serve(&cluster)?, cluster };
        for service in services {
            server.add_database(service)?;
        }
        Ok(server)
    }

    /// The variables with which a service finds its database.
    pub fn variables(&self, service: &str) -> Vec<(String, String)> {
        let name = |setting: &str| format!("SPIN_VARIABLE_{service}_DATABASE_{setting}").to_ascii_uppercase();
        vec![
            (name("host"), self.cluster.host.to_owned()),
            (name("port"), self.cluster.port.to_string()),
            (name("password"), self.cluster.password.clone()),
            (name("tls"), "disable".to_owned()),
        ]
    }

    /// The id of the server's first process, the parent of the others.
    pub fn pid(&self) -> u32 {
        self.server.child.id()
    }

    /// The address of a service's database: a URL with user and password, and what it may be allowed as.
    pub fn url(&self, service: &str) -> (String, String) {
        let Cluster { host, port, password, .. } = &self.cluster;
        let url = format!("postgres://{service}:{password}@{host}:{port}/{service}?sslmode=disable");
        (url, format!("postgres://{host}:{port}"))
    }

    /// Runs a script in a service's database as its owner, and returns what psql prints.
    pub fn run(&self, service: &str, script: &str) -> Result<String> {
        run(&self.cluster, service, service, script)
    }

    fn add_database(&self, service: &str) -> Result<()> {
        let run = |statement: &str| run(&self.cluster, "postgres", "postgres", statement);
        let has = |table: &str, column: &str| {
            let found = run(&format!("SELECT 1 FROM {table} WHERE {column} = '{service}'"))?;
            Ok::<_, anyhow::Error>(!found.is_empty())
        };
        let role = if has("pg_roles", "rolname")? { "ALTER" } else { "CREATE" };
        run(&format!("{role} ROLE {service} LOGIN PASSWORD '{}'", self.cluster.password))?;
        if !has("pg_database", "datname")? {
            run(&format!("CREATE DATABASE {service} OWNER {service}"))?;
        }
        Ok(())
    }
}

impl Drop for Postgres {
    /// Otherwise the next start would have to recover, after processes that outlive a killed server for a moment.
    fn drop(&mut self) {
        // Does not wait for clients, which SIGTERM does.
        self.server.signal(Signal::SIGINT);
        let started = Instant::now();
        while matches!(self.server.child.try_wait(), Ok(None)) && started.elapsed() < STOP_TIME {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Starts the server and waits until it serves.
fn serve(cluster: &Cluster) -> Result<Group> {
    let path = cluster.folder.join("log");
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
    let earlier = log.metadata()?.len();
    let mut command = cluster.server();
    // Two pools of at most 64 connections.
    command.args(["-c", "max_connections=150"]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut group = Group::spawn(&mut command)?;
    let started = Instant::now();
    while run(cluster, "postgres", "postgres", "SELECT 1").is_err() {
        let ended = group.child.try_wait()?.is_some();
        if ended || started.elapsed() > START_TIME {
            let log = fs::read_to_string(&path)?.split_off(usize::try_from(earlier)?);
            let lines: Vec<_> = log.lines().collect();
            bail!("PostgreSQL does not start:\n{}", lines[lines.len().saturating_sub(10)..].join("\n"));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(group)
}

fn run(cluster: &Cluster, user: &str, database: &str, script: &str) -> Result<String> {
    Ok(output(cluster.psql(user, database).arg("--quiet"), script)?.trim().to_owned())
}
