//! The routes of issuance: what each takes, does and gives.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Extension, Router,
    extract::State,
    http::StatusCode,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use credentials::{
    Credential, CredentialHash, IssueRecord, Metadata, Reason, Status, Timestamp, TtlSeconds, generate,
};
use platform::{
    Check, Cursors, Guard, Health, Items, Json, Listing, Problem, Query, RequestId, Settings, SettingsError,
    clock, edge, given, random, require, variable,
};
use serde::{Deserialize, Serialize};

use crate::store::{ListedCredential, NewCredential, Page, Place, Store};

/// The longest list that one check takes: 100 credentials under nine keys.
const MAX_CHECKED: usize = 900;

struct App {
    settings: Settings,
    store: Store,
}

/// The service, configured from its variables.
///
/// # Errors
/// [`SettingsError`] when a variable cannot be read.
pub async fn start() -> Result<Router, SettingsError> {
    let settings = Settings::load("issuance", "worker").await?;
    let issuers = Guard::open_without(&variable("issuer_token").await?);
    let admins = Guard::closed_without(&variable("admin_token").await?);
    Ok(router(settings, issuers, admins))
}

/// Every path of the service. The database is opened by the first request that needs it.
pub fn router(settings: Settings, issuers: Guard, admins: Guard) -> Router {
    let app = Arc::new(App { settings, store: Store::new() });
    let issuers = from_fn_with_state(issuers, require);
    let admins = from_fn_with_state(admins, require);
    let routes = Router::new()
        .route("/issue", post(issue).route_layer(issuers))
        .route("/check", post(check))
        .route("/revoke", post(revoke).route_layer(admins.clone()))
        .route("/credentials", get(list).route_layer(admins))
        .route("/health", get(health))
        .route("/health/issuance", get(health))
        .with_state(Arc::clone(&app));
    edge::wrap(routes, &app.settings)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssueRequest {
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
struct IssueResponse {
    message: String,
    /// Only a generated one, and only here.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
    credential_hash: CredentialHash,
    issued_at: Timestamp,
    worker_id: String,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// POST /issue: registers a credential, once.
async fn issue(
    State(app): State<Arc<App>>,
    Json(request): Json<IssueRequest>,
) -> Result<(StatusCode, Json<IssueResponse>), Problem> {
    let keys = app.settings.keys()?;
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
    let hashes = keys.hashes(&credential);
    drop(credential);

    let record = IssueRecord {
        issued_by: app.settings.worker_id.clone(),
        issued_at,
        expires_at,
        revoked_at: None,
        metadata: request.metadata,
    };
    let key_id = keys.current().key_id();
    let response = IssueResponse {
        message: format!("credential issued by {}", record.issued_by),
        credential: generated,
        credential_hash: hashes[0],
        issued_at,
        worker_id: record.issued_by.to_string(),
        key_id: key_id.to_string(),
        expires_at,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckRequest {
    /// Any string: one that is no hash stands for nothing that was issued.
    #[serde(default, deserialize_with = "given")]
    credential_hash: Option<String>,
    #[serde(default, deserialize_with = "given")]
    credential_hashes: Option<Items>,
}

/// One answer, or one for each hash of a list.
#[derive(Serialize)]
#[serde(untagged)]
enum CheckResponse {
    One(CheckAnswer),
    Many { results: Vec<CheckItem> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum CheckItem {
    Answer(CheckAnswer),
    Error { error: Problem },
}

#[derive(Default, Serialize)]
struct CheckAnswer {
    /// Only in the answers to a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_hash: Option<String>,
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

/// POST /check: whether a hash, or each of a list, was issued, by whom and when, and where it is in its life.
async fn check(
    State(app): State<Arc<App>>,
    Json(request): Json<CheckRequest>,
) -> Result<Json<CheckResponse>, Problem> {
    app.settings.keys()?;
    match (request.credential_hash, request.credential_hashes) {
        (Some(hash), None) => {
            let found = find(&app, [&hash]).await?;
            Ok(Json(CheckResponse::One(CheckAnswer::new(found.get(&hash), clock::now()?))))
        }
        (None, Some(items)) => {
            let sent: Vec<Result<String, Problem>> = items.read("body.credential_hashes", MAX_CHECKED)?;
            let found = find(&app, sent.iter().filter_map(|text| text.as_ref().ok())).await?;
            let now = clock::now()?;
            let item = |text| match text {
                Ok(text) => {
                    let answer = CheckAnswer::new(found.get(&text), now);
                    CheckItem::Answer(CheckAnswer { credential_hash: Some(text), ..answer })
                }
                Err(error) => CheckItem::Error { error },
            };
            Ok(Json(CheckResponse::Many { results: sent.into_iter().map(item).collect() }))
        }
        (Some(_), Some(_)) => {
            Err(Problem::invalid("body.credential_hashes", "must not be given together with credential_hash"))
        }
        (None, None) => Err(Problem::invalid("body.credential_hash", "is required")),
    }
}

/// What is known of the credentials with these hashes, from one statement. A string that is no hash is of none.
async fn find(
    app: &App,
    texts: impl IntoIterator<Item = &String>,
) -> Result<HashMap<String, IssueRecord>, Problem> {
    let hashes: Vec<CredentialHash> = texts.into_iter().filter_map(|text| text.parse().ok()).collect();
    if hashes.is_empty() { Ok(HashMap::new()) } else { Ok(app.store.find(hashes).await?) }
}

impl CheckAnswer {
    fn new(record: Option<&IssueRecord>, now: Timestamp) -> Self {
        let Some(record) = record else { return Self::default() };
        Self {
            credential_hash: None,
            exists: true,
            worker_id: Some(record.issued_by.to_string()),
            issued_at: Some(record.issued_at),
            status: Some(record.status_at(now)),
            expires_at: record.expires_at,
            revoked_at: record.revoked_at,
            metadata: record.metadata.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeRequest {
    #[serde(default, deserialize_with = "given")]
    credential: Option<Credential>,
    #[serde(default, deserialize_with = "given")]
    credential_hash: Option<String>,
    #[serde(default, deserialize_with = "given")]
    reason: Option<Reason>,
}

#[derive(Serialize)]
struct RevokeResponse {
    message: String,
    credential_hash: String,
    revoked_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

/// POST /revoke: ends a credential's life, for good. The first revocation's time and reason stand.
async fn revoke(
    State(app): State<Arc<App>>,
    Json(request): Json<RevokeRequest>,
) -> Result<Json<RevokeResponse>, Problem> {
    let keys = app.settings.keys()?;
    let hashes = match (request.credential, request.credential_hash) {
        (Some(credential), None) => keys.hashes(&credential),
        (None, Some(hash)) => hash.parse().map(|hash| vec![hash]).unwrap_or_default(),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid(
                "body.credential_hash",
                "must not be given together with credential",
            ));
        }
        (None, None) => return Err(Problem::invalid("body.credential", "is required, or credential_hash")),
    };
    let unknown = || Problem::not_found("No such credential was issued.");
    if hashes.is_empty() {
        return Err(unknown());
    }
    let revocation = app.store.revoke(&hashes, request.reason.as_ref()).await?;
    let revocation = revocation.ok_or_else(unknown)?;
    Ok(Json(RevokeResponse {
        message: format!("credential revoked since {}", revocation.revoked_at),
        credential_hash: revocation.credential_hash,
        revoked_at: revocation.revoked_at,
        reason: revocation.reason,
    }))
}

#[derive(Serialize)]
struct ListResponse {
    credentials: Vec<ListItem>,
    next_cursor: Option<String>,
}

#[derive(Serialize)]
struct ListItem {
    credential_hash: String,
    key_id: String,
    worker_id: String,
    issued_at: Timestamp,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

/// GET /credentials: what was issued, newest first.
async fn list(
    State(app): State<Arc<App>>,
    Query(listing): Query<Listing<Status>>,
) -> Result<Json<ListResponse>, Problem> {
    let cursors = Cursors::new(app.settings.keys()?.current(), "credentials", &listing.filters());
    let after = listing.cursor.as_deref().map(|cursor| cursors.read(cursor).and_then(|text| place(&text)));
    let now = clock::now()?;
    let (rows, next) = app
        .store
        .list(&Page {
            status: listing.status,
            credential_hash: listing.credential_hash.as_ref(),
            since: listing.since,
            until: listing.until,
            after: after.transpose()?,
            now,
            limit: listing.limit.get(),
        })
        .await?;
    let next_cursor = next.map(|Place { issued_at, id }| cursors.write(&format!("{issued_at} {id}")));
    let item = |row: ListedCredential| ListItem {
        credential_hash: row.credential_hash,
        key_id: row.key_id,
        worker_id: row.record.issued_by.to_string(),
        issued_at: row.record.issued_at,
        status: row.record.status_at(now),
        expires_at: row.record.expires_at,
        revoked_at: row.record.revoked_at,
        reason: row.reason,
        metadata: row.record.metadata,
    };
    Ok(Json(ListResponse { credentials: rows.into_iter().map(item).collect(), next_cursor }))
}

/// The place that a cursor of this list stands for.
fn place(text: &str) -> Result<Place, Problem> {
    let place = || {
        let (issued_at, id) = text.split_once(' ')?;
        Some(Place { issued_at: issued_at.parse().ok()?, id: id.parse().ok()? })
    };
    place().ok_or_else(|| Problem::internal("a cursor of this list has no place"))
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
    use credentials::{KeyRing, WorkerId};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    /// Status and body of an answer that needs no database, and so no host.
    async fn post(path: &str, body: &'static str, secret: &str) -> (u16, serde_json::Value) {
        let settings = Settings {
            service: "issuance",
            worker_id: WorkerId::named("worker-1"),
            keys: KeyRing::new(secret, ""),
            cors_origin: "*".to_owned(),
        };
        let request =
            Request::post(path).header("authorization", "Bearer admin").body(Body::from(body)).unwrap();
        let router = router(settings, Guard::open_without(""), Guard::closed_without("admin"));
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

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
            let (status, problem) = post("/issue", body, SECRET).await;
            assert_eq!((status, &problem["errors"][0]["location"]), (400, &location.into()), "{body}");
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
            let body = format!(r#"{{"credential": "a", {member}}}"#).leak();
            let (status, problem) = post("/issue", body, SECRET).await;
            assert_eq!((status, &problem["errors"][0]["location"]), (400, &location.into()), "{member}");
        }
    }

    #[tokio::test]
    async fn metadata_is_a_sound_object() {
        for metadata in
            ["[]", "1", r#""a""#, r#"{"a": 1, "a": 2}"#, r#"{"a": {"b": 1, "b": 1}}"#, r#"{"a": "\ud800"}"#]
        {
            let body = format!(r#"{{"credential": "a", "metadata": {metadata}}}"#).leak();
            let (status, problem) = post("/issue", body, SECRET).await;
            assert_eq!(
                (status, &problem["errors"][0]["location"]),
                (400, &"body.metadata".into()),
                "{metadata}"
            );
        }
    }

    #[tokio::test]
    async fn revoke_names_one_credential_one_way() {
        let long = format!(r#"{{"credential": "a", "reason": "{}"}}"#, "x".repeat(501)).leak();
        for (body, location) in [
            ("{}", "body.credential"),
            (r#"{"credential": "a", "credential_hash": "b"}"#, "body.credential_hash"),
            (r#"{"credential": ""}"#, "body.credential"),
            (r#"{"credential": "a", "reason": 1}"#, "body.reason"),
            (long, "body.reason"),
        ] {
            let (status, problem) = post("/revoke", body, SECRET).await;
            assert_eq!((status, &problem["errors"][0]["location"]), (400, &location.into()), "{body}");
        }
        assert_eq!(post("/revoke", r#"{"credential_hash": "no hash"}"#, SECRET).await.0, 404);
    }

    #[tokio::test]
    async fn a_string_that_is_no_hash_does_not_exist() {
        for body in [r#"{"credential_hash": ""}"#, r#"{"credential_hash": "DEADBEEF"}"#] {
            assert_eq!(post("/check", body, SECRET).await, (200, serde_json::json!({"exists": false})));
        }
    }

    #[tokio::test]
    async fn of_a_list_one_bad_item_is_its_own_error_in_its_place() {
        let (status, body) = post("/check", r#"{"credential_hashes": ["a", 5, "b"]}"#, SECRET).await;
        assert_eq!(status, 200);
        let results = body["results"].as_array().unwrap();
        assert_eq!(results[0], serde_json::json!({"credential_hash": "a", "exists": false}));
        assert_eq!(results[1]["error"]["errors"][0]["location"], "body.credential_hashes[1]");
        assert_eq!(results[2], serde_json::json!({"credential_hash": "b", "exists": false}));
        for body in [
            r#"{"credential_hashes": []}"#,
            r#"{"credential_hashes": "a"}"#,
            r#"{"credential_hash": "a", "credential_hashes": ["a"]}"#,
            "{}",
        ] {
            assert_eq!(post("/check", body, SECRET).await.0, 400, "{body}");
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
