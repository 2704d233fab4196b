//! The component `verification`: verifies credentials, and leaves an audit row for every verdict.
//!
//! From here: [`routes`] has the paths, a file for each action what it takes and gives, `issuance` the question to the
//! other service, `store` the SQL, `migrations/` the schema.

mod issuance;
mod list;
pub mod routes;
mod store;
mod verify;

pub use store::MIGRATIONS;

platform::component!("verification", super::routes::start);
