//! `cargo xtask up`: builds and serves everything, with only Rust installed.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use launch::{
    Application, Database, Host, Postgres, Server, SpinVersion, Wasi, component_folder, postgres_programs,
    workspace,
};
use nix::sys::stat::{Mode, umask};

use crate::{
    build::{build_components, build_for_manifest, build_host},
    env_file,
    process::step,
};

/// The host to serve the application with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostChoice {
    /// Spin if the one on PATH runs the components, else the embedded host.
    Auto,
    /// Spin.
    Spin,
    /// The embedded host.
    Embedded,
}

pub(crate) fn up(
    listen: SocketAddr,
    choice: HostChoice,
    wasi: Option<Wasi>,
    database: Database,
) -> Result<()> {
    // Before all that takes minutes.
    let programs = (database == Database::Postgres).then(postgres_programs).transpose()?;
    env_file::write(workspace())?;
    let (host, wasi) = choose(choice, wasi, SpinVersion::on_path())?;
    match database {
        Database::Sqlite => build_for_manifest(wasi, &[])?,
        Database::Postgres => build_components(wasi, database, &[])?,
    }
    if host != Host::Spin {
        build_host()?;
    }
    let listen = listen.to_string();
    let Some(programs) = programs else {
        return serve(&mut host.command(workspace(), Path::new("spin.toml"), &listen)?);
    };
    let services = ["issuance", "verification"];
    let server = start_postgres(programs, services)?;
    // The host is started where .env is, on a manifest elsewhere.
    let folder = component_folder(database);
    Application::read(wasi, database)?.write(&folder)?;
    let mut command = host.command(workspace(), &folder.join("spin.toml"), &listen)?;
    serve(command.envs(services.into_iter().flat_map(|service| server.variables(service))))
}

/// Starts the installed PostgreSQL with its data in `data/postgres`, and its password beside that.
fn start_postgres(programs: PathBuf, services: [&str; 2]) -> Result<Postgres> {
    step(&format!("starting PostgreSQL ({}) with its data in data/postgres", programs.display()));
    let folder = workspace().join("data/postgres");
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    let path = workspace().join("data/postgres-password");
    if !path.exists() {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(hex::encode(random).as_bytes())?;
        file.sync_all()?;
    }
    let password = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(!password.is_empty(), "{} is empty", path.display());
    Postgres::start(programs, folder, &password, services)
}

/// Runs the host until a signal ends it, and prints how to call it.
fn serve(command: &mut Command) -> Result<()> {
    // Databases and logs are readable by their owner only.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    // The host goes on if the reader of this output has gone (`| head`).
    let print = |text: &str| drop(io::stdout().write_all(text.as_bytes()));
    let ended = Server::start(command, print).and_then(|mut server| {
        // Spin prints its routes after the `Serving` line.
        thread::sleep(Duration::from_millis(300));
        print(&curl_lines(&server.url));
        if env_file::leaves_issuing_open(workspace()) {
            print(OPEN);
        }
        Ok(server.group.wait()?)
    });
    if launch::ending() {
        return Ok(());
    }
    bail!("the host ended ({})", ended?)
}

/// What is printed while anyone may issue.
const OPEN: &str = "Warning: without SPIN_VARIABLE_ISSUER_TOKEN in .env, anyone who reaches this address may issue, and can\n\
                    guess at issued credentials without limit.\n\n";

fn curl_lines(base_url: &str) -> String {
    format!(
        r#"
Kube Credentials serves {base_url} (Ctrl-C stops it). Open that in a browser, or try:

  curl {base_url}/issue -H 'content-type: application/json' -d '{{"credential": "MySecurePassword123!"}}'
  curl {base_url}/verify -H 'content-type: application/json' -d '{{"credential": "MySecurePassword123!"}}'
  curl {base_url}/health/verification

"#
    )
}

/// Decides which host to run, with which build, and announces it.
fn choose(choice: HostChoice, wasi: Option<Wasi>, spin: Result<SpinVersion>) -> Result<(Host, Wasi)> {
    let spin = spin.and_then(|version| {
        let wasi = wasi.unwrap_or(version.wasi());
        version.check(wasi)?;
        Ok((version, wasi))
    });
    let embedded = (Host::Embedded("debug"), wasi.unwrap_or(Wasi::V0_3));
    match (choice, spin) {
        (HostChoice::Embedded, _) => {
            step("using the embedded host, as asked");
            Ok(embedded)
        }
        (_, Ok((version, wasi))) => {
            step(&format!("using Spin {version} with WASI {wasi}"));
            Ok((Host::Spin, wasi))
        }
        (HostChoice::Spin, Err(reason)) => {
            bail!("{reason}: install it from https://spinframework.dev/install, or leave out --host spin")
        }
        (HostChoice::Auto, Err(reason)) => {
            step(&format!("using the embedded host, for trying and developing only: {reason}"));
            Ok(embedded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMBEDDED: Host = Host::Embedded("debug");

    fn choose(choice: HostChoice, wasi: Option<Wasi>, spin: Option<&str>) -> Result<(Host, Wasi)> {
        super::choose(choice, wasi, spin.context("there is no Spin").and_then(|line| line.parse()))
    }

    #[test]
    fn spin_is_used_if_it_can_be_unless_the_embedded_host_is_asked_for() {
        let spin = Some("spin 4.1.0");
        assert_eq!(choose(HostChoice::Auto, None, spin).unwrap(), (Host::Spin, Wasi::V0_3));
        assert_eq!(choose(HostChoice::Auto, None, None).unwrap(), (EMBEDDED, Wasi::V0_3));
        assert_eq!(choose(HostChoice::Embedded, None, spin).unwrap(), (EMBEDDED, Wasi::V0_3));
        assert_eq!(choose(HostChoice::Spin, None, spin).unwrap(), (Host::Spin, Wasi::V0_3));
        let refusal = choose(HostChoice::Spin, None, None).unwrap_err().to_string();
        assert!(refusal.contains("there is no Spin"), "{refusal}");
    }

    #[test]
    fn an_older_spin_gets_wasi_0_2_and_no_spin_gets_what_it_cannot_run() {
        let (old, new) = (Some("spin 3.6.3"), Some("spin 4.1.0"));
        assert_eq!(choose(HostChoice::Auto, None, old).unwrap(), (Host::Spin, Wasi::V0_2));
        assert_eq!(choose(HostChoice::Auto, Some(Wasi::V0_2), new).unwrap(), (Host::Spin, Wasi::V0_2));
        assert_eq!(choose(HostChoice::Auto, Some(Wasi::V0_3), old).unwrap(), (EMBEDDED, Wasi::V0_3));
        assert_eq!(choose(HostChoice::Auto, Some(Wasi::V0_2), None).unwrap(), (EMBEDDED, Wasi::V0_2));
        let refusal = choose(HostChoice::Spin, Some(Wasi::V0_3), old).unwrap_err().to_string();
        assert!(refusal.contains("3.6") && refusal.contains("4.1"), "{refusal}");
        assert_eq!(choose(HostChoice::Auto, None, Some("spin 2.7.0")).unwrap(), (EMBEDDED, Wasi::V0_3));
    }
}
