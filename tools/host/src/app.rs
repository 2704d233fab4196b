//! The application: loads its components and routes requests to them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body_util::{BodyExt, Full};

use crate::{
    body::{RequestBody, ResponseBody, empty},
    chaining::{CallComponent, Chaining, chained_component},
    component::{Component, Loader},
    config::{
        allowed_hosts::AllowedHosts,
        manifest::Manifest,
        runtime_config::RuntimeConfig,
        variables::{ComponentVariables, Variables},
    },
    guest::{Grants, outbound::Outbound},
    log::log,
    postgres::Postgres,
    routes::{Match, Routes},
    sqlite::Databases,
};

/// Spin itself handles requests below this path.
const WELL_KNOWN: &str = "/.well-known/spin/";

/// A running application.
pub(crate) struct App {
    routes: Routes,
    components: HashMap<String, Component>,
}

impl App {
    /// Compiles the components and checks that everything they need is available.
    ///
    /// # Errors
    /// One line that names the component and what is missing.
    pub(crate) fn load(
        loader: &Loader,
        manifest: &Manifest,
        folder: &Path,
        runtime_config: &RuntimeConfig,
        variables: &Variables,
    ) -> Result<Arc<Self>> {
        let databases = Arc::new(configured_databases(manifest, folder, runtime_config)?);
        let routes = Routes::new(&manifest.trigger.http)?;

        let chaining = Chaining::default();
        let mut components = HashMap::new();
        for (id, component) in &manifest.component {
            let source = folder.join(&component.source);
            ensure!(
                source.exists(),
                "component {id}: there is no {}; build it first (cargo xtask up, or spin build)",
                source.display()
            );
            let allowed = AllowedHosts::new(&component.allowed_outbound_hosts, variables)
                .with_context(|| format!("component {id}"))?;
            let handler = loader
                .load(&source)
                .with_context(|| format!("component {id}: {} cannot run here", source.display()))?;
            let databases = Databases {
                granted: component.sqlite_databases.iter().cloned().collect(),
                configured: Arc::clone(&databases),
            };
            let grants = Grants {
                environment: component.environment.clone().into_iter().collect(),
                databases,
                postgres: Postgres::new(allowed.clone()),
                variables: ComponentVariables::new(&component.variables, variables)
                    .with_context(|| format!("component {id}"))?,
                outbound: Outbound { allowed, chaining: chaining.clone() },
            };
            components.insert(id.clone(), Component::new(id.clone(), handler, grants));
        }
        let app = Arc::new(Self { routes, components });
        chaining.open(Arc::downgrade(&app));
        Ok(app)
    }

    /// Every public route with its component.
    pub(crate) fn routes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.routes.list()
    }

    /// Handles a request from outside.
    ///
    /// # Errors
    /// The authority is missing or contradictory. As in Spin, the connection is then closed without a response.
    pub(crate) async fn handle(
        &self,
        mut request: Request<RequestBody>,
        client: SocketAddr,
    ) -> Result<Response<ResponseBody>> {
        if let Some(page) = request.uri().path().strip_prefix(WELL_KNOWN) {
            return Ok(match page {
                "health" => Response::new(Full::from("OK").map_err(|never| match never {}).boxed_unsync()),
                _ => empty(StatusCode::NOT_FOUND),
            });
        }
        let Some(found) = self.routes.find(request.uri().path()) else {
            return Ok(empty(StatusCode::NOT_FOUND));
        };
        // A `Host` that names a component would make it look like a chained request.
        let headers = request.headers_mut();
        headers.remove(header::CONNECTION);
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(ToOwned::to_owned);
        if host.as_deref().is_some_and(|host| chained_component(host).is_some()) {
            headers.remove(header::HOST);
        }
        complete_uri(&mut request)?;
        // Spin passes headers to components as text.
        if request.headers().values().any(|value| std::str::from_utf8(value.as_bytes()).is_err()) {
            log!("a request has a header that is not UTF-8");
            return Ok(empty(StatusCode::INTERNAL_SERVER_ERROR));
        }
        self.call(&found, request, Some(client)).await
    }

    /// Hands a request to a component, whose failure becomes an empty 500. A chained request has no client.
    ///
    /// # Errors
    /// There is no such component.
    pub(crate) async fn call(
        &self,
        target: &Match,
        mut request: Request<RequestBody>,
        client: Option<SocketAddr>,
    ) -> Result<Response<ResponseBody>> {
        let component = self
            .components
            .get(&target.component)
            .with_context(|| format!("there is no component {:?} running here", target.component))?;
        add_spin_headers(&mut request, target, client);
        Ok(component.handle(request).await.unwrap_or_else(|error| {
            log!("component {}: {error:?}", target.component);
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }))
    }
}

impl CallComponent for App {
    fn call_component<'a>(
        &'a self,
        component: &'a str,
        request: Request<RequestBody>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<ResponseBody>>> + Send + 'a>> {
        Box::pin(async move {
            let target = Match::chained(component, request.uri().path());
            self.call(&target, request, None).await
        })
    }
}

/// Every database that a component uses. Creates the folders of database files.
fn configured_databases(
    manifest: &Manifest,
    folder: &Path,
    runtime_config: &RuntimeConfig,
) -> Result<HashMap<String, PathBuf>> {
    let mut databases = HashMap::new();
    for (id, component) in &manifest.component {
        for label in &component.sqlite_databases {
            let database = match runtime_config.database(label) {
                Some(database) => database,
                // Spin provides this label without any config.
                None if label == "default" => folder.join(".spin/sqlite_db.db"),
                None => bail!(
                    "component {id} uses the database {label:?}, which no runtime config defines: \
                     pass --runtime-config-file runtime-config.toml"
                ),
            };
            if let Some(folder) = database.parent() {
                std::fs::create_dir_all(folder)
                    .with_context(|| format!("cannot create {}", folder.display()))?;
            }
            databases.insert(label.clone(), database);
        }
    }
    Ok(databases)
}

/// Makes the URI absolute, as components see it: the authority is the URI's own or that of `Host`, which must agree.
fn complete_uri(request: &mut Request<RequestBody>) -> Result<()> {
    let mut parts = request.uri().clone().into_parts();
    let host =
        request.headers().get(header::HOST).map(|host| Authority::try_from(host.as_bytes())).transpose()?;
    parts.authority = match (parts.authority, host) {
        (Some(authority), Some(host)) if authority != host => {
            bail!("the Host header and the URI do not agree")
        }
        (Some(authority), _) | (None, Some(authority)) => Some(authority),
        (None, None) => bail!("the request has no Host header"),
    };
    parts.scheme = Some(Scheme::HTTP);
    *request.uri_mut() = Uri::from_parts(parts)?;
    Ok(())
}

/// Adds the headers that tell a component how its request was routed. As in Spin, they come after any of the same name
/// from the client.
fn add_spin_headers(request: &mut Request<RequestBody>, target: &Match, client: Option<SocketAddr>) {
    let client = client.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    let prefix = target.route.strip_suffix("/...").unwrap_or(&target.route);
    // As in Spin, a request without the header, such as a chained one, has the host localhost.
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let full_url = format!("http://{host}{path}");
    for (name, value) in [
        ("spin-path-info", target.path_info.as_str()),
        ("spin-full-url", &full_url),
        ("spin-matched-route", &target.route),
        ("spin-base-path", "/"),
        ("spin-raw-component-route", &target.route),
        ("spin-component-route", prefix),
        ("spin-client-addr", &client.to_string()),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
}
