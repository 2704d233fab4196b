//! What is measured: servers that the bench starts, each on databases of its own, and servers that are running already.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use anyhow::{Context, Error, Result, bail, ensure};
use http::Uri;
use launch::{Application, Host};

use crate::{database, load::SECRET, process::check_interrupt};

/// The file in a target's folder that has its standard error.
const LOG: &str = "log";

/// A server to be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The embedded host, with these arguments besides its own.
    Embedded(Vec<String>),
    /// The `spin` on PATH, with these arguments besides its own.
    Spin(Vec<String>),
    /// The native server.
    Baseline,
    /// One that is running already.
    Running(Running),
}

/// A server that is running already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) issuance: Uri,
    pub(crate) verification: Uri,
    /// Its process, where that is known.
    pub(crate) pid: Option<u32>,
}

impl Target {
    pub(crate) const EMBEDDED: &str = "embedded";
    pub(crate) const SPIN: &str = "spin";
    pub(crate) const BASELINE: &str = "baseline";

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Embedded(_) => Self::EMBEDDED,
            Self::Spin(_) => Self::SPIN,
            Self::Baseline => Self::BASELINE,
            Self::Running(running) => &running.name,
        }
    }
}

impl FromStr for Running {
    type Err = Error;

    /// Reads `NAME=ISSUANCE_URL,VERIFICATION_URL`.
    fn from_str(text: &str) -> Result<Self> {
        let parts = || {
            let (name, urls) = text.split_once('=')?;
            let (issuance, verification) = urls.split_once(',')?;
            (!name.is_empty()).then_some((name, issuance, verification))
        };
        let (name, issuance, verification) =
            parts().context("it must have the form NAME=ISSUANCE_URL,VERIFICATION_URL")?;
        ensure!(
            ![Target::EMBEDDED, Target::SPIN, Target::BASELINE].contains(&name),
            "{name} is the name of a target that the bench starts itself"
        );
        Ok(Self {
            name: name.to_owned(),
            issuance: url(issuance)?,
            verification: url(verification)?,
            pid: None,
        })
    }
}

fn url(text: &str) -> Result<Uri> {
    let url: Uri = text.trim_end_matches('/').parse().with_context(|| format!("{text} is no URL"))?;
    ensure!(
        url.scheme_str() == Some("http") && matches!(url.path(), "" | "/"),
        "{text} is not of the form http://HOST:PORT"
    );
    Ok(url)
}

/// The process of a target that is running already: `NAME=PID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetPid {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

impl FromStr for TargetPid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, pid) = text.split_once('=').context("it must have the form NAME=PID")?;
        Ok(Self {
            name: name.to_owned(),
            pid: pid.parse().with_context(|| format!("{pid} is no process id"))?,
        })
    }
}

/// A target while it serves.
pub(crate) struct Server {
    pub(crate) issuance: Uri,
    pub(crate) verification: Uri,
    pub(crate) pid: Option<u32>,
    /// What belongs to a server that the bench has started.
    own: Option<Own>,
}

struct Own {
    server: launch::Server,
    data: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Starts a target in a folder, on copies of the databases in another; or finds the one that is running.
    ///
    /// # Errors
    /// It does not start, with what it said.
    pub(crate) fn start(target: &Target, databases: &Path, folder: &Path) -> Result<Self> {
        if let Target::Running(running) = target {
            return Ok(Self {
                issuance: running.issuance.clone(),
                verification: running.verification.clone(),
                pid: running.pid,
                own: None,
            });
        }
        let data = folder.join("data");
        database::copy(databases, &data)?;
        let log = folder.join(LOG);
        let mut command = command(target, folder)?;
        command.env("SPIN_VARIABLE_CREDENTIAL_SECRET", SECRET).stderr(fs::File::create(&log)?);
        let server = launch::Server::start(&mut command, |_| {}).or_else(|error| {
            check_interrupt()?;
            bail!("{}: {error}{}", target.name(), last_lines(&fs::read_to_string(&log)?))
        })?;
        let url = url(&server.url)?;
        let pid = Some(server.group.child.id());
        Ok(Self { issuance: url.clone(), verification: url, pid, own: Some(Own { server, data, log }) })
    }

    /// The last of what a server that the bench has started said on its standard error.
    pub(crate) fn last_words(&self) -> Option<String> {
        fs::read_to_string(&self.own.as_ref()?.log).ok().map(|log| last_lines(&log))
    }

    /// Kills a server that the bench has started, without warning; gives how many credentials and audit rows its
    /// databases have then.
    ///
    /// # Errors
    /// The databases cannot be read.
    pub(crate) fn kill_and_count(self) -> Result<Option<(u64, u64)>> {
        let Some(mut own) = self.own else { return Ok(None) };
        own.server.group.kill()?;
        database::count(&own.data).map(Some)
    }
}

fn command(target: &Target, folder: &Path) -> Result<Command> {
    const LISTEN: &str = "127.0.0.1:0";

    let (host, arguments) = match target {
        Target::Baseline => {
            let mut baseline = Command::new(launch::program("release", Target::BASELINE)?);
            baseline.current_dir(folder).args(["--listen", LISTEN]);
            return Ok(baseline);
        }
        Target::Embedded(arguments) => (Host::Embedded("release"), arguments),
        Target::Spin(arguments) => (Host::Spin, arguments),
        Target::Running(running) => bail!("{} is running already", running.name),
    };
    Application::read()?.write(folder)?;
    let mut command = host.command(folder, LISTEN)?;
    command.args(arguments);
    Ok(command)
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    if lines.is_empty() {
        return "it said nothing".to_owned();
    }
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_target_has_a_name_and_two_urls() {
        let target: Running = "node=http://127.0.0.1:3001,http://localhost:3002/".parse().unwrap();
        assert_eq!(target.name, "node");
        assert_eq!(target.issuance.authority().unwrap(), "127.0.0.1:3001");
        assert_eq!(target.verification.authority().unwrap(), "localhost:3002");
        for text in [
            "",
            "node",
            "node=http://127.0.0.1:3001",
            "=http://a:1,http://b:2",
            "node=http://a:1,https://b:2",
            "node=a:1,b:2",
            "node=http://a:1/api,http://b:2",
            "spin=http://a:1,http://b:2",
        ] {
            assert!(text.parse::<Running>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_process_of_a_target_is_a_number() {
        assert_eq!("node=42".parse::<TargetPid>().unwrap(), TargetPid { name: "node".to_owned(), pid: 42 });
        assert!("node".parse::<TargetPid>().is_err());
        assert!("node=all".parse::<TargetPid>().is_err());
    }
}
