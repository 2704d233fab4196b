//! The log: JSON lines on stderr, which Spin shows and collects per component.

use std::io;

use tracing::level_filters::LevelFilter;

/// Starts the log at the level with this name. Only the first call of an instance has an effect.
///
/// An unknown name means `warn`, and the log says so. A line that cannot be written, as on a full disk, is lost:
/// otherwise the subscriber would report it on stderr too, and panic.
pub(crate) fn start(level: &str) {
    let known = match level.trim().to_ascii_lowercase().as_str() {
        "off" => Some(LevelFilter::OFF),
        "error" => Some(LevelFilter::ERROR),
        "warn" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        _ => None,
    };
    // Fails if the log was started before, which is fine.
    let _ = tracing::subscriber::set_global_default(
        tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .log_internal_errors(false)
            .with_writer(io::stderr)
            .with_max_level(known.unwrap_or(LevelFilter::WARN))
            .finish(),
    );
    if known.is_none() {
        tracing::warn!(log_level = level, "log_level is none of off, error, warn, info, debug: using warn");
    }
}
