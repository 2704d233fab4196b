//! The schema of a PostgreSQL database.

use std::fmt::Write;

use super::{AS_JSON, Connection, Session, Statement, convert, schema_view};
use crate::{
    batch::Transient,
    clock::{self, Deadline},
    database::{error::DatabaseError, migration::Migration, retry::pause},
};

/// The key of the advisory lock that the migrating instance holds. Any number will do, if it stays the same.
const LOCK: i64 = 0x6b75_6265_6372_6564;

impl Connection {
    /// Brings the schema up to date. Idempotent, and safe for several instances and replicas at once: one migrates, for as
    /// long as it takes, while the others poll until their deadlines.
    pub(in crate::database) async fn migrate(
        &self,
        migrations: &'static [Migration],
        deadline: Deadline,
    ) -> Result<(), DatabaseError> {
        loop {
            match self.try_migrate(migrations, deadline).await {
                Err(error) if error.is_transient() && !deadline.has_passed() => {
                    tracing::debug!(database = self.label, reason = %error, "migration will be tried again");
                    pause(super::CONNECT_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn try_migrate(
        &self,
        migrations: &'static [Migration],
        deadline: Deadline,
    ) -> Result<(), DatabaseError> {
        let applied = self.version(deadline).await?;
        let missing = Migration::missing(migrations, applied)?;
        if missing.is_empty() {
            return Ok(());
        }
        let session = deadline.within(Session::open(self.address.for_migrations())).await;
        let session = session.ok_or(DatabaseError::Busy)?.map_err(convert::not_connected)?;
        // The request goes on past its deadline: an interrupted migration is lost.
        session.execute(&script(applied, missing), Vec::new()).await.map_err(convert::failed)?;
        for migration in missing {
            tracing::info!(database = self.label, migration = migration.name, "migrated");
        }
        Ok(())
    }

    /// The number of migrations applied so far.
    async fn version(&self, deadline: Deadline) -> Result<u64, DatabaseError> {
        const STATEMENT: &str = "SELECT coalesce(max(version), 0) AS version FROM schema_migrations";

        let statement = Statement { statement: STATEMENT, rows: AS_JSON, from: "result".to_owned() };
        match self.run(&statement, &[], deadline).await {
            Err(error) if error.is_about_schema() => Ok(0),
            rows => {
                let rows = rows?;
                let row = rows.first().ok_or(DatabaseError::UnexpectedRow { column: "version" })?;
                row.get("version")
            }
        }
    }
}

/// One statement, and so one transaction, that applies these migrations, unless another instance is doing so or has done
/// so: then it fails as if a lock were not available.
fn script(applied: u64, missing: &[Migration]) -> String {
    let now = clock::now().map_or(0, |now| now.as_millis());
    let version = applied + missing.len() as u64;
    let mut script = format!(
        "DO $migration$ BEGIN
IF NOT pg_try_advisory_xact_lock({LOCK}) THEN
    RAISE EXCEPTION 'another instance migrates the database' USING ERRCODE = 'lock_not_available';
END IF;
CREATE TABLE IF NOT EXISTS schema_migrations (version bigint PRIMARY KEY, name text NOT NULL, applied_at bigint NOT NULL);
IF (SELECT coalesce(max(version), 0) FROM schema_migrations) <> {applied} THEN
    RAISE EXCEPTION 'another instance has migrated the database' USING ERRCODE = 'lock_not_available';
END IF;
"
    );
    for (version, migration) in (applied + 1..).zip(missing) {
        // Writing to a string cannot fail.
        let _ = write!(
            script,
            "{}\nINSERT INTO schema_migrations (version, name, applied_at) VALUES ({version}, '{}', {now});\n",
            migration.sql, migration.name
        );
    }
    // Last, in the order in which statements lock tables and the view.
    let (before, after) = (schema_view(applied), schema_view(version));
    let _ = write!(
        script,
        "DROP VIEW IF EXISTS {before};\nCREATE VIEW {after} AS SELECT {version} AS version;\nEND $migration$"
    );
    script
}
