//! In place of a connection to SQLite, for hosts without its interface.

use crate::database::{Access, Row, Value};

/// There is none.
pub(crate) enum Connection {}

impl Connection {
    #[allow(clippy::unused_async, reason = "the same as with SQLite")]
    pub(crate) async fn open(label: &str) -> Result<Self, String> {
        Err(format!("this build has no SQLite: it needs the variable {label}_database_url"))
    }

    #[allow(clippy::unused_async, reason = "the same as with SQLite")]
    pub(crate) async fn execute(&mut self, _: Access, _: &str, _: Vec<Value>) -> Result<Vec<Row>, String> {
        match *self {}
    }
}
