//! The routes of verification, and their configuration.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::State,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use credentials::{KeyRing, WorkerId};
use platform::{
    Location, Settings, SettingsError, clock,
    edge::{self, Check, Guard, Health, Problem, RequestId, require},
    keys, variable,
};

use crate::{
    issuance::Issuance,
    list::list,
    store::Store,
    verify::{verify, verify_batch},
};

/// The state shared by the actions.
pub(crate) struct App {
    pub(crate) worker_id: WorkerId,
    pub(crate) keys: KeyRing,
    pub(crate) issuance: Issuance,
    /// How long audit rows are kept; `None` means forever.
    pub(crate) retention: Option<Duration>,
    pub(crate) store: Store,
}

/// The settings that the actions require.
#[derive(Debug)]
pub struct Config {
    /// The keys to hash with.
    pub keys: KeyRing,
    /// Where issuance is.
    pub issuance_url: String,
    /// Who may list.
    pub admins: Guard,
    /// How long audit rows are kept; `None` means forever.
    pub retention: Option<Duration>,
}

impl Config {
    async fn load() -> Result<Self, SettingsError> {
        Ok(Self {
            keys: keys().await?,
            issuance_url: variable("issuance_url").await?,
            admins: Guard::closed_without("admin_token", &variable("admin_token").await?)?,
            retention: retention(&variable("audit_retention_days").await?)?,
        })
    }
}

/// The service, configured from its variables.
///
/// # Errors
/// [`SettingsError`] when one that every answer needs cannot be read or used.
pub async fn start() -> Result<Router, SettingsError> {
    let settings = Settings::load("verification", "verification-worker").await?;
    let database = Location::load("verification").await?;
    Ok(router(settings, Config::load().await, database))
}

/// All routes of the service. The first request that needs the database opens it.
pub fn router(settings: Settings, config: Result<Config, SettingsError>, database: Location) -> Router {
    let (actions, health) = match config {
        Ok(Config { keys, issuance_url, admins, retention }) => {
            let app = Arc::new(App {
                worker_id: settings.worker_id.clone(),
                issuance: Issuance::new(&issuance_url, keys.key_ids()),
                keys,
                retention,
                store: Store::new(database),
            });
            let actions = Router::new()
                .route("/verify", post(verify))
                .route("/verify/batch", post(verify_batch))
                .route("/verifications", get(list).route_layer(from_fn_with_state(admins, require)))
                .with_state(Arc::clone(&app));
            (actions, Ok(app))
        }
        Err(error) => (edge::unavailable(&error), Err((error, Store::new(database)))),
    };
    let health = Router::new()
        .route("/health/verification", get(report_health))
        .with_state(Arc::new((settings.clone(), health)));
    edge::wrap(actions.merge(health), &settings)
}

/// The settings, and the service, or why its configuration cannot be used and its database.
type HealthState = (Settings, Result<Arc<App>, (SettingsError, Store)>);

/// GET /health/verification: whether this service, including issuance, can do its work.
async fn report_health(
    State(state): State<Arc<HealthState>>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Health, Problem> {
    let (settings, app) = &*state;
    let (error, store) = match app {
        Ok(app) => (None, &app.store),
        Err((error, store)) => (Some(error), store),
    };
    let mut checks = Vec::from(Check::settings(error));
    checks.push(Check::outcome("database", store.probe().await, "the database cannot be used"));
    if let Ok(app) = app {
        let answer = app.issuance.probe(&request_id).await;
        let failure = answer.as_ref().err().map_or("", |error| error.public());
        checks.push(Check::outcome("issuance", answer, failure));
    }
    Ok(Health::new(settings, &request_id, env!("CARGO_PKG_VERSION"), clock::now()?, &checks))
}

/// How long audit rows are kept, from a number of whole days; 0 means forever.
fn retention(days: &str) -> Result<Option<Duration>, SettingsError> {
    /// About a thousand years.
    const MAX_DAYS: u32 = 365_000;
    match days.trim().parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(days) if days <= MAX_DAYS => Ok(Some(Duration::from_secs(u64::from(days) * 24 * 60 * 60))),
        _ => Err(SettingsError::value(
            "audit_retention_days",
            "must be a whole number of days from 0 to 365000",
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    fn config() -> Result<Config, SettingsError> {
        Ok(Config {
            keys: KeyRing::new("0123456789abcdef0123456789abcdef", "").map_err(SettingsError::Keys)?,
            issuance_url: "http://issuance.example".to_owned(),
            admins: Guard::closed_without("admin_token", "")?,
            retention: None,
        })
    }

    async fn send(config: Result<Config, SettingsError>, request: Request<Body>) -> (u16, Value) {
        let settings = Settings {
            service: "verification",
            worker_id: WorkerId::named("verification-worker-1"),
            cors_origin: "*".to_owned(),
        };
        let response =
            router(settings, config, Location::spin("verification")).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    fn post_request(path: &str, body: &str) -> Request<Body> {
        let request = Request::post(path).header("content-type", "application/json");
        request.body(Body::from(body.to_owned())).unwrap()
    }

    /// Status and body of an answer that needs neither database nor issuance, and so no host.
    pub(crate) async fn post(path: &str, body: &str) -> (u16, Value) {
        send(config(), post_request(path, body)).await
    }

    #[tokio::test]
    async fn without_usable_settings_there_is_no_verdict() {
        let error = SettingsError::Keys(credentials::Error::SecretTooShort);
        let (status, problem) = send(Err(error), post_request("/verify", r#"{"credential": "a"}"#)).await;
        assert_eq!(status, 503);
        assert_eq!(problem.get("isValid"), None);
    }

    #[tokio::test]
    async fn audit_rows_are_closed_while_no_admin_token_is_configured() {
        let request = Request::get("/verifications").body(Body::empty()).unwrap();
        assert_eq!(send(config(), request).await.0, 403);
    }

    #[test]
    fn retention_is_a_whole_number_of_days_and_0_means_forever() {
        assert_eq!(retention("0").unwrap(), None);
        assert_eq!(retention("2").unwrap(), Some(Duration::from_secs(172_800)));
        for days in ["", "-1", "1.5", "a week", "365001"] {
            assert!(retention(days).is_err(), "{days:?}");
        }
    }
}
