//! The component `verification`: verifies credentials, and writes an audit row for every verdict.
//!
//! `routes` has the paths, with a module for each action; `app` has what the actions share, `settings` what the operator
//! configures, `issuance_client` the calls to the other service, `store` the SQL, `migrations/` the schema.

mod app;
mod issuance_client;
mod limit;
mod list;
mod routes;
mod settings;
mod store;
mod uses;
mod verdicts;
mod verify;

pub use app::App;
pub use settings::Settings;
pub use store::MIGRATIONS;

platform::component!("verification", platform::service::start::<super::App>);
