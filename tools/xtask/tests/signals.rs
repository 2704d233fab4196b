//! A command in the background of a shell script, where SIGINT is ignored and every child inherits that.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const SCRIPT: &str = "trap '' INT; \"$0\" build & wait $!; echo \"status $?\"";

/// Takes the place of Cargo: prints the id of the process that runs it, and starts one of its own that holds stdout open.
const CARGO: &str = "#!/bin/sh\necho $PPID\nsleep 60 &\nwait\n";

#[test]
fn each_signal_ends_a_build_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    fs::write(&cargo, CARGO).unwrap();
    fs::set_permissions(&cargo, PermissionsExt::from_mode(0o700)).unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut script = Command::new("sh");
        script.args(["-c", SCRIPT, env!("CARGO_BIN_EXE_xtask")]).env("CARGO", &cargo);
        let mut script = script.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(script.stdout.take().unwrap());
        let mut id = String::new();
        stdout.read_line(&mut id).unwrap();

        let sent = Instant::now();
        kill(Pid::from_raw(id.trim().parse().unwrap()), signal).unwrap();
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "status 1\n", "{signal}");
        assert!(sent.elapsed() < Duration::from_secs(30), "{signal}: something was left running");
        script.wait().unwrap();
    }
}
