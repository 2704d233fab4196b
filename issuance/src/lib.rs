//! The component `issuance`: issues credentials, and answers whether a hash was issued.
//!
//! [`routes`] has the paths, with a module for each action; `store` has the SQL, `migrations/` the schema.

mod check;
mod issue;
mod list;
mod revoke;
pub mod routes;
mod statistics;
mod store;

pub use store::MIGRATIONS;

platform::component!("issuance", super::routes::start);
