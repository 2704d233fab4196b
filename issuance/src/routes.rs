//! The routes of issuance, and their configuration.

use std::sync::{Arc, Once};

use axum::{
    Extension, Router,
    extract::State,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use credentials::{KeyRing, WorkerId};
use platform::{
    Deadline, Location, ONE_REQUEST, Settings, SettingsError, clock,
    edge::{self, Check, Checks, Edge, Guard, Health, Problem, RequestId, require},
    keys, variable,
};

use crate::{
    check::check,
    issue::{issue, issue_batch},
    list::list,
    revoke::revoke,
    statistics::{metrics, statistics},
    store::Store,
};

/// The state shared by the actions.
pub(crate) struct App {
    pub(crate) worker_id: WorkerId,
    pub(crate) keys: KeyRing,
    pub(crate) store: Arc<Store>,
    /// Whether anyone may issue.
    open: bool,
}

impl App {
    /// Logs, once per instance, that anyone may issue.
    pub(crate) fn warn_if_open(&self) {
        static WARNED: Once = Once::new();
        if self.open {
            WARNED.call_once(|| {
                tracing::warn!(
                    service = "issuance",
                    "no issuer_token is configured: anyone may issue, and learns from a 409 that a credential exists; \
                     verify_failures_per_minute does not limit such guesses"
                );
            });
        }
    }
}

/// The settings that the actions require.
#[derive(Debug)]
pub struct Config {
    /// The keys to hash with.
    pub keys: KeyRing,
    /// Who may issue.
    pub issuers: Guard,
    /// Who may revoke, list and see statistics.
    pub admins: Guard,
    /// Who may read metrics.
    pub monitors: Guard,
}

impl Config {
    async fn load() -> Result<Self, SettingsError> {
        let admins = Guard::closed_if_unset("admin_token", &variable("admin_token").await?)?;
        let monitors = Guard::closed_if_unset("metrics_token", &variable("metrics_token").await?)?;
        Ok(Self {
            keys: keys().await?,
            issuers: Guard::open_if_unset("issuer_token", &variable("issuer_token").await?)?,
            monitors: monitors.or(&admins),
            admins,
        })
    }
}

/// The service, configured from its variables.
///
/// # Errors
/// None: with settings that cannot be used, the service answers and says so.
pub async fn start() -> Result<Edge, SettingsError> {
    let (settings, usable) = Settings::load("issuance", "worker").await;
    let (database, located) = Location::load("issuance").await;
    let config = match usable.and(located) {
        Ok(()) => Config::load().await,
        Err(error) => Err(error),
    };
    Ok(router(settings, config, database))
}

/// All routes of the service. The first request that needs the database opens it.
pub fn router(settings: Settings, config: Result<Config, SettingsError>, database: Location) -> Edge {
    let store = Arc::new(Store::new(database));
    let (actions, app) = match config {
        Ok(Config { keys, issuers, admins, monitors }) => {
            let app = Arc::new(App {
                worker_id: settings.worker_id.clone(),
                keys,
                store: Arc::clone(&store),
                open: issuers.is_open(),
            });
            if !ONE_REQUEST {
                app.warn_if_open();
            }
            let issuers = from_fn_with_state(issuers, require);
            let admins = from_fn_with_state(admins, require);
            let monitors = from_fn_with_state(monitors, require);
            let actions = Router::new()
                .route("/issue", post(issue).route_layer(issuers.clone()))
                .route("/issue/batch", post(issue_batch).route_layer(issuers))
                .route("/check", post(check))
                .route("/revoke", post(revoke).route_layer(admins.clone()))
                .route("/credentials", get(list).route_layer(admins.clone()))
                .route("/statistics/issuance", get(statistics).route_layer(admins))
                .route("/metrics/issuance", get(metrics).route_layer(monitors))
                .with_state(Arc::clone(&app));
            (actions, Ok(app))
        }
        Err(error) => (edge::unavailable(&error), Err(error)),
    };
    let state = HealthState { settings: settings.clone(), app, store, checks: Checks::default() };
    let health = Router::new()
        .route("/health", get(health))
        .route("/health/issuance", get(health))
        .with_state(Arc::new(state));
    Edge::new(actions.merge(health), &settings)
}

struct HealthState {
    settings: Settings,
    /// The service, or why its configuration cannot be used.
    app: Result<Arc<App>, SettingsError>,
    store: Arc<Store>,
    checks: Checks,
}

/// GET /health and GET /health/issuance: whether this service can do its work.
async fn health(
    State(state): State<Arc<HealthState>>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Health, Problem> {
    let checks = state.checks.get(&state.settings, &request_id, || state.run_checks()).await;
    Ok(Health::new(&state.settings, env!("CARGO_PKG_VERSION"), clock::now()?, &checks))
}

impl HealthState {
    async fn run_checks(&self) -> Vec<Check> {
        let deadline = Deadline::of_request();
        let mut checks = Vec::from(Check::settings(self.app.as_ref().err()));
        checks.push(Check::outcome(
            "database",
            self.store.probe(deadline).await,
            "the database cannot be used",
        ));
        if let Ok(app) = &self.app {
            app.warn_if_open();
            // A failure is one of the database.
            let stored = self.store.key_ids(deadline).await.unwrap_or_default();
            checks.push(Check::keys(&stored, &app.keys.key_ids()));
        }
        checks
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use axum::{body::Body, http::Request};
    use serde_json::{Value, json};

    use super::*;
    use platform::Origins;

    const ADMIN_TOKEN: &str = "an-admin-token-of-32-characters-";

    fn config() -> Result<Config, SettingsError> {
        Ok(Config {
            keys: KeyRing::new("0123456789abcdef0123456789abcdef", "").map_err(SettingsError::Keys)?,
            issuers: Guard::open_if_unset("issuer_token", "")?,
            admins: Guard::closed_if_unset("admin_token", ADMIN_TOKEN)?,
            monitors: Guard::closed_if_unset("metrics_token", "")?,
        })
    }

    async fn send(config: Result<Config, SettingsError>, path: &str, body: &str) -> (u16, Value) {
        let settings =
            Settings { service: "issuance", worker_id: WorkerId::named("worker-1"), origins: Origins::Any };
        let request = Request::post(path)
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = router(settings, config, Location::spin("issuance")).answer(request).await;
        let status = response.status().as_u16();
        (status, serde_json::from_slice(response.body()).unwrap())
    }

    /// Status and body of an answer that needs no database, and so no host.
    pub(crate) async fn post(path: &str, body: &str) -> (u16, Value) {
        send(config(), path, body).await
    }

    /// Asserts that a body is refused with a 400 for this location.
    pub(crate) async fn assert_refused(path: &str, body: &str, location: &str) {
        let (status, problem) = post(path, body).await;
        assert_eq!((status, &problem["errors"][0]["location"]), (400, &json!(location)), "{body}");
    }

    #[tokio::test]
    async fn without_usable_settings_every_route_is_unavailable() {
        for error in [
            SettingsError::Keys(credentials::Error::SecretTooShort),
            SettingsError::value("admin_token", "x"),
        ] {
            for path in ["/issue", "/check", "/revoke", "/credentials", "/", "/nothing/here"] {
                let (status, problem) = send(Err(error.clone()), path, r#"{"credential_hash": "a"}"#).await;
                assert_eq!(
                    (status, &problem["detail"]),
                    (503, &json!("The service is not configured.")),
                    "{path}"
                );
            }
        }
    }
}
