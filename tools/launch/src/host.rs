//! The hosts and their command lines.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Context, Error, Result, ensure};

use crate::{paths::program, wasi::Wasi};

/// What serves the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The `spin` on PATH.
    Spin,
    /// The embedded host, as built under this Cargo profile (`debug`, `release`).
    Embedded(&'static str),
}

impl Host {
    /// The name of the embedded host, as a Cargo package and as a program.
    pub const EMBEDDED: &str = "kube-credentials-host";

    /// The command that serves the application in a folder; more arguments and variables may be added to it. The manifest
    /// is relative to that folder. Fails if the embedded host has not been built.
    pub fn command(self, folder: &Path, manifest: &Path, listen: &str) -> Result<Command> {
        let mut command = match self {
            Self::Spin => Command::new("spin"),
            Self::Embedded(profile) => Command::new(program(profile, Self::EMBEDDED)?),
        };
        if self == Self::Spin {
            command.args(["up", "--state-dir", ".spin"]);
        }
        command.current_dir(folder).arg("--from").arg(manifest).args(["--listen", listen]);
        // An application without databases has no runtime config.
        if folder.join("runtime-config.toml").exists() {
            command.args(["--runtime-config-file", "runtime-config.toml"]);
        }
        Ok(command)
    }
}

/// The major and minor version of a Spin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpinVersion(u32, u32);

impl SpinVersion {
    /// The oldest Spin that runs a build of the components.
    const fn oldest(wasi: Wasi) -> Self {
        match wasi {
            Wasi::V0_2 => Self(3, 0),
            Wasi::V0_3 => Self(4, 1),
        }
    }

    /// The version of the Spin on PATH; fails if there is none, or it runs no build of the components.
    pub fn on_path() -> Result<Self> {
        Self::of(Path::new("spin"), "there is no Spin on PATH")
    }

    /// The version of the Spin that runs this process as a build command, whether or not it is on PATH; if none does,
    /// that of the one on PATH.
    pub fn of_build() -> Result<Self> {
        calling_spin().map_or_else(Self::on_path, |spin| Self::of(&spin, "the calling Spin cannot be run"))
    }

    fn of(spin: &Path, failure: &'static str) -> Result<Self> {
        let output = Command::new(spin).arg("--version").output();
        let output = output.context(failure)?;
        let version: Self = String::from_utf8_lossy(&output.stdout).parse()?;
        version.check(Wasi::V0_2)?;
        Ok(version)
    }

    /// The newest version of WASI that it runs.
    pub fn wasi(self) -> Wasi {
        if self >= Self::oldest(Wasi::V0_3) { Wasi::V0_3 } else { Wasi::V0_2 }
    }

    /// Fails if it is too old for a build of the components.
    pub fn check(self, wasi: Wasi) -> Result<()> {
        let oldest = Self::oldest(wasi);
        ensure!(self >= oldest, "Spin {self} is too old: WASI {wasi} needs {oldest} or newer");
        Ok(())
    }
}

/// The nearest ancestor of this process whose program is named `spin`. Linux only.
fn calling_spin() -> Option<PathBuf> {
    let mut process = "self".to_owned();
    loop {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        process = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().to_owned();
        let program = fs::read_link(format!("/proc/{process}/exe")).ok()?;
        if program.file_name() == Some("spin".as_ref()) {
            return Some(program);
        }
    }
}

impl FromStr for SpinVersion {
    type Err = Error;

    /// Reads what `spin --version` prints: `spin 4.1.0 (abcdef 2026-01-01)`.
    fn from_str(line: &str) -> Result<Self> {
        let version = || {
            let mut numbers = line.split_whitespace().nth(1)?.split('.').map(|number| number.parse().ok());
            Some(Self(numbers.next()??, numbers.next()??))
        };
        version().with_context(|| format!("spin --version printed {:?}", line.trim()))
    }
}

impl fmt::Display for SpinVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_spin_is_read_from_what_it_prints() {
        let read = |line: &str| line.parse::<SpinVersion>().ok();
        assert_eq!(read("spin 4.1.0 (1a2b3c 2026-08-01)\n"), Some(SpinVersion(4, 1)));
        assert_eq!(read("spin 4.2.0-pre0 (1a2b3c 2026-08-01)"), Some(SpinVersion(4, 2)));
        assert_eq!(read("spin"), None);
        assert_eq!(read("spin next"), None);
    }

    #[test]
    fn spin_runs_wasi_0_3_from_4_1_on_and_0_2_from_3_0_on() {
        for version in [SpinVersion(4, 1), SpinVersion(4, 10), SpinVersion(5, 0)] {
            assert_eq!(version.wasi(), Wasi::V0_3, "{version}");
            assert!(Wasi::ALL.into_iter().all(|wasi| version.check(wasi).is_ok()), "{version}");
        }
        for version in [SpinVersion(3, 0), SpinVersion(3, 6), SpinVersion(4, 0)] {
            assert_eq!(version.wasi(), Wasi::V0_2, "{version}");
            assert!(version.check(Wasi::V0_2).is_ok(), "{version}");
        }
        let refusal = SpinVersion(3, 6).check(Wasi::V0_3).unwrap_err();
        assert_eq!(refusal.to_string(), "Spin 3.6 is too old: WASI 0.3 needs 4.1 or newer");
        assert!(SpinVersion(2, 7).check(Wasi::V0_2).is_err());
    }
}
