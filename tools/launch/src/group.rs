//! Process groups that end with this process.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// How long the rest of a group may outlive its child after [`signal_all`], before it is killed.
const GRACE: Duration = Duration::from_secs(2);

struct Groups {
    running: Vec<Pid>,
    ending: bool,
}

static GROUPS: Mutex<Groups> = Mutex::new(Groups { running: Vec::new(), ending: false });

fn groups() -> MutexGuard<'static, Groups> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a signal to every running group; from now on none can be started. For signal handlers: a terminal or `kill`
/// reaches this process only.
///
/// Not SIGINT: a child ignores it if this process does, as in the background of a shell script.
pub fn signal_all(signal: Signal) {
    let mut groups = groups();
    groups.ending = true;
    for group in &groups.running {
        let _ = killpg(*group, signal);
    }
}

/// Whether [`signal_all`] was called.
pub fn ending() -> bool {
    groups().ending
}

/// A child in a process group of its own, with everything it starts. Killed when dropped.
#[derive(Debug)]
pub struct Group {
    /// The child.
    pub child: Child,
    id: Pid,
}

impl Group {
    /// Starts a child; fails if [`signal_all`] was called.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        // Locked until the group is in the list, so that `signal_all` misses none.
        let mut groups = groups();
        ensure!(!groups.ending, "interrupted");
        let child = command.process_group(0).spawn();
        let child = child
            .with_context(|| format!("cannot run {}; is it installed?", command.get_program().display()))?;
        let id = Pid::from_raw(i32::try_from(child.id())?);
        groups.running.push(id);
        Ok(Self { child, id })
    }

    /// Sends a signal to the whole group, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if groups().running.contains(&self.id) {
            let _ = killpg(self.id, signal);
        }
    }

    /// Waits for the child to end by itself, then kills what it left running.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()?;
        if ending() {
            let ended = Instant::now();
            while killpg(self.id, None).is_ok() && ended.elapsed() < GRACE {
                thread::sleep(Duration::from_millis(10));
            }
        }
        self.kill()
    }

    /// Kills the group, as a crash would, and waits for the child.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGKILL);
        groups().running.retain(|group| *group != self.id);
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
