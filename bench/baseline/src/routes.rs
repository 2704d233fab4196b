//! The routes, which behave like those of the components.

use std::sync::Arc;

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use credentials::{
    CheckAnswer, Credential, CredentialHash, IssueRecord, Metadata, Secret, Timestamp, TtlSeconds, Verdict,
    VerdictStatus, VerificationId, WorkerId,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::store::{NewCredential, Store, Verification};

/// What the handlers share.
pub(crate) struct App {
    pub(crate) secret: Secret,
    pub(crate) store: Store,
    pub(crate) issuer: WorkerId,
    pub(crate) verifier: WorkerId,
}

pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/issue", post(issue))
        .route("/check", post(check))
        .route("/verify", post(verify))
        .route("/health", get(health))
        .route("/health/verification", get(health))
        // The path of Spin's own liveness check.
        .route("/.well-known/spin/health", get(|| async { "OK" }))
        .with_state(Arc::new(app))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueRequest {
    credential: Credential,
    expires_at: Option<Timestamp>,
    ttl_seconds: Option<TtlSeconds>,
    metadata: Option<Metadata>,
}

#[derive(Serialize)]
struct IssueResponse<'a> {
    message: String,
    credential_hash: CredentialHash,
    issued_at: Timestamp,
    worker_id: &'a WorkerId,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// POST /issue: registers a credential, once.
async fn issue(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Error> {
    let request: IssueRequest = read(&body)?;
    let issued_at = now()?;
    let expires_at = match (request.expires_at, request.ttl_seconds) {
        (Some(_), Some(_)) => return Err(Error::invalid("expires_at and ttl_seconds exclude each other")),
        (None, Some(ttl)) => Some(ttl.after(issued_at).map_err(Error::invalid)?),
        (expires_at, None) => expires_at,
    };
    let expires_at = expires_at.map(|time| time.if_after(issued_at)).transpose().map_err(Error::invalid)?;
    let (hash, key_id) = (app.secret.hash(&request.credential), app.secret.key_id());
    drop(request.credential);
    let record = IssueRecord {
        worker_id: app.issuer.clone(),
        issued_at,
        expires_at,
        revoked_at: None,
        metadata: request.metadata,
    };
    if !app.store.insert(NewCredential { hash, key_id, record }).await? {
        return Err(Error {
            status: StatusCode::CONFLICT,
            detail: "This credential has been issued before.".into(),
        });
    }
    let response = IssueResponse {
        message: format!("credential issued by {}", app.issuer),
        credential_hash: hash,
        issued_at,
        worker_id: &app.issuer,
        key_id: key_id.to_string(),
        expires_at,
    };
    json(StatusCode::CREATED, &response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckRequest {
    credential_hash: String,
}

/// POST /check: whether a hash was issued, by whom and when, and its status.
async fn check(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Error> {
    let request: CheckRequest = read(&body)?;
    let record = match request.credential_hash.parse() {
        Ok(hash) => app.store.find(hash)?,
        Err(_) => None,
    };
    json(StatusCode::OK, &CheckAnswer::new(record, now()?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyRequest {
    credential: Credential,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifyResponse {
    is_valid: bool,
    status: VerdictStatus,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_by: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    verified_at: Timestamp,
    verification_id: VerificationId,
}

/// POST /verify: the verdict on a credential, after it was recorded.
async fn verify(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Result<Response, Error> {
    let request: VerifyRequest = read(&body)?;
    let hash = app.secret.hash(&request.credential);
    drop(request);
    let record = app.store.find(hash)?;
    let verified_at = now()?;
    let verdict = match record {
        Some(record) => {
            let seen = record.status_at(verified_at);
            Verdict::of(record, seen, verified_at)
        }
        None => Verdict::NotFound,
    };
    let (id, status) = (VerificationId::new(verified_at, random()?), verdict.status());
    let verification = Verification {
        id,
        request_id: request_id(&headers)?,
        hash,
        status,
        verified_by: app.verifier.clone(),
        verified_at,
    };
    app.store.record(verification).await?;
    let message = verdict.message(&app.verifier);
    let is_valid = verdict.is_valid();
    let record = if let Verdict::Valid(record) = verdict { Some(record) } else { None };
    let (issued_at, expires_at) =
        (record.as_ref().map(|r| r.issued_at), record.as_ref().and_then(|r| r.expires_at));
    let (issued_by, metadata) = record.map(|r| (r.worker_id, r.metadata)).unzip();
    let response = VerifyResponse {
        is_valid,
        status,
        message,
        issued_by,
        issued_at,
        expires_at,
        metadata: metadata.flatten(),
        verified_at,
        verification_id: id,
    };
    json(StatusCode::OK, &response)
}

/// GET /health: whether the databases answer.
async fn health(State(app): State<Arc<App>>) -> Result<Response, Error> {
    app.store.probe()?;
    json(StatusCode::OK, &serde_json::json!({"status": "healthy", "service": "baseline"}))
}

/// A problem document (RFC 9457).
struct Error {
    status: StatusCode,
    detail: String,
}

impl Error {
    fn invalid(reason: impl ToString) -> Self {
        Self { status: StatusCode::BAD_REQUEST, detail: reason.to_string() }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        eprintln!("{error:#}");
        Self { status: StatusCode::SERVICE_UNAVAILABLE, detail: "The database cannot be used.".to_owned() }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"status": self.status.as_u16(), "detail": self.detail, "message": self.detail});
        (self.status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(Error::invalid)
}

fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Error> {
    let body = serde_json::to_vec(body).context("an answer cannot be written")?;
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    Ok((status, headers, body).into_response())
}

/// The request id that was sent if it is valid, else a new one.
fn request_id(headers: &HeaderMap) -> anyhow::Result<String> {
    let sent = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let plain = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match sent.filter(plain) {
        Some(id) => Ok(id.to_owned()),
        None => Ok(hex::encode(random::<16>()?)),
    }
}

fn now() -> anyhow::Result<Timestamp> {
    let elapsed = std::time::UNIX_EPOCH.elapsed()?;
    Ok(Timestamp::from_millis(i64::try_from(elapsed.as_millis())?)?)
}

pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
