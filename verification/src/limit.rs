//! The limit on failed verifications: whoever has had too many within a minute is refused for the rest of it.
//!
//! The failures are counted in the database, by the statement that writes the audit rows, so all instances and replicas
//! share them. An instance remembers whom it has refused, and refuses them again without asking anybody.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use credentials::{Secret, Tag};
use platform::edge::{Client, Problem};

use crate::store::Failures;

/// How many verdicts other than valid a client may have in a minute.
pub(crate) struct FailureLimit {
    per_minute: u32,
    /// Who is refused, and until when.
    refused: Mutex<HashMap<Tag, Instant>>,
}

/// A client to whom the limit applies.
#[derive(Clone, Copy)]
pub(crate) struct Limited {
    client: Client,
    network: Tag,
}

impl Limited {
    pub(crate) fn new(client: Client, secret: &Secret) -> Self {
        Self { client, network: client.network(secret) }
    }

    /// Its network's keyed hash, as text.
    pub(crate) fn key(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.network))
    }
}

impl FailureLimit {
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, refused: Mutex::default() }
    }

    /// Refuses a client that this instance has seen at its limit.
    pub(crate) fn check(&self, limited: &Limited) -> Result<(), Problem> {
        let until = self.refused().get(&limited.network).copied();
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(left) if !left.is_zero() => Err(Problem::too_many_failures(self.per_minute, left)),
            _ => Ok(()),
        }
    }

    /// Refuses a client that had reached its limit before its verifications were recorded, and remembers one that has
    /// reached it now.
    pub(crate) fn apply(&self, limited: &Limited, failures: Failures) -> Result<(), Problem> {
        let limit = u64::from(self.per_minute);
        if failures.after < limit {
            return Ok(());
        }
        self.remember(limited.network, failures.left);
        if failures.before < limit {
            if limited.client.ignores_forwarded {
                tracing::warn!(
                    service = "verification",
                    "a client has reached verify_failures_per_minute, and has sent X-Forwarded-For: if it is a proxy, \
                     trusted_proxies must say so, or all clients behind it share one limit"
                );
            }
            return Ok(());
        }
        Err(Problem::too_many_failures(self.per_minute, failures.left))
    }

    fn remember(&self, network: Tag, left: Duration) {
        let now = Instant::now();
        let mut refused = self.refused();
        refused.retain(|_, until| *until > now);
        refused.insert(network, now + left);
    }

    fn refused(&self) -> MutexGuard<'_, HashMap<Tag, Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(address: &str) -> Limited {
        let client = Client { address: address.parse().unwrap(), ignores_forwarded: false };
        Limited::new(client, &Secret::new(&"s".repeat(32)).unwrap())
    }

    fn failures(before: u64, after: u64, millis: u64) -> Failures {
        Failures { before, after, left: Duration::from_millis(millis) }
    }

    #[test]
    fn a_client_is_refused_once_it_was_at_its_limit_before_and_until_the_minute_is_over() {
        let limit = FailureLimit::new(3);
        let (one, other) = (limited("192.0.2.1"), limited("192.0.2.2"));
        assert!(limit.apply(&one, failures(0, 2, 100)).is_ok());
        assert!(limit.check(&one).is_ok());
        assert!(limit.apply(&one, failures(2, 3, 100)).is_ok(), "the last one that is answered");
        assert!(limit.check(&one).is_err());
        assert!(limit.check(&other).is_ok());
        assert!(limit.apply(&other, failures(3, 3, 100)).is_err(), "another instance counted");
        assert!(limit.check(&other).is_err());
        std::thread::sleep(Duration::from_millis(100));
        assert!(limit.check(&one).is_ok());
    }
}
