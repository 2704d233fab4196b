//! The page's files and how they are served.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use mediatype::{
    MediaType, Name,
    names::{self, APPLICATION, JSON, TEXT},
};
use platform::{
    edge::{Edge, Problem, negotiate},
    origin::Origins,
    settings::{self, SettingsError},
};
use sha2::{Digest, Sha256};
use tower_http::{compression::CompressionLayer, set_header::SetResponseHeaderLayer};

struct Asset {
    path: &'static str,
    media_type: &'static str,
    content: &'static [u8],
}

/// Embeds the files in `static/` with these names and media types.
macro_rules! assets {
    ($($name:literal: $media_type:expr),+ $(,)?) => {
        &[$(Asset {
            path: concat!("/", $name),
            media_type: $media_type,
            content: include_bytes!(concat!("../static/", $name)),
        }),+]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const ASSETS: &[Asset] = assets! {
    "index.html": HTML,
    "404.html": HTML,
    "app.css": CSS,
    "icon.svg": SVG,
    "api.js": JAVASCRIPT,
    "app.js": JAVASCRIPT,
    "batch.js": JAVASCRIPT,
    "chart.js": JAVASCRIPT,
    "credentials.js": JAVASCRIPT,
    "csv.js": JAVASCRIPT,
    "dom.js": JAVASCRIPT,
    "field.js": JAVASCRIPT,
    "health.js": JAVASCRIPT,
    "history.js": JAVASCRIPT,
    "issue-list.js": JAVASCRIPT,
    "issue.js": JAVASCRIPT,
    "list.js": JAVASCRIPT,
    "session.js": JAVASCRIPT,
    "statistics.js": JAVASCRIPT,
    "unfinished-lists.js": JAVASCRIPT,
    "unfinished.js": JAVASCRIPT,
    "verify.js": JAVASCRIPT,
};

const INDEX: &str = "/index.html";
const NOT_FOUND: &str = "/404.html";

/// The media type is from RFC 9512.
const OPENAPI: Asset = Asset {
    path: "/openapi.yaml",
    media_type: "application/yaml",
    content: include_bytes!("../../openapi.yaml"),
};

/// Lets the page load files from this component and call the API next to it, but nothing inline, nothing from other
/// origins, and no strings as markup (CSP level 3, Trusted Types).
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The component, configured from its variables.
///
/// # Errors
/// [`SettingsError`] when a variable cannot be read or used.
pub async fn start() -> Result<Edge, SettingsError> {
    settings::start_log().await?;
    Ok(router(&settings::origins().await?))
}

/// Every path of the page; any other is a 404. Pages from `origins` may read `openapi.yaml`.
pub fn router(origins: &Origins) -> Edge {
    let mut routes = Router::new().route("/{*path}", any(not_found));
    for asset in ASSETS.iter().chain([&OPENAPI]) {
        routes = routes.route(asset.path, serve(asset));
        if asset.path == INDEX {
            routes = routes.route("/", serve(asset));
        }
    }
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    let routes = routes.layer(CompressionLayer::new());
    let routes = fixed.into_iter().fold(routes, |routes, (name, value)| {
        routes.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)))
    });
    Edge::unnamed(routes, "web", origins)
}

/// Serves a file to GET, or 304 if the client already has it (RFC 9110, section 13.1.2).
fn serve<S: Clone + Send + Sync + 'static>(asset: &'static Asset) -> axum::routing::MethodRouter<S> {
    // Hashed lazily, because with WASI 0.2 an instance serves a single file.
    let etag = Arc::new(LazyLock::new(|| asset.etag()));
    get(async move |request: HeaderMap| {
        let etag = &**etag;
        let has_it = request.typed_get::<IfNoneMatch>();
        let mut response = match (has_it, etag) {
            (Some(has_it), Some(etag)) if !has_it.precondition_passes(etag) => {
                StatusCode::NOT_MODIFIED.into_response()
            }
            _ => asset.response(),
        };
        let headers = response.headers_mut();
        if let Some(etag) = etag {
            headers.typed_insert(etag.clone());
        }
        // Browsers revalidate their copy each time: a new version shows at once, an unchanged one costs no body.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // A 304 must have the same Vary as the 200 (RFC 9110, section 15.4.5).
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        response
    })
}

impl Asset {
    fn response(&self) -> Response {
        ([(header::CONTENT_TYPE, self.media_type)], self.content).into_response()
    }

    /// The page with links that lead from this path up to the root, so that they also work behind a proxy that serves
    /// everything below a path.
    fn with_links_from(&self, path: &str) -> Response {
        /// A path consisting of slashes would blow up the page.
        const MAX_DEPTH: usize = 50;

        let depth = path.matches('/').count().saturating_sub(1).min(MAX_DEPTH);
        let root = format!("href=\"./{}", "../".repeat(depth));
        let page = String::from_utf8_lossy(self.content).replace("href=\"/", &root);
        ([(header::CONTENT_TYPE, self.media_type)], page).into_response()
    }

    /// Weak, because it is the same for every encoding of the content.
    fn etag(&self) -> Option<ETag> {
        let digest = hex::encode(&Sha256::digest(self.content)[..16]);
        format!("W/\"{digest}\"").parse().ok()
    }
}

/// 404: a page for clients that prefer HTML, like browsers, and a problem document for all others.
async fn not_found(request: Request) -> Response {
    let available = [
        (MediaType::from_parts(APPLICATION, Name::new_unchecked("problem"), Some(JSON), &[]), false),
        (MediaType::new(APPLICATION, JSON), false),
        (MediaType::new(TEXT, names::HTML), true),
    ];
    let wants_page = negotiate(request.headers(), &available).unwrap_or(false);
    let vary = [(header::VARY, "accept")];
    match ASSETS.iter().find(|asset| asset.path == NOT_FOUND) {
        Some(page) if wants_page => {
            let page = page.with_links_from(request.uri().path());
            (StatusCode::NOT_FOUND, vary, page).into_response()
        }
        _ => (vary, Problem::no_such_path()).into_response(),
    }
}
