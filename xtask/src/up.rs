//! `cargo xtask up`: everything built and served, with nothing but Rust installed.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use launch::{Host, Server, Signal, SpinVersion, workspace};

use crate::{build_components, build_host, step};

/// What serves the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostChoice {
    /// Spin if one of 4.1 or newer is on PATH, else the embedded host.
    Auto,
    /// Spin.
    Spin,
    /// The embedded host.
    Embedded,
}

pub(crate) fn up(listen: SocketAddr, choice: HostChoice) -> Result<()> {
    write_env_file()?;
    let host = choose(choice, SpinVersion::on_path())?;
    build_components()?;
    if host != Host::Spin {
        build_host()?;
    }
    serve(&mut host.command(workspace(), &listen.to_string())?)
}

/// Runs the host until it ends or Ctrl-C is pressed, and says how to call it once it serves.
fn serve(command: &mut Command) -> Result<()> {
    ctrlc::set_handler(|| launch::signal_all(Signal::SIGINT))?;
    // The host goes on if the reader of this output has gone (`| head`).
    let print = |text: &str| drop(io::stdout().write_all(text.as_bytes()));
    let ended = Server::start(command, print).and_then(|mut server| {
        // Spin prints its routes after the line that says where it serves.
        thread::sleep(Duration::from_millis(300));
        print(&curl_lines(&server.url));
        Ok(server.group.wait()?)
    });
    if launch::ending() {
        return Ok(());
    }
    bail!("the host ended by itself ({})", ended?)
}

fn curl_lines(base_url: &str) -> String {
    format!(
        r#"
Kube Credentials answers at {base_url} (Ctrl-C ends it). Open that in a browser, or try:

  curl {base_url}/issue -H 'content-type: application/json' -d '{{"credential": "MySecurePassword123!"}}'
  curl {base_url}/verify -H 'content-type: application/json' -d '{{"credential": "MySecurePassword123!"}}'
  curl {base_url}/health/verification

"#
    )
}

/// Decides which host to run, and says which and why.
fn choose(choice: HostChoice, spin: Result<SpinVersion>) -> Result<Host> {
    match (choice, spin) {
        (HostChoice::Embedded, _) => {
            step("using the embedded host, as asked");
            Ok(Host::Embedded("debug"))
        }
        (_, Ok(version)) => {
            step(&format!("using Spin {version}"));
            Ok(Host::Spin)
        }
        (HostChoice::Spin, Err(reason)) => bail!("{reason} (see https://spinframework.dev/install)"),
        (HostChoice::Auto, Err(reason)) => {
            step(&format!("using the embedded host, for trying and developing only: {reason}"));
            Ok(Host::Embedded("debug"))
        }
    }
}

/// Writes `.env` with a fresh random secret, readable by its owner only. One that is there stays as it is.
fn write_env_file() -> Result<()> {
    let path = workspace().join(".env");
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut file = match created {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
    };
    step("writing .env with a fresh random secret");
    file.write_all(env_file(Path::new(".env.example"))?.as_bytes())?;
    Ok(())
}

fn env_file(example: &Path) -> Result<String> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(format!(
        "# Written by cargo xtask up. {} says what else can stand here. Keep this file to yourself, and keep it:\n\
         # what was issued under this secret can be verified with it only.\n\
         SPIN_VARIABLE_CREDENTIAL_SECRET={}\n",
        example.display(),
        hex::encode(secret)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spin_is_used_if_it_is_usable_unless_the_embedded_host_is_asked_for() {
        let choose = |choice, spin: Option<&str>| {
            choose(choice, spin.context("there is no Spin").and_then(|line| line.parse()))
        };
        let spin = Some("spin 4.1.0");
        assert_eq!(choose(HostChoice::Auto, spin).unwrap(), Host::Spin);
        assert_eq!(choose(HostChoice::Auto, None).unwrap(), Host::Embedded("debug"));
        assert_eq!(choose(HostChoice::Embedded, spin).unwrap(), Host::Embedded("debug"));
        assert_eq!(choose(HostChoice::Spin, spin).unwrap(), Host::Spin);
        assert!(choose(HostChoice::Spin, None).unwrap_err().to_string().contains("there is no Spin"));
    }

    #[test]
    fn every_env_file_gets_a_secret_of_its_own_of_32_random_bytes() {
        let secret = || {
            let text = env_file(Path::new(".env.example")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("SPIN_VARIABLE_CREDENTIAL_SECRET="));
            line.unwrap().to_owned()
        };
        assert_eq!(secret().len(), 64);
        assert_ne!(secret(), secret());
    }
}
