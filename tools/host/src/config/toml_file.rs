//! Reads TOML, with errors that name the line and say what the embedded host does not support.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

/// Reads a file. An error names it and the line.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).map_err(|message| anyhow::anyhow!("{}, {message}", path.display()))
}

pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        let message = match error.message().split('`').collect::<Vec<_>>()[..] {
            ["unknown field ", field, ..] | ["unknown variant ", field, ..] => {
                format!("the embedded host does not support `{field}` here; Spin may")
            }
            _ => error.message().lines().collect::<Vec<_>>().join(", "),
        };
        format!("line {line}: {message}")
    })
}
