//! GET /credentials: what was issued, newest first.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use credentials::Status;
use platform::{
    clock::{self, Deadline},
    edge::{Export, List, Listing, Problem, Query},
};
use serde::Serialize;

use crate::{app::App, store::StoredCredential};

const CREDENTIALS: List = List {
    name: "credentials",
    columns: &[
        "credential_hash",
        "key_id",
        "worker_id",
        "issued_at",
        "status",
        "expires_at",
        "revoked_at",
        "max_uses",
        "uses",
        "reason",
        "metadata",
    ],
};

#[derive(Serialize)]
struct Item {
    status: Status,
    #[serde(flatten)]
    credential: StoredCredential,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    export: Export,
    Query(listing): Query<Listing<Status>>,
) -> Result<Response, Problem> {
    let cursors = listing.cursors(app.settings.keys.current(), CREDENTIALS.name);
    let after = listing.after(&cursors)?;
    let now = clock::now()?;
    let page = app.store.list(&listing, after, now, Deadline::of_request()).await?;
    let item = |credential: StoredCredential| Item { status: credential.record.status_at(now), credential };
    export.page(&CREDENTIALS, &cursors, &page.map(item))
}
