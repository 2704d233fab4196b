//! The routes of verification.

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use platform::{
    clock::Deadline,
    database::{Database, Migration, Sql},
    edge::{Check, require},
    request_id::RequestId,
    service::{Service, metrics, statistics},
    settings::{Identity, SettingsError},
    statistics::Family,
};

use crate::{
    app::App,
    list::list,
    settings::Settings,
    store::{COUNTED, MIGRATIONS, PROBE},
    verify::{verify, verify_batch},
};

impl Service for App {
    const NAME: &'static str = "verification";
    const WORKER_PREFIX: &'static str = "verification-worker";
    const HEALTH_PATHS: &'static [&'static str] = &["/health/verification"];
    const MIGRATIONS: &'static [Migration] = MIGRATIONS;
    const PROBE: Sql = PROBE;
    const COUNTED: &'static [Family] = COUNTED;

    type Settings = Settings;

    async fn settings() -> Result<Settings, SettingsError> {
        Settings::load().await
    }

    fn new(identity: Identity, settings: Settings, database: Arc<Database>) -> Self {
        Self::new(identity, settings, database)
    }

    fn database(&self) -> &Database {
        self.store.database()
    }

    fn routes(self: Arc<Self>) -> Router {
        let verifiers = from_fn_with_state(self.settings.verifiers.clone(), require);
        let admins = from_fn_with_state(self.settings.admins.clone(), require);
        let monitors = from_fn_with_state(self.settings.monitors.clone(), require);
        Router::new()
            .route("/verify", post(verify).route_layer(verifiers.clone()))
            .route("/verify/batch", post(verify_batch).route_layer(verifiers))
            .route("/verifications", get(list).route_layer(admins.clone()))
            .route("/statistics/verification", get(statistics::<Self>).route_layer(admins))
            .route("/metrics/verification", get(metrics::<Self>).route_layer(monitors))
            .with_state(self)
    }

    async fn checks(&self, request_id: &RequestId, deadline: Deadline) -> Vec<Check> {
        let result = self.issuance.probe(request_id, deadline).await;
        let failure = result.as_ref().err().map_or("", |error| error.public());
        vec![Check::outcome("issuance", result, failure)]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use axum::{body::Body, http::Request};
    use credentials::KeyRing;
    use platform::{edge::Guard, testing};
    use serde_json::Value;

    use super::*;

    fn settings() -> Result<Settings, SettingsError> {
        Ok(Settings {
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

    /// Status and body of a response that needs neither database nor issuance, and so no host.
    pub(crate) async fn post(path: &str, body: &str) -> (u16, Value) {
        testing::send::<App>(settings(), testing::post(path, body)).await
    }

    #[tokio::test]
    async fn without_usable_settings_there_is_no_verdict() {
        let error = SettingsError::Keys(credentials::Error::SecretTooShort);
        let request = testing::post("/verify", r#"{"credential": "a"}"#);
        let (status, problem) = testing::send::<App>(Err(error), request).await;
        assert_eq!(status, 503);
        assert_eq!(problem.get("isValid"), None);
    }

    #[tokio::test]
    async fn audit_rows_are_closed_while_no_admin_token_is_configured() {
        let request = Request::get("/verifications").body(Body::empty()).unwrap();
        assert_eq!(testing::send::<App>(settings(), request).await.0, 403);
    }
}
