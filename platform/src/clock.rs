//! The time of day, and waiting.

use std::{
    future::Future,
    pin::pin,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use credentials::{Error, Timestamp};
use futures_util::future::{Either, select};

/// The current time.
///
/// # Errors
/// [`Error::NotATimestamp`] when the host's clock is off by millennia.
pub fn now() -> Result<Timestamp, Error> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| Error::NotATimestamp)?;
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).map_err(|_| Error::NotATimestamp)?)
}

/// Waits for `future`, but no longer than `limit`: `None` once that has passed, and the future is dropped.
pub async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), pin!(sleep(limit))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(((), _)) => None,
    }
}

/// Waits for `duration`.
pub async fn sleep(duration: Duration) {
    #[cfg(target_family = "wasm")]
    spin_sdk::time::sleep(duration).await;
    #[cfg(not(target_family = "wasm"))]
    tokio::time::sleep(duration).await;
}
