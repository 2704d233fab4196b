//! The rows that databases start with.

use std::{fmt::Write, time::SystemTime};

use anyhow::Result;
use credentials::{Secret, Timestamp, VerificationId};

use crate::{
    interrupt,
    load::{SECRET, hash, prefilled},
};

/// Rows of one table.
pub(crate) struct Rows {
    /// The table and its columns, as `INSERT` and `COPY` take them.
    pub(crate) table: &'static str,
    /// A line for each row, with tabs between the values.
    pub(crate) lines: String,
}

/// This many credentials, and as many verdicts on them.
pub(crate) fn rows(number: u64) -> Result<[Rows; 2]> {
    let now = i64::try_from(SystemTime::UNIX_EPOCH.elapsed()?.as_millis())?;
    // One per millisecond, the last a minute ago.
    let first = now - 60_000 - i64::try_from(number)?;
    let secret = Secret::new(SECRET)?;
    let key_id = secret.key_id();
    let [mut credentials, mut verifications] = [String::new(), String::new()];
    for (index, millis) in (0..number).zip(first..) {
        let hash = hash(&secret, &prefilled(index))?;
        writeln!(credentials, "{hash}\t{key_id}\tworker-000000\t{millis}")?;
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let id = VerificationId::new(Timestamp::from_millis(millis)?, random);
        let request = fastrand::u128(..);
        writeln!(verifications, "{id}\t{request:032x}\t{hash}\tvalid\tverification-worker-000000\t{millis}")?;
        interrupt::check()?;
    }
    let table = "verifications (id, request_id, credential_hash, status, verified_by, verified_at)";
    let verifications = Rows { table, lines: verifications };
    let table = "credentials (credential_hash, key_id, worker_id, issued_at)";
    Ok([Rows { table, lines: credentials }, verifications])
}
