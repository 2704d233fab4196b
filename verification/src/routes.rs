//! The routes of verification: what each takes, does and gives.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::State,
    routing::{get, post},
};
use credentials::{Credential, Timestamp, Verdict, VerificationId};
use platform::{
    Check, Health, Json, Problem, RequestId, Settings, SettingsError, clock, edge, random, variable,
};
use serde::{Deserialize, Serialize};

use crate::{
    issuance::Issuance,
    store::{Store, Verification},
};

struct App {
    settings: Settings,
    issuance: Issuance,
    store: Store,
}

/// The service, configured from its variables.
///
/// # Errors
/// [`SettingsError`] when a variable cannot be read.
pub async fn start() -> Result<Router, SettingsError> {
    let settings = Settings::load("verification", "verification-worker").await?;
    Ok(router(settings, &variable("issuance_url").await?))
}

/// Every path of the service. The database is opened by the first request that needs it.
pub fn router(settings: Settings, issuance_url: &str) -> Router {
    let app = Arc::new(App { settings, issuance: Issuance::at(issuance_url), store: Store::new() });
    let routes = Router::new()
        .route("/verify", post(verify))
        .route("/health/verification", get(health))
        .with_state(Arc::clone(&app));
    edge::wrap(routes, &app.settings)
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
    status: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    verified_at: Timestamp,
    verification_id: VerificationId,
}

/// POST /verify: the verdict on a credential, once it is recorded.
async fn verify(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<VerifyResponse>, Problem> {
    let credential_hash = app.settings.secret()?.hash(&request.credential);
    drop(request);
    let verdict = Verdict::of(app.issuance.check(&credential_hash, &request_id).await?);

    let verified_at = clock::now()?;
    let id = VerificationId::new(verified_at, random::bytes()?);
    let verified_by = &app.settings.worker_id;
    app.store
        .record(&Verification {
            id,
            request_id: &request_id,
            credential_hash: &credential_hash,
            verdict: &verdict,
            verified_by,
            verified_at,
        })
        .await?;

    let record = match &verdict {
        Verdict::Valid(record) => Some(record),
        Verdict::NotFound => None,
    };
    Ok(Json(VerifyResponse {
        is_valid: verdict.is_valid(),
        status: verdict.status(),
        message: verdict.message(verified_by),
        issued_by: record.map(|record| record.issued_by.to_string()),
        issued_at: record.map(|record| record.issued_at),
        verified_at,
        verification_id: id,
    }))
}

/// GET /health/verification: whether this service can do its work, which takes issuance too.
async fn health(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Health, Problem> {
    let checks = [
        Check::secret(&app.settings),
        Check::outcome("database", app.store.probe().await, "the database cannot be used"),
        Check::outcome(
            "issuance",
            app.issuance.probe(&request_id).await,
            "issuance does not answer, or is unhealthy",
        ),
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

    /// Status and body of an answer that needs neither database nor issuance, and so no host.
    async fn verify(body: &'static str, secret: &str) -> (u16, serde_json::Value) {
        let settings = Settings {
            service: "verification",
            worker_id: WorkerId::named("verification-worker-1"),
            secret: Secret::new(secret),
            cors_origin: "*".to_owned(),
        };
        let request = Request::post("/verify").body(Body::from(body)).unwrap();
        let response = router(settings, "http://issuance.example").oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn verify_takes_a_non_empty_string_and_nothing_beside_it() {
        for (body, location) in [
            ("{}", "body.credential"),
            (r#"{"credential": ""}"#, "body.credential"),
            (r#"{"credential": 1}"#, "body.credential"),
            (r#"{"credential": "a", "reason": "b"}"#, "body.reason"),
        ] {
            let (status, problem) = verify(body, "0123456789abcdef0123456789abcdef").await;
            assert_eq!((status, &problem["errors"][0]["location"]), (400, &location.into()), "{body}");
        }
    }

    #[tokio::test]
    async fn without_a_usable_secret_there_is_no_verdict() {
        let (status, problem) = verify(r#"{"credential": "a"}"#, "too short").await;
        assert_eq!(status, 503);
        assert_eq!(problem.get("isValid"), None);
    }
}
