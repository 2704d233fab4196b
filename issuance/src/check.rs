//! POST /check: whether a hash, or each of a list, was issued, by whom and when, and its status; and, for verification, all
//! that is known about it.

use std::{collections::HashSet, sync::Arc};

use axum::{extract::State, http::HeaderMap};
use credentials::{CheckAnswer, CheckList, CredentialHash};
use platform::{
    clock::{self, Deadline},
    edge::{ItemResult, Json, Problem, RawItems, non_null},
};
use serde::{Deserialize, Serialize};

use crate::app::App;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckRequest {
    #[serde(default, deserialize_with = "non_null")]
    credential_hash: Option<CredentialHash>,
    #[serde(default, deserialize_with = "non_null")]
    credential_hashes: Option<RawItems>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum CheckResponse {
    One(CheckAnswer),
    Many(CheckList<ItemResult<CheckAnswer>>),
}

pub(crate) async fn check(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Json(request): Json<CheckRequest>,
) -> Result<Json<CheckResponse>, Problem> {
    let deadline = Deadline::of_request();
    let is_service = app.settings.services.recognises(&headers);
    let disclosed = |answer: CheckAnswer| if is_service { answer } else { answer.public() };
    match (request.credential_hash, request.credential_hashes) {
        (Some(hash), None) => {
            let mut found = app.store.find(vec![hash], deadline).await?;
            Ok(Json(CheckResponse::One(disclosed(CheckAnswer::new(found.remove(&hash), clock::now()?)))))
        }
        (None, Some(items)) => {
            let hashes = items.read("body.credential_hashes", CheckList::MAX_HASHES)?;
            refuse_repeated(&hashes)?;
            let mut found = app.store.find(hashes.iter().flatten().copied().collect(), deadline).await?;
            let now = clock::now()?;
            let mut answer = |hash| disclosed(CheckAnswer::new(found.remove(&hash), now)).about(hash);
            let results = hashes.into_iter().map(|hash| hash.map(&mut answer).into()).collect();
            let key_ids = if is_service { app.settings.keys.key_ids() } else { Vec::new() };
            Ok(Json(CheckResponse::Many(CheckList { key_ids, results })))
        }
        (Some(_), Some(_)) => {
            Err(Problem::invalid("body.credential_hashes", "must not be given together with credential_hash"))
        }
        (None, None) => Err(Problem::invalid("body.credential_hash", "is required")),
    }
}

/// Refuses repeated hashes, which would make the response many times as long as the request.
fn refuse_repeated(hashes: &[Result<CredentialHash, Problem>]) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    for (index, hash) in hashes.iter().enumerate() {
        if hash.as_ref().is_ok_and(|hash| !seen.insert(*hash)) {
            let location = format!("body.credential_hashes[{index}]");
            return Err(Problem::invalid(location, "must not be given twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::routes::tests::{assert_refused, post};

    #[tokio::test]
    async fn a_string_that_is_not_a_hash_is_refused() {
        for text in ["", "DEADBEEF", &"0".repeat(63), &format!("sha256:{}", "0".repeat(64)), &"g".repeat(64)]
        {
            let body = json!({ "credential_hash": text }).to_string();
            assert_refused("/check", &body, "body.credential_hash").await;
        }
    }

    #[tokio::test]
    async fn a_bad_item_of_a_list_is_an_error_in_its_place() {
        let (status, body) = post("/check", r#"{"credential_hashes": ["a", 5, "b"]}"#).await;
        assert_eq!(status, 200);
        assert_eq!(body.get("key_ids"), None);
        for (index, message) in ["must be 64 hexadecimal digits", "must be a string"].iter().enumerate() {
            let location = format!("body.credential_hashes[{index}]");
            let errors = json!([{ "location": location, "message": message }]);
            assert_eq!(body["results"][index]["error"]["errors"], errors);
        }
    }

    #[tokio::test]
    async fn a_check_is_about_one_hash_or_about_up_to_900_different_ones() {
        let hash = |digit: &str| digit.repeat(64);
        let twice =
            json!({"credential_hashes": [hash("a"), "b", hash("c"), hash("A"), hash("c")]}).to_string();
        let both = json!({"credential_hash": hash("a"), "credential_hashes": [hash("a")]}).to_string();
        for (body, location) in [
            (r#"{"credential_hashes": []}"#, "body.credential_hashes"),
            (r#"{"credential_hashes": "a"}"#, "body.credential_hashes"),
            (&twice, "body.credential_hashes[3]"),
            (&both, "body.credential_hashes"),
            ("{}", "body.credential_hash"),
        ] {
            assert_refused("/check", body, location).await;
        }
        let list = |length: usize| json!({ "credential_hashes": vec!["x"; length] }).to_string();
        assert_eq!(post("/check", &list(900)).await.0, 200);
        assert_refused("/check", &list(901), "body.credential_hashes").await;
    }
}
