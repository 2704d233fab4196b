//! The only test in its program, because no group can be started after it.

use std::{
    io::Read,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use launch::{Group, Signal};

#[test]
fn a_signal_to_all_ends_every_group_and_none_starts_after_it() -> anyhow::Result<()> {
    // In the background of a shell script every child ignores SIGINT, as this one does.
    let script = "trap '' INT; echo ready; exec sleep 600";
    let mut group = Group::spawn(Command::new("sh").args(["-c", script]).stdout(Stdio::piped()))?;
    let mut ready = [0; 6];
    group.child.stdout.take().map(|mut stdout| stdout.read_exact(&mut ready)).transpose()?;
    assert!(!launch::ending());
    launch::signal_all(Signal::SIGTERM);
    assert_eq!(group.wait()?.signal(), Some(15));
    assert!(launch::ending() && Group::spawn(&mut Command::new("true")).is_err());
    Ok(())
}
