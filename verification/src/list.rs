//! GET /verifications: the audit rows, newest first.

use std::sync::Arc;

use axum::extract::State;
use credentials::VerdictStatus;
use platform::edge::{Json, Listing, Problem, Query};
use serde::Serialize;

use crate::{routes::App, store::StoredVerification};

#[derive(Serialize)]
pub(crate) struct ListResponse {
    verifications: Vec<StoredVerification>,
    next_cursor: Option<String>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Query(listing): Query<Listing<VerdictStatus>>,
) -> Result<Json<ListResponse>, Problem> {
    let cursors = listing.cursors(app.keys.current(), "verifications");
    let page = app.store.list(&listing, listing.after(&cursors)?).await?;
    Ok(Json(ListResponse {
        verifications: page.items,
        next_cursor: page.next.map(|key| cursors.write(&key)).transpose()?,
    }))
}
