//! The routes of verification, and their configuration.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::State,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use credentials::{KeyRing, WorkerId};
use futures_util::future::join;
use platform::{
    Deadline, Location, Settings, SettingsError, clock,
    edge::{self, Check, Checks, Edge, Guard, Health, Problem, RequestId, require},
    flag, keys, service_url, variable, whole_number,
};

use crate::{
    issuance_client::Issuance,
    limit::FailureLimit,
    list::list,
    statistics::{metrics, statistics},
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
    /// How many failed verifications a client may have in a minute; `None` means any number.
    pub(crate) limit: Option<FailureLimit>,
    /// How many proxies there are between a client and the host.
    pub(crate) trusted_proxies: usize,
    /// Whether audit rows have the address of the client.
    pub(crate) audit_client_address: bool,
    pub(crate) store: Store,
}

/// The settings that the actions require.
#[derive(Debug)]
pub struct Config {
    /// The keys to hash with.
    pub keys: KeyRing,
    /// Where issuance is.
    pub issuance_url: String,
    /// Who may verify.
    pub verifiers: Guard,
    /// Who may list and see statistics.
    pub admins: Guard,
    /// Who may read metrics.
    pub monitors: Guard,
    /// How long audit rows are kept; `None` means forever.
    pub retention: Option<Duration>,
    /// How many failed verifications a client may have in a minute; 0 means any number.
    pub failures_per_minute: u32,
    /// How many proxies there are between a client and the host.
    pub trusted_proxies: usize,
    /// Whether audit rows have the address of the client.
    pub audit_client_address: bool,
}

impl Config {
    async fn load() -> Result<Self, SettingsError> {
        let admins = Guard::closed_if_unset("admin_token", &variable("admin_token").await?)?;
        let monitors = Guard::closed_if_unset("metrics_token", &variable("metrics_token").await?)?;
        // About a thousand years of days; more failures than any host serves in a minute; more proxies than anyone has.
        let days = whole_number("audit_retention_days", 365_000).await?;
        let failures_per_minute = whole_number("verify_failures_per_minute", 1_000_000).await?;
        let trusted_proxies = whole_number("trusted_proxies", 16).await?;
        Ok(Self {
            keys: keys().await?,
            issuance_url: service_url(&variable("issuance_url").await?)
                .map_err(|rule| SettingsError::value("issuance_url", rule))?,
            verifiers: Guard::open_if_unset("verifier_token", &variable("verifier_token").await?)?,
            monitors: monitors.or(&admins),
            admins,
            retention: (days > 0).then(|| Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
            failures_per_minute,
            trusted_proxies: trusted_proxies as usize,
            audit_client_address: flag("audit_client_address").await?,
        })
    }
}

/// The service, configured from its variables.
///
/// # Errors
/// None: with settings that cannot be used, the service answers and says so.
pub async fn start() -> Result<Edge, SettingsError> {
    let (settings, usable) = Settings::load("verification", "verification-worker").await;
    let (database, located) = Location::load("verification").await;
    let config = match usable.and(located) {
        Ok(()) => Config::load().await,
        Err(error) => Err(error),
    };
    Ok(router(settings, config, database))
}

/// All routes of the service. The first request that needs the database opens it.
pub fn router(settings: Settings, config: Result<Config, SettingsError>, database: Location) -> Edge {
    let (actions, app) = match config {
        Ok(config) => {
            let Config { keys, issuance_url, verifiers, admins, monitors, .. } = config;
            // Verifiers have one address for all whom they serve.
            let limits = verifiers.is_open() && config.failures_per_minute > 0;
            let app = Arc::new(App {
                worker_id: settings.worker_id.clone(),
                issuance: Issuance::new(&issuance_url, keys.key_ids()),
                keys,
                retention: config.retention,
                limit: limits.then(|| FailureLimit::new(config.failures_per_minute)),
                trusted_proxies: config.trusted_proxies,
                audit_client_address: config.audit_client_address,
                store: Store::new(database, config.failures_per_minute),
            });
            let verifiers = from_fn_with_state(verifiers, require);
            let admins = from_fn_with_state(admins, require);
            let monitors = from_fn_with_state(monitors, require);
            let actions = Router::new()
                .route("/verify", post(verify).route_layer(verifiers.clone()))
                .route("/verify/batch", post(verify_batch).route_layer(verifiers))
                .route("/verifications", get(list).route_layer(admins.clone()))
                .route("/statistics/verification", get(statistics).route_layer(admins))
                .route("/metrics/verification", get(metrics).route_layer(monitors))
                .with_state(Arc::clone(&app));
            (actions, Ok(app))
        }
        Err(error) => (edge::unavailable(&error), Err((error, Store::new(database, 0)))),
    };
    let health = Router::new()
        .route("/health/verification", get(report_health))
        .with_state(Arc::new(HealthState { settings: settings.clone(), app, checks: Checks::default() }));
    Edge::new(actions.merge(health), &settings)
}

struct HealthState {
    settings: Settings,
    /// The service, or why its configuration cannot be used and its database.
    app: Result<Arc<App>, (SettingsError, Store)>,
    checks: Checks,
}

/// GET /health/verification: whether this service, including issuance, can do its work.
async fn report_health(
    State(state): State<Arc<HealthState>>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Health, Problem> {
    let checks = state.checks.get(&state.settings, &request_id, || state.run_checks(&request_id)).await;
    Ok(Health::new(&state.settings, env!("CARGO_PKG_VERSION"), clock::now()?, &checks))
}

impl HealthState {
    async fn run_checks(&self, request_id: &RequestId) -> Vec<Check> {
        let (error, store) = match &self.app {
            Ok(app) => (None, &app.store),
            Err((error, store)) => (Some(error), store),
        };
        let deadline = Deadline::of_request();
        let mut checks = Vec::from(Check::settings(error));
        let ask_issuance = async {
            let Ok(app) = &self.app else { return None };
            let result = app.issuance.probe(request_id, deadline).await;
            let failure = result.as_ref().err().map_or("", |error| error.public());
            Some(Check::outcome("issuance", result, failure))
        };
        // At once, as they share the deadline.
        let (issuance, database) = join(ask_issuance, store.probe(deadline)).await;
        checks.push(Check::outcome("database", database, "the database cannot be used"));
        checks.extend(issuance);
        checks
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use axum::{body::Body, http::Request};
    use platform::Origins;
    use serde_json::Value;

    use super::*;

    fn config() -> Result<Config, SettingsError> {
        Ok(Config {
            keys: KeyRing::new("0123456789abcdef0123456789abcdef", "").map_err(SettingsError::Keys)?,
            issuance_url: "http://issuance.example".to_owned(),
            verifiers: Guard::open_if_unset("verifier_token", "")?,
            admins: Guard::closed_if_unset("admin_token", "")?,
            monitors: Guard::closed_if_unset("metrics_token", "")?,
            retention: None,
            failures_per_minute: 0,
            trusted_proxies: 0,
            audit_client_address: false,
        })
    }

    async fn send(config: Result<Config, SettingsError>, request: Request<Body>) -> (u16, Value) {
        let settings = Settings {
            service: "verification",
            worker_id: WorkerId::named("verification-worker-1"),
            origins: Origins::Any,
        };
        let response = router(settings, config, Location::spin("verification")).answer(request).await;
        let status = response.status().as_u16();
        (status, serde_json::from_slice(response.body()).unwrap())
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
}
