//! The routes of issuance: what each takes, does and gives.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    http::StatusCode,
    routing::{get, post},
};
use credentials::{Credential, CredentialHash, IssueRecord, Timestamp};
use platform::{Check, Health, Json, Problem, RequestId, Settings, SettingsError, clock, edge};
use serde::{Deserialize, Serialize};

use crate::store::Store;

struct App {
    settings: Settings,
    store: Store,
}

/// The service, configured from its variables.
///
/// # Errors
/// [`SettingsError`] when a variable cannot be read.
pub async fn start() -> Result<Router, SettingsError> {
    Ok(router(Settings::load("issuance", "worker").await?))
}

/// Every path of the service. The database is opened by the first request that needs it.
pub fn router(settings: Settings) -> Router {
    let app = Arc::new(App { settings, store: Store::new() });
    let routes = Router::new()
        .route("/issue", post(issue))
        .route("/check", post(check))
        .route("/health", get(health))
        .route("/health/issuance", get(health))
        .with_state(Arc::clone(&app));
    edge::wrap(routes, &app.settings)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueRequest {
    credential: Credential,
}

#[derive(Serialize)]
struct IssueResponse {
    message: String,
    credential_hash: CredentialHash,
    issued_at: Timestamp,
    worker_id: String,
    key_id: String,
}

/// POST /issue: registers a credential, once.
async fn issue(
    State(app): State<Arc<App>>,
    Json(request): Json<IssueRequest>,
) -> Result<(StatusCode, Json<IssueResponse>), Problem> {
    let secret = app.settings.secret()?;
    let hash = secret.hash(&request.credential);
    drop(request);
    let record = IssueRecord { issued_by: app.settings.worker_id.clone(), issued_at: clock::now()? };
    if !app.store.insert(&hash, secret.key_id(), &record).await? {
        return Err(Problem::already_issued());
    }
    let response = IssueResponse {
        message: format!("credential issued by {}", record.issued_by),
        credential_hash: hash,
        issued_at: record.issued_at,
        worker_id: record.issued_by.to_string(),
        key_id: secret.key_id().to_string(),
    };
    Ok((StatusCode::CREATED, Json(response)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckRequest {
    /// Any string: one that is no hash stands for nothing that was issued.
    credential_hash: String,
}

#[derive(Serialize)]
struct CheckResponse {
    exists: bool,
    #[serde(flatten)]
    record: Option<CheckRecord>,
}

#[derive(Serialize)]
struct CheckRecord {
    worker_id: String,
    issued_at: Timestamp,
    status: &'static str,
}

/// POST /check: whether a hash was issued, by whom and when.
async fn check(
    State(app): State<Arc<App>>,
    Json(request): Json<CheckRequest>,
) -> Result<Json<CheckResponse>, Problem> {
    app.settings.secret()?;
    let record = match request.credential_hash.parse::<CredentialHash>() {
        Ok(hash) => app.store.find(&hash).await?,
        Err(_) => None,
    };
    Ok(Json(CheckResponse {
        exists: record.is_some(),
        record: record.map(|record| CheckRecord {
            worker_id: record.issued_by.to_string(),
            issued_at: record.issued_at,
            status: "active",
        }),
    }))
}

/// GET /health and GET /health/issuance: whether this service can do its work.
async fn health(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Health, Problem> {
    let checks = [
        Check::secret(&app.settings),
        Check::outcome("database", app.store.probe().await, "the database cannot be used"),
    ];
    Ok(Health::new(&app.settings, &request_id, env!("CARGO_PKG_VERSION"), clock::now()?, &checks))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use credentials::{Secret, WorkerId};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    /// Status and body of an answer that needs no database, and so no host.
    async fn post(path: &str, body: &'static str, secret: &str) -> (u16, serde_json::Value) {
        let settings = Settings {
            service: "issuance",
            worker_id: WorkerId::named("worker-1"),
            secret: Secret::new(secret),
            cors_origin: "*".to_owned(),
        };
        let request = Request::post(path).body(Body::from(body)).unwrap();
        let response = router(settings).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test]
    async fn issue_takes_a_non_empty_string_and_nothing_beside_it() {
        for (body, location) in [
            ("{}", "body.credential"),
            (r#"{"credential": ""}"#, "body.credential"),
            (r#"{"credential": ["a"]}"#, "body.credential"),
            (r#"{"credential": "a", "expires_att": "2030-01-01T00:00:00Z"}"#, "body.expires_att"),
        ] {
            let (status, problem) = post("/issue", body, SECRET).await;
            assert_eq!((status, &problem["errors"][0]["location"]), (400, &location.into()), "{body}");
        }
    }

    #[tokio::test]
    async fn a_string_that_is_no_hash_does_not_exist() {
        for body in [r#"{"credential_hash": ""}"#, r#"{"credential_hash": "DEADBEEF"}"#] {
            assert_eq!(post("/check", body, SECRET).await, (200, serde_json::json!({"exists": false})));
        }
    }

    #[tokio::test]
    async fn without_a_usable_secret_nothing_is_issued_or_checked() {
        for (path, body) in [("/issue", r#"{"credential": "a"}"#), ("/check", r#"{"credential_hash": "a"}"#)]
        {
            let (status, problem) = post(path, body, "too short").await;
            assert_eq!((status, &problem["detail"]), (503, &"The service is not configured.".into()));
        }
    }
}
