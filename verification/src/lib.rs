//! The component `verification`: verifies credentials, and writes an audit row for every verdict.
//!
//! [`routes`] has the paths, with a module for each action; `issuance_client` is the client for the other service, `store` has
//! the SQL, `migrations/` the schema.

mod issuance_client;
mod limit;
mod list;
pub mod routes;
mod statistics;
mod store;
mod verify;

pub use store::MIGRATIONS;

platform::component!("verification", super::routes::start);
