//! Pauses between attempts.

use std::time::Duration;

use crate::{clock, random};

/// Waits for 1 to 2.5 times the minimum, so that instances which collided do not collide again.
pub(super) async fn pause(minimum: Duration) {
    let [jitter] = random::bytes().unwrap_or([0]);
    clock::sleep(minimum + minimum.mul_f32(1.5) * u32::from(jitter) / 255).await;
}
