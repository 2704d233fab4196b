//! The application's own schema: the same files that the components apply.

use anyhow::{Context, Result};
use platform::database::Migration;
use rusqlite::{Connection, TransactionBehavior};

/// One of the two databases.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    /// The label in `spin.toml`, and the name of its file without `.db`.
    pub(crate) label: &'static str,
    migrations: &'static [Migration],
}

/// The credentials that were issued.
pub(crate) const ISSUANCE: Schema = Schema { label: "issuance", migrations: issuance::MIGRATIONS };

/// The audit rows.
pub(crate) const VERIFICATION: Schema =
    Schema { label: "verification", migrations: verification::MIGRATIONS };

impl Schema {
    /// Brings a database up to date the way the components do, which then find nothing left to do.
    pub(crate) fn apply(&self, database: &mut Connection) -> Result<()> {
        database.pragma_update(None, "journal_mode", "WAL")?;
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_migrations \
             (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)",
        )?;
        let found: u32 =
            transaction
                .query_row("SELECT coalesce(max(version), 0) FROM schema_migrations", [], |row| row.get(0))?;
        for (version, Migration { name, sql }) in (1_u32..).zip(self.migrations).skip(usize::try_from(found)?)
        {
            transaction.execute_batch(sql).with_context(|| format!("migration {name}"))?;
            transaction.execute(
                "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, unixepoch() * 1000)",
                (version, name),
            )?;
        }
        transaction.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn no_migration_of_the_components_is_left_out() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for schema in [ISSUANCE, VERIFICATION] {
            let folder = fs::read_dir(workspace.join(schema.label).join("migrations/sqlite")).unwrap();
            let mut files: Vec<_> =
                folder.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            files.sort();
            let known: Vec<_> =
                schema.migrations.iter().map(|migration| format!("{}.sql", migration.name)).collect();
            assert_eq!(known, files, "{}", schema.label);
        }
    }
}
