//! A service's schema: numbered SQL files, each applied once.

use std::time::Duration;

use super::{
    connection::Connection,
    error::DatabaseError,
    retry::pause,
    statement::{Access, Statement},
};
use crate::{
    batch::Transient,
    clock::{self, Deadline},
};

/// One step of a schema. See [`migrations!`](crate::migrations).
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The file's name without `.sql`.
    pub name: &'static str,
    /// The file's content.
    pub sql: &'static str,
}

/// The migrations of a service, in order, read from its `migrations` folder at compile time.
///
/// `migrations!["0001_credentials"]` is the text of `migrations/0001_credentials.sql` as version 1, and so on.
#[macro_export]
macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        &[$($crate::database::Migration { name: $name, sql: include_str!(concat!("../migrations/", $name, ".sql")) }),+]
    };
}

impl Migration {
    /// The statements of the file, because Spin runs one at a time. Each ends with `;` and is followed by an empty
    /// line.
    pub fn statements(&self) -> impl Iterator<Item = &'static str> {
        self.sql.split(";\n\n").map(|statement| statement.trim().trim_end_matches(';'))
    }
}

/// Brings the schema up to date. Idempotent, and safe for several instances and replicas at once: one migrates, for as
/// long as it takes, while the others poll until their deadlines.
pub(super) async fn migrate(
    connection: &Connection,
    label: &'static str,
    migrations: &'static [Migration],
    deadline: Deadline,
) -> Result<(), DatabaseError> {
    let mut migrator = Migrator { connection, label, migrations, deadline, claimed: None };
    let result = migrator.run().await;
    if result.is_err() {
        migrator.give_up().await;
    }
    result
}

/// One instance's attempt to migrate.
struct Migrator<'a> {
    connection: &'a Connection,
    label: &'static str,
    migrations: &'static [Migration],
    deadline: Deadline,
    /// The length of its claim, in seconds.
    claimed: Option<u64>,
}

/// Claims the migration unless another instance holds it, and returns the length of the claim in seconds.
const CLAIM: &str = "INSERT INTO schema_migrations (version, name, applied_at) VALUES (-1, 60, unixepoch() + 60) \
                     ON CONFLICT DO UPDATE SET name = name * 2, applied_at = unixepoch() + name * 2 \
                     WHERE applied_at <= unixepoch() RETURNING CAST(name AS INTEGER) AS claimed";

/// The state of a database's schema.
struct Schema {
    /// The number of migrations applied so far.
    version: u64,
    /// The length of the current claim on the next ones, in seconds.
    claimed: Option<u64>,
    journal_mode: String,
}

impl Migrator<'_> {
    async fn run(&mut self) -> Result<(), DatabaseError> {
        /// How long to retry after an error that does not name a lock, but may come from a collision.
        const MAX_RETRY: Duration = Duration::from_secs(2);
        const MAX_PAUSE: Duration = Duration::from_millis(250);

        let collisions = Deadline::after(MAX_RETRY).min(self.deadline);
        let mut wait = Duration::from_millis(4);
        loop {
            let error = match self.try_once().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let end = match &error {
                error if error.is_transient() => self.deadline,
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

    async fn try_once(&mut self) -> Result<(), DatabaseError> {
        // The usual case costs one read. It also comes first after a failure: another instance may have been faster.
        let schema = Schema::read(self.connection, self.deadline).await?;
        let newer =
            || DatabaseError::NewerSchema { found: schema.version, known: self.migrations.len() as u64 };
        let applied = usize::try_from(schema.version).map_err(|_| newer())?;
        let missing = self.migrations.get(applied..).ok_or_else(newer)?;
        if missing.is_empty() {
            // A database restored from a dump has no write-ahead log yet.
            return if schema.journal_mode == "wal" { Ok(()) } else { self.connection.use_wal().await };
        }
        // In a new database nothing takes long.
        if applied > 0 && self.connection.breaks_locks().await? {
            self.claim(&schema).await?;
        }
        self.apply(applied, missing).await
    }

    /// Claims the migration for this instance, or fails if another holds it.
    ///
    /// A libSQL server rolls back a transaction that has taken 5 s once another connection asks for the write lock, so
    /// only the instance with the claim asks for it. After an expired claim comes one twice as long: its instance is
    /// gone, or the migration takes longer.
    async fn claim(&mut self, schema: &Schema) -> Result<(), DatabaseError> {
        /// For instances that have not seen the claim and ask for the lock to make their own.
        const SETTLE: Duration = Duration::from_secs(1);

        if schema.claimed.is_some() && schema.claimed == self.claimed {
            return Ok(());
        }
        let elsewhere = || DatabaseError::Transient("another instance migrates the database".to_owned());
        if schema.claimed.is_some() {
            return Err(elsewhere());
        }
        let rows = self.connection.execute(Access::Write(1), CLAIM, vec![], self.deadline).await?;
        self.claimed = Some(rows.first().ok_or_else(elsewhere)?.get("claimed")?);
        clock::sleep(SETTLE).await;
        Ok(())
    }

    /// Drops the claim unless it has expired: another instance may then hold the lock.
    async fn give_up(&self) {
        const DROP: &str = "DELETE FROM schema_migrations WHERE version = -1";

        let deadline = Deadline::of_request();
        if self.claimed.is_some()
            && let Ok(schema) = Schema::read(self.connection, deadline).await
            && schema.claimed == self.claimed
            && let Err(error) = self.connection.execute(Access::Write(0), DROP, vec![], deadline).await
        {
            tracing::warn!(database = self.label, %error, "others wait for a migration that has failed");
        }
    }

    /// Applies migrations after the first `applied` ones, all or none.
    async fn apply(&self, applied: usize, missing: &'static [Migration]) -> Result<(), DatabaseError> {
        let mut statements = vec![Statement::from(
            "CREATE TABLE IF NOT EXISTS schema_migrations \
             (version INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)",
        )];
        let now = clock::now().map_or(0, |now| now.as_millis());
        for (version, migration) in (applied as i64 + 1..).zip(missing) {
            // First, so that it fails before anything is done twice if another instance was faster.
            statements.push(Statement {
                sql: "INSERT INTO schema_migrations (version, name, applied_at) VALUES (?, ?, ?)",
                parameters: vec![version.into(), migration.name.into(), now.into()],
            });
            statements.extend(migration.statements().map(Statement::from));
        }
        // The claim.
        statements.push("DELETE FROM schema_migrations WHERE version = -1".into());
        let limit = Duration::from_secs(self.claimed.unwrap_or(30));
        self.connection.transaction(statements, limit).await?;
        for migration in missing {
            tracing::info!(database = self.label, migration = migration.name, "migrated");
        }
        Ok(())
    }
}

impl Schema {
    async fn read(connection: &Connection, deadline: Deadline) -> Result<Self, DatabaseError> {
        let read = async |journal_mode: &str| {
            let statement = format!(
                "SELECT coalesce(max(version), 0) AS version, max(CAST(name AS INTEGER)) \
                 FILTER (WHERE version = -1 AND applied_at > unixepoch()) AS claimed, \
                 {journal_mode} AS journal_mode FROM schema_migrations"
            );
            let rows = connection.execute(Access::Read(1), &statement, vec![], deadline).await?;
            let row = rows.first().ok_or(DatabaseError::UnexpectedRow { column: "version" })?;
            Ok(Self {
                version: row.get("version")?,
                claimed: row.get("claimed")?,
                journal_mode: row.get("journal_mode")?,
            })
        };
        match read("(SELECT journal_mode FROM pragma_journal_mode)").await {
            Err(DatabaseError::Statement(reason)) if reason.contains("no such table: schema_migrations") => {
                Ok(Self { version: 0, claimed: None, journal_mode: String::new() })
            }
            // A libSQL server may not support the pragma.
            Err(DatabaseError::Statement(reason)) if reason.contains("journal_mode") => read("'wal'").await,
            schema => schema,
        }
    }
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
        let statements: Vec<_> = migration.statements().collect();
        assert_eq!(statements.len(), 2);
        let database = rusqlite::Connection::open_in_memory().unwrap();
        for statement in statements {
            database.execute(statement, []).unwrap();
        }
    }

    #[test]
    fn a_claim_is_one_instances_until_it_runs_out_and_then_twice_as_long() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        database
            .execute_batch(
                "CREATE TABLE schema_migrations (version INTEGER PRIMARY KEY, name TEXT, applied_at INTEGER)",
            )
            .unwrap();
        let claim = || database.query_row(CLAIM, [], |row| row.get::<_, i64>(0)).ok();
        let lasts = |seconds: i64| {
            let left = "SELECT applied_at - unixepoch() FROM schema_migrations WHERE version = -1";
            let left: i64 = database.query_row(left, [], |row| row.get(0)).unwrap();
            (seconds - 5..=seconds).contains(&left)
        };
        for seconds in [60, 120, 240] {
            assert_eq!(claim(), Some(seconds));
            assert!(lasts(seconds));
            assert_eq!(claim(), None);
            database.execute_batch("UPDATE schema_migrations SET applied_at = unixepoch()").unwrap();
        }
    }
}
