//! Alone in its program, because no group can be started after it.

use std::{os::unix::process::ExitStatusExt, process::Command};

use launch::{Group, Signal};

#[test]
fn a_signal_to_all_reaches_every_group_and_none_starts_after_it() -> anyhow::Result<()> {
    let mut group = Group::spawn(Command::new("sleep").arg("600"))?;
    assert!(!launch::ending());
    launch::signal_all(Signal::SIGINT);
    assert_eq!(group.wait()?.signal(), Some(2));
    assert!(launch::ending() && Group::spawn(&mut Command::new("true")).is_err());
    Ok(())
}
