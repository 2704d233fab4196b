//! The servers to measure: some are started here, each on its own databases, others are running already.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Error, Result, bail, ensure};
use http::Uri;
use launch::{Application, Database, Host, Manifest, Postgres, SpinVersion, Wasi, postgres_programs};

use crate::{database, interrupt, load::SECRET, postgres};

/// A server to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A host that is started here.
    Hosted { name: &'static str, host: Host, components: Components, arguments: Vec<String> },
    /// A server that is running already.
    Running(Running),
}

const EMBEDDED: Host = Host::Embedded("release");
/// The targets that are started here.
pub(crate) const HOSTED: [(&str, Host, Components); 12] = {
    use Database::{Postgres, Sqlite};
    use Host::Spin;
    use Wasi::{V0_2, V0_3};
    [
        ("embedded-bare", EMBEDDED, Components::Bare(Sqlite)),
        ("embedded-wasi-0.2", EMBEDDED, Components::Project(V0_2, Sqlite)),
        ("embedded", EMBEDDED, Components::Project(V0_3, Sqlite)),
        ("embedded-postgres-bare", EMBEDDED, Components::Bare(Postgres)),
        ("embedded-postgres-wasi-0.2", EMBEDDED, Components::Project(V0_2, Postgres)),
        ("embedded-postgres", EMBEDDED, Components::Project(V0_3, Postgres)),
        ("spin-bare", Spin, Components::Bare(Sqlite)),
        ("spin-wasi-0.2", Spin, Components::Project(V0_2, Sqlite)),
        ("spin", Spin, Components::Project(V0_3, Sqlite)),
        ("spin-postgres-bare", Spin, Components::Bare(Postgres)),
        ("spin-postgres-wasi-0.2", Spin, Components::Project(V0_2, Postgres)),
        ("spin-postgres", Spin, Components::Project(V0_3, Postgres)),
    ]
};

/// What a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Components {
    /// The project's, in this build.
    Project(Wasi, Database),
    /// The one in `bare/`, as both services.
    Bare(Database),
}

impl Components {
    /// The version of WASI that they are built for.
    fn wasi(self) -> Wasi {
        match self {
            Self::Project(wasi, _) => wasi,
            Self::Bare(_) => Wasi::V0_3,
        }
    }

    fn database(self) -> Database {
        let (Self::Project(_, database) | Self::Bare(database)) = self;
        database
    }

    /// Writes what a host needs to serve them from a folder.
    fn write(self, folder: &Path) -> Result<()> {
        let Self::Bare(database) = self else {
            return Application::read(self.wasi(), self.database())?.write(folder);
        };
        let manifest = match database {
            Database::Sqlite => "tools/bench/bare/spin.toml",
            Database::Postgres => "tools/bench/bare/spin.postgres.toml",
        };
        let mut manifest = Manifest::read(Path::new(manifest))?;
        manifest.set_sources(|_| Wasi::V0_3.built(database, "bare").display().to_string());
        fs::write(folder.join("spin.toml"), manifest.to_string())?;
        if database == Database::Sqlite {
            fs::copy(launch::workspace().join("runtime-config.toml"), folder.join("runtime-config.toml"))?;
        }
        Ok(())
    }
}

/// A server that is running already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) issuance: Uri,
    pub(crate) verification: Uri,
    pub(crate) pid: Option<u32>,
}

impl Target {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Hosted { name, .. } => name,
            Self::Running(running) => &running.name,
        }
    }

    /// The target with the bare component on the same host and database; `None` for a running server.
    pub(crate) fn bare(&self) -> Option<&'static str> {
        let Self::Hosted { host, components, .. } = self else { return None };
        let bare = (*host, Components::Bare(components.database()));
        HOSTED.iter().find(|(_, host, components)| (*host, *components) == bare).map(|(name, ..)| *name)
    }

    /// The version of WASI that its components are built for; `None` for a running server.
    pub(crate) fn wasi(&self) -> Option<Wasi> {
        match self {
            Self::Hosted { components, .. } => Some(components.wasi()),
            Self::Running(_) => None,
        }
    }

    /// Fails if it needs a Spin that is not on PATH, or a PostgreSQL that is not installed.
    pub(crate) fn check(&self) -> Result<()> {
        let Self::Hosted { host, components, .. } = self else { return Ok(()) };
        if *host == Host::Spin {
            SpinVersion::on_path()?.check(components.wasi())?;
        }
        if components.database() == Database::Postgres {
            postgres_programs()?;
        }
        Ok(())
    }

    /// Whether it is started here.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self, Self::Running(_))
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
            parts().context("expected NAME=ISSUANCE_URL,VERIFICATION_URL")?;
        ensure!(
            HOSTED.iter().all(|(own, ..)| *own != name),
            "{name} is the name of one of the bench's own targets"
        );
        Ok(Self {
            name: name.to_owned(),
            issuance: url(issuance)?,
            verification: url(verification)?,
            pid: None,
        })
    }
}

/// Reads `http://HOST:PORT`.
pub(crate) fn url(text: &str) -> Result<Uri> {
    let url: Uri = text.trim_end_matches('/').parse().with_context(|| format!("{text} is not a URL"))?;
    ensure!(
        url.scheme_str() == Some("http") && matches!(url.path(), "" | "/"),
        "{text} is not of the form http://HOST:PORT"
    );
    Ok(url)
}

/// The process of a running target: `NAME=PID`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetPid {
    pub(crate) name: String,
    pub(crate) pid: u32,
}

impl FromStr for TargetPid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, pid) = text.split_once('=').context("expected NAME=PID")?;
        Ok(Self {
            name: name.to_owned(),
            pid: pid.parse().with_context(|| format!("{pid} is not a process id"))?,
        })
    }
}

/// A target that serves.
pub(crate) struct Server {
    pub(crate) issuance: Uri,
    pub(crate) verification: Uri,
    pub(crate) pid: Option<u32>,
    /// `None` for one that was running already.
    own: Option<Own>,
}

/// What belongs to a server that was started here.
struct Own {
    server: launch::Server,
    data: PathBuf,
    postgres: Option<Postgres>,
    log: PathBuf,
}

impl Server {
    /// Starts a target in a folder, on copies of these databases, or on a server with as many rows.
    pub(crate) fn start(target: &Target, databases: &Path, rows: u64, folder: &Path) -> Result<Self> {
        let (host, components, arguments) = match target {
            Target::Hosted { host, components, arguments, .. } => (host, components, arguments),
            Target::Running(Running { issuance, verification, pid, .. }) => {
                let (issuance, verification) = (issuance.clone(), verification.clone());
                return Ok(Self { issuance, verification, pid: *pid, own: None });
            }
        };
        let (data, log) = (folder.join("data"), folder.join("log"));
        let postgres = match components.database() {
            Database::Sqlite => database::copy(databases, &data).map(|()| None)?,
            Database::Postgres => Some(postgres::start(&folder.join("postgres"), rows)?),
        };
        components.write(folder)?;
        let mut command = host.command(folder, Path::new("spin.toml"), "127.0.0.1:0")?;
        command
            .args(arguments)
            .env("SPIN_VARIABLE_CREDENTIAL_SECRET", SECRET)
            // Counted but never reached: every verify-miss is a failure.
            .env("SPIN_VARIABLE_VERIFY_FAILURES_PER_MINUTE", "1000000")
            .envs(postgres.as_ref().map(postgres::variables).unwrap_or_default())
            // Spin would collect a backtrace for each of its errors, which costs a request up to a third more CPU.
            .env_remove("RUST_BACKTRACE")
            .stderr(fs::File::create(&log)?);
        let server = launch::Server::start(&mut command, |_| {}).or_else(|error| {
            interrupt::check()?;
            bail!("{}: {error}{}", target.name(), last_lines(&fs::read_to_string(&log)?))
        })?;
        let url = url(&server.url)?;
        let pid = Some(server.group.child.id());
        Ok(Self {
            issuance: url.clone(),
            verification: url,
            pid,
            own: Some(Own { server, data, postgres, log }),
        })
    }

    /// The process of its database server, if it has one that was started here.
    pub(crate) fn database_pid(&self) -> Option<u32> {
        Some(self.own.as_ref()?.postgres.as_ref()?.pid())
    }

    /// The end of its log, if it was started here.
    pub(crate) fn end_of_log(&self) -> Option<String> {
        fs::read_to_string(&self.own.as_ref()?.log).ok().map(|log| last_lines(&log))
    }

    /// Kills a server that was started here; returns how many credentials and audit rows its databases have.
    pub(crate) fn kill_and_count(self) -> Result<Option<(u64, u64)>> {
        let Some(mut own) = self.own else { return Ok(None) };
        own.server.group.kill()?;
        own.postgres.as_ref().map_or_else(|| database::count(&own.data), postgres::count).map(Some)
    }
}

fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
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
