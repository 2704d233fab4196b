//! POST /check/use: takes uses of limited credentials, for verification.

use std::sync::Arc;

use axum::extract::State;
use credentials::{Use, UseAnswer, UseList};
use platform::{
    clock::Deadline,
    edge::{ItemResult, Json, Problem, RawItems},
};
use serde::{Deserialize, Serialize};

use crate::app::App;

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
    let uses = items.iter().flatten().cloned().collect();
    let mut taken = app.store.take(uses, deadline).await?.into_iter();
    let result = |item: Result<Use, Problem>| {
        item?;
        let taken = taken.next().flatten();
        taken.ok_or_else(|| Problem::not_found("No such limited credential was issued."))
    };
    Ok(Json(UseResponse { results: items.into_iter().map(result).map(Into::into).collect() }))
}
