//! Databases as a service finds them after a while: with credentials and audit rows in them.

use std::{fs, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use baseline::{ISSUANCE, Schema, VERIFICATION};
use credentials::{Secret, Timestamp, VerificationId};
use rusqlite::{Connection, Transaction};

use crate::{
    interrupt,
    load::{SECRET, hash, prefilled},
};

/// How often a long task looks whether it is to end, in rows.
const INTERRUPT_EVERY: u64 = 10_000;

/// Makes both databases in a folder, each with so many rows: credentials that count, and as many verdicts on them.
///
/// # Errors
/// What SQLite says, or a signal.
pub(crate) fn prefill(folder: &Path, rows: u64) -> Result<()> {
    let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis())?;
    // One a millisecond, the last of them a minute old.
    let first = now - 60_000 - i64::try_from(rows)?;
    let secret = Secret::new(SECRET)?;
    let key_id = secret.key_id().to_string();
    fill(folder, ISSUANCE, |transaction| {
        let mut insert = transaction.prepare(
            "INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at) VALUES (?, ?, ?, ?)",
        )?;
        for (index, millis) in (0..rows).zip(first..) {
            insert.execute((
                hash(&secret, &prefilled(index))?.to_string(),
                &key_id,
                "worker-000000",
                millis,
            ))?;
            interruptible(index)?;
        }
        Ok(())
    })?;
    fill(folder, VERIFICATION, |transaction| {
        let mut insert = transaction.prepare(
            "INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at) \
             VALUES (?, ?, ?, 'valid', ?, ?)",
        )?;
        for (index, millis) in (0..rows).zip(first..) {
            let mut random = [0; 10];
            fastrand::fill(&mut random);
            insert.execute((
                VerificationId::new(Timestamp::from_millis(millis)?, random).to_string(),
                format!("{:032x}", fastrand::u128(..)),
                hash(&secret, &prefilled(index))?.to_string(),
                "verification-worker-000000",
                millis,
            ))?;
            interruptible(index)?;
        }
        Ok(())
    })
}

fn interruptible(index: u64) -> Result<()> {
    if index.is_multiple_of(INTERRUPT_EVERY) { interrupt::check() } else { Ok(()) }
}

fn fill(folder: &Path, schema: Schema, rows: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
    let mut database = Connection::open(file(folder, schema))?;
    schema.apply(&mut database)?;
    // Until it is filled, nobody needs it to be durable.
    database.pragma_update(None, "journal_mode", "OFF")?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "cache_size", -(1 << 20))?;
    let transaction = database.transaction()?;
    rows(&transaction)?;
    transaction.commit()?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    Ok(())
}

/// Copies both databases, onto the disk.
///
/// # Errors
/// What the file system says.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for schema in [ISSUANCE, VERIFICATION] {
        let copy = file(to, schema);
        fs::copy(file(from, schema), &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        // So that it is not written while something is measured.
        fs::File::open(copy)?.sync_all()?;
    }
    Ok(())
}

/// How many credentials and audit rows a folder's databases have.
///
/// # Errors
/// What SQLite says.
pub(crate) fn count(folder: &Path) -> Result<(u64, u64)> {
    let count = |schema, table| {
        let database = Connection::open(file(folder, schema))?;
        let count =
            database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))?;
        Ok::<_, anyhow::Error>(u64::try_from(count)?)
    };
    Ok((count(ISSUANCE, "credentials")?, count(VERIFICATION, "verifications")?))
}

fn file(folder: &Path, schema: Schema) -> std::path::PathBuf {
    folder.join(schema.label).with_extension("db")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefilled_database_is_copied_with_all_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        prefill(folder.path(), 20).unwrap();
        let copied = folder.path().join("copy");
        copy(folder.path(), &copied).unwrap();
        assert_eq!(count(&copied).unwrap(), (20, 20));
        let database = Connection::open(file(&copied, ISSUANCE)).unwrap();
        let mode: String = database.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
}
