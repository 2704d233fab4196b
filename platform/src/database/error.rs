//! Why a statement failed, and whether it may have taken effect.

use crate::{Interrupted, batch::MAX_WAIT};

/// Why a statement failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The database cannot be opened.
    #[error("the database {label} cannot be opened: {reason}")]
    Open {
        /// The label in `spin.toml`.
        label: &'static str,
        /// What the host said.
        reason: String,
    },
    /// The schema is from a later version of this program, and is left alone.
    #[error("the database has schema version {found}, this program knows up to {known}")]
    NewerSchema {
        /// The version that was found.
        found: u64,
        /// The last version known here.
        known: u64,
    },
    /// The statement failed, for example on a full disk, a read-only file or a broken connection.
    #[error("a statement failed: {0}")]
    Statement(String),
    /// Another connection holds a lock that the statement needs; it did not begin.
    #[error("a statement failed: {0}")]
    Locked(String),
    /// The server no longer knows the connection; the statement did not begin.
    #[error("the connection has expired: {0}")]
    Disconnected(String),
    /// The statements before this one took too long; it did not begin.
    #[error("no turn on the connection within {MAX_WAIT:?}")]
    Busy,
    /// The batch that the statement was part of was dropped.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// A row does not match the schema.
    #[error("a row has no column {column} of the expected type")]
    UnexpectedRow {
        /// The column that was read.
        column: &'static str,
    },
    /// A parameter cannot be serialised.
    #[error("a parameter cannot be written as JSON: {0}")]
    Parameter(String),
}

impl DatabaseError {
    /// Classifies an error by its message, which is all that Spin passes on. After SQLITE_BUSY and SQLITE_LOCKED, which
    /// have SQLite's texts below, and after a libSQL server's refusal of a stream it has closed or forgotten, it is
    /// certain that the statement did not begin.
    pub(crate) fn of_statement(reason: String) -> Self {
        const LOCKED: [&str; 2] = ["database is locked", "database table is locked"];
        const DISCONNECTED: [&str; 3] = ["\"STREAM_EXPIRED\"", "\"BATON_INVALID\"", "\"BATON_REUSED\""];
        let has = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
        if has(&LOCKED) {
            Self::Locked(reason)
        } else if has(&DISCONNECTED) {
            Self::Disconnected(reason)
        } else {
            Self::Statement(reason)
        }
    }

    /// Whether the same statement may succeed when retried at once.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Locked(_))
    }

    /// Whether the statement may have taken effect nevertheless: the commit may have failed after the write, or the
    /// connection may have broken before the result arrived.
    #[must_use]
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Statement(_) | Self::Interrupted(_) | Self::UnexpectedRow { .. } => true,
            Self::Open { .. }
            | Self::NewerSchema { .. }
            | Self::Locked(_)
            | Self::Disconnected(_)
            | Self::Busy
            | Self::Parameter(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_stream_is_recognised_by_its_code() {
        let text = "Hrana: `api error: `status=400 Bad Request, body={\"message\":\"The stream has expired due to \
                    inactivity\",\"code\":\"STREAM_EXPIRED\"}``";
        let error = DatabaseError::of_statement(text.to_owned());
        assert!(matches!(error, DatabaseError::Disconnected(_)) && !error.may_have_taken_effect());
    }

    #[test]
    fn only_sqlites_own_messages_count_as_a_lock() {
        for text in [
            "database is locked",
            "Error code 5: database is locked",
            "database table is locked: credentials",
        ] {
            let error = DatabaseError::of_statement(text.to_owned());
            assert!(error.is_transient() && !error.may_have_taken_effect(), "{text}");
        }
        for text in
            ["Operation was blocked: SQL read operations are forbidden", "locked", "connection reset by peer"]
        {
            let error = DatabaseError::of_statement(text.to_owned());
            assert!(!error.is_transient() && error.may_have_taken_effect(), "{text}");
        }
    }
}
