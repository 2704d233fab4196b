//! What an operator configures, read once per instance from Spin's application variables.

use credentials::{Secret, WorkerId};

use crate::{Problem, log, random};

/// The settings that both services have.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service's name, as health answers and log lines carry it.
    pub service: &'static str,
    /// `worker_id`, or a random name for this instance.
    pub worker_id: WorkerId,
    /// `credential_secret`, or why it cannot be used. A service without one still answers, with 503.
    pub secret: Result<Secret, credentials::Error>,
    /// `cors_origin`: `*`, or a comma-separated list of origins.
    pub cors_origin: String,
}

impl Settings {
    /// Reads the variables and starts the log. `worker_prefix` is what a random worker id begins with.
    ///
    /// # Errors
    /// [`SettingsError`] when the host cannot say what a variable's value is.
    pub async fn load(service: &'static str, worker_prefix: &str) -> Result<Self, SettingsError> {
        log::start(&variable("log_level").await?);
        let worker_id = match variable("worker_id").await? {
            unnamed if unnamed.is_empty() => WorkerId::random(worker_prefix, random::bytes()?),
            name => WorkerId::named(name),
        };
        Ok(Self {
            service,
            worker_id,
            secret: Secret::new(&variable("credential_secret").await?),
            cors_origin: variable("cors_origin").await?,
        })
    }

    /// The key to hash with.
    ///
    /// # Errors
    /// A 503 while `credential_secret` cannot be used: without it no answer could be trusted.
    pub fn secret(&self) -> Result<&Secret, Problem> {
        self.secret.as_ref().map_err(|error| {
            Problem::unavailable("The service is not configured.", format!("credential_secret: {error}"))
        })
    }
}

/// The value of one of this component's variables.
///
/// # Errors
/// [`SettingsError::Variable`] when the manifest does not grant it, or its provider fails.
pub async fn variable(name: &'static str) -> Result<String, SettingsError> {
    spin_sdk::variables::get(name)
        .await
        .map_err(|error| SettingsError::Variable { name, reason: error.to_string() })
}

/// Why the settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The host has no value for a variable.
    #[error("the variable {name} cannot be read: {reason}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What the host said.
        reason: String,
    },
    /// The host has no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}
