//! Real PostgreSQL servers.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use tempfile::TempDir;

use crate::{free_address, tools};

/// The password of the user `postgres`.
pub const PASSWORD: &str = "pa55-w0rd";

/// Where Debian has a folder for each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// PostgreSQL refuses to run as root, and runs as nobody then.
const NOBODY: u32 = 65534;

/// The program that starts and stops servers, if it is installed. Newer versions come first.
pub fn program() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut programs: Vec<_> =
        versions.map(|version| version.path().join("bin/pg_ctl").display().to_string()).collect();
    programs.sort_by(|one, other| other.cmp(one));
    tools::find("pg_ctl", "PG_CTL", &programs.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A server with the user `postgres`, that listens on one port of this machine. Stopped when dropped.
#[derive(Debug)]
pub struct PostgresServer {
    pub port: u16,
    program: PathBuf,
    folder: TempDir,
}

impl PostgresServer {
    /// Starts a server.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(program: &Path) -> Self {
        let port = free_address().rsplit(':').next().unwrap().parse().unwrap();
        let server = Self { port, program: program.to_owned(), folder: tempfile::tempdir().unwrap() };
        let password = server.path("password");
        fs::write(&password, PASSWORD).unwrap();
        for path in [server.folder.path(), &password] {
            chown(path, server.other_user(), None).unwrap();
        }
        let options =
            format!("--username=postgres --auth=scram-sha-256 --no-sync --pwfile={}", password.display());
        server.control(&["initdb", "--options", &options]);
        server.restart("");
        server
    }

    /// Starts it again with other settings, such as `-c max_connections=10`.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&self, settings: &str) {
        let settings = format!(
            "-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off {settings}",
            self.port
        );
        let log = self.path("log");
        self.control(&["restart", "--wait", "--log", log.to_str().unwrap(), "--options", &settings]);
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
        chown(key, self.other_user(), None).unwrap();
        self.restart(&format!("-c ssl=on -c ssl_cert_file={certificate} -c ssl_key_file={key}"));
        fs::read_to_string(ca).unwrap()
    }

    /// A connection string, with more parameters.
    pub fn address(&self, parameters: &str) -> String {
        format!("host=127.0.0.1 port={} user=postgres password={PASSWORD} {parameters}", self.port)
    }

    fn control(&self, arguments: &[&str]) {
        let ended = self.run(arguments);
        assert!(ended.success(), "{arguments:?}: {}", fs::read_to_string(self.path("errors")).unwrap());
    }

    fn run(&self, arguments: &[&str]) -> ExitStatus {
        let mut command = match self.other_user() {
            None => Command::new(&self.program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={user}"), "--clear-groups", "--"]).arg(&self.program);
                command
            }
        };
        // The server, which stays, must not hold a pipe.
        let errors = File::create(self.path("errors")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        command.args(arguments).args(["--silent", "--pgdata"]).arg(self.path("data"));
        command.current_dir(self.folder.path()).status().unwrap()
    }

    fn other_user(&self) -> Option<u32> {
        let user = fs::metadata("/proc/self").unwrap().uid();
        (user == 0).then_some(NOBODY)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.run(&["stop", "--mode", "immediate"]);
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}
