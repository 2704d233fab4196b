//! The database that components are built for.

use std::{fmt, str::FromStr};

use anyhow::{Error, bail};

/// The interface of Spin that the components import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// SQLite: in files, unless the host's runtime config says otherwise.
    Sqlite,
    /// PostgreSQL: on a server.
    Postgres,
}

impl Database {
    /// Both, the default first.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// Cargo's arguments for a build of one of these components.
    pub const fn features(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[],
            Self::Postgres => &["--no-default-features", "--features", "postgres"],
        }
    }
}

impl FromStr for Database {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => Ok(Self::Postgres),
            _ => bail!("the components can be built for sqlite and postgres, not {text:?}"),
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}
