//! The component `web`: the page a person opens, and the API's description in `openapi.yaml`.
//!
//! From here: [`routes`] has the paths and how they are served, `static/` the page itself. The files of `static/` are
//! compiled in, and need no build of their own: any static host serves them as well.

pub mod routes;

platform::component!("web", super::routes::start);
