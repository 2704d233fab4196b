//! Errors of SQLite and of libSQL servers, by their messages.

use crate::database::error::DatabaseError;

/// Classifies an error by its message, which is all that Spin passes on.
pub(super) fn failed(reason: String) -> DatabaseError {
    // SQLite's texts for SQLITE_BUSY and SQLITE_LOCKED, and a libSQL server's for a statement that it interrupted
    // (it may when another replica disconnects; SQLite has then rolled it back) or had no connection for.
    const TRANSIENT: [&str; 5] = [
        "database is locked",
        "database table is locked",
        "(error code: SQLITE_INTERRUPT)",
        "Timed out while opening database connection",
        "Too many concurrent requests",
    ];
    // A libSQL server's refusals of a stream that it closed as idle, or lost in a restart.
    const DISCONNECTED: [&str; 3] =
        ["STREAM_EXPIRED", "Received an invalid baton", "Received a baton that has already been used"];
    let has = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
    if has(&TRANSIENT) {
        DatabaseError::Transient(reason)
    } else if has(&DISCONNECTED) {
        DatabaseError::Disconnected(reason)
    } else {
        DatabaseError::Statement(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Transient;

    #[test]
    fn a_lost_stream_is_recognised_by_the_servers_words() {
        for text in [
            "Hrana: `api error: `{\"message\":\"The stream has expired due to inactivity\",\"code\":\"STREAM_EXPIRED\"}``",
            r#"Error::Io("Hrana: `api error: `{\"code\":\"STREAM_EXPIRED\"}``")"#,
            "Hrana: `api error: `Received an invalid baton``",
        ] {
            let error = failed(text.to_owned());
            assert!(
                matches!(error, DatabaseError::Disconnected(_)) && !error.may_have_taken_effect(),
                "{text}"
            );
        }
    }

    #[test]
    fn only_what_surely_had_no_effect_is_transient() {
        for text in [
            "database is locked",
            "Error code 5: database is locked",
            "database table is locked: credentials",
            "Hrana: `cursor error: `error at step 0: (error code: SQLITE_INTERRUPT) `SQLite error: interrupted```",
            "Hrana: `api error: `{\"error\":\"Timed out while opening database connection\"}``",
            "the libSQL server: status 429 Too Many Requests: Too many concurrent requests",
        ] {
            let error = failed(text.to_owned());
            assert!(error.is_transient() && !error.may_have_taken_effect(), "{text}");
        }
        for text in
            ["Operation was blocked: SQL read operations are forbidden", "locked", "connection reset by peer"]
        {
            let error = failed(text.to_owned());
            assert!(!error.is_transient() && error.may_have_taken_effect(), "{text}");
        }
    }
}
