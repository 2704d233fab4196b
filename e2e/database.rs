//! The databases of an application, past the application.

use std::{
    env,
    fmt::Debug,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use rusqlite::{Connection, Row, types::ValueRef};

use crate::postgres::PostgresDatabases;

/// Where the databases of the tested application are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Databases {
    /// In SQLite files.
    Files,
    /// On a PostgreSQL server.
    Postgres,
}

/// The databases that `E2E_DATABASE` selects: `files` (the default) or `postgres`.
pub fn databases() -> Databases {
    match env::var("E2E_DATABASE").as_deref() {
        Err(_) | Ok("files") => Databases::Files,
        Ok("postgres") => Databases::Postgres,
        Ok(other) => panic!("E2E_DATABASE is {other:?}, and not files or postgres"),
    }
}

impl Databases {
    /// The build of the components that uses them.
    pub fn build(self) -> launch::Database {
        match self {
            Self::Files => launch::Database::Sqlite,
            Self::Postgres => launch::Database::Postgres,
        }
    }

    /// The one of two things for these databases.
    pub fn either<T>(self, files: T, postgres: T) -> T {
        match self {
            Self::Files => files,
            Self::Postgres => postgres,
        }
    }
}

/// Skips a test that is about SQLite's files if the databases are on a server.
#[macro_export]
macro_rules! needs_files {
    () => {
        if $crate::databases() != $crate::Databases::Files {
            eprintln!("skipped {}: its databases must be files", module_path!());
            return;
        }
    };
}

/// Skips a test that is about PostgreSQL if the databases are files.
#[macro_export]
macro_rules! needs_postgres {
    () => {
        if $crate::databases() != $crate::Databases::Postgres {
            eprintln!("skipped {}: its databases must be on a PostgreSQL server", module_path!());
            return;
        }
    };
}

/// A direct connection to a service's database. Statements that both kinds understand are written once: see
/// [`Databases::either`], and [`hex`](Self::hex) for what tests need most.
pub struct Database(Kind);

enum Kind {
    File(Connection),
    Postgres { databases: Arc<PostgresDatabases>, name: String },
}

impl Database {
    /// Opens a file.
    ///
    /// # Panics
    /// If that fails.
    pub fn file(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        Self(Kind::File(connection))
    }

    /// The database of a service on a server.
    pub fn postgres(databases: Arc<PostgresDatabases>, service: &str) -> Self {
        let name = databases.name(service);
        Self(Kind::Postgres { databases, name })
    }

    pub fn databases(&self) -> Databases {
        match self.0 {
            Kind::File(_) => Databases::Files,
            Kind::Postgres { .. } => Databases::Postgres,
        }
    }

    /// Runs statements. Returns the number of rows that the last one changed.
    ///
    /// # Panics
    /// If one fails.
    pub fn execute(&self, statements: &str) -> usize {
        match &self.0 {
            Kind::File(connection) => {
                connection.execute_batch(statements).unwrap();
                usize::try_from(connection.changes()).unwrap()
            }
            Kind::Postgres { databases, name } => databases.server.execute(name, statements),
        }
    }

    /// The rows of a query, as text.
    ///
    /// # Panics
    /// If it fails.
    pub fn rows(&self, query: &str) -> Vec<Vec<String>> {
        match &self.0 {
            Kind::File(connection) => {
                let mut query = connection.prepare(query).unwrap();
                query.query_map([], columns).unwrap().map(Result::unwrap).collect()
            }
            Kind::Postgres { databases, name } => databases.server.query(name, query),
        }
    }

    /// The first column of a query's first row.
    ///
    /// # Panics
    /// If there is none, or it is not of this type.
    pub fn query<T: FromStr<Err: Debug>>(&self, query: &str) -> T {
        self.rows(query)[0][0].parse().unwrap()
    }

    /// The number of rows in a table; 0 if it does not exist.
    pub fn count(&self, table: &str) -> usize {
        let tables = self.databases().either(
            "SELECT name FROM sqlite_master WHERE type = 'table'",
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'",
        );
        if !self.rows(tables).iter().any(|name| name[0] == table) {
            return 0;
        }
        self.query(&format!("SELECT count(*) FROM {table}"))
    }

    /// Has a table refuse rows under a condition on `new`, with this message. See [`accept`](Self::accept).
    pub fn refuse(&self, table: &str, condition: &str, message: &str) {
        self.refuse_with(table, "INSERT", condition, message, "P0001");
    }

    /// The same for any kind of statement, and with this SQLSTATE.
    pub fn refuse_with(&self, table: &str, event: &str, condition: &str, message: &str, code: &str) {
        self.execute(&self.databases().either(
            format!(
                "CREATE TRIGGER refuse BEFORE {event} ON {table} WHEN {condition} \
                 BEGIN SELECT RAISE(ABORT, '{message}'); END"
            ),
            format!(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'; END $$; \
                 CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition}) \
                 EXECUTE FUNCTION refuse()"
            ),
        ));
    }

    /// Has a table accept all rows again.
    pub fn accept(&self, table: &str) {
        self.execute(&self.databases().either(
            "DROP TRIGGER refuse".to_owned(),
            format!("DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse"),
        ));
    }

    /// Lets no one else write until the lock is dropped.
    ///
    /// # Panics
    /// If there is a lock.
    pub fn lock(self) -> Lock {
        match self.0 {
            Kind::File(connection) => {
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                Lock(LockKind::File(connection))
            }
            Kind::Postgres { databases, name } => {
                let mut psql = databases.server.psql(&name);
                let mut psql =
                    psql.arg("--quiet").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
                let stdin = psql.stdin.take();
                let mut lock =
                    Psql { stdout: BufReader::new(psql.stdout.take().unwrap()), stdin, process: psql };
                lock.run(
                    "BEGIN; DO $$ BEGIN EXECUTE (SELECT 'LOCK TABLE ' || string_agg(tablename, ', ') || \
                     ' IN EXCLUSIVE MODE' FROM pg_tables WHERE schemaname = 'public'); END $$;",
                )
                .unwrap();
                Lock(LockKind::Postgres(lock))
            }
        }
    }

    /// An expression for a number as this many hexadecimal digits.
    pub fn hex(&self, number: &str, digits: usize) -> String {
        self.databases().either(
            format!("printf('%0{digits}x', {number})"),
            format!("lpad(to_hex({number}), {digits}, '0')"),
        )
    }

    /// An expression for an id of an audit row, from two numbers: a time in milliseconds and one that makes it unique.
    pub fn verification_id(&self, millis: &str, unique: &str) -> String {
        let hex = |number: &str, digits| self.hex(number, digits);
        format!(
            "{} || '-' || {} || '-7000-8000-' || {}",
            hex(&format!("({millis} >> 16)"), 8),
            hex(&format!("({millis} & 65535)"), 4),
            hex(unique, 12)
        )
    }

    /// An expression for the current time in milliseconds.
    pub fn now(&self) -> &'static str {
        self.databases().either(
            "CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        )
    }
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Vec<String>> {
    let text = |column| {
        Ok(match row.get_ref(column)? {
            ValueRef::Null => String::new(),
            ValueRef::Integer(integer) => integer.to_string(),
            ValueRef::Real(real) => real.to_string(),
            ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned(),
        })
    };
    (0..row.as_ref().column_count()).map(text).collect()
}

/// A lock on a database.
pub struct Lock(LockKind);

enum LockKind {
    File(#[expect(dead_code, reason = "it ends the transaction when dropped")] Connection),
    Postgres(Psql),
}

/// A client whose transaction is open.
struct Psql {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Psql {
    /// Runs statements and waits until they are done. Fails if one does.
    fn run(&mut self, statements: &str) -> io::Result<()> {
        let mut line = String::new();
        if let Some(stdin) = &mut self.stdin {
            writeln!(stdin, "{statements}\n\\echo done")?;
            self.stdout.read_line(&mut line)?;
        }
        if line == "done\n" { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let LockKind::Postgres(psql) = &mut self.0 {
            // The server may be gone.
            let _ = psql.run("ROLLBACK;");
            drop(psql.stdin.take());
            let _ = psql.process.wait();
        }
    }
}
