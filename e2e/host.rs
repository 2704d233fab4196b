//! The host as a process.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How long a host may take to answer its first request; the very first start compiles the components.
pub(crate) const START_TIME: Duration = Duration::from_secs(120);

/// A running host. Killed when dropped.
pub(crate) struct Host {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Host {
    /// Starts the host and waits for the line that says where it serves.
    pub(crate) fn spawn(command: &mut Command) -> (Self, String) {
        // In a process group of its own, so that it can be killed together with what it starts, as Spin does.
        let spawned = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = collect(child.stderr.take().unwrap(), Arc::clone(&log));

        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(url) = line.trim_start().strip_prefix("Serving ") {
                    let _ = sender.send(url.trim().to_owned());
                }
            }
        });
        match receiver.recv_timeout(START_TIME) {
            Ok(base_url) => (Self { child, log }, base_url),
            Err(_) => {
                let _ = child.kill();
                stderr.join().unwrap();
                panic!("the host did not start:\n{}", log.lock().unwrap());
            }
        }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn kill(&mut self) {
        let _ = killpg(self.group(), Signal::SIGKILL);
        let _ = self.child.wait();
    }

    pub(crate) fn wait_for_exit(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Collects the lines of a stream, on a thread of its own.
fn collect(stream: impl Read + Send + 'static, into: Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = into.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    })
}

/// The tests are `<target>/debug/deps/e2e-…`: the host is two folders up, the components beside it.
fn target_folder() -> PathBuf {
    env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

pub(crate) fn wasm_target_folder() -> PathBuf {
    let folder = target_folder();
    for component in ["issuance", "verification", "web"] {
        let wasm = folder.join(format!("wasm32-wasip2/release/{component}.wasm"));
        assert!(wasm.exists(), "{} is missing: run the tests with cargo xtask test", wasm.display());
    }
    folder
}

pub(crate) fn program() -> PathBuf {
    let program = env::current_exe().unwrap().ancestors().nth(2).unwrap().join("kube-credentials-host");
    assert!(program.exists(), "{} is missing: run the tests with cargo xtask test", program.display());
    program
}
