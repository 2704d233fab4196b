//! `cargo xtask up`: builds and serves everything, with only Rust installed.

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use clap::ValueEnum;
use launch::{Host, Server, Signal, SpinVersion, workspace};
use nix::sys::stat::{Mode, umask};

use crate::{build_components, build_host, env_file, step};

/// The host to serve the application with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostChoice {
    /// Spin if version 4.1 or newer is on PATH, else the embedded host.
    Auto,
    /// Spin.
    Spin,
    /// The embedded host.
    Embedded,
}

pub(crate) fn up(listen: SocketAddr, choice: HostChoice) -> Result<()> {
    env_file::write(workspace())?;
    let host = choose(choice, SpinVersion::on_path())?;
    build_components()?;
    if host != Host::Spin {
        build_host()?;
    }
    serve(&mut host.command(workspace(), &listen.to_string())?)
}

/// Runs the host until Ctrl-C, which is passed on to it, and prints how to call it.
fn serve(command: &mut Command) -> Result<()> {
    ctrlc::set_handler(|| launch::signal_all(Signal::SIGINT))?;
    // Databases and logs are for their owner only.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    // The host goes on if the reader of this output has gone (`| head`).
    let print = |text: &str| drop(io::stdout().write_all(text.as_bytes()));
    let ended = Server::start(command, print).and_then(|mut server| {
        // Spin prints its routes after the `Serving` line.
        thread::sleep(Duration::from_millis(300));
        print(&curl_lines(&server.url));
        Ok(server.group.wait()?)
    });
    if launch::ending() {
        return Ok(());
    }
    bail!("the host ended ({})", ended?)
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

/// Decides which host to run and announces it.
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

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn spin_is_used_if_it_can_be_unless_the_embedded_host_is_asked_for() {
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
}
