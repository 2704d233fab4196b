//! Health checks and their answer.

use std::{borrow::Cow, fmt::Display};

use axum::response::{IntoResponse, Response};
use credentials::Timestamp;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Json, RequestId};
use crate::{Settings, SettingsError};

/// The check of one thing a service needs.
#[derive(Clone, Debug)]
pub struct Check {
    name: &'static str,
    /// What is wrong, in words fit for the public answer.
    failure: Option<Cow<'static, str>>,
    /// What is wrong, for the log only.
    reason: Option<String>,
}

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
}

impl Health {
    /// Sums up the checks of a service, and logs those that failed.
    pub fn new(
        settings: &Settings,
        request_id: &RequestId,
        version: &'static str,
        timestamp: Timestamp,
        checks: &[Check],
    ) -> Self {
        for check in checks.iter().filter(|check| check.failure.is_some()) {
            tracing::error!(
                service = settings.service,
                worker = settings.worker_id.as_str(),
                request_id = request_id.as_str(),
                check = check.name,
                reason = check.reason.as_deref().or(check.failure.as_deref()),
                "health check failed"
            );
        }
        let healthy = checks.iter().all(|check| check.failure.is_none());
        let describe =
            |check: &Check| (check.name.to_owned(), check.failure.as_deref().unwrap_or("ok").into());
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
    /// The checks that the secrets and the other settings can be used.
    pub fn settings(error: Option<&SettingsError>) -> [Self; 2] {
        let mut checks = ["secret", "settings"].map(|name| Self { name, failure: None, reason: None });
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

    /// The check for the result of an attempt. The error is for the log only, `failure` for the answer.
    pub fn outcome(name: &'static str, result: Result<(), impl Display>, failure: &'static str) -> Self {
        let reason = result.err().map(|error| error.to_string());
        Self { name, failure: reason.is_some().then_some(failure.into()), reason }
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
