//! The native server that the components are compared with: the same routes, schema and durability in one process.
//!
//! It is the service without WebAssembly: axum on all cores, SQLite in process, verification looking up credentials
//! directly in issuance's database, one commit per write. It has only the parts of the API that the load uses: one key,
//! no lists, no revocation, no tokens.

#![allow(clippy::print_stderr, reason = "its log is stderr")]

mod routes;
mod schema;
mod store;

use std::path::Path;

use anyhow::Result;
use axum::Router;
use credentials::{Secret, WorkerId};

pub use schema::{ISSUANCE, Schema, VERIFICATION};

/// The server on two database files, which are created if missing.
///
/// # Errors
/// The secret is shorter than 32 bytes, or a file cannot be opened.
pub fn router(secret: &str, issuance: &Path, verification: &Path) -> Result<Router> {
    let store = store::Store::open(issuance, verification)?;
    Ok(routes::router(routes::App {
        secret: Secret::new(secret)?,
        store,
        issuer: WorkerId::random("worker", routes::random()?),
        verifier: WorkerId::random("verification-worker", routes::random()?),
    }))
}
