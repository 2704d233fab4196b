//! What the operator of verification configures: README.md explains each variable.

use std::time::Duration;

use credentials::KeyRing;
use platform::{
    edge::Guard,
    origin::service_url,
    settings::{SettingsError, flag, keys, variable, whole_number},
};

/// The settings in addition to those of [`Identity`](platform::settings::Identity).
#[derive(Debug)]
pub struct Settings {
    /// The keys to hash with.
    pub(crate) keys: KeyRing,
    /// Where issuance is.
    pub(crate) issuance_url: String,
    /// Who may verify.
    pub(crate) verifiers: Guard,
    /// Who may list and see statistics.
    pub(crate) admins: Guard,
    /// Who may read metrics.
    pub(crate) monitors: Guard,
    /// How long audit rows are kept; `None` means forever.
    pub(crate) retention: Option<Duration>,
    /// How many failed verifications a client may have in a minute; 0 means any number.
    pub(crate) failures_per_minute: u32,
    /// How many proxies there are between a client and the host.
    pub(crate) trusted_proxies: u32,
    /// Whether audit rows have the address of the client.
    pub(crate) audit_client_address: bool,
}

impl Settings {
    pub(crate) async fn load() -> Result<Self, SettingsError> {
        let admins = Guard::closed_if_unset("admin_token", &variable("admin_token").await?)?;
        let monitors = Guard::closed_if_unset("metrics_token", &variable("metrics_token").await?)?;
        // At most about a thousand years.
        let days = whole_number("audit_retention_days", 365_000).await?;
        Ok(Self {
            keys: keys().await?,
            issuance_url: service_url(&variable("issuance_url").await?)
                .map_err(|rule| SettingsError::value("issuance_url", rule))?,
            verifiers: Guard::open_if_unset("verifier_token", &variable("verifier_token").await?)?,
            monitors: monitors.or(&admins),
            admins,
            retention: (days > 0).then(|| Duration::from_secs(u64::from(days) * 24 * 60 * 60)),
            // More than any host serves, and more than anyone has.
            failures_per_minute: whole_number("verify_failures_per_minute", 1_000_000).await?,
            trusted_proxies: whole_number("trusted_proxies", 16).await?,
            audit_client_address: flag("audit_client_address").await?,
        })
    }
}
