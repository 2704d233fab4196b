//! Health checks, and the response that reports them.

use std::{borrow::Cow, fmt::Display, future::Future, time::Duration};

use axum::response::{IntoResponse, Response};
use credentials::{KeyId, Timestamp};
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::Json;
use crate::{
    clock::Instant,
    request_id::RequestId,
    settings::{Identity, SettingsError},
};

/// The check of one dependency of a service.
#[derive(Clone, Debug)]
pub struct Check {
    name: &'static str,
    /// What is wrong, worded for the public response.
    failure: Option<Cow<'static, str>>,
    /// What may be wrong although the service works, worded likewise.
    warning: Option<String>,
    /// What is wrong, for the log only.
    reason: Option<String>,
}

/// The last results of a service's checks. Good ones are kept for a second, because health routes are open to anyone
/// and checks cost writes and calls.
#[derive(Debug, Default)]
pub struct Checks(Mutex<Option<(Instant, Vec<Check>)>>);

/// The health of a service: 200 and `healthy` if every check passes, else 503, `unhealthy` and the checks.
#[derive(Clone, Debug)]
pub struct Health {
    body: HealthBody,
    healthy: bool,
}

#[derive(Clone, Debug, Serialize)]
struct HealthBody {
    status: &'static str,
    service: &'static str,
    worker: String,
    timestamp: Timestamp,
    version: &'static str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    checks: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    warnings: Map<String, Value>,
}

impl Checks {
    /// How long good results are kept.
    const MAX_AGE: Duration = Duration::from_secs(1);

    /// The good results of the last second, else those of `run`, which logs bad ones. Requests that arrive while the
    /// checks run wait for the results, good or bad.
    pub async fn get<F: Future<Output = Vec<Check>>>(
        &self,
        identity: &Identity,
        request_id: &RequestId,
        run: impl FnOnce() -> F,
    ) -> Vec<Check> {
        let arrived = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((time, checks)) = &*last
            && (*time > arrived || (all_pass(checks) && time.elapsed() < Self::MAX_AGE))
        {
            return checks.clone();
        }
        let checks = run().await;
        checks.iter().for_each(|check| check.log(identity, request_id));
        *last = Some((Instant::now(), checks.clone()));
        checks
    }
}

impl Health {
    /// Sums up the checks of a service.
    pub fn new(identity: &Identity, timestamp: Timestamp, checks: &[Check]) -> Self {
        let healthy = all_pass(checks);
        let describe =
            |check: &Check| (check.name.to_owned(), check.failure.as_deref().unwrap_or("ok").into());
        let warning = |check: &Check| Some((check.name.to_owned(), check.warning.as_deref()?.into()));
        Self {
            healthy,
            body: HealthBody {
                status: if healthy { "healthy" } else { "unhealthy" },
                service: identity.service,
                worker: identity.worker_id.to_string(),
                timestamp,
                version: env!("CARGO_PKG_VERSION"),
                checks: if healthy { Map::new() } else { checks.iter().map(describe).collect() },
                warnings: checks.iter().filter_map(warning).collect(),
            },
        }
    }
}

fn all_pass(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.failure.is_none())
}

impl Check {
    fn ok(name: &'static str) -> Self {
        Self { name, failure: None, warning: None, reason: None }
    }

    /// The checks of the secrets and of the other settings.
    pub fn settings(error: Option<&SettingsError>) -> [Self; 2] {
        let mut checks = ["secret", "settings"].map(Self::ok);
        match error {
            None => {}
            Some(SettingsError::Keys(_)) => checks[0].failure = error.map(|error| error.to_string().into()),
            Some(SettingsError::Value { .. }) => {
                checks[1].failure = error.map(|error| error.to_string().into());
            }
            Some(SettingsError::Variable { .. } | SettingsError::Random(_)) => {
                checks[1].failure = Some("a variable cannot be read".into());
                checks[1].reason = error.map(ToString::to_string);
            }
        }
        checks
    }

    /// The check for the result of an attempt. The error goes to the log only, `failure` to the response.
    pub fn outcome(name: &'static str, result: Result<(), impl Display>, failure: &'static str) -> Self {
        let reason = result.err().map(|error| error.to_string());
        Self { failure: reason.is_some().then_some(failure.into()), reason, ..Self::ok(name) }
    }

    /// The check that the configured secrets match the stored credentials. Those issued under other keys are
    /// `not_found` and can be issued again: a warning if some keys are missing, as after a secret was removed, and a
    /// failure if all are.
    pub fn keys(stored: &[KeyId], configured: &[KeyId]) -> Self {
        let missing: Vec<_> = stored.iter().filter(|key_id| !configured.contains(key_id)).collect();
        let names = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut check = Self::ok("keys");
        if missing.is_empty() {
            return check;
        }
        if missing.len() == stored.len() {
            let text = format!("all credentials were issued under secrets that are not configured: {names}");
            check.failure = Some(text.into());
        } else {
            check.warning =
                Some(format!("credentials were issued under secrets that are not configured: {names}"));
        }
        check
    }

    fn log(&self, identity: &Identity, request_id: &RequestId) {
        let (service, worker) = (identity.service, identity.worker_id.as_str());
        let (request_id, check) = (request_id.as_str(), self.name);
        if let Some(failure) = self.failure.as_deref() {
            let reason = self.reason.as_deref().unwrap_or(failure);
            tracing::error!(service, worker, request_id, check, reason, "health check failed");
        }
        if let Some(reason) = self.warning.as_deref() {
            tracing::warn!(service, worker, request_id, check, reason, "health check warns");
        }
    }
}

impl IntoResponse for Health {
    fn into_response(self) -> Response {
        let body = Json(self.body);
        if self.healthy {
            return body.into_response();
        }
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use credentials::{Secret, WorkerId};
    use http::HeaderMap;

    use super::*;
    use crate::origin::Origins;

    fn identity() -> Identity {
        Identity { service: "test", worker_id: WorkerId::named("worker-1"), origins: Origins::Any }
    }

    fn body(checks: &[Check]) -> Value {
        let health = Health::new(&identity(), Timestamp::from_millis(0).unwrap(), checks);
        serde_json::to_value(health.body).unwrap()
    }

    fn key_id(letter: &str) -> KeyId {
        Secret::new(&letter.repeat(32)).unwrap().key_id()
    }

    #[test]
    fn stored_keys_that_are_not_configured_are_named() {
        let (a, b, c) = (key_id("a"), key_id("b"), key_id("c"));
        for stored in [&[][..], &[a], &[b], &[a, b]] {
            let health = body(&[Check::keys(stored, &[a, b])]);
            assert_eq!((&health["status"], health.get("warnings")), (&Value::from("healthy"), None));
        }
        let health = body(&[Check::keys(&[a, c], &[a, b])]);
        assert_eq!(health["status"], "healthy");
        let warning = health["warnings"]["keys"].as_str().unwrap();
        assert!(warning.contains(&c.to_string()) && !warning.contains(&a.to_string()), "{warning}");
        let health = body(&[Check::keys(&[b, c], &[a])]);
        assert_eq!(health["status"], "unhealthy");
        let failure = health["checks"]["keys"].as_str().unwrap();
        assert!(failure.contains(&b.to_string()) && failure.contains(&c.to_string()), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn good_results_of_checks_stand_for_a_second() {
        let (checks, identity) = (Checks::default(), identity());
        let request_id = RequestId::of(&HeaderMap::new());
        let get = |result: Result<(), &'static str>| {
            checks.get(&identity, &request_id, async move || vec![Check::outcome("x", result, "broken")])
        };
        assert_eq!(body(&get(Ok(())).await)["status"], "healthy");
        tokio::time::sleep(Duration::from_millis(990)).await;
        assert_eq!(body(&get(Err("late")).await)["status"], "healthy");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(body(&get(Err("late")).await)["checks"]["x"], "broken");
        assert_eq!(body(&get(Ok(())).await)["status"], "healthy");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_wait_for_checks_share_their_results() {
        let (checks, identity) = (Checks::default(), identity());
        let request_id = RequestId::of(&HeaderMap::new());
        let rounds = AtomicU32::new(0);
        let get = || {
            checks.get(&identity, &request_id, async || {
                rounds.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(5)).await;
                vec![Check::outcome("x", Err("locked"), "broken")]
            })
        };
        for result in [tokio::join!(get(), get(), get()).0, get().await] {
            assert_eq!(body(&result)["checks"]["x"], "broken");
        }
        assert_eq!(rounds.into_inner(), 2);
    }
}
