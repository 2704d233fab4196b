//! What the actions of verification share.

use std::sync::Arc;

use platform::{database::Database, settings::Identity};

use crate::{issuance_client::Issuance, limit::FailureLimit, settings::Settings, store::Store};

/// The service, as its actions see it.
pub struct App {
    pub(crate) identity: Identity,
    pub(crate) settings: Settings,
    pub(crate) issuance: Issuance,
    /// `None`: a client may have any number of failures.
    pub(crate) limit: Option<FailureLimit>,
    pub(crate) store: Store,
}

impl App {
    pub(crate) fn new(identity: Identity, settings: Settings, database: Arc<Database>) -> Self {
        let failures = settings.failures_per_minute;
        // Verifiers have one address for all their users.
        let limits = settings.verifiers.is_open() && failures > 0;
        Self {
            identity,
            issuance: Issuance::new(&settings.issuance_url, &settings.keys),
            limit: limits.then(|| FailureLimit::new(failures)),
            store: Store::new(database, failures),
            settings,
        }
    }
}
