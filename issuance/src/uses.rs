//! POST /check/use: takes uses of limited credentials, for verification.

use std::sync::Arc;

use axum::extract::State;
use credentials::{UseAnswer, UseList};
use platform::{
    clock::Deadline,
    edge::{ItemResult, Json, Problem, RawItems},
};
use serde::{Deserialize, Serialize};

use crate::{app::App, store::Use};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UseRequest {
    uses: RawItems,
}

#[derive(Serialize)]
pub(crate) struct UseResponse {
    results: Vec<ItemResult<UseAnswer>>,
}

pub(crate) async fn take(
    State(app): State<Arc<App>>,
    Json(request): Json<UseRequest>,
) -> Result<Json<UseResponse>, Problem> {
    let deadline = Deadline::of_request();
    let items = request.uses.read_objects::<Use>("body.uses", UseList::MAX_USES)?;
    let hashes: Vec<_> = items
        .iter()
        .map(|item| item.as_ref().map(|item| item.credential_hash).map_err(Clone::clone))
        .collect();
    let uses = items.into_iter().flatten().collect();
    let mut taken = app.store.take(uses, deadline).await?.into_iter();
    let result = |hash: Result<_, Problem>| {
        let credential_hash = hash?;
        let taken = taken.next().flatten();
        let taken = taken.ok_or_else(|| Problem::not_found("No such limited credential was issued."))?;
        Ok(UseAnswer {
            credential_hash,
            status: taken.status,
            uses_left: taken.uses_left,
            expires_at: taken.expires_at,
            revoked_at: taken.revoked_at,
        })
    };
    Ok(Json(UseResponse { results: hashes.into_iter().map(result).map(Into::into).collect() }))
}
