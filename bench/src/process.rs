//! Ending on a signal, and what a process has used.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use anyhow::{Result, bail, ensure};
use launch::Signal;
use serde::{Deserialize, Serialize};

/// From now on SIGINT, SIGTERM and SIGHUP kill everything that was started, and [`check_interrupt`] fails. A second one
/// ends this process at once.
pub(crate) fn end_on_signals() -> Result<()> {
    ctrlc::set_handler(|| {
        let again = launch::ending();
        launch::signal_all(Signal::SIGKILL);
        if again {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Fails once a signal has come.
pub(crate) fn check_interrupt() -> Result<()> {
    ensure!(!launch::ending(), "interrupted");
    Ok(())
}

/// What a process and its descendants have used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// User and system time, that of descendants that have ended included.
    pub(crate) cpu: Duration,
    /// Resident memory in bytes; what processes share is counted for each.
    pub(crate) resident: u64,
}

impl Usage {
    /// # Errors
    /// There is no such process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        let mut stats = HashMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // It may have ended meanwhile.
            let Some(stat) = Stat::read(Path::new("/proc"), pid) else { continue };
            children.entry(stat.parent).or_default().push(pid);
            stats.insert(pid, stat);
        }
        if !stats.contains_key(&pid) {
            bail!("there is no process {pid}");
        }
        let mut usage = Self::default();
        let mut tree = vec![pid];
        while let Some(pid) = tree.pop() {
            tree.extend(children.remove(&pid).unwrap_or_default());
            if let Some(stat) = stats.get(&pid) {
                usage.cpu += stat.cpu;
                usage.resident += stat.resident;
            }
        }
        Ok(usage)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    cpu: Duration,
    resident: u64,
}

impl Stat {
    fn read(proc: &Path, pid: u32) -> Option<Self> {
        let folder = proc.join(pid.to_string());
        let resident = fs::read_to_string(folder.join("status")).ok()?;
        Self::parse(&fs::read_to_string(folder.join("stat")).ok()?, &resident)
    }

    /// Reads `stat` and `status` of proc(5).
    fn parse(stat: &str, status: &str) -> Option<Self> {
        /// The kernel reports times in units of 1/100 s, whatever its own ticks.
        const TICK: Duration = Duration::from_millis(10);

        // The name, in parentheses, may itself have spaces and parentheses.
        let (_, after_name) = stat.rsplit_once(") ")?;
        let fields: Vec<_> = after_name.split(' ').collect();
        // Of proc(5)'s fields: 4 is the parent, 14 and 15 the process's own time, 16 and 17 that of children it waited for.
        let ticks: u32 = fields.get(11..15)?.iter().map(|field| field.parse().unwrap_or(0)).sum();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            cpu: TICK * ticks,
            resident: kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn times_and_memory_are_read_whatever_the_name_of_the_program() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 4194304 0 0 0 0 150 25 20 5 20 0 3 0 100 0 0";
        let status = "Name:\ta (b) c\nVmHWM:\t  9000 kB\nVmRSS:\t  2048 kB\n";
        let expected = Stat { parent: 7, cpu: Duration::from_millis(2000), resident: 2 << 20 };
        assert_eq!(Stat::parse(stat, status), Some(expected));
        assert_eq!(Stat::parse(stat, "Name:\tkthreadd\n").unwrap().resident, 0);
        assert_eq!(Stat::parse("", status), None);
    }

    #[test]
    fn a_process_is_counted_together_with_its_children() {
        let mut child = Command::new("sleep").arg("10").spawn().unwrap();
        let (own, of_child) = (Usage::of(std::process::id()).unwrap(), Usage::of(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own.resident > of_child.resident && of_child.resident > 0);
        assert!(Usage::of(child.id()).is_err());
    }
}
