//! Answers to "can this instance do its work?".

use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use credentials::Timestamp;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Json, Settings};

/// One thing a service needs: its name, and what is wrong with it, if anything, in words fit for anyone.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// What is wrong, if anything.
    pub failure: Option<&'static str>,
}

/// The health of a service: 200 and `healthy` when every check passes, else 503, `unhealthy` and the checks.
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
}

impl Health {
    /// Sums up the checks of a service in the given version at the given time.
    pub fn new(settings: &Settings, version: &'static str, timestamp: Timestamp, checks: &[Check]) -> Self {
        let healthy = checks.iter().all(|check| check.failure.is_none());
        let describe = |check: &Check| (check.name.to_owned(), check.failure.unwrap_or("ok").into());
        Self {
            healthy,
            body: HealthBody {
                status: if healthy { "healthy" } else { "unhealthy" },
                service: settings.service,
                worker: settings.worker_id.to_string(),
                timestamp,
                version,
                checks: if healthy { Map::new() } else { checks.iter().map(describe).collect() },
            },
        }
    }
}

impl Check {
    /// The check that `credential_secret` can be used.
    pub fn secret(settings: &Settings) -> Self {
        let failure = settings.secret.is_err().then_some("credential_secret must have at least 32 bytes");
        Self { name: "secret", failure }
    }

    /// What trying something came to. The error itself goes to the log only, `failure` to whoever asks.
    pub fn outcome(name: &'static str, result: Result<(), impl Display>, failure: &'static str) -> Self {
        let failure = result.err().map(|error| {
            tracing::error!(check = name, reason = %error, "health check failed");
            failure
        });
        Self { name, failure }
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
