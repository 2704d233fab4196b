//! PostgreSQL's programs, and the files and the address of a server.

use std::{
    env,
    fs::{self, OpenOptions, Permissions},
    io::Write,
    net::TcpListener,
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;

/// The user to run PostgreSQL as instead of root, which it refuses.
const NOBODY: u32 = 65_534;

/// Where Debian has a folder for each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// What a server needs to run. All its roles have the same password.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The folder of the programs.
    pub programs: PathBuf,
    /// The data is in `cluster` there.
    pub folder: PathBuf,
    /// An address of this machine.
    pub host: &'static str,
    /// The port at this address.
    pub port: u16,
    /// The password.
    pub password: String,
}

impl Cluster {
    /// Files in this folder, which exists, and a free port. The user of the server gets the folder.
    pub fn new(programs: PathBuf, folder: PathBuf, host: &'static str, password: &str) -> Result<Self> {
        if let Some(user) = postgres_user() {
            chown(&folder, Some(user), Some(user))?;
            // Otherwise they could not reach it.
            let parent = folder.parent().context("the data is in a folder")?;
            let mode = fs::metadata(parent)?.permissions().mode();
            fs::set_permissions(parent, Permissions::from_mode(mode | 0o011))?;
        }
        let port = TcpListener::bind((host, 0))?.local_addr()?.port();
        Ok(Self { programs, folder, host, port, password: password.to_owned() })
    }

    /// Makes the data, with the superuser `postgres`.
    pub fn init(&self, options: &[&str]) -> Result<()> {
        let path = self.folder.join("password");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(self.password.as_bytes())?;
        chown(&path, postgres_user(), None)?;
        let mut init = self.program("initdb");
        init.args(["--username=postgres", "--encoding=UTF8", "--pwfile=password", "--pgdata=cluster"]);
        output(init.args(options), "")?;
        Ok(fs::remove_file(path)?)
    }

    /// The server, without its settings.
    pub fn server(&self) -> Command {
        let mut server = self.program("postgres");
        server.args(["-D", "cluster", "-p", &self.port.to_string(), "-c", "unix_socket_directories="]);
        server.arg("-c").arg(format!("listen_addresses={}", self.host));
        server
    }

    /// A client that reads statements from stdin, prints values only, and stops at the first error.
    pub fn psql(&self, user: &str, database: &str) -> Command {
        let mut psql = self.program("psql");
        psql.env("PGPASSWORD", &self.password).env("PGCONNECT_TIMEOUT", "2");
        psql.args(["-h", self.host, "-p", &self.port.to_string(), "-U", user, "-d", database]);
        psql.args(["--no-psqlrc", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]);
        psql
    }

    /// One of PostgreSQL's programs.
    pub fn program(&self, name: &str) -> Command {
        self.command(&self.programs.join(name))
    }

    /// A program that is run in the folder by the user of the server.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder);
        if let Some(user) = postgres_user() {
            command.uid(user).gid(user);
        }
        command
    }
}

/// What a program prints, given this input. Fails if the program does.
pub fn output(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("stdin is a pipe")?;
    let input = input.to_owned();
    // The program may print, or fail, before it has read everything.
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    let _ = writer.join();
    let program = command.get_program().display();
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
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
