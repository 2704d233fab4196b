//! The databases of the targets.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use rusqlite::{Connection, params_from_iter};

use crate::{
    interrupt,
    rows::{Rows, rows},
    schema::{ISSUANCE, Schema, VERIFICATION},
};

/// Creates both databases in a folder, with this many rows.
pub(crate) fn prefill(folder: &Path, number: u64) -> Result<()> {
    let [credentials, verifications] = rows(number)?;
    fill(folder, ISSUANCE, &credentials)?;
    fill(folder, VERIFICATION, &verifications)
}

fn fill(folder: &Path, schema: Schema, rows: &Rows) -> Result<()> {
    let mut database = Connection::open(file(folder, schema))?;
    schema.apply(&mut database)?;
    // Nothing needs to be durable yet.
    database.pragma_update(None, "journal_mode", "OFF")?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "cache_size", -(1 << 20))?;
    let transaction = database.transaction()?;
    let values = vec!["?"; rows.table.split(',').count()].join(", ");
    let mut insert = transaction.prepare(&format!("INSERT INTO {} VALUES ({values})", rows.table))?;
    for row in rows.lines.lines() {
        insert.execute(params_from_iter(row.split('\t')))?;
        interrupt::check()?;
    }
    drop(insert);
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
        let query = "SELECT DISTINCT typeof(issued_at) FROM credentials";
        let time: String = database.query_row(query, [], |row| row.get(0)).unwrap();
        assert_eq!(time, "integer");
    }
}
