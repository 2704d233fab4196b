//! What the operator of issuance configures: README.md explains each variable.

use credentials::KeyRing;
use platform::{
    edge::Guard,
    settings::{SettingsError, keys, variable},
};

/// The settings in addition to those of [`Identity`](platform::settings::Identity).
#[derive(Debug)]
pub struct Settings {
    /// The keys to hash with.
    pub(crate) keys: KeyRing,
    /// Who may issue.
    pub(crate) issuers: Guard,
    /// Who may take uses, and see everything that a check tells: services with one of these keys.
    pub(crate) services: Guard,
    /// Who may revoke, list and see statistics.
    pub(crate) admins: Guard,
    /// Who may read metrics.
    pub(crate) monitors: Guard,
}

impl Settings {
    pub(crate) async fn load() -> Result<Self, SettingsError> {
        let admins = Guard::closed_if_unset("admin_token", &variable("admin_token").await?)?;
        let monitors = Guard::closed_if_unset("metrics_token", &variable("metrics_token").await?)?;
        let keys = keys().await?;
        Ok(Self {
            services: Guard::services(&keys),
            keys,
            issuers: Guard::open_if_unset("issuer_token", &variable("issuer_token").await?)?,
            monitors: monitors.or(&admins),
            admins,
        })
    }
}
