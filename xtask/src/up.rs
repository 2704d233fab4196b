//! `cargo xtask up`: everything built and served, with nothing but Rust installed.

use std::{
    fs::OpenOptions,
    io::{self, BufRead, BufReader, ErrorKind, Write},
    net::SocketAddr,
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{HOST, build_components, build_host, output, step, target_folder, workspace};

/// The oldest Spin that runs WASI 0.3 components.
const OLDEST_SPIN: (u32, u32) = (4, 1);

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
    let host = choose(choice, spin_version())?;
    build_components()?;
    let mut command = match host {
        Host::Spin => {
            let mut spin = Command::new("spin");
            spin.arg("up");
            spin
        }
        Host::Embedded => {
            build_host()?;
            Command::new(target_folder().join("debug").join(HOST))
        }
    };
    command
        .current_dir(workspace())
        .args(["--from", "spin.toml", "--runtime-config-file", "runtime-config.toml"])
        .args(["--listen", &listen.to_string()]);
    serve(&mut command)
}

/// Runs the host until it ends or this process is asked to end, and says how to call it once it serves.
fn serve(command: &mut Command) -> Result<()> {
    static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

    let name = command.get_program().to_string_lossy().into_owned();
    // In a process group of its own: Ctrl-C reaches this process only, which passes it on once.
    let mut host = command
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let pid = Pid::from_raw(i32::try_from(host.id())?);
    ctrlc::set_handler(move || {
        ASKED_TO_END.store(true, Ordering::SeqCst);
        // Nothing to do where the host has ended already.
        let _ = kill(pid, Signal::SIGINT);
    })?;

    let mut stdout = BufReader::new(host.stdout.take().context("the host has no standard output")?);
    let mut served = false;
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line)? > 0 {
        // Whoever reads this output may have gone (`| head`): the host goes on.
        let _ = io::stdout().write_all(&line);
        let text = String::from_utf8_lossy(&line).into_owned();
        line.clear();
        // Spin and the embedded host print this line once they listen, and then their routes.
        if let (false, Some(url)) = (served, text.trim().strip_prefix("Serving ")) {
            served = true;
            let curl_lines = curl_lines(url);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(300));
                let _ = io::stdout().write_all(curl_lines.as_bytes());
            });
        }
    }
    let status = host.wait()?;
    match (served, ASKED_TO_END.load(Ordering::SeqCst)) {
        (_, true) => Ok(()),
        (false, false) => bail!("the application did not start ({status})"),
        (true, false) => bail!("the host has ended by itself ({status})"),
    }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Spin,
    Embedded,
}

/// Whether the Spin on PATH can run the components; if not, why.
pub(crate) fn usable_spin() -> Result<(), String> {
    let version = spin_version();
    if new_enough(version) {
        return Ok(());
    }
    Err(format!("{}, and 4.1 or newer is needed", found(version)))
}

fn new_enough(spin: Option<(u32, u32)>) -> bool {
    spin.is_some_and(|version| version >= OLDEST_SPIN)
}

fn found(spin: Option<(u32, u32)>) -> String {
    match spin {
        None => "there is no Spin on PATH".to_owned(),
        Some((major, minor)) => format!("the Spin on PATH is {major}.{minor}"),
    }
}

/// Decides what to run with, and says so and why.
fn choose(choice: HostChoice, spin: Option<(u32, u32)>) -> Result<Host> {
    let found = found(spin);
    match choice {
        HostChoice::Embedded => {
            step("using the embedded host, as asked");
            Ok(Host::Embedded)
        }
        HostChoice::Spin | HostChoice::Auto if new_enough(spin) => {
            step(&format!("using Spin: {found}"));
            Ok(Host::Spin)
        }
        HostChoice::Spin => bail!("{found}; 4.1 or newer is needed (see https://spinframework.dev/install)"),
        HostChoice::Auto => {
            step(&format!(
                "using the embedded host: {found}, and 4.1 or newer is needed. It is for trying and developing, not for serving"
            ));
            Ok(Host::Embedded)
        }
    }
}

fn spin_version() -> Option<(u32, u32)> {
    parse_spin_version(&output(Command::new("spin").arg("--version")).ok()?)
}

/// Major and minor number in a line such as `spin 4.1.0 (abcdef 2026-01-01)`.
fn parse_spin_version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().nth(1)?.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
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
    fn the_version_of_spin_is_read_from_what_it_prints() {
        assert_eq!(parse_spin_version("spin 4.1.0 (1a2b3c 2026-08-01)"), Some((4, 1)));
        assert_eq!(parse_spin_version("spin 4.2.0-pre0 (1a2b3c 2026-08-01)"), Some((4, 2)));
        assert_eq!(parse_spin_version("spin"), None);
        assert_eq!(parse_spin_version("spin next"), None);
    }

    #[test]
    fn a_new_enough_spin_is_used_and_an_old_one_is_not() {
        assert_eq!(choose(HostChoice::Auto, Some((4, 1))).unwrap(), Host::Spin);
        assert_eq!(choose(HostChoice::Auto, Some((5, 0))).unwrap(), Host::Spin);
        assert_eq!(choose(HostChoice::Auto, Some((4, 0))).unwrap(), Host::Embedded);
        assert_eq!(choose(HostChoice::Auto, None).unwrap(), Host::Embedded);
        assert_eq!(choose(HostChoice::Embedded, Some((4, 1))).unwrap(), Host::Embedded);
        assert_eq!(choose(HostChoice::Spin, Some((4, 1))).unwrap(), Host::Spin);
        assert!(choose(HostChoice::Spin, Some((3, 6))).unwrap_err().to_string().contains("is 3.6"));
        assert!(choose(HostChoice::Spin, None).is_err());
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
