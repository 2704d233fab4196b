//! What docs/postgresql.md has people run works: roles and databases, moving from files, backup and restore.

use std::{fs, os::unix::fs::chown, path::Path, process::Command};

use e2e::{postgres, read, tools, workspace};
use tempfile::TempDir;

use super::run;

/// The code block with this text.
fn block(part: &str) -> String {
    let document = read("docs/postgresql.md");
    // Blocks in lists are indented.
    let blocks = document.split("```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap().1);
    let mut found = blocks.filter(|block| block.contains(part));
    let block = found.next().unwrap_or_else(|| panic!("there is no {part:?}")).to_owned();
    assert!(found.next().is_none(), "{part}");
    block
}

/// A folder with a server, its archive and the files that the commands need.
struct Folder {
    folder: TempDir,
    programs: String,
    user: Option<u32>,
}

impl Folder {
    fn new() -> Option<Self> {
        let programs = postgres::programs()?.display().to_string();
        tools::find("sqlite3", "SQLITE3", &[])?;
        let folder = tempfile::tempdir().unwrap();
        let user = launch::postgres_user();
        chown(folder.path(), user, user).unwrap();
        let this = Self { folder, programs, user };
        let env = "SPIN_VARIABLE_ISSUANCE_DATABASE_PASSWORD=one\nSPIN_VARIABLE_VERIFICATION_DATABASE_PASSWORD=two\n";
        this.write(".env", env);
        this.write("databases.sql", &read("deploy/postgres/databases.sql"));
        this.write("archive.conf", &block("archive_mode"));
        for service in ["issuance", "verification"] {
            for database in ["sqlite", "postgres"] {
                let mut files: Vec<_> =
                    fs::read_dir(workspace().join(service).join("migrations").join(database))
                        .unwrap()
                        .map(|file| file.unwrap().path())
                        .collect();
                files.sort();
                let schema: String =
                    files.iter().map(|file| fs::read_to_string(file).unwrap() + "\n").collect();
                this.write(&format!("{service}.{database}.sql"), &schema);
            }
        }
        Some(this)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(
            self.path().join(name),
            text.replace("/archive", &format!("{}/archive", self.path().display())),
        )
        .unwrap();
    }

    /// Runs a script in the folder, with the servers' names as here. It must succeed.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let folder = self.path().display().to_string();
        let script = script
            .replace("--host db.example.com", "")
            .replace("deploy/postgres/", "")
            .replace("/backup/base", &format!("{folder}/base"))
            .replace("/archive", &format!("{folder}/archive"));
        let mut command = match self.user {
            None => Command::new("sh"),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([
                    &format!("--reuid={user}"),
                    &format!("--regid={user}"),
                    "--clear-groups",
                    "sh",
                ]);
                command
            }
        };
        let connection = |name: &str| format!("user={name} dbname={name}");
        run(command
            .args(["-euc", &script])
            .current_dir(self.path())
            .env("PATH", format!("{}:{}", self.programs, std::env::var("PATH").unwrap()))
            .env("PGHOST", &folder)
            .env("PGPASSFILE", self.path().join("pgpass"))
            .env("PSQLRC", "/dev/null")
            .env("ISSUANCE", connection("issuance"))
            .env("VERIFICATION", connection("verification"))
            .env("OLD", "user=postgres dbname=issuance_old"))
    }

    fn start(&self, data: &str) {
        let folder = self.path().display();
        // The server must not hold the pipes of this test.
        self.sh(&format!(
            "pg_ctl start --wait --silent --pgdata {data} --log {data}.log --options \
             \"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off\" < /dev/null > start.log 2>&1 || {{ cat {data}.log; exit 1; }}"
        ));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.sh("for data in data restored; do pg_ctl stop --mode immediate --silent --pgdata $data || true; done");
    }
}

/// A server with the roles, databases and tables.
fn served() -> Option<Folder> {
    let folder = Folder::new()?;
    folder.sh(
        "umask 077
        echo super > super; printf '*:*:*:postgres:super\n*:*:*:issuance:one\n*:*:*:verification:two\n' > pgpass
        initdb --username=postgres --auth=scram-sha-256 --pwfile=super --no-sync --pgdata data > initdb.log
        mkdir archive; cat archive.conf >> data/postgresql.conf",
    );
    folder.start("data");
    folder.sh(&block("databases.sql"));
    folder.sh("psql \"$ISSUANCE\" --quiet --set ON_ERROR_STOP=1 --file issuance.postgres.sql
        psql \"$VERIFICATION\" --quiet --set ON_ERROR_STOP=1 --file verification.postgres.sql");
    Some(folder)
}

#[test]
fn each_service_has_a_database_that_the_other_cannot_reach() {
    let Some(folder) = served() else { return };
    for (user, database) in
        [("issuance", "verification"), ("verification", "issuance"), ("issuance", "postgres")]
    {
        let printed =
            folder.sh(&format!("psql 'user={user} dbname={database}' --command 'SELECT 1' 2>&1 || true"));
        let reaches = printed.contains("(1 row)");
        assert_eq!(reaches, database == "postgres", "{user} in {database}: {printed}");
    }
    let printed = folder
        .sh("psql 'user=postgres dbname=postgres' -Atc \"SELECT rolname, rolsuper, rolcreatedb, \
                             left(rolpassword, 13) FROM pg_authid WHERE rolcanlogin ORDER BY 1\"");
    assert_eq!(
        printed,
        "issuance|f|f|SCRAM-SHA-256\npostgres|t|t|SCRAM-SHA-256\nverification|f|f|SCRAM-SHA-256\n"
    );
}

#[test]
fn rows_and_counts_move_from_files_to_postgresql() {
    let Some(folder) = served() else { return };
    folder.sh(r#"mkdir data.old
        sqlite3 issuance.db < issuance.sqlite.sql
        sqlite3 verification.db < verification.sqlite.sql
        sqlite3 issuance.db "INSERT INTO credentials
            (credential_hash, key_id, worker_id, issued_at, expires_at, metadata, max_uses, uses,
             request_tag, request_index, request_fingerprint) VALUES
            ('00', 'k1', 'w', 1700000000000, NULL, '{\"a\": \"x,\\n\"\"ä\"}', NULL, 0, NULL, NULL, NULL),
            ('01', 'k2', 'a \"\"b\"\", c' || char(10) || 'd', 1700003600000, 1800000000000, NULL, 5, 2, 't', 1, 'f');
            INSERT INTO uses (tag, number, used_at) VALUES ('u', 2, 1700003600001);
            UPDATE credentials SET revoked_at = 1700007200000, revocation_reason = 'lost, \"\"x\"\"'
            WHERE credential_hash = '01'"
        sqlite3 verification.db "INSERT INTO verifications
            (id, request_id, credential_hash, status, verified_by, verified_at, client_address) VALUES
            ('018bcfe5-6800-7000-8000-000000000000', 'r1', '00', 'valid', 'v', 1700000000000, NULL),
            ('018bcfe5-6801-7000-8000-000000000000', 'r2', '01', 'revoked', 'v', 1700000000001, '::1');
            DELETE FROM verifications WHERE id LIKE '018bcfe5-6800%';
            INSERT INTO counts (hour, kind, count) VALUES (1699999200000, 'refused', 7)""#);
    let commands = block("\\copy credentials").replace("data/", "");
    folder.sh(&commands);
    let select = |database: &str, query: &str| {
        let sqlite = folder.sh(&format!("sqlite3 {database}.db \"{query}\""));
        let psql = folder.sh(&format!("psql 'user={database} dbname={database}' -At --command \"{query}\""));
        assert_eq!(sqlite, psql, "{query}");
        assert!(!sqlite.is_empty());
    };
    let rows = "SELECT credential_hash, key_id, worker_id, issued_at, coalesce(expires_at, -1), \
                coalesce(revoked_at, -1), coalesce(revocation_reason, 'none'), coalesce(metadata, 'none'), \
                coalesce(max_uses, -1), uses, coalesce(request_tag, 'none'), coalesce(request_index, -1), \
                coalesce(request_fingerprint, 'none') FROM credentials ORDER BY id";
    select("issuance", rows);
    select("issuance", "SELECT tag, number, used_at FROM uses");
    select("issuance", "SELECT key_id FROM key_ids ORDER BY 1");
    select(
        "verification",
        "SELECT id, request_id, credential_hash, status, verified_by, verified_at, coalesce(client_address, 'none') \
         FROM verifications ORDER BY id",
    );
    for database in ["issuance", "verification"] {
        select(database, "SELECT hour, kind, sum(count) FROM counts GROUP BY hour, kind ORDER BY hour, kind");
    }
}

/// Issues a credential in a database.
fn issue(hash: &str) -> String {
    format!(
        "psql \"$ISSUANCE\" --quiet --set ON_ERROR_STOP=1 --command \"INSERT INTO credentials
         (credential_hash, key_id, worker_id, issued_at) VALUES ('{hash}', 'k', 'w', 1700000000000)\"\n"
    )
}

const HASHES: &str = "psql \"$ISSUANCE\" -At --command \
                      \"SELECT string_agg(credential_hash, ' ' ORDER BY id) FROM credentials\"";
const ISSUED: &str =
    "psql \"$ISSUANCE\" -At --command \"SELECT sum(count) FROM counts WHERE kind = 'issued'\"";

#[test]
fn a_dump_is_restored_and_the_old_database_tells_what_was_revoked_and_used_since() {
    let Some(folder) = served() else { return };
    folder.sh(&(issue("aa") + &issue("bb")));
    folder.sh(&block("pg_dump"));
    folder.sh(
        "psql \"$ISSUANCE\" --quiet --command \"UPDATE credentials
         SET revoked_at = extract(epoch FROM now()) * 1000, uses = 3 WHERE credential_hash = 'bb'\"
         psql 'user=postgres dbname=postgres' --quiet --command 'ALTER DATABASE issuance RENAME TO issuance_old'",
    );
    folder.sh(&block("pg_restore"));
    assert_eq!(folder.sh(HASHES), "aa bb\n");
    // Triggers and identities were restored, too.
    folder.sh(&issue("cc"));
    assert_eq!((folder.sh(HASHES), folder.sh(ISSUED)), ("aa bb cc\n".to_owned(), "3\n".to_owned()));
    folder.sh(&block("revoked.txt"));
    assert_eq!(fs::read_to_string(folder.path().join("revoked.txt")).unwrap(), "bb\n");
    folder.sh(&block("uses.csv"));
    let uses = "psql \"$ISSUANCE\" -At --command 'SELECT credential_hash, uses FROM credentials ORDER BY id'";
    assert_eq!(folder.sh(uses), "aa|0\nbb|3\ncc|0\n");
}

#[test]
fn a_server_is_restored_to_an_instant() {
    let Some(folder) = served() else { return };
    folder.sh(&issue("aa"));
    folder.sh(&block("pg_basebackup"));
    folder.sh(&issue("bb"));
    let before = folder.sh("psql 'user=postgres dbname=postgres' -At --command 'SELECT now()'");
    folder.sh("psql \"$ISSUANCE\" --quiet --command 'DELETE FROM credentials'
        last=$(psql 'user=postgres dbname=postgres' -At --command 'SELECT pg_walfile_name(pg_switch_wal())')
        for try in $(seq 300); do [ -f \"/archive/$last\" ] && break; sleep 0.1; done
        pg_ctl stop --mode immediate --silent --pgdata data
        cp -a base restored");
    let settings = block("recovery_target_time").replace("2026-11-27 14:59:00+00", before.trim());
    folder.write("recovery.conf", &settings);
    folder.sh("cat recovery.conf >> restored/postgresql.conf; touch restored/recovery.signal");
    folder.start("restored");
    folder.sh(
        "for try in $(seq 300); do
        [ \"$(psql 'user=postgres dbname=postgres' -At --command 'SELECT pg_is_in_recovery()')\" = f ] && break
        sleep 0.1; done",
    );
    assert_eq!(folder.sh(HASHES), "aa bb\n");
    folder.sh(&issue("cc"));
    assert_eq!(folder.sh(ISSUED), "3\n");
}
