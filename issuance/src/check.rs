//! POST /check: whether a hash, or each of a list, was issued, by whom and when, and its status.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use axum::extract::State;
use credentials::{CheckAnswer, CheckList, CredentialHash, IssueRecord};
use platform::{
    clock,
    edge::{Items, Json, Outcome, Problem, given},
};
use serde::{Deserialize, Serialize};

use crate::routes::App;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckRequest {
    /// Any string: one that is not a hash was never issued.
    #[serde(default, deserialize_with = "given")]
    credential_hash: Option<String>,
    #[serde(default, deserialize_with = "given")]
    credential_hashes: Option<Items>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum CheckResponse {
    One(CheckAnswer),
    Many(CheckList<Outcome<CheckAnswer>>),
}

pub(crate) async fn check(
    State(app): State<Arc<App>>,
    Json(request): Json<CheckRequest>,
) -> Result<Json<CheckResponse>, Problem> {
    match (request.credential_hash, request.credential_hashes) {
        (Some(text), None) => {
            let mut found = find(&app, [&text]).await?;
            Ok(Json(CheckResponse::One(CheckAnswer::new(found.remove(&text), clock::now()?))))
        }
        (None, Some(items)) => {
            let texts: Vec<Result<String, Problem>> =
                items.read("body.credential_hashes", CheckList::MAX_HASHES)?;
            refuse_repeated(&texts)?;
            let mut found = find(&app, texts.iter().flatten()).await?;
            let now = clock::now()?;
            let mut answer = |text: String| CheckAnswer::new(found.remove(&text), now).about(text);
            let results = texts.into_iter().map(|text| text.map(&mut answer).into()).collect();
            Ok(Json(CheckResponse::Many(CheckList { key_ids: app.keys.key_ids(), results })))
        }
        (Some(_), Some(_)) => {
            Err(Problem::invalid("body.credential_hashes", "must not be given together with credential_hash"))
        }
        (None, None) => Err(Problem::invalid("body.credential_hash", "is required")),
    }
}

/// Refuses repeated hashes, which would make the answer many times as long as the request.
fn refuse_repeated(texts: &[Result<String, Problem>]) -> Result<(), Problem> {
    let mut seen = HashSet::new();
    for (index, text) in texts.iter().enumerate() {
        let hash = text.as_ref().ok().and_then(|text| text.parse::<CredentialHash>().ok());
        if hash.is_some_and(|hash| !seen.insert(hash)) {
            let location = format!("body.credential_hashes[{index}]");
            return Err(Problem::invalid(location, "must not be given twice"));
        }
    }
    Ok(())
}

/// The records of the credentials with these hashes. A string that is not a hash was never issued.
async fn find(
    app: &App,
    texts: impl IntoIterator<Item = &String>,
) -> Result<HashMap<String, IssueRecord>, Problem> {
    let hashes: Vec<CredentialHash> = texts.into_iter().filter_map(|text| text.parse().ok()).collect();
    if hashes.is_empty() { Ok(HashMap::new()) } else { Ok(app.store.find(hashes).await?) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::routes::tests::{assert_refused, post};

    #[tokio::test]
    async fn a_string_that_is_not_a_hash_does_not_exist() {
        for body in [r#"{"credential_hash": ""}"#, r#"{"credential_hash": "DEADBEEF"}"#] {
            assert_eq!(post("/check", body).await, (200, json!({"exists": false})));
        }
    }

    #[tokio::test]
    async fn a_bad_item_of_a_list_is_an_error_in_its_place() {
        let (status, body) = post("/check", r#"{"credential_hashes": ["a", 5, "b"]}"#).await;
        assert_eq!(status, 200);
        assert_eq!(body["key_ids"], json!(["7ec19c81b77ad985"]));
        assert_eq!(body["results"][0], json!({"credential_hash": "a", "exists": false}));
        assert_eq!(body["results"][1]["error"]["errors"][0]["location"], "body.credential_hashes[1]");
        assert_eq!(body["results"][2], json!({"credential_hash": "b", "exists": false}));
    }

    #[tokio::test]
    async fn a_check_is_about_one_hash_or_about_up_to_900_different_ones() {
        let hash = |digit: &str| digit.repeat(64);
        let twice =
            json!({"credential_hashes": [hash("a"), "b", hash("c"), hash("a"), hash("c")]}).to_string();
        for (body, location) in [
            (r#"{"credential_hashes": []}"#, "body.credential_hashes"),
            (r#"{"credential_hashes": "a"}"#, "body.credential_hashes"),
            (&twice, "body.credential_hashes[3]"),
            (r#"{"credential_hash": "a", "credential_hashes": ["a"]}"#, "body.credential_hashes"),
            ("{}", "body.credential_hash"),
        ] {
            assert_refused("/check", body, location).await;
        }
        let list = |length: usize| json!({ "credential_hashes": vec!["x"; length] }).to_string();
        assert_eq!(post("/check", &list(900)).await.0, 200);
        assert_refused("/check", &list(901), "body.credential_hashes").await;
    }
}
