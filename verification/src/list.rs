//! GET /verifications: the audit rows, newest first.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use credentials::VerdictStatus;
use platform::{
    clock::Deadline,
    edge::{Export, List, Listing, Problem, Query},
};

use crate::app::App;

const VERIFICATIONS: List = List {
    name: "verifications",
    columns: &[
        "id",
        "request_id",
        "credential_hash",
        "is_valid",
        "status",
        "verified_by",
        "verified_at",
        "client_address",
    ],
};

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    export: Export,
    Query(listing): Query<Listing<VerdictStatus>>,
) -> Result<Response, Problem> {
    let cursors = listing.cursors(app.settings.keys.current(), VERIFICATIONS.name);
    let page = app.store.list(&listing, listing.after(&cursors)?, Deadline::of_request()).await?;
    export.page(&VERIFICATIONS, &cursors, &page)
}
