//! The wall clock, and deadlines.

use std::{
    future::Future,
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use credentials::{Error, Timestamp};
use futures_util::future::{Either, select};

#[cfg(target_family = "wasm")]
pub(crate) use std::time::Instant;
#[cfg(not(target_family = "wasm"))]
pub(crate) use tokio::time::Instant;

pub(crate) use crate::spin::sleep;

/// The current time.
///
/// # Errors
/// [`Error::NotATimestamp`] if the host's clock is before 1970 or after the year 9999.
pub fn now() -> Result<Timestamp, Error> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| Error::NotATimestamp)?;
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).map_err(|_| Error::NotATimestamp)?)
}

/// The time by which a request, with everything it waits for, must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// How long a request may take once its body has arrived.
const REQUEST_TIME: Duration = Duration::from_secs(5);

impl Deadline {
    /// The deadline of a request whose body has just arrived: 5 s from now. Everything it waits for shares this
    /// deadline; only a statement that has begun by then is awaited to its end.
    pub fn of_request() -> Self {
        Self::after(REQUEST_TIME)
    }

    /// The deadline `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// The deadline moved later by this much.
    #[cfg(feature = "postgres")]
    pub(crate) fn later(self, by: Duration) -> Self {
        Self(self.0 + by)
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// The time until then.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Waits for `future` until the deadline; `None` if that passes first, and the future is dropped.
    pub async fn within<T>(self, future: impl Future<Output = T>) -> Option<T> {
        before(async { sleep(self.left()).await }, future).await
    }
}

/// Waits for `future` for this long, counted from its first poll; `None` if it takes longer, and the future is dropped.
pub(crate) async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    before(sleep(limit), future).await
}

/// Waits for `future` until `timer` ends; `None` if that is first.
async fn before<T>(timer: impl Future<Output = ()>, future: impl Future<Output = T>) -> Option<T> {
    // The future is polled first: a ready one needs neither the clock nor a timer of the host.
    match select(pin!(future), pin!(timer)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(((), _)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_parts_of_a_wait_share_its_deadline() {
        let deadline = Deadline::after(Duration::from_secs(5));
        let part = || deadline.within(tokio::time::sleep(Duration::from_secs(2)));
        assert_eq!((part().await, part().await, part().await), (Some(()), Some(()), None));
        assert!(deadline.has_passed());
        assert_eq!(deadline.within(async { 1 }).await, Some(1), "a ready future need not wait");
    }
}
