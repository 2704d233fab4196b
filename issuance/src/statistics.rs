//! GET /statistics/issuance and GET /metrics/issuance: how many credentials were issued and revoked.

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
        name: "kube_credentials_issued_total",
        help: "Credentials issued.",
        label: None,
        kinds: &["issued"],
    },
    Family {
        name: "kube_credentials_revoked_total",
        help: "Credentials revoked.",
        label: None,
        kinds: &["revoked"],
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
    Ok(Metrics::read("issuance", version, app.store.database(), FAMILIES).await?)
}
