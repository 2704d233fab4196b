//! POST /issue and POST /issue/batch: register credentials, each once.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use credentials::{
    Credential, CredentialHash, IssueRecord, KeyId, MaxUses, Metadata, Timestamp, TtlSeconds, WorkerId,
    generate,
};
use platform::{
    clock::{self, Deadline},
    edge::{Idempotency, ItemResult, Json, Problem, RawItems, non_null},
    random,
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    repetition::{Repeatable, Repetitions},
    store::{Insertion, NewCredential},
};

/// The most credentials of one batch.
const MAX_BATCH: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssueRequest {
    #[serde(default, deserialize_with = "non_null")]
    pub(crate) credential: Option<Credential>,
    #[serde(default)]
    pub(crate) generate: bool,
    #[serde(default, deserialize_with = "non_null")]
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "non_null")]
    pub(crate) ttl_seconds: Option<TtlSeconds>,
    #[serde(default, deserialize_with = "non_null")]
    pub(crate) max_uses: Option<MaxUses>,
    #[serde(default, deserialize_with = "non_null")]
    pub(crate) metadata: Option<Metadata>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct IssueResponse {
    message: String,
    /// Only if it was generated. It is never stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    credential_hash: CredentialHash,
    issued_at: Timestamp,
    worker_id: WorkerId,
    key_id: KeyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_uses: Option<MaxUses>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    credentials: RawItems,
}

#[derive(Serialize)]
pub(crate) struct BatchResponse {
    results: Vec<ItemResult<IssueResponse>>,
}

pub(crate) async fn issue(
    State(app): State<Arc<App>>,
    idempotency: Idempotency,
    Json(request): Json<IssueRequest>,
) -> Result<(StatusCode, Json<IssueResponse>), Problem> {
    let mut results = issue_all(&app, &idempotency, vec![Ok(request)], |_| "body".to_owned()).await?;
    let result = results.pop().unwrap_or_else(|| Err(Problem::internal("an item had no result")));
    result.map(|response| (StatusCode::CREATED, Json(response)))
}

pub(crate) async fn issue_batch(
    State(app): State<Arc<App>>,
    idempotency: Idempotency,
    Json(request): Json<BatchRequest>,
) -> Result<Json<BatchResponse>, Problem> {
    let items = request.credentials.read_objects("body.credentials", MAX_BATCH)?;
    let results = issue_all(&app, &idempotency, items, |index| format!("body.credentials[{index}]")).await?;
    Ok(Json(BatchResponse { results: results.into_iter().map(Into::into).collect() }))
}

/// Issues the items of a request, all in one statement. `location` is that of the item at an index.
async fn issue_all(
    app: &App,
    idempotency: &Idempotency,
    items: Vec<Result<IssueRequest, Problem>>,
    location: impl Fn(usize) -> String,
) -> Result<Vec<Result<IssueResponse, Problem>>, Problem> {
    let (deadline, now) = (Deadline::of_request(), clock::now()?);
    app.warn_if_open();
    let repeatable = Repeatable::new(idempotency, &app.settings.keys, &items);
    let (mut credentials, mut prepared) = (Vec::new(), Vec::new());
    for (index, item) in items.into_iter().enumerate() {
        let item =
            item.and_then(|item| prepare(app, item, &location(index), repeatable.as_ref(), index, now));
        prepared.push(item.map(|(credential, response)| {
            credentials.push(credential);
            response
        }));
    }
    let insertions = app.store.insert(credentials, deadline).await?;
    let repetitions = match &repeatable {
        Some(_) if insertions.contains(&Insertion::KeyReused) => {
            return Err(Problem::idempotency_key_reused());
        }
        Some(repeatable) if insertions.contains(&Insertion::Exists) => {
            Repetitions::new(repeatable, app.store.issued_by(&repeatable.tags(), deadline).await?)?
        }
        _ => Repetitions::default(),
    };
    let mut insertions = insertions.into_iter();
    let result = |(index, item): (usize, Result<IssueResponse, Problem>)| {
        let response = item?;
        match insertions.next() {
            Some(Insertion::Inserted) => Ok(response),
            _ => repetitions.response(index, response.credential.is_some(), now),
        }
    };
    Ok(prepared.into_iter().enumerate().map(result).collect())
}

/// The row to store, and the response once it is stored. Errors are located below `root`.
fn prepare(
    app: &App,
    request: IssueRequest,
    root: &str,
    repeatable: Option<&Repeatable>,
    index: usize,
    issued_at: Timestamp,
) -> Result<(NewCredential, IssueResponse), Problem> {
    let invalid = |member: &str, rule: &str| Err(Problem::invalid(format!("{root}.{member}"), rule));
    let expires_at = expiry(&request, root, issued_at)?;
    let (credential, generated) = match (request.credential, request.generate) {
        (Some(credential), false) => (credential, None),
        (None, true) => {
            let text = match repeatable {
                Some(repeatable) => repeatable.generate(index),
                None => generate(&random::bytes()?),
            };
            (Credential::new(text.clone())?, Some(text))
        }
        (Some(_), true) => return invalid("generate", "must not be true where a credential is given"),
        (None, false) => return invalid("credential", "is required"),
    };
    let hashes = app.settings.keys.hashes(&credential);
    drop(credential);

    let key_id = app.settings.keys.current().key_id();
    let record = IssueRecord {
        worker_id: app.identity.worker_id.clone(),
        issued_at,
        expires_at,
        revoked_at: None,
        max_uses: request.max_uses,
        uses: request.max_uses.map(|_| 0),
        metadata: request.metadata,
    };
    let response = IssueResponse::new(&record, hashes[0], key_id, generated);
    Ok((NewCredential { hashes, key_id, record, request: repeatable.map(|it| it.item(index)) }, response))
}

impl IssueResponse {
    pub(crate) fn new(
        record: &IssueRecord,
        credential_hash: CredentialHash,
        key_id: KeyId,
        generated: Option<String>,
    ) -> Self {
        Self {
            message: format!("credential issued by {}", record.worker_id),
            credential: generated,
            credential_hash,
            issued_at: record.issued_at,
            worker_id: record.worker_id.clone(),
            key_id,
            expires_at: record.expires_at,
            max_uses: record.max_uses,
        }
    }
}

/// When a credential expires, if ever.
fn expiry(request: &IssueRequest, root: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let invalid = |member: &str, rule: String| Problem::invalid(format!("{root}.{member}"), rule);
    let (member, expires_at) = match (request.expires_at, request.ttl_seconds) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(invalid("ttl_seconds", "must not be given together with expires_at".to_owned()));
        }
        (Some(expires_at), None) => ("expires_at", expires_at),
        (None, Some(ttl)) => {
            let beyond = |_| invalid("ttl_seconds", "must not reach beyond the year 9999".to_owned());
            ("ttl_seconds", ttl.after(now).map_err(beyond)?)
        }
    };
    expires_at.if_after(now).map(Some).map_err(|error| invalid(member, error.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::routes::tests::{assert_refused, post};

    #[tokio::test]
    async fn issue_takes_a_non_empty_string_or_generates_one() {
        for (body, location) in [
            ("{}", "body.credential"),
            (r#"{"credential": ""}"#, "body.credential"),
            (r#"{"credential": ["a"]}"#, "body.credential"),
            (r#"{"credential": "a", "expires_att": "2030-01-01T00:00:00Z"}"#, "body.expires_att"),
            (r#"{"credential": "a", "generate": true}"#, "body.generate"),
            (r#"{"generate": false}"#, "body.credential"),
            (r#"{"generate": "yes"}"#, "body.generate"),
            (r#"{"credential": "a", "max_uses": 0}"#, "body.max_uses"),
            (r#"{"credential": "a", "max_uses": 1000001}"#, "body.max_uses"),
            (r#"{"credential": "a", "max_uses": null}"#, "body.max_uses"),
            (r#"{"credential": "a", "max_uses": "1"}"#, "body.max_uses"),
        ] {
            assert_refused("/issue", body, location).await;
        }
    }

    #[tokio::test]
    async fn an_expiry_lies_in_the_future_and_is_given_once() {
        for (member, location) in [
            (r#""expires_at": "2020-01-01T00:00:00Z""#, "body.expires_at"),
            (r#""expires_at": "10000-01-01T00:00:00Z""#, "body.expires_at"),
            (r#""expires_at": "tomorrow""#, "body.expires_at"),
            (r#""expires_at": 1893456000"#, "body.expires_at"),
            (r#""expires_at": null"#, "body.expires_at"),
            (r#""ttl_seconds": null"#, "body.ttl_seconds"),
            (r#""ttl_seconds": 0"#, "body.ttl_seconds"),
            (r#""ttl_seconds": -1"#, "body.ttl_seconds"),
            (r#""ttl_seconds": 1.5"#, "body.ttl_seconds"),
            (r#""ttl_seconds": "60""#, "body.ttl_seconds"),
            (r#""ttl_seconds": 9999999999999"#, "body.ttl_seconds"),
            (r#""ttl_seconds": 60, "expires_at": "2090-01-01T00:00:00Z""#, "body.ttl_seconds"),
        ] {
            assert_refused("/issue", &format!(r#"{{"credential": "a", {member}}}"#), location).await;
        }
    }

    #[tokio::test]
    async fn a_bad_item_of_a_batch_is_an_error_in_its_place() {
        let past = r#"{"credential": "a", "expires_at": "2020-01-01T00:00:00Z"}"#;
        let items = [r#""a""#, r#"["a"]"#, "{}", r#"{"credential": ""}"#, past, r#"{"generate": 1}"#];
        let (status, body) =
            post("/issue/batch", &format!(r#"{{"credentials": [{}]}}"#, items.join(","))).await;
        assert_eq!(status, 200, "{body}");
        for (index, member) in
            ["", "", ".credential", ".credential", ".expires_at", ".generate"].iter().enumerate()
        {
            let error = &body["results"][index]["error"];
            assert_eq!(error["status"], 400, "{body}");
            assert_eq!(error["errors"][0]["location"], format!("body.credentials[{index}]{member}"));
        }
    }

    #[tokio::test]
    async fn a_batch_has_1_to_100_items() {
        let list = |length: usize| format!(r#"{{"credentials": [{}]}}"#, vec!["1"; length].join(","));
        assert_eq!(post("/issue/batch", &list(100)).await.0, 200);
        for body in [&list(0), &list(101), "{}", r#"{"credentials": {}}"#] {
            assert_refused("/issue/batch", body, "body.credentials").await;
        }
    }

    #[tokio::test]
    async fn metadata_is_a_sound_object() {
        for metadata in
            ["[]", "1", r#""a""#, r#"{"a": 1, "a": 2}"#, r#"{"a": {"b": 1, "b": 1}}"#, r#"{"a": "\ud800"}"#]
        {
            let body = format!(r#"{{"credential": "a", "metadata": {metadata}}}"#);
            assert_refused("/issue", &body, "body.metadata").await;
        }
    }
}
