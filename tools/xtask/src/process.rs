//! Running other programs.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use launch::Group;

/// Announces a step on stderr, as Cargo does.
pub(crate) fn step(what: &str) {
    eprintln!("==> {what}");
}

/// Runs a command; an error names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    // It is in a background process group, which may not read from the terminal.
    let status = Group::spawn(command.stdin(Stdio::null()))?.wait()?;
    ensure!(!launch::ending(), "interrupted");
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

/// Returns what a command prints, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let mut group = Group::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let mut text = String::new();
    group.child.stdout.take().context("no stdout")?.read_to_string(&mut text)?;
    let status = group.wait()?;
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(text.trim().to_owned())
}

/// A command as one would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = [program].into_iter().chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
