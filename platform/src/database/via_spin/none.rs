//! Takes the place of the connection for hosts without the SQLite interface.

use crate::database::{
    statement::Access,
    value::{Row, Value},
};

/// Never opened.
pub(super) enum Connection {}

impl Connection {
    #[allow(clippy::unused_async, reason = "the same as with SQLite")]
    pub(super) async fn open(label: &str) -> Result<Self, String> {
        Err(format!("this build has no SQLite: it needs the variable {label}_database_url"))
    }

    #[allow(clippy::unused_async, reason = "the same as with SQLite")]
    pub(super) async fn execute(&mut self, _: Access, _: &str, _: Vec<Value>) -> Result<Vec<Row>, String> {
        match *self {}
    }
}
