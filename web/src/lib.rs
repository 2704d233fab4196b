//! The component `web` serves the page and `openapi.yaml`, which describes the API.
//!
//! The page itself is in `static/`. Its files are embedded as they are, so any static host can serve them as well.

pub mod routes;

platform::component!("web", super::routes::start);
