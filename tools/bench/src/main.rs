//! Loads and measures servers of the API: what `cargo xtask bench` runs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod client;
mod database;
mod generator;
mod interrupt;
mod load;
mod machine;
mod measurement;
mod options;
mod postgres;
mod report;
mod rows;
mod run;
mod schema;
mod target;
mod usage;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: options::Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Loads one running server and prints the measurement as JSON.
    Load(generator::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.command {
        None => run::run(&arguments.run),
        Some(Command::Load(options)) => {
            println!("{}", serde_json::to_string(&generator::run(&options)?)?);
            Ok(())
        }
    }
}
