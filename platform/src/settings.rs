//! What an operator configures, read once per instance from Spin's application variables.

use credentials::{KeyRing, WorkerId};

use crate::{Problem, log, random};

/// The settings that both services have.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The service's name, as health answers and log lines carry it.
    pub service: &'static str,
    /// `worker_id`, or a random name for this instance.
    pub worker_id: WorkerId,
    /// `credential_secret` and `retired_credential_secrets`, or why they cannot be used. A service without keys still
    /// answers, with 503.
    pub keys: Result<KeyRing, credentials::Error>,
    /// `cors_origin`: `*`, or a comma-separated list of origins.
    pub cors_origin: String,
}

impl Settings {
    /// Reads the variables and starts the log. `worker_prefix` is what a random worker id begins with.
    ///
    /// # Errors
    /// [`SettingsError`] when the host cannot say what a variable's value is.
    pub async fn load(service: &'static str, worker_prefix: &str) -> Result<Self, SettingsError> {
        start_log().await?;
        let worker_id = match variable("worker_id").await? {
            unnamed if unnamed.is_empty() => WorkerId::random(worker_prefix, random::bytes()?),
            name => WorkerId::named(name),
        };
        let secret = variable("credential_secret").await?;
        if secret.contains(',') || secret.trim() != secret {
            tracing::warn!(
                service,
                "credential_secret has a comma or white space around it: it can be used, but not be retired later"
            );
        }
        Ok(Self {
            service,
            worker_id,
            keys: KeyRing::new(&secret, &variable("retired_credential_secrets").await?),
            cors_origin: variable("cors_origin").await?,
        })
    }

    /// The keys to hash with.
    ///
    /// # Errors
    /// A 503 while the configured secrets cannot be used: without them no answer could be trusted.
    pub fn keys(&self) -> Result<&KeyRing, Problem> {
        self.keys.as_ref().map_err(|error| {
            let reason = format!("credential_secret or retired_credential_secrets: {error}");
            Problem::unavailable("The service is not configured.", reason)
        })
    }
}

/// Starts the log at the level of the variable `log_level`.
///
/// # Errors
/// [`SettingsError`] when the host cannot say what that is.
pub async fn start_log() -> Result<(), SettingsError> {
    log::start(&variable("log_level").await?);
    Ok(())
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
    /// A variable's value is not what it must be.
    #[error("the variable {name} {reason}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What is wrong with it, without the value.
        reason: &'static str,
    },
    /// The host has no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}
