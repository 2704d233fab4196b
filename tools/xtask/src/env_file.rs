//! The `.env` that `cargo xtask up` writes.

use std::{
    env,
    fs::File,
    io::{ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Result};

use crate::process::step;

/// Writes `.env` with a fresh random secret, readable by its owner only; leaves an existing one alone.
///
/// The file appears complete or not at all, and is on disk before anything is issued under its secret.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let path = folder.join(".env");
    if path.exists() {
        return Ok(());
    }
    step("writing .env with a fresh random secret");
    let context = || format!("cannot write {}", path.display());
    // Mode 600 is tempfile's default.
    let mut file = tempfile::Builder::new().prefix(".env.").tempfile_in(folder).with_context(context)?;
    file.write_all(content()?.as_bytes()).with_context(context)?;
    file.as_file().sync_all().with_context(context)?;
    match file.persist_noclobber(&path) {
        Ok(_) => File::open(folder)?.sync_all().with_context(context),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error).with_context(context),
    }
}

/// Whether anyone may issue: no issuer token is set, in the environment or in the `.env` of this folder.
pub(crate) fn leaves_issuing_open(folder: &Path) -> bool {
    const NAME: &str = "SPIN_VARIABLE_ISSUER_TOKEN";
    let in_file = || {
        let entries = dotenvy::from_path_iter(folder.join(".env")).ok()?.flatten();
        entries.filter(|(name, _)| name == NAME).map(|(_, value)| value).last()
    };
    env::var(NAME).ok().or_else(in_file).is_none_or(|tokens| tokens.is_empty())
}

fn content() -> Result<String> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(format!(
        "# Written by cargo xtask up; .env.example lists what else can be set. Keep this file secret, and keep it:\n\
         # credentials can be verified only with the secret they were issued under.\n\
         SPIN_VARIABLE_CREDENTIAL_SECRET={}\n",
        hex::encode(secret)
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn secret(folder: &Path) -> String {
        let text = fs::read_to_string(folder.join(".env")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("SPIN_VARIABLE_CREDENTIAL_SECRET="));
        line.unwrap().to_owned()
    }

    #[test]
    fn issuing_is_open_until_an_issuer_token_is_set() {
        let folder = tempfile::tempdir().unwrap();
        for (file, open) in [
            ("", true),
            ("#SPIN_VARIABLE_ISSUER_TOKEN=0123456789abcdef\n", true),
            ("SPIN_VARIABLE_ISSUER_TOKEN=\n", true),
            ("SPIN_VARIABLE_ISSUER_TOKEN=0123456789abcdef\n", false),
            ("SPIN_VARIABLE_ISSUER_TOKEN=\nSPIN_VARIABLE_ISSUER_TOKEN='0123456789abcdef'\n", false),
        ] {
            fs::write(folder.path().join(".env"), file).unwrap();
            assert_eq!(leaves_issuing_open(folder.path()), open, "{file:?}");
        }
    }

    #[test]
    fn every_env_file_is_private_and_has_its_own_secret_of_32_bytes() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            write(folder.path()).unwrap();
            let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
            assert_eq!(files.len(), 1, "{files:?}");
            assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(hex::decode(secret(folder.path())).unwrap().len(), 32);
        }
        assert_ne!(secret(folders[0].path()), secret(folders[1].path()));
    }

    #[test]
    fn an_existing_env_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".env"), "mine").unwrap();
        write(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(".env")).unwrap(), "mine");
    }
}
