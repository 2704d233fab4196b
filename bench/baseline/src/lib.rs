//! What the components are measured against: the same routes, schema and durability as one native process.
//!
//! It is written as one would write it without WebAssembly: axum on all cores, SQLite in process, a look-up of
//! verification straight in issuance's database. Each request that writes is one commit. It has what the load needs of
//! the API and no more: one key, no lists, no revocation, no tokens.

mod routes;
mod schema;
mod store;

use std::path::Path;

use anyhow::Result;
use axum::Router;
use credentials::{Secret, WorkerId};

pub use schema::{ISSUANCE, Schema, VERIFICATION};

/// The server on two database files, which are made where they are missing.
///
/// # Errors
/// A secret of less than 32 bytes, or a file that cannot be opened.
pub fn router(secret: &str, issuance: &Path, verification: &Path) -> Result<Router> {
    let store = store::Store::open(issuance, verification)?;
    Ok(routes::router(routes::App {
        secret: Secret::new(secret)?,
        store,
        issuer: WorkerId::random("worker", routes::random()?),
        verifier: WorkerId::random("verification-worker", routes::random()?),
    }))
}
