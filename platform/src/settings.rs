//! The operator's settings, read once per instance from Spin's application variables.

use std::borrow::Cow;

use credentials::{KeyRing, WorkerId};

use crate::{log, origin::Origins, random, spin};

/// What a service reports about itself even if its other settings cannot be used.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The service's name, as shown in health responses and log lines.
    pub service: &'static str,
    /// `worker_id`, or a random name for this instance.
    pub worker_id: WorkerId,
    /// `cors_origin`: whose pages may call the API.
    pub origins: Origins,
}

impl Identity {
    /// Reads the variables and starts the log. `worker_prefix` is the prefix of a random worker id.
    ///
    /// If a variable cannot be used, the identity has defaults, enough for a response that says so.
    pub async fn load(service: &'static str, worker_prefix: &str) -> (Self, Result<(), SettingsError>) {
        let random = || WorkerId::random(worker_prefix, random::bytes().unwrap_or_default());
        let load = async {
            start_log().await?;
            let worker_id = match variable("worker_id").await? {
                unnamed if unnamed.is_empty() => random(),
                name => {
                    WorkerId::configured(name).map_err(|error| SettingsError::value("worker_id", error))?
                }
            };
            Ok((worker_id, origins().await?))
        };
        match load.await {
            Ok((worker_id, origins)) => (Self { service, worker_id, origins }, Ok(())),
            Err(error) => {
                log::start("warn");
                (Self { service, worker_id: random(), origins: Origins::Any }, Err(error))
            }
        }
    }
}

/// The origins whose pages may call the API: `cors_origin`.
///
/// # Errors
/// [`SettingsError`] if the variable cannot be read, or has an entry that can never match.
pub async fn origins() -> Result<Origins, SettingsError> {
    let list = variable("cors_origin").await?;
    list.parse().map_err(|rule| SettingsError::value("cors_origin", rule))
}

/// The keys to hash with: `credential_secret` and `retired_credential_secrets`.
///
/// # Errors
/// [`SettingsError`] if they cannot be read or used.
pub async fn keys() -> Result<KeyRing, SettingsError> {
    let secret = variable("credential_secret").await?;
    let keys =
        KeyRing::new(&secret, &variable("retired_credential_secrets").await?).map_err(SettingsError::Keys)?;
    if secret.contains(',') || secret.trim() != secret {
        tracing::warn!(
            "credential_secret has a comma or white space around it: it can be used, but not be retired later"
        );
    }
    Ok(keys)
}

/// Starts the log at the level of the variable `log_level`.
///
/// # Errors
/// [`SettingsError`] if the variable cannot be read.
pub async fn start_log() -> Result<(), SettingsError> {
    log::start(&variable("log_level").await?);
    Ok(())
}

/// The value of one of this component's variables.
///
/// # Errors
/// [`SettingsError::Variable`] if the manifest does not grant it, or its provider fails.
pub async fn variable(name: impl Into<Cow<'static, str>>) -> Result<String, SettingsError> {
    let name = name.into();
    spin::variable(&name).await.map_err(|reason| SettingsError::Variable { name, reason })
}

/// The value of a variable that is a whole number from 0 to `max`.
///
/// # Errors
/// [`SettingsError`] if it cannot be read, or is anything else.
pub async fn whole_number(name: &'static str, max: u32) -> Result<u32, SettingsError> {
    parse_number(&variable(name).await?, max).map_err(|rule| SettingsError::value(name, rule))
}

fn parse_number(text: &str, max: u32) -> Result<u32, String> {
    let number = text.trim().parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| format!("must be a whole number from 0 to {max}"))
}

/// The value of a variable that is `true` or `false`.
///
/// # Errors
/// [`SettingsError`] if it cannot be read, or is anything else.
pub async fn flag(name: &'static str) -> Result<bool, SettingsError> {
    parse_flag(&variable(name).await?).map_err(|rule| SettingsError::value(name, rule))
}

fn parse_flag(text: &str) -> Result<bool, &'static str> {
    text.trim().parse().map_err(|_| "must be true or false")
}

/// Whether a text is a `token68` (RFC 9110, section 11.2): no client could send another as its token.
pub(crate) fn is_token68(text: &str) -> bool {
    let token = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !token.is_empty() && token.bytes().all(allowed)
}

/// Why the settings cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SettingsError {
    /// The host has no value for a variable.
    #[error("the variable {name} cannot be read: {reason}")]
    Variable {
        /// The variable.
        name: Cow<'static, str>,
        /// The kind of failure, as the host's own message may quote a secret.
        reason: &'static str,
    },
    /// The secrets cannot be used.
    #[error("credential_secret or retired_credential_secrets: {0}")]
    Keys(credentials::Error),
    /// The value of another variable cannot be used.
    #[error("{name} {reason}")]
    Value {
        /// The variable.
        name: Cow<'static, str>,
        /// What is wrong with it, without the value.
        reason: String,
    },
    /// There are no random bytes.
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl SettingsError {
    /// The error for a variable whose value breaks a rule; it does not show the value.
    pub fn value(name: impl Into<Cow<'static, str>>, rule: impl ToString) -> Self {
        Self::Value { name: name.into(), reason: rule.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_and_has_bounds() {
        for (text, number) in [("0", 0), (" 30 ", 30), ("100", 100)] {
            assert_eq!(parse_number(text, 100), Ok(number));
        }
        for text in ["", "-1", "1.5", "101", "99999999999", "1 day", "ten"] {
            assert!(parse_number(text, 100).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_flag_is_true_or_false() {
        assert_eq!((parse_flag("true"), parse_flag(" false ")), (Ok(true), Ok(false)));
        for text in ["", "1", "yes", "True"] {
            assert!(parse_flag(text).is_err(), "{text:?}");
        }
    }
}
