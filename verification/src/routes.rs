//! The routes of verification: what each takes, does and gives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::State,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use credentials::{Credential, CredentialHash, Metadata, Timestamp, Verdict, VerdictStatus, VerificationId};
use platform::{
    Check, Cursors, Guard, Health, Items, Json, Listing, Problem, Query, RequestId, Settings, SettingsError,
    clock, edge, random, require, variable,
};
use serde::{Deserialize, Serialize};

use crate::{
    issuance::{Issuance, Known},
    store::{ListedVerification, Page, Store, Verification},
};

/// The most credentials of one batch.
const MAX_BATCH: usize = 100;

/// Old audit rows are deleted with an instance's first row, and then with every so many.
const ROWS_PER_CLEANING: u32 = 16;

/// How many old audit rows are deleted at once, at the least: few, so that the lock is short, but more than were added.
const DELETED_AT_ONCE: u32 = 100;

struct App {
    settings: Settings,
    issuance: Issuance,
    /// How long audit rows are kept; `None` for ever.
    retention: Option<Duration>,
    /// The audit rows that this instance has written so far.
    rows: AtomicU32,
    store: Store,
}

/// The service, configured from its variables.
///
/// # Errors
/// [`SettingsError`] when a variable cannot be read, or `audit_retention_days` is no number of days.
pub async fn start() -> Result<Router, SettingsError> {
    let settings = Settings::load("verification", "verification-worker").await?;
    let admins = Guard::closed_without(&variable("admin_token").await?);
    let retention = retention(&variable("audit_retention_days").await?)?;
    Ok(router(settings, &variable("issuance_url").await?, admins, retention))
}

/// Every path of the service. The database is opened by the first request that needs it.
pub fn router(settings: Settings, issuance_url: &str, admins: Guard, retention: Option<Duration>) -> Router {
    let app = Arc::new(App {
        settings,
        issuance: Issuance::at(issuance_url),
        retention,
        rows: AtomicU32::new(0),
        store: Store::new(),
    });
    let routes = Router::new()
        .route("/verify", post(verify))
        .route("/verify/batch", post(verify_batch))
        .route("/verifications", get(list).route_layer(from_fn_with_state(admins, require)))
        .route("/health/verification", get(health))
        .with_state(Arc::clone(&app));
    edge::wrap(routes, &app.settings)
}

/// How long audit rows are kept: whole days, 0 for ever.
fn retention(days: &str) -> Result<Option<Duration>, SettingsError> {
    /// About a thousand years.
    const MAX_DAYS: u32 = 365_000;
    let wrong = SettingsError::Value {
        name: "audit_retention_days",
        reason: "must be a whole number of days from 0 to 365000",
    };
    match days.trim().parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(days) if days <= MAX_DAYS => Ok(Some(Duration::from_secs(u64::from(days) * 24 * 60 * 60))),
        _ => Err(wrong),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyRequest {
    credential: Credential,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchRequest {
    credentials: Items,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifyResponse {
    is_valid: bool,
    status: VerdictStatus,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    verified_at: Timestamp,
    verification_id: VerificationId,
}

#[derive(Serialize)]
struct BatchResponse {
    results: Vec<BatchItem>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BatchItem {
    Verdict(VerifyResponse),
    Error { error: Problem },
}

/// POST /verify: the verdict on a credential, once it is recorded.
async fn verify(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<VerifyResponse>, Problem> {
    let hashes = app.settings.keys()?.hashes(&request.credential);
    drop(request);
    let verdict = verdicts(&app, &request_id, &[hashes]).await?.pop();
    verdict.map(Json).ok_or_else(|| Problem::internal("a verification had no verdict"))
}

/// POST /verify/batch: the verdicts on several credentials, in order, once all are recorded.
async fn verify_batch(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
    Json(request): Json<BatchRequest>,
) -> Result<Json<BatchResponse>, Problem> {
    let keys = app.settings.keys()?;
    let items = request.credentials.read::<Credential>("body.credentials", MAX_BATCH)?;
    let items: Vec<_> =
        items.into_iter().map(|item| item.map(|credential| keys.hashes(&credential))).collect();
    let hashes: Vec<_> = items.iter().filter_map(|item| item.as_ref().ok().cloned()).collect();
    let mut verdicts = verdicts(&app, &request_id, &hashes).await?.into_iter();
    let results = items.into_iter().map(|item| match item {
        Err(error) => Ok(BatchItem::Error { error }),
        Ok(_) => {
            let verdict = verdicts.next().map(BatchItem::Verdict);
            verdict.ok_or_else(|| Problem::internal("a verification had no verdict"))
        }
    });
    Ok(Json(BatchResponse { results: results.collect::<Result<_, _>>()? }))
}

/// The verdicts on credentials, each given as its hashes under all keys: one question to issuance and one write for all.
async fn verdicts(
    app: &App,
    request_id: &RequestId,
    credentials: &[Vec<CredentialHash>],
) -> Result<Vec<VerifyResponse>, Problem> {
    if credentials.is_empty() {
        return Ok(Vec::new());
    }
    let known = app.issuance.check(credentials.concat(), request_id.clone()).await?;
    let verified_at = clock::now()?;
    let verified_by = &app.settings.worker_id;

    let mut audit_rows = Vec::new();
    let mut responses = Vec::new();
    for hashes in credentials {
        let (credential_hash, verdict) = judge(hashes, &known, verified_at)?;
        let id = VerificationId::new(verified_at, random::bytes()?);
        audit_rows.push(Verification {
            id,
            request_id: request_id.clone(),
            credential_hash,
            status: verdict.status(),
            verified_by: verified_by.clone(),
            verified_at: verified_at.as_millis(),
        });
        let message = verdict.message(verified_by);
        let (is_valid, status) = (verdict.is_valid(), verdict.status());
        let record = match verdict {
            Verdict::Valid(record) => Some(record),
            Verdict::Expired(_) | Verdict::Revoked(_) | Verdict::NotFound => None,
        };
        responses.push(VerifyResponse {
            is_valid,
            status,
            message,
            issued_by: record.as_ref().map(|record| record.issued_by.to_string()),
            issued_at: record.as_ref().map(|record| record.issued_at),
            expires_at: record.as_ref().and_then(|record| record.expires_at),
            metadata: record.and_then(|record| record.metadata),
            verified_at,
            verification_id: id,
        });
    }
    app.store.record(audit_rows).await?;
    clean_up(app, verified_at, responses.len()).await;
    Ok(responses)
}

/// The verdict on one credential, and the hash it is about: the one it was issued under, else that of the current key.
///
/// Where it was issued under several keys, by services that were given them at different times, its worst standing counts:
/// what was revoked once is not valid under another key.
fn judge(
    hashes: &[CredentialHash],
    known: &Known,
    now: Timestamp,
) -> Result<(CredentialHash, Verdict), Problem> {
    let current = *hashes.first().ok_or_else(|| Problem::internal("a credential had no hash"))?;
    let verdicts = hashes.iter().filter_map(|hash| {
        let (record, seen) = known.get(hash)?.clone();
        Some((*hash, Verdict::of(record, seen, now)))
    });
    Ok(verdicts.min_by_key(|(_, verdict)| verdict.status()).unwrap_or((current, Verdict::NotFound)))
}

/// Now and then, deletes some audit rows that are too old. A failure is for the log: the verdict is recorded.
async fn clean_up(app: &App, now: Timestamp, added: usize) {
    let Some(retention) = app.retention else { return };
    let added = u32::try_from(added).unwrap_or(u32::MAX);
    let before = app.rows.fetch_add(added, Ordering::Relaxed);
    if before != 0 && before / ROWS_PER_CLEANING == before.wrapping_add(added) / ROWS_PER_CLEANING {
        return;
    }
    let oldest = now.as_millis() - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let Ok(oldest) = Timestamp::from_millis(oldest) else { return };
    if let Err(error) = app.store.delete_before(oldest, DELETED_AT_ONCE.max(added.saturating_mul(2))).await {
        tracing::warn!(service = app.settings.service, reason = %error, "old audit rows were not deleted");
    }
}

#[derive(Serialize)]
struct ListResponse {
    verifications: Vec<ListedVerification>,
    next_cursor: Option<String>,
}

/// GET /verifications: the audit rows, newest first.
async fn list(
    State(app): State<Arc<App>>,
    Query(listing): Query<Listing<VerdictStatus>>,
) -> Result<Json<ListResponse>, Problem> {
    let cursors = Cursors::new(app.settings.keys()?.current(), "verifications", &listing.filters());
    let after = listing.cursor.as_deref().map(|cursor| cursors.read(cursor)).transpose()?;
    let (verifications, next) = app
        .store
        .list(&Page {
            status: listing.status,
            credential_hash: listing.credential_hash.as_ref(),
            since: listing.since,
            until: listing.until,
            after: after.as_deref(),
            limit: listing.limit.get(),
        })
        .await?;
    let next_cursor = next.map(|id| cursors.write(&id));
    Ok(Json(ListResponse { verifications, next_cursor }))
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
    use credentials::{IssueRecord, KeyRing, Status, WorkerId};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    /// Status and body of an answer that needs neither database nor issuance, and so no host.
    async fn post(path: &str, body: &'static str, secret: &str) -> (u16, serde_json::Value) {
        send(Request::post(path).body(Body::from(body)).unwrap(), secret).await
    }

    async fn send(request: Request<Body>, secret: &str) -> (u16, serde_json::Value) {
        let settings = Settings {
            service: "verification",
            worker_id: WorkerId::named("verification-worker-1"),
            keys: KeyRing::new(secret, ""),
            cors_origin: "*".to_owned(),
        };
        let router = router(settings, "http://issuance.example", Guard::closed_without(""), None);
        let response = router.oneshot(request).await.unwrap();
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
            let (status, problem) = post("/verify", body, SECRET).await;
            assert_eq!((status, &problem["errors"][0]["location"]), (400, &location.into()), "{body}");
        }
    }

    #[tokio::test]
    async fn without_a_usable_secret_there_is_no_verdict() {
        let (status, problem) = post("/verify", r#"{"credential": "a"}"#, "too short").await;
        assert_eq!(status, 503);
        assert_eq!(problem.get("isValid"), None);
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test]
    async fn a_batch_has_1_to_100_items_and_a_bad_one_is_its_own_error() {
        for body in
            ["{}", r#"{"credentials": []}"#, r#"{"credentials": "a"}"#, r#"{"credentials": ["a"], "x": 1}"#]
        {
            assert_eq!(post("/verify/batch", body, SECRET).await.0, 400, "{body}");
        }
        let many = serde_json::json!({ "credentials": vec![""; 101] }).to_string().leak();
        assert_eq!(post("/verify/batch", many, SECRET).await.1["errors"][0]["location"], "body.credentials");
        let (status, body) = post("/verify/batch", r#"{"credentials": ["", 5, "\ud800"]}"#, SECRET).await;
        assert_eq!(status, 200);
        for (index, message) in
            ["must not be empty", "must be a string", "must be valid Unicode"].iter().enumerate()
        {
            let error = &body["results"][index]["error"];
            assert_eq!(error["status"], 400);
            let location = format!("body.credentials[{index}]");
            assert_eq!(error["errors"], serde_json::json!([{ "location": location, "message": message }]));
        }
    }

    #[tokio::test]
    async fn the_audit_rows_are_closed_while_no_admin_token_is_configured() {
        let request = Request::get("/verifications").body(Body::empty()).unwrap();
        assert_eq!(send(request, SECRET).await.0, 403);
    }

    #[test]
    fn retention_is_a_whole_number_of_days_and_0_is_for_ever() {
        assert_eq!(retention("0").unwrap(), None);
        assert_eq!(retention("2").unwrap(), Some(Duration::from_secs(172_800)));
        for days in ["", "-1", "1.5", "a week", "365001"] {
            assert!(retention(days).is_err(), "{days:?}");
        }
    }

    #[test]
    fn of_several_keys_the_worst_standing_counts() {
        let time = |millis| Timestamp::from_millis(millis).unwrap();
        let hash = |byte| CredentialHash::from([byte; 32]);
        let record = |revoked_at: Option<i64>| IssueRecord {
            issued_by: WorkerId::named("w"),
            issued_at: time(0),
            expires_at: None,
            revoked_at: revoked_at.map(time),
            metadata: None,
        };
        let valid = (record(None), Status::Active);
        let revoked = (record(Some(1)), Status::Revoked);
        let hashes = [hash(1), hash(2)];
        let judged = |known| {
            let (hash, verdict) = judge(&hashes, &Known::from_iter::<Vec<_>>(known), time(5)).unwrap();
            (hash, verdict.status().as_str())
        };
        assert_eq!(judged(vec![]), (hash(1), "not_found"));
        assert_eq!(judged(vec![(hash(2), valid.clone())]), (hash(2), "valid"));
        assert_eq!(judged(vec![(hash(1), valid), (hash(2), revoked)]), (hash(2), "revoked"));
    }
}
