//! Why a statement failed, and whether it may have taken effect.

use crate::batch::{BatchError, Transient};

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
    /// The server refused the statement. It has no effect.
    #[error("a statement failed: {reason}")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// What the server said.
        reason: String,
    },
    /// Another connection holds a lock that the statement needs, or the server interrupted it or had no connection for
    /// it. It has no effect.
    #[error("a statement failed: {0}")]
    Transient(String),
    /// The server no longer knows the connection; the statement did not begin.
    #[error("the connection has expired: {0}")]
    Disconnected(String),
    /// Earlier work took too long; the statement did not begin.
    #[error("no turn on the connection before the deadline")]
    Busy,
    /// The batch that the statement was part of was dropped.
    #[error("the batch that this request was part of did not end")]
    Interrupted,
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
    /// Whether the statement may have taken effect despite the error: the commit may have failed after the write, or
    /// the connection may have broken before the result arrived.
    #[must_use]
    pub fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Statement(_) | Self::Interrupted | Self::UnexpectedRow { .. } => true,
            Self::Open { .. }
            | Self::NewerSchema { .. }
            | Self::Refused { .. }
            | Self::Transient(_)
            | Self::Disconnected(_)
            | Self::Busy
            | Self::Parameter(_) => false,
        }
    }

    /// Whether the statement was refused because it refers to something that the schema does not have.
    pub(super) fn is_about_schema(&self) -> bool {
        // An undefined table, column and function.
        matches!(self, Self::Refused { code, .. } if ["42P01", "42703", "42883"].contains(&code.as_str()))
    }
}

impl Transient for DatabaseError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_) | Self::Busy)
    }
}

impl From<BatchError> for DatabaseError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Late => Self::Busy,
            BatchError::Interrupted => Self::Interrupted,
        }
    }
}
