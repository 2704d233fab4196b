//! What the actions of issuance share.

use std::sync::{Arc, Once};

use platform::{database::Database, settings::Identity};

use crate::{settings::Settings, store::Store};

/// The service, as its actions see it.
pub struct App {
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    pub(crate) store: Store,
}

impl App {
    pub(crate) fn new(identity: Identity, settings: Settings, database: Arc<Database>) -> Self {
        Self { identity, settings, store: Store::new(database) }
    }

    /// Logs, once per instance, that anyone may issue.
    pub(crate) fn warn_if_open(&self) {
        static WARNED: Once = Once::new();
        if self.settings.issuers.is_open() {
            WARNED.call_once(|| {
                tracing::warn!(
                    service = "issuance",
                    "no issuer_token is configured: anyone may issue, and learns from a 409 that a credential exists; \
                     verify_failures_per_minute does not limit such guesses"
                );
            });
        }
    }
}
