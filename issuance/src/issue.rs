//! POST /issue: registers a credential, once.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use credentials::{
    Credential, CredentialHash, IssueRecord, KeyId, Metadata, Timestamp, TtlSeconds, WorkerId, generate,
};
use platform::{
    clock,
    edge::{Json, Problem, given},
    random,
};
use serde::{Deserialize, Serialize};

use crate::{routes::App, store::NewCredential};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssueRequest {
    #[serde(default, deserialize_with = "given")]
    credential: Option<Credential>,
    #[serde(default)]
    generate: bool,
    #[serde(default, deserialize_with = "given")]
    expires_at: Option<Timestamp>,
    #[serde(default, deserialize_with = "given")]
    ttl_seconds: Option<TtlSeconds>,
    #[serde(default, deserialize_with = "given")]
    metadata: Option<Metadata>,
}

#[derive(Serialize)]
pub(crate) struct IssueResponse {
    message: String,
    /// Only if it was generated, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    credential_hash: CredentialHash,
    issued_at: Timestamp,
    worker_id: WorkerId,
    key_id: KeyId,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

pub(crate) async fn issue(
    State(app): State<Arc<App>>,
    Json(request): Json<IssueRequest>,
) -> Result<(StatusCode, Json<IssueResponse>), Problem> {
    let issued_at = clock::now()?;
    let expires_at = expiry(&request, issued_at)?;
    let (credential, generated) = match (request.credential, request.generate) {
        (Some(credential), false) => (credential, None),
        (None, true) => {
            let text = generate(&random::bytes()?);
            (Credential::new(text.clone())?, Some(text))
        }
        (Some(_), true) => {
            return Err(Problem::invalid("body.generate", "must not be true where a credential is given"));
        }
        (None, false) => return Err(Problem::invalid("body.credential", "is required")),
    };
    let hashes = app.keys.hashes(&credential);
    drop(credential);

    let key_id = app.keys.current().key_id();
    let response = IssueResponse {
        message: format!("credential issued by {}", app.worker_id),
        credential: generated,
        credential_hash: hashes[0],
        issued_at,
        worker_id: app.worker_id.clone(),
        key_id,
        expires_at,
    };
    let record = IssueRecord {
        worker_id: app.worker_id.clone(),
        issued_at,
        expires_at,
        revoked_at: None,
        metadata: request.metadata,
    };
    if !app.store.insert(NewCredential { hashes, key_id, record }).await? {
        return Err(Problem::already_issued());
    }
    Ok((StatusCode::CREATED, Json(response)))
}

/// When the credential expires, if ever.
fn expiry(request: &IssueRequest, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let (location, expires_at) = match (request.expires_at, request.ttl_seconds) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("body.ttl_seconds", "must not be given together with expires_at"));
        }
        (Some(expires_at), None) => ("body.expires_at", expires_at),
        (None, Some(ttl)) => {
            let beyond = |_| Problem::invalid("body.ttl_seconds", "must not reach beyond the year 9999");
            ("body.ttl_seconds", ttl.after(now).map_err(beyond)?)
        }
    };
    expires_at.if_after(now).map(Some).map_err(|error| Problem::invalid(location, error.to_string()))
}

#[cfg(test)]
mod tests {
    use crate::routes::tests::assert_refused;

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
    async fn metadata_is_a_sound_object() {
        for metadata in
            ["[]", "1", r#""a""#, r#"{"a": 1, "a": 2}"#, r#"{"a": {"b": 1, "b": 1}}"#, r#"{"a": "\ud800"}"#]
        {
            let body = format!(r#"{{"credential": "a", "metadata": {metadata}}}"#);
            assert_refused("/issue", &body, "body.metadata").await;
        }
    }
}
