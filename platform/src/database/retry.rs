//! Pauses between attempts.

use std::time::Duration;

use crate::{clock, random};

/// The minimum pause after a transient error of a database that does not itself wait for locks.
pub(super) const TRANSIENT_PAUSE: Duration = Duration::from_millis(4);

/// Waits for 1 to 2.5 times the minimum, so that instances which collided do not collide again.
pub(super) async fn pause(minimum: Duration) {
    let [jitter] = random::bytes().unwrap_or([0]);
    clock::sleep(minimum + minimum.mul_f32(1.5) * u32::from(jitter) / 255).await;
}
