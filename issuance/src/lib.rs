//! The component `issuance`: issues credentials, and answers whether a hash was issued.
//!
//! From here: [`routes`] has the paths, a file for each action what it takes and gives, `store` the SQL, `migrations/` the
//! schema.

mod check;
mod issue;
mod list;
mod revoke;
pub mod routes;
mod store;

pub use store::MIGRATIONS;

platform::component!("issuance", super::routes::start);
