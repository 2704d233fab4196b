//! The component `issuance`: issues credentials, and answers whether a hash was issued.
//!
//! `routes` has the paths, with a module for each action; `app` has what the actions share, `settings` what the operator
//! configures, `store` the SQL, `migrations/` the schema.

mod app;
mod check;
mod issue;
mod list;
mod repetition;
mod revoke;
mod routes;
mod settings;
mod store;
mod uses;

pub use app::App;
pub use settings::Settings;
pub use store::MIGRATIONS;

platform::component!("issuance", platform::service::start::<super::App>);
