//! What the components share: the HTTP edge, database access, batching and the bindings to Spin.
//!
//! A component is an axum [`Router`](axum::Router) of its own routes, completed by [`edge::Edge`] (problems, CORS,
//! request ids, headers, log lines) and served to Spin by [`component!`]. Its handlers read [`Settings`], query their
//! [`Database`] and call the other service through [`outbound`]. Only `spin/` uses Spin's SDK.

mod batch;
pub mod clock;
mod database;
pub mod edge;
mod log;
mod origin;
pub mod outbound;
pub mod random;
mod settings;
#[doc(hidden)]
pub mod spin;
mod statistics;

pub use batch::{Batch, BatchError, Batcher};
pub use clock::Deadline;
#[cfg(feature = "plans")]
pub use database::Plans;
pub use database::{
    ANY, Access, Database, DatabaseError, FromValue, ListQuery, Location, Migration, Page, Row, Value,
    insert_all, members, to_json,
};
pub use origin::{Origin, Origins, service_url};
pub use settings::{Settings, SettingsError, flag, keys, origins, start_log, variable, whole_number};
pub use spin::ONE_REQUEST;
pub use statistics::{Family, Metrics, Range, Statistics};
