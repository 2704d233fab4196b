//! GET /credentials: what was issued, newest first.

use std::sync::Arc;

use axum::extract::State;
use credentials::Status;
use platform::{
    clock,
    edge::{Json, Listing, Problem, Query},
};
use serde::Serialize;

use crate::{routes::App, store::StoredCredential};

#[derive(Serialize)]
pub(crate) struct ListResponse {
    credentials: Vec<Item>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct Item {
    status: Status,
    #[serde(flatten)]
    credential: StoredCredential,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Query(listing): Query<Listing<Status>>,
) -> Result<Json<ListResponse>, Problem> {
    let cursors = listing.cursors(app.keys.current(), "credentials");
    let after = listing.after(&cursors)?;
    let now = clock::now()?;
    let page = app.store.list(&listing, after, now).await?;
    let item = |credential: StoredCredential| Item { status: credential.record.status_at(now), credential };
    Ok(Json(ListResponse {
        credentials: page.items.into_iter().map(item).collect(),
        next_cursor: page.next.map(|key| cursors.write(&key)).transpose()?,
    }))
}
