//! A running server.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Result, bail};

use crate::group::Group;

/// How long a server may take to start; the very first start compiles the components.
const START_TIME: Duration = Duration::from_secs(120);

/// A host, or another server that prints `Serving URL` to stdout once it listens. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// Its base URL.
    pub url: String,
    /// Its processes.
    pub group: Group,
    log: Log,
}

impl Server {
    /// Runs a command and waits until it serves; if it does not, fails with its output. Each line of its stdout goes to
    /// `on_line`, until it ends. Its stderr goes where the command sends it; if that is a pipe, to the log.
    pub fn start(command: &mut Command, on_line: impl FnMut(&str) + Send + 'static) -> Result<Self> {
        Self::start_within(START_TIME, command, on_line)
    }

    fn start_within(
        limit: Duration,
        command: &mut Command,
        mut on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self> {
        let mut group = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
        let log = Log::default();
        let (sender, url) = mpsc::channel();
        let (out, err) = (log.clone(), log.clone());
        let stdout = read_lines(group.child.stdout.take(), move |line| {
            out.push(line);
            if let Some(url) = line.trim().strip_prefix("Serving ") {
                let _ = sender.send(url.to_owned());
            }
            on_line(line);
        });
        let stderr = read_lines(group.child.stderr.take(), move |line| err.push(line));
        let reason = match url.recv_timeout(limit) {
            Ok(url) => return Ok(Self { url, group, log }),
            Err(reason) => reason,
        };
        let status = group.kill()?;
        let _ = (stdout.join(), stderr.join());
        match reason {
            RecvTimeoutError::Disconnected => bail!("the server did not start ({status})\n{}", log.text()),
            RecvTimeoutError::Timeout => bail!("the server did not start within {limit:?}\n{}", log.text()),
        }
    }

    /// Its stdout so far, and its stderr if the command pipes that.
    pub fn log(&self) -> String {
        self.log.text()
    }
}

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn push(&self, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(line);
    }

    fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads a stream to its end on a thread of its own.
fn read_lines(
    stream: Option<impl Read + Send + 'static>,
    mut on_line: impl FnMut(&str) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let Some(stream) = stream else { return };
        let (mut stream, mut line) = (BufReader::new(stream), Vec::new());
        while stream.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            on_line(&String::from_utf8_lossy(&line));
            line.clear();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::piped());
        command
    }

    #[test]
    fn a_server_is_killed_on_drop_with_everything_it_started() {
        let (lines, output) = mpsc::channel();
        let on_line = move |line: &str| lines.send(line.to_owned()).unwrap();
        let mut command = shell("sleep 600 & echo Serving http://127.0.0.1:1; echo and more; wait");
        let server = Server::start(&mut command, on_line).unwrap();
        assert_eq!(server.url, "http://127.0.0.1:1");
        let line = || output.recv_timeout(Duration::from_secs(60));
        assert_eq!(
            (line().unwrap(), line().unwrap()),
            ("Serving http://127.0.0.1:1\n".into(), "and more\n".into())
        );
        drop(server);
        // `sleep` holds stdout open, so its end is the end of `sleep`.
        assert_eq!(line(), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_child_that_ends_before_it_serves_fails_with_its_output() {
        let error =
            Server::start(&mut shell("echo one; echo two >&2; exit 3"), |_| {}).unwrap_err().to_string();
        for said in ["exit status: 3", "one\n", "two\n"] {
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_child_that_never_serves_times_out() {
        let limit = Duration::from_millis(500);
        let error = Server::start_within(limit, &mut shell("echo one; sleep 600"), |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "the server did not start within 500ms\none\n");
    }
}
