//! A service: what issuance and verification have in common besides their actions.

use std::{future::Future, sync::Arc};

use axum::{Extension, Router, extract::State, routing::get};
use futures_util::future::join;

use crate::{
    clock::{self, Deadline},
    database::{Access, Database, Location, Migration, Sql},
    edge::{Check, Checks, Edge, Health, Json, Problem, Query, unavailable},
    request_id::RequestId,
    settings::{Identity, SettingsError},
    statistics::{Family, Metrics, Range, Statistics},
};

/// A service with settings and a database of its own.
pub trait Service: Sized + Send + Sync + 'static {
    /// Its name: that of its component and of its database in `spin.toml`.
    const NAME: &'static str;
    /// The prefix of a random worker id.
    const WORKER_PREFIX: &'static str;
    /// The paths of its health route.
    const HEALTH_PATHS: &'static [&'static str];
    /// The steps of its schema.
    const MIGRATIONS: &'static [Migration];
    /// A statement that shows whether the database can be read and written, without losing anything.
    const PROBE: Sql;
    /// What the triggers of its schema count.
    const COUNTED: &'static [Family];

    /// What its operator configures.
    type Settings;

    /// Reads its settings.
    fn settings() -> impl Future<Output = Result<Self::Settings, SettingsError>>;

    /// The service with these settings.
    fn new(identity: Identity, settings: Self::Settings, database: Arc<Database>) -> Self;

    /// Its database.
    fn database(&self) -> &Database;

    /// Its routes, without that of health.
    fn routes(self: Arc<Self>) -> Router;

    /// The health checks besides those of its settings and its database.
    fn checks(&self, request_id: &RequestId, deadline: Deadline) -> impl Future<Output = Vec<Check>> + Send;
}

/// A service, configured from its variables: for [`component!`](crate::component).
///
/// # Errors
/// None: with unusable settings, the service starts and says so.
pub async fn start<S: Service>() -> Result<Edge, SettingsError> {
    let (identity, usable) = Identity::load(S::NAME, S::WORKER_PREFIX).await;
    let (location, located) = Location::load(S::NAME).await;
    let settings = match usable.and(located) {
        Ok(()) => S::settings().await,
        Err(error) => Err(error),
    };
    Ok(edge::<S>(identity, settings, location))
}

/// All routes of a service. The first request that needs the database opens it. Without settings every route is a 503, and
/// that of health says why.
pub(crate) fn edge<S: Service>(
    identity: Identity,
    settings: Result<S::Settings, SettingsError>,
    location: Location,
) -> Edge {
    let database = Arc::new(Database::new(location, S::MIGRATIONS));
    let new = |settings| Arc::new(S::new(identity.clone(), settings, Arc::clone(&database)));
    let service = settings.map(new);
    let routes = match &service {
        Ok(service) => Arc::clone(service).routes(),
        Err(error) => unavailable(error),
    };
    let state = HealthState { identity: identity.clone(), service, database, checks: Checks::default() };
    let route = |routes: Router<_>, path: &&str| routes.route(path, get(health::<S>));
    let health = S::HEALTH_PATHS.iter().fold(Router::new(), route).with_state(Arc::new(state));
    Edge::new(routes.merge(health), &identity)
}

struct HealthState<S> {
    identity: Identity,
    /// The service, or why its settings cannot be used.
    service: Result<Arc<S>, SettingsError>,
    database: Arc<Database>,
    checks: Checks,
}

/// GET /health/…: whether the service can do its work.
async fn health<S: Service>(
    State(state): State<Arc<HealthState<S>>>,
    Extension(request_id): Extension<RequestId>,
) -> Result<Health, Problem> {
    let checks = state.checks.get(&state.identity, &request_id, || state.run_checks(&request_id)).await;
    Ok(Health::new(&state.identity, clock::now()?, &checks))
}

impl<S: Service> HealthState<S> {
    async fn run_checks(&self, request_id: &RequestId) -> Vec<Check> {
        let deadline = Deadline::of_request();
        let own_checks = async {
            match &self.service {
                Ok(service) => service.checks(request_id, deadline).await,
                Err(_) => Vec::new(),
            }
        };
        // At once, as they share the deadline.
        let probe = self.database.query(Access::Write(0), S::PROBE.text(), [], deadline);
        let (probe, own_checks) = join(probe, own_checks).await;
        let mut checks = Vec::from(Check::settings(self.service.as_ref().err()));
        checks.push(Check::outcome("database", probe.map(drop), "the database cannot be used"));
        checks.extend(own_checks);
        checks
    }
}

/// GET /statistics/…: what the service counted, by hour or by day.
///
/// # Errors
/// Those of [`Range::read`].
pub async fn statistics<S: Service>(
    State(service): State<Arc<S>>,
    Query(range): Query<Range>,
) -> Result<Json<Statistics>, Problem> {
    range.read(service.database(), S::COUNTED).await.map(Json)
}

/// GET /metrics/…: the same sums for Prometheus.
///
/// # Errors
/// Those of [`Metrics::read`].
pub async fn metrics<S: Service>(State(service): State<Arc<S>>) -> Result<Metrics, Problem> {
    Ok(Metrics::read(S::NAME, service.database(), S::COUNTED).await?)
}
