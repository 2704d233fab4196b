//! The component `web`: the page, and the API's description in `openapi.yaml`.
//!
//! [`routes`] has the paths and how they are served; the page itself is in `static/`. Those files are compiled in as
//! they are, so any static host can serve them as well.

pub mod routes;

platform::component!("web", super::routes::start);
