//! Configures and starts an application.

use std::{
    env,
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    process::{self, Stdio},
    sync::{Arc, Once},
};

use launch::{Application, Host, Server, Signal, Wasi};
use tempfile::TempDir;

use crate::{
    ADMIN_TOKEN, SECRET, TestApp,
    database::{Database, Databases, databases},
    postgres::{PASSWORD, PostgresDatabases, PostgresServer},
};

/// An application's configuration.
#[derive(Clone)]
pub struct Setup {
    application: Application,
    components: Vec<&'static str>,
    host_arguments: Vec<&'static str>,
    variables: Vec<(String, String)>,
    address: String,
    log_is_full: bool,
    pub(crate) validates: bool,
    /// The databases on a PostgreSQL server, once created, and the server.
    pub(crate) postgres: Option<Arc<PostgresDatabases>>,
    server: Option<Arc<PostgresServer>>,
    databases: Databases,
}

impl Setup {
    #[expect(clippy::new_without_default, reason = "reads files and panics if that fails")]
    pub fn new() -> Self {
        Self::of_build(wasi(), databases())
    }

    /// Uses databases on this server, whichever kind is under test.
    pub fn on(server: &Arc<PostgresServer>) -> Self {
        Self { server: Some(Arc::clone(server)), ..Self::of_build(wasi(), Databases::Postgres) }
    }

    /// Uses this build of the components, and these databases, whichever are under test.
    pub fn of_build(wasi: Wasi, databases: Databases) -> Self {
        leave_nothing_running();
        let application = Application::read(wasi, databases.build()).unwrap();
        Self {
            application,
            components: Vec::new(),
            host_arguments: Vec::new(),
            variables: Vec::new(),
            address: "127.0.0.1:0".to_owned(),
            log_is_full: false,
            validates: true,
            postgres: None,
            server: None,
            databases,
        }
        .variable("credential_secret", SECRET)
        .variable("admin_token", ADMIN_TOKEN)
    }

    /// Sets an application variable. The last value counts.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((variable(name), value.to_owned()));
        self
    }

    /// Starts only this component and others that are added the same way.
    pub fn component(mut self, id: &'static str) -> Self {
        self.components.push(id);
        self
    }

    /// Adds an argument for the host.
    pub fn host_argument(mut self, argument: &'static str) -> Self {
        self.host_arguments.push(argument);
        self
    }

    /// Replaces text in the manifest.
    pub fn edit_manifest(mut self, from: &str, to: &str) -> Self {
        self.application.edit_manifest(from, to).unwrap();
        self
    }

    /// Uses the databases of another running application.
    pub fn databases_of(mut self, other: &TestApp) -> Self {
        match other.postgres() {
            Some(postgres) => self.postgres = Some(postgres),
            None => self.application.set_data_folder(&other.data_folder()),
        }
        self
    }

    /// Listens at this address, even after a restart, instead of on a free port.
    pub fn listen(self, address: &str) -> Self {
        Self { address: address.to_owned(), ..self }
    }

    /// Sends the log to a file on which every write fails, as on a full disk.
    pub fn with_full_log(self) -> Self {
        Self { log_is_full: true, ..self }
    }

    /// Skips the slow validation of responses against `openapi.yaml`.
    pub fn without_validation(self) -> Self {
        Self { validates: false, ..self }
    }

    pub async fn start(self) -> TestApp {
        self.start_in(tempfile::tempdir().unwrap()).await
    }

    /// Starts with databases that `fill` has worked on; for PostgreSQL they are empty before. It gets each service's.
    pub async fn start_with_databases(mut self, fill: impl Fn(&str, Database)) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let postgres = (self.databases == Databases::Postgres).then(|| self.create_databases());
        for service in ["issuance", "verification"] {
            let database = match &postgres {
                Some(databases) => Database::postgres(Arc::clone(databases), service),
                None => Database::file(&data.join(format!("{service}.db"))),
            };
            fill(service, database);
        }
        self.start_in(folder).await
    }

    /// Starts with the files that `fill` puts into the folder of the databases.
    pub async fn start_with_files(self, fill: impl FnOnce(&Path)) -> TestApp {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fill(&data);
        self.start_in(folder).await
    }

    async fn start_in(mut self, folder: TempDir) -> TestApp {
        self.application.write(folder.path()).unwrap();
        if self.databases == Databases::Postgres {
            self = self.with_server();
        }
        self.start_from(folder).await
    }

    /// The databases on the PostgreSQL server, which are created if there are none.
    fn create_databases(&mut self) -> Arc<PostgresDatabases> {
        let server = self.server.get_or_insert_with(PostgresServer::shared);
        let create = || Arc::new(PostgresDatabases::create(Arc::clone(server)));
        Arc::clone(self.postgres.get_or_insert_with(create))
    }

    /// Has the components use a PostgreSQL server. Variables that are already set stay as they are.
    pub fn with_server(mut self) -> Self {
        let databases = self.create_databases();
        let mut variables = Vec::new();
        for service in ["issuance", "verification"] {
            for (setting, value) in [
                ("host", databases.server.cluster.host.to_owned()),
                ("port", databases.server.cluster.port.to_string()),
                ("name", databases.name(service)),
                ("password", PASSWORD.to_owned()),
                ("tls", "disable".to_owned()),
            ] {
                variables.push((variable(&format!("{service}_database_{setting}")), value));
            }
        }
        variables.append(&mut self.variables);
        Self { variables, ..self }
    }

    /// Starts with the manifest and runtime config that this folder already has.
    pub async fn start_from(self, folder: TempDir) -> TestApp {
        TestApp::start(folder, self).await
    }

    /// Starts a host on the files in this folder.
    pub(crate) fn serve(&self, folder: &Path) -> Server {
        let host = if on_spin() { Host::Spin } else { Host::Embedded("debug") };
        let mut command = host.command(folder, Path::new("spin.toml"), &self.address).unwrap();
        command
            .args(self.components.iter().flat_map(|id| ["--component-id", id]))
            .args(&self.host_arguments)
            .envs(self.variables.clone())
            .stderr(Stdio::piped());
        if self.log_is_full && on_spin() {
            // Spin needs its own stderr, but also writes the components' logs to files.
            fs::create_dir_all(folder.join(".spin/logs")).unwrap();
            for component in ["issuance", "verification", "web"] {
                let log = folder.join(format!(".spin/logs/{component}_stderr.txt"));
                symlink("/dev/full", log).unwrap();
            }
        } else if self.log_is_full {
            command.stderr(File::create("/dev/full").unwrap());
        }
        Server::start(&mut command, |_| {}).unwrap()
    }
}

fn variable(name: &str) -> String {
    format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase())
}

/// Makes SIGINT, SIGTERM and SIGHUP end the tests together with their servers, which have process groups of their own.
fn leave_nothing_running() {
    static HANDLER: Once = Once::new();
    HANDLER.call_once(|| {
        let end = || {
            launch::signal_all(Signal::SIGKILL);
            process::exit(130);
        };
        ctrlc::set_handler(end).unwrap();
    });
}

/// Whether the tests run on Spin (`E2E_HOST=spin`) rather than on the embedded host.
pub fn on_spin() -> bool {
    env::var("E2E_HOST").is_ok_and(|host| host == "spin")
}

/// The build of the components under test: for WASI 0.3, or as `E2E_WASI` says.
pub fn wasi() -> Wasi {
    env::var("E2E_WASI").map_or(Wasi::V0_3, |version| version.parse().unwrap())
}
