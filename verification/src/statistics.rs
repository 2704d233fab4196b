//! GET /statistics/verification and GET /metrics/verification: how many verdicts were given and refused.

use std::sync::Arc;

use axum::extract::State;
use platform::{
    Family, Metrics, Range, Statistics,
    edge::{Json, Problem, Query},
};

use crate::routes::App;

/// What the triggers of the schema count.
const FAMILIES: &[Family] = &[
    Family {
        name: "kube_credentials_verifications_total",
        help: "Verdicts given, by status.",
        label: Some("status"),
        kinds: &["valid", "expired", "revoked", "not_found"],
    },
    Family {
        name: "kube_credentials_refused_total",
        help: "Verifications refused because too many of the client's had failed.",
        label: None,
        kinds: &["refused"],
    },
];

pub(crate) async fn statistics(
    State(app): State<Arc<App>>,
    Query(range): Query<Range>,
) -> Result<Json<Statistics>, Problem> {
    range.read(app.store.database(), FAMILIES).await.map(Json)
}

pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Result<Metrics, Problem> {
    let version = env!("CARGO_PKG_VERSION");
    Ok(Metrics::read("verification", version, app.store.database(), FAMILIES).await?)
}
