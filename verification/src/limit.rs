//! The limit on failed verifications: a client with too many within a minute is refused for the rest of it.
//!
//! The statement that writes the audit rows counts failures in the database, so all instances and replicas share them.
//! An instance remembers the clients it has refused, and refuses them again without asking the database or issuance.

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
    /// The clients that are refused, and until when.
    refused: Mutex<HashMap<Tag, Instant>>,
}

/// A client to whom the limit applies.
#[derive(Clone, Copy)]
pub(crate) struct LimitedClient {
    client: Client,
    network: Tag,
}

impl LimitedClient {
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

    /// The limit.
    pub(crate) fn per_minute(&self) -> u32 {
        self.per_minute
    }

    /// Refuses a client that this instance has seen at its limit.
    pub(crate) fn check(&self, limited: &LimitedClient) -> Result<(), Problem> {
        let until = self.refused().get(&limited.network).copied();
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(left) if !left.is_zero() => Err(Problem::too_many_failures(self.per_minute, left)),
            _ => Ok(()),
        }
    }

    /// Remembers a client that has reached its limit. If it has only just done so, and may be a proxy, the log says so.
    pub(crate) fn note(&self, limited: &LimitedClient, failures: Failures, just_now: bool) {
        if failures.count < u64::from(self.per_minute) {
            return;
        }
        self.remember(limited.network, failures.left);
        if just_now && limited.client.ignores_forwarded {
            tracing::warn!(
                service = "verification",
                "a client has reached verify_failures_per_minute, and more addresses were forwarded than trusted_proxies \
                 believes: if the client is a proxy, trusted_proxies must say so, or all clients behind it share one limit"
            );
        }
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

    fn limited(address: &str) -> LimitedClient {
        let client = Client { address: address.parse().ok(), ignores_forwarded: false };
        LimitedClient::new(client, &Secret::new(&"s".repeat(32)).unwrap())
    }

    fn failures(count: u64) -> Failures {
        Failures { count, left: Duration::from_millis(100) }
    }

    #[test]
    fn a_client_at_its_limit_is_refused_until_the_minute_is_over() {
        let limit = FailureLimit::new(3);
        let (one, other) = (limited("192.0.2.1"), limited("192.0.2.2"));
        limit.note(&one, failures(2), false);
        assert!(limit.check(&one).is_ok());
        limit.note(&one, failures(3), true);
        assert!(limit.check(&one).is_err());
        assert!(limit.check(&other).is_ok());
        limit.note(&other, failures(7), false);
        assert!(limit.check(&other).is_err());
        std::thread::sleep(Duration::from_millis(100));
        assert!(limit.check(&one).is_ok());
    }

    #[test]
    fn clients_without_an_address_share_a_limit() {
        let limit = FailureLimit::new(1);
        limit.note(&limited("unknown"), failures(1), true);
        assert!(limit.check(&limited("another")).is_err());
        assert!(limit.check(&limited("192.0.2.1")).is_ok());
    }
}
