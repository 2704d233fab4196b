//! The schema of a SQLite database.

use std::time::Duration;

use super::Connection;
use crate::{
    batch::Transient,
    clock::{self, Deadline},
    database::{error::DatabaseError, migration::Migration, retry::pause, sql::Access},
};

impl Connection {
    /// Brings the schema up to date. Idempotent, and safe for several instances and replicas at once: one migrates, for as
    /// long as it takes, while the others poll until their deadlines.
    pub(in crate::database) async fn migrate(
        &self,
        migrations: &'static [Migration],
        deadline: Deadline,
    ) -> Result<(), DatabaseError> {
        /// How long to retry after an error that does not name a lock, but may come from a collision.
        const MAX_RETRY: Duration = Duration::from_secs(2);
        const MAX_PAUSE: Duration = Duration::from_millis(250);

        let collisions = Deadline::after(MAX_RETRY).min(deadline);
        let mut wait = Duration::from_millis(4);
        loop {
            let error = match self.try_migrate(migrations, deadline).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let end = match &error {
                error if error.is_transient() => deadline,
                DatabaseError::Statement(_) | DatabaseError::Disconnected(_) => collisions,
                _ => return Err(error),
            };
            if end.has_passed() {
                return Err(error);
            }
            tracing::debug!(database = self.label, reason = %error, "migration will be tried again");
            pause(wait).await;
            wait = (2 * wait).min(MAX_PAUSE);
        }
    }

    async fn try_migrate(
        &self,
        migrations: &'static [Migration],
        deadline: Deadline,
    ) -> Result<(), DatabaseError> {
        // The usual case costs one read. It also comes first after a failure: another instance may have been faster.
        let schema = self.schema(deadline).await?;
        let missing = Migration::missing(migrations, schema.version)?;
        if missing.is_empty() {
            // A database restored from a dump has no write-ahead log yet.
            return if schema.has_wal { Ok(()) } else { self.use_wal().await };
        }
        self.apply(schema.version, missing).await
    }

    /// Applies migrations after the first `applied` ones, all or none.
    async fn apply(&self, applied: u64, missing: &'static [Migration]) -> Result<(), DatabaseError> {
        const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations \
             (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)";
        const VERSION: &str = "INSERT INTO schema_migrations (version, name, applied_at) VALUES ($1, $2, $3)";

        let now = clock::now().map_or(0, |now| now.as_millis());
        let mut statements = vec![(TABLE, Vec::new())];
        for (version, migration) in (applied.cast_signed() + 1..).zip(missing) {
            // First, so that it fails before anything is done twice if another instance was faster.
            statements.push((VERSION, vec![version.into(), migration.name.into(), now.into()]));
            statements.extend(statements_of(migration).map(|statement| (statement, Vec::new())));
        }
        self.transaction(statements).await?;
        for migration in missing {
            tracing::info!(database = self.label, migration = migration.name, "migrated");
        }
        Ok(())
    }

    async fn schema(&self, deadline: Deadline) -> Result<Schema, DatabaseError> {
        let read = async |has_wal: &str| {
            let statement = format!(
                "SELECT coalesce(max(version), 0) AS version, {has_wal} AS has_wal FROM schema_migrations"
            );
            let rows = self.execute(Access::Read(1), &statement, &[], deadline).await?;
            let row = rows.first().ok_or(DatabaseError::UnexpectedRow { column: "version" })?;
            Ok(Schema { version: row.get("version")?, has_wal: row.get("has_wal")? })
        };
        match read("(SELECT journal_mode = 'wal' FROM pragma_journal_mode)").await {
            Err(DatabaseError::Statement(reason)) if reason.contains("no such table: schema_migrations") => {
                Ok(Schema { version: 0, has_wal: true })
            }
            // A libSQL server may not support the pragma.
            Err(DatabaseError::Statement(reason)) if reason.contains("journal_mode") => read("true").await,
            schema => schema,
        }
    }
}

/// The state of a database's schema.
struct Schema {
    /// The number of migrations applied so far.
    version: u64,
    has_wal: bool,
}

/// The statements of a migration, because Spin runs one at a time. Each ends with `;` and is followed by an empty line.
fn statements_of(migration: &Migration) -> impl Iterator<Item = &'static str> {
    migration.sql.split(";\n\n").map(|statement| statement.trim().trim_end_matches(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_split_into_its_statements() {
        let migration = Migration {
            name: "0001_two",
            sql: "-- A comment; with a semicolon.\nCREATE TABLE a (\n  b TEXT\n);\n\nCREATE INDEX c ON a (b);\n",
        };
        let statements: Vec<_> = statements_of(&migration).collect();
        assert_eq!(statements.len(), 2);
        let database = rusqlite::Connection::open_in_memory().unwrap();
        for statement in statements {
            database.execute(statement, []).unwrap();
        }
    }
}
