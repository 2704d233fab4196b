//! Ending early, on a signal.

use anyhow::{Result, ensure};
use launch::Signal;

/// Makes SIGINT, SIGTERM and SIGHUP kill everything that was started, after which [`check`] fails. A second signal ends
/// this process at once.
pub(crate) fn handle_signals() -> Result<()> {
    ctrlc::set_handler(|| {
        let again = launch::ending();
        launch::signal_all(Signal::SIGKILL);
        if again {
            std::process::exit(130);
        }
    })?;
    Ok(())
}

/// Fails once a signal has arrived.
pub(crate) fn check() -> Result<()> {
    ensure!(!launch::ending(), "interrupted");
    Ok(())
}
