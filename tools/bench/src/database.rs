//! The databases of the targets.

use std::{fs, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use credentials::{Secret, Timestamp, VerificationId};
use rusqlite::{Connection, Transaction};

use crate::{
    interrupt,
    load::{SECRET, hash, prefilled},
    schema::{ISSUANCE, Schema, VERIFICATION},
};

/// Creates both databases in a folder: one with this many credentials, one with as many verdicts on them.
pub(crate) fn prefill(folder: &Path, rows: u64) -> Result<()> {
    let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis())?;
    // One per millisecond, the last a minute ago.
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
            interrupt::check()?;
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
            interrupt::check()?;
        }
        Ok(())
    })
}

fn fill(folder: &Path, schema: Schema, rows: impl FnOnce(&Transaction<'_>) -> Result<()>) -> Result<()> {
    let mut database = Connection::open(file(folder, schema))?;
    schema.apply(&mut database)?;
    // Nothing needs to be durable yet.
    database.pragma_update(None, "journal_mode", "OFF")?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "cache_size", -(1 << 20))?;
    let transaction = database.transaction()?;
    rows(&transaction)?;
    transaction.commit()?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    Ok(())
}

/// Copies both databases to another folder.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for schema in [ISSUANCE, VERIFICATION] {
        let copy = file(to, schema);
        fs::copy(file(from, schema), &copy).with_context(|| format!("cannot write {}", copy.display()))?;
        // Flushed now rather than during a measurement.
        fs::File::open(copy)?.sync_all()?;
    }
    Ok(())
}

/// Counts the credentials and audit rows in a folder's databases.
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
