//! The CPU time and memory of processes.

use std::time::Duration;

use anyhow::{Context, Result};
use procfs::{
    WithCurrentSystemInfo,
    process::{Process, Stat, all_processes},
};

/// What a process and its descendants have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time, including that of descendants that have ended.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes; shared memory is counted for each process.
    pub(crate) resident: u64,
}

impl Usage {
    /// Fails if there is no such process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let root = Process::new(pid.try_into()?).and_then(|process| process.stat());
        let mut tree = vec![root.with_context(|| format!("there is no process {pid}"))?];
        let mut others: Vec<_> = all_processes()?.filter_map(|process| process.ok()?.stat().ok()).collect();
        let mut usage = Self::default();
        while let Some(process) = tree.pop() {
            tree.extend(others.extract_if(.., |other| other.ppid == process.pid));
            usage.cpu += cpu(&process);
            usage.resident += process.rss_bytes().get();
        }
        Ok(usage)
    }
}

/// The process's own time, and that of the children it has waited for.
fn cpu(stat: &Stat) -> Duration {
    let children = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
    Duration::from_secs(stat.utime + stat.stime + children).div_f64(procfs::ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };

    use super::*;

    #[test]
    fn a_process_is_counted_together_with_its_children() {
        // Just after `spawn` a child may not have any memory of its own yet: this one says when it runs.
        let mut child = Command::new("sh")
            .args(["-c", "echo; read _"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let (own, of_child) = (Usage::of(std::process::id()).unwrap(), Usage::of(child.id()).unwrap());
        assert!(of_child.resident > 0);
        assert!(own.resident > of_child.resident, "{own:?} {of_child:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Usage::of(child.id()).is_err());
    }
}
