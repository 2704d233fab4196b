//! For tests: how SQLite reads the pages of a list.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

use rusqlite::{Connection, params_from_iter, types::Value as SqlValue};

use super::{ListQuery, Migration, Value};

/// Databases with the same schema and other rows, with and without statistics, which can change a plan.
#[derive(Debug)]
pub struct Plans(Vec<Connection>);

impl Plans {
    /// An empty database, and two for each of these scripts, which fill them; one of the two is analysed.
    ///
    /// # Panics
    /// If a script fails.
    #[must_use]
    pub fn new(migrations: &[Migration], scripts: &[String]) -> Self {
        let database = |script: &str| {
            let database = Connection::open_in_memory().unwrap();
            migrations.iter().for_each(|migration| database.execute_batch(migration.sql).unwrap());
            database.execute_batch(script).unwrap();
            database
        };
        let analysed = |script| database(&format!("{script}; ANALYZE"));
        let filled = scripts.iter().flat_map(|script| [database(script), analysed(script)]);
        Self(filled.chain([database("")]).collect())
    }

    /// The plans for a page, each once: where a scan ends, if rows are checked one by one, and the rows. The key is that
    /// of a row at which a scan may end.
    ///
    /// # Panics
    /// If SQLite does not accept the query.
    #[must_use]
    pub fn of(&self, query: &ListQuery, key: &[Value]) -> Vec<String> {
        let mut statements = Vec::from_iter(query.end_of_scan());
        let mut query = query.clone();
        if !statements.is_empty() {
            query.end_scan_at(key.to_vec());
        }
        statements.push(query.statement());
        let mut plans = Vec::new();
        for (statement, parameters) in &statements {
            plans.extend(self.0.iter().map(|database| plan(database, statement, parameters)));
        }
        plans.sort_unstable();
        plans.dedup();
        plans
    }
}

/// The steps of a plan, with no difference whether the index has all columns.
fn plan(database: &Connection, statement: &str, parameters: &[Value]) -> String {
    let parameters = parameters.iter().map(|value| match value.clone() {
        Value::Null => SqlValue::Null,
        Value::Integer(integer) => SqlValue::Integer(integer),
        Value::Real(real) => SqlValue::Real(real),
        Value::Text(text) => SqlValue::Text(text),
        Value::Blob(bytes) => SqlValue::Blob(bytes),
    });
    let mut plan = database.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    let steps = plan.query_map(params_from_iter(parameters), |row| row.get::<_, String>("detail")).unwrap();
    steps.map(|step| step.unwrap().replace("COVERING ", "")).collect::<Vec<_>>().join("; ")
}
