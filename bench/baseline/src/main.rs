//! Serves the baseline.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use clap::Parser;
use tokio::net::TcpListener;

/// The native server that cargo xtask bench compares with.
///
/// It reads the HMAC key from SPIN_VARIABLE_CREDENTIAL_SECRET, as under Spin.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of issuance.db and verification.db, which are created if missing.
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    data: PathBuf,
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let secret =
        std::env::var("SPIN_VARIABLE_CREDENTIAL_SECRET").context("SPIN_VARIABLE_CREDENTIAL_SECRET")?;
    let file = |schema: baseline::Schema| arguments.data.join(schema.label).with_extension("db");
    let router = baseline::router(&secret, &file(baseline::ISSUANCE), &file(baseline::VERIFICATION))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(arguments.listen).await?;
        println!("Serving http://{}", listener.local_addr()?);
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                eprintln!("cannot set TCP_NODELAY: {error}");
            }
        });
        Ok(axum::serve(listener, router).await?)
    })
}
