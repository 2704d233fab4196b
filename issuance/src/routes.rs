//! The routes of issuance.

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use platform::{
    clock::Deadline,
    component::ONE_REQUEST,
    database::{Database, Migration, Sql},
    edge::{Check, require},
    request_id::RequestId,
    service::{Service, metrics, statistics},
    settings::{Identity, SettingsError},
    statistics::Family,
};

use crate::{
    app::App,
    check::check,
    issue::{issue, issue_batch},
    list::list,
    revoke::revoke,
    settings::Settings,
    store::{COUNTED, MIGRATIONS, PROBE},
    uses::take,
};

impl Service for App {
    const NAME: &'static str = "issuance";
    const WORKER_PREFIX: &'static str = "worker";
    const HEALTH_PATHS: &'static [&'static str] = &["/health", "/health/issuance"];
    const MIGRATIONS: &'static [Migration] = MIGRATIONS;
    const PROBE: Sql = PROBE;
    const COUNTED: &'static [Family] = COUNTED;

    type Settings = Settings;

    async fn settings() -> Result<Settings, SettingsError> {
        Settings::load().await
    }

    fn new(identity: Identity, settings: Settings, database: Arc<Database>) -> Self {
        let app = Self::new(identity, settings, database);
        if !ONE_REQUEST {
            app.warn_if_open();
        }
        app
    }

    fn database(&self) -> &Database {
        self.store.database()
    }

    fn routes(self: Arc<Self>) -> Router {
        let issuers = from_fn_with_state(self.settings.issuers.clone(), require);
        let admins = from_fn_with_state(self.settings.admins.clone(), require);
        let monitors = from_fn_with_state(self.settings.monitors.clone(), require);
        let services = from_fn_with_state(self.settings.services.clone(), require);
        Router::new()
            .route("/issue", post(issue).route_layer(issuers.clone()))
            .route("/issue/batch", post(issue_batch).route_layer(issuers))
            .route("/check", post(check))
            .route("/check/use", post(take).route_layer(services))
            .route("/revoke", post(revoke).route_layer(admins.clone()))
            .route("/credentials", get(list).route_layer(admins.clone()))
            .route("/statistics/issuance", get(statistics::<Self>).route_layer(admins))
            .route("/metrics/issuance", get(metrics::<Self>).route_layer(monitors))
            .with_state(self)
    }

    async fn checks(&self, _: &RequestId, deadline: Deadline) -> Vec<Check> {
        self.warn_if_open();
        // A failure shows up in the check of the database.
        let stored = self.store.key_ids(deadline).await.unwrap_or_default();
        vec![Check::keys(&stored, &self.settings.keys.key_ids())]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use credentials::KeyRing;
    use platform::{edge::Guard, testing};
    use serde_json::{Value, json};

    use super::*;

    fn settings() -> Result<Settings, SettingsError> {
        let keys = KeyRing::new("0123456789abcdef0123456789abcdef", "").map_err(SettingsError::Keys)?;
        Ok(Settings {
            services: Guard::services(&keys),
            keys,
            issuers: Guard::open_if_unset("issuer_token", "")?,
            admins: Guard::closed_if_unset("admin_token", testing::TOKEN)?,
            monitors: Guard::closed_if_unset("metrics_token", "")?,
        })
    }

    /// Status and body of a response that needs no database, and so no host.
    pub(crate) async fn post(path: &str, body: &str) -> (u16, Value) {
        testing::send::<App>(settings(), testing::post(path, body)).await
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
                let request = testing::post(path, r#"{"credential_hash": "a"}"#);
                let (status, problem) = testing::send::<App>(Err(error.clone()), request).await;
                assert_eq!(
                    (status, &problem["detail"]),
                    (503, &json!("The service is not configured.")),
                    "{path}"
                );
            }
        }
    }
}
