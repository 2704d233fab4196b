//! What both services share at the edge, and the only crate that names `spin-sdk`.
//!
//! A service is an axum [`Router`](axum::Router) of its own routes, wrapped by [`edge`] (problems, CORS, request
//! ids, headers, log lines) and served to Spin by [`Service`]. Its handlers read [`Settings`], talk to their
//! [`Database`] and, through [`outbound`], to the other service.

mod access;
pub mod clock;
mod cursor;
mod database;
pub mod edge;
mod group;
mod health;
mod json;
mod log;
pub mod outbound;
mod problem;
mod query;
pub mod random;
mod request_id;
mod service;
mod settings;

pub use access::{Guard, require};
pub use cursor::Cursors;
pub use database::{Database, DatabaseError, Migration, Row, Value};
pub use group::{Group, Interrupted, Work};
pub use health::{Check, Health};
pub use json::{Items, Json, MAX_BODY_BYTES, given};
pub use problem::Problem;
pub use query::{Listing, Query};
pub use request_id::RequestId;
pub use service::Service;
pub use settings::{Settings, SettingsError, start_log, variable};

/// The names and numbers of one service's migrations, read from its `migrations` folder at compile time.
///
/// `migrations!["0001_credentials"]` is the text of `migrations/0001_credentials.sql` as version 1, and so on in order.
#[macro_export]
macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        &[$($crate::Migration { name: $name, sql: include_str!(concat!("../migrations/", $name, ".sql")) }),+]
    };
}
