//! The databases of the targets on PostgreSQL.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use launch::{Postgres, postgres_programs, workspace};

use crate::rows::{Rows, rows};

const SERVICES: [&str; 2] = ["issuance", "verification"];

/// Starts a server in a folder, with this many rows.
pub(crate) fn start(folder: &Path, number: u64) -> Result<Postgres> {
    fs::create_dir_all(folder)?;
    let server = Postgres::start(postgres_programs()?, folder.to_owned(), "bench", SERVICES)?;
    for (service, rows) in SERVICES.into_iter().zip(rows(number)?) {
        fill(&server, service, &rows)?;
    }
    Ok(server)
}

/// Applies the migrations as the components do, which then find nothing left to do, and adds the rows.
fn fill(server: &Postgres, service: &str, rows: &Rows) -> Result<()> {
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
    writeln!(script, "CREATE VIEW schema_version_{} AS SELECT;", files.len())?;
    writeln!(script, "COPY {} FROM STDIN;\n{}\\.\nVACUUM ANALYZE;", rows.table, rows.lines)?;
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
