//! The databases of the targets on PostgreSQL.

use std::{fmt::Write, fs, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use credentials::{Secret, Timestamp, VerificationId};
use launch::{Postgres, postgres_programs, workspace};

use crate::{
    interrupt,
    load::{SECRET, hash, prefilled},
};

const SERVICES: [&str; 2] = ["issuance", "verification"];

/// Starts a server in a folder, with this many credentials and as many verdicts on them.
pub(crate) fn start(folder: &Path, rows: u64) -> Result<Postgres> {
    fs::create_dir_all(folder)?;
    let server = Postgres::start(postgres_programs()?, folder.to_owned(), "bench", SERVICES)?;
    let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis())?;
    // One per millisecond, the last a minute ago.
    let first = now - 60_000 - i64::try_from(rows)?;
    let secret = Secret::new(SECRET)?;
    let key_id = secret.key_id();
    let mut credentials = String::new();
    let mut verifications = String::new();
    for (index, millis) in (0..rows).zip(first..) {
        let hash = hash(&secret, &prefilled(index))?;
        writeln!(credentials, "{hash}\t{key_id}\tworker-000000\t{millis}")?;
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let id = VerificationId::new(Timestamp::from_millis(millis)?, random);
        let request = fastrand::u128(..);
        writeln!(verifications, "{id}\t{request:032x}\t{hash}\tvalid\tverification-worker-000000\t{millis}")?;
        interrupt::check()?;
    }
    fill(&server, "issuance", "credentials (credential_hash, key_id, worker_id, issued_at)", &credentials)?;
    let columns = "verifications (id, request_id, credential_hash, status, verified_by, verified_at)";
    fill(&server, "verification", columns, &verifications)?;
    Ok(server)
}

/// Applies the migrations as the components do, which then find nothing left to do, and adds the rows.
fn fill(server: &Postgres, service: &str, columns: &str, rows: &str) -> Result<()> {
    let folder = workspace().join(service).join("migrations/postgres");
    let mut files: Vec<_> = fs::read_dir(&folder)?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    files.sort();
    let mut script = "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, name text NOT NULL, applied_at bigint NOT \
                      NULL);\n"
        .to_owned();
    for (version, file) in (1..).zip(&files) {
        script += &fs::read_to_string(file)?;
        writeln!(script, "INSERT INTO schema_migrations VALUES ({version}, 'bench', 0);")?;
    }
    writeln!(script, "COPY {columns} FROM STDIN;\n{rows}\\.\nVACUUM ANALYZE;")?;
    server.run(service, &script).with_context(|| format!("cannot fill the database {service}"))?;
    Ok(())
}

/// Counts the credentials and audit rows.
pub(crate) fn count(server: &Postgres) -> Result<(u64, u64)> {
    let count = |service, table| {
        let count = server.run(service, &format!("SELECT count(*) FROM {table}"))?;
        Ok::<_, anyhow::Error>(count.parse()?)
    };
    Ok((count("issuance", "credentials")?, count("verification", "verifications")?))
}

/// The variables with which the components find the server.
pub(crate) fn variables(server: &Postgres) -> Vec<(String, String)> {
    let mut variables: Vec<_> = SERVICES.iter().flat_map(|service| server.variables(service)).collect();
    // Those of the bare component.
    for service in SERVICES {
        let (url, host) = server.url(service);
        variables.push((format!("SPIN_VARIABLE_{}_DATABASE_URL", service.to_ascii_uppercase()), url));
        variables.push(("SPIN_VARIABLE_DATABASE_HOST".to_owned(), host));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefilled_server_has_all_rows() {
        if postgres_programs().is_err() {
            eprintln!("skipped: there is no PostgreSQL");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL, which does not run as root, must be able to reach it.
        let folder = folder.path().join("postgres");
        let server = start(&folder, 20).unwrap();
        assert_eq!(count(&server).unwrap(), (20, 20));
    }
}
