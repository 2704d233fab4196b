//! A service's schema: numbered SQL files, each applied once.

use super::error::DatabaseError;

/// One step of a schema. See [`migrations!`](crate::migrations).
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The file's name without `.sql`.
    pub name: &'static str,
    /// The file's content.
    pub sql: &'static str,
}

impl Migration {
    /// Those of a service's migrations that a database with the first `applied` ones lacks.
    ///
    /// # Errors
    /// [`DatabaseError::NewerSchema`] if the database has more than there are.
    pub(super) fn missing(
        migrations: &'static [Self],
        applied: u64,
    ) -> Result<&'static [Self], DatabaseError> {
        let missing = usize::try_from(applied).ok().and_then(|applied| migrations.get(applied..));
        missing.ok_or(DatabaseError::NewerSchema { found: applied, known: migrations.len() as u64 })
    }
}

/// The migrations of a service for each database, in order, read from its `migrations` folder at compile time.
///
/// `migrations!(sqlite: "0001_a", "0002_b"; postgres: "0001_c")` has the text of `migrations/sqlite/0001_a.sql`, or of
/// `migrations/postgres/0001_c.sql`, as version 1, and so on.
#[macro_export]
macro_rules! migrations {
    (sqlite: $($sqlite:literal),+; postgres: $($postgres:literal),+) => {
        if cfg!(feature = "postgres") {
            &[$($crate::migrations!("postgres", $postgres)),+]
        } else {
            &[$($crate::migrations!("sqlite", $sqlite)),+]
        }
    };
    ($database:literal, $name:literal) => {
        $crate::database::Migration {
            name: $name,
            sql: include_str!(concat!("../migrations/", $database, "/", $name, ".sql")),
        }
    };
}
