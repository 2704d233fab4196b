//! What the host is given: the manifest, the runtime config and the variables.

pub(crate) mod allowed_hosts;
pub(crate) mod manifest;
pub(crate) mod runtime_config;
mod toml_file;
pub(crate) mod variables;
