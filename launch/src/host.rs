//! The hosts and their command lines.

use std::{fmt, path::Path, process::Command, str::FromStr};

use anyhow::{Context, Error, Result, ensure};

use crate::program;

/// What serves the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// The `spin` on PATH.
    Spin,
    /// The embedded host, as built under this Cargo profile (`debug`, `release`).
    Embedded(&'static str),
}

impl Host {
    /// The embedded host, as Cargo package and as program.
    pub const EMBEDDED: &str = "kube-credentials-host";

    /// The command that serves the application in a folder; more arguments and variables may be added to it. Fails if
    /// the embedded host has not been built.
    pub fn command(self, folder: &Path, listen: &str) -> Result<Command> {
        let mut command = match self {
            Self::Spin => Command::new("spin"),
            Self::Embedded(profile) => Command::new(program(profile, Self::EMBEDDED)?),
        };
        if self == Self::Spin {
            command.args(["up", "--state-dir", ".spin"]);
        }
        command
            .current_dir(folder)
            .args(["--from", "spin.toml", "--runtime-config-file", "runtime-config.toml"])
            .args(["--listen", listen]);
        Ok(command)
    }
}

/// The major and minor version of a Spin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpinVersion(u32, u32);

impl SpinVersion {
    /// The oldest Spin that runs WASI 0.3 components.
    const OLDEST: Self = Self(4, 1);

    /// The version of the Spin on PATH; fails if there is none, or it cannot run the components.
    pub fn on_path() -> Result<Self> {
        let output = Command::new("spin").arg("--version").output();
        let output = output.context("there is no Spin on PATH")?;
        String::from_utf8_lossy(&output.stdout).parse::<Self>()?.supported()
    }

    fn supported(self) -> Result<Self> {
        ensure!(self >= Self::OLDEST, "the Spin on PATH is {self}, and {} or newer is needed", Self::OLDEST);
        Ok(self)
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
    fn spin_is_supported_from_4_1_on() {
        for version in [SpinVersion(4, 1), SpinVersion(4, 10), SpinVersion(5, 0)] {
            assert!(version.supported().is_ok(), "{version}");
        }
        let refusal = SpinVersion(3, 6).supported().unwrap_err();
        assert_eq!(refusal.to_string(), "the Spin on PATH is 3.6, and 4.1 or newer is needed");
    }
}
