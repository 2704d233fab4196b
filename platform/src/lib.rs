//! What the components share: the HTTP edge, database access, batching and the bindings to Spin.
//!
//! A component is an axum [`Router`](axum::Router) completed by [`edge::Edge`] (problems, CORS, request ids, headers, log
//! lines) and served to Spin by [`component!`]. One with settings and a database of its own is a [`service::Service`]. Its
//! handlers query their [`database::Database`], through a [`batch::Batcher`] where requests can share a statement, and call
//! the other service through [`outbound`].

pub mod batch;
pub mod clock;
#[doc(hidden)]
pub mod component;
pub mod database;
pub mod edge;
mod log;
pub mod origin;
pub mod outbound;
pub mod random;
pub mod request_id;
pub mod service;
pub mod settings;
mod spin;
pub mod statistics;
#[cfg(feature = "testing")]
pub mod testing;
