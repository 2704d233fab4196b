//! A service's schema: numbered SQL files, each applied once.

/// One step of a schema. See [`migrations!`](crate::migrations).
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The file's name without `.sql`.
    pub name: &'static str,
    /// The file's content.
    pub sql: &'static str,
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
