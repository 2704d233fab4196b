//! The two builds of the components.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Error, bail};

use crate::{database::Database, paths::component_folder};

/// The version of WASI that components are built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wasi {
    /// WASI 0.2, which every Spin runs: an instance for each request.
    V0_2,
    /// WASI 0.3, which Spin runs from 4.1 on: an instance serves many requests, several at a time.
    V0_3,
}

impl Wasi {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::V0_2, Self::V0_3];

    /// The Rust target that components are compiled for.
    pub const fn target(self) -> &'static str {
        match self {
            // A module, which Spin turns into a component of WASI 0.2.
            Self::V0_2 => "wasm32-wasip1",
            Self::V0_3 => "wasm32-wasip2",
        }
    }

    /// Where Cargo puts a component of this build.
    pub fn built(self, database: Database, component: &str) -> PathBuf {
        component_folder(database).join(self.target()).join("release").join(component).with_extension("wasm")
    }
}

impl FromStr for Wasi {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "0.2" => Ok(Self::V0_2),
            "0.3" => Ok(Self::V0_3),
            _ => bail!("the components can be built for WASI 0.2 and 0.3, not {text:?}"),
        }
    }
}

impl fmt::Display for Wasi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_2 => "0.2",
            Self::V0_3 => "0.3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for wasi in Wasi::ALL {
            assert_eq!(wasi.to_string().parse::<Wasi>().unwrap(), wasi);
        }
        assert!("0.1".parse::<Wasi>().is_err());
    }
}
