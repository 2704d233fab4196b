//! For tests of a service: requests that need no host, and how SQLite reads the pages of a list.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "only tests use it")]

use axum::{body::Body, http::Request};
use credentials::WorkerId;
use rusqlite::{Connection, params_from_iter, types::Value as SqlValue};

use crate::{
    database::{ListQuery, Location, Migration, Value},
    origin::Origins,
    service::{Service, edge},
    settings::{Identity, SettingsError},
};

/// A token that [`post`] sends.
pub const TOKEN: &str = "a-token-of-at-least-16-characters";

/// Status and body of a response that needs no host.
///
/// # Panics
/// If it needs one, or its body is not JSON.
pub async fn send<S: Service>(
    settings: Result<S::Settings, SettingsError>,
    request: Request<Body>,
) -> (u16, serde_json::Value) {
    let identity =
        Identity { service: S::NAME, worker_id: WorkerId::named("worker-1"), origins: Origins::Any };
    let response = edge::<S>(identity, settings, Location::without_settings(S::NAME)).answer(request).await;
    (response.status().as_u16(), serde_json::from_slice(response.body()).expect("a body in JSON"))
}

/// A request with [`TOKEN`] and a body in JSON.
///
/// # Panics
/// If the path is malformed.
#[must_use]
pub fn post(path: &str, body: &str) -> Request<Body> {
    Request::post(path)
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// All combinations of since, until and a cursor, for [`Plans`]: the key of a row begins at a time in seconds.
pub fn ranges<K>(key: impl Fn(i64) -> K) -> impl Iterator<Item = (Option<i64>, Option<i64>, Option<K>)> {
    (0..8).map(move |bits| {
        let has = |bit: i32| bits & bit > 0;
        (has(1).then_some(1000), has(2).then_some(2000), has(4).then(|| key(1500)))
    })
}

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
