//! The page in headless Chromium: starts what `e2e/browser/*.test.mjs` try, and runs them.

use std::{fs, path::Path, process::Command};

use axum::Router;
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};
use tower_http::services::ServeDir;

use e2e::{ADMIN_TOKEN, ISSUER_TOKEN, Setup, needs_own_host, tools, workspace};

/// A port, and with it an origin, that is taken before anything is served there.
struct Origin {
    url: String,
    listener: TcpListener,
}

impl Origin {
    async fn reserve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { url: format!("http://{}", listener.local_addr().unwrap()), listener }
    }

    /// Serves a folder there, as a static host does, and once more in a folder.
    fn serve(self, folder: &Path) -> JoinHandle<()> {
        let router = Router::new()
            .nest_service("/folder", ServeDir::new(folder))
            .fallback_service(ServeDir::new(folder));
        tokio::spawn(async move { axum::serve(self.listener, router).await.unwrap() })
    }
}

/// The page's files, set up for a static host as `docs/web.md` says.
fn static_copy(api: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(workspace().join("web/static")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let index = folder.path().join("index.html");
    let page = fs::read_to_string(&index).unwrap();
    let unset = r#"<meta name="api-base" content="">"#;
    assert!(page.contains(unset));
    fs::write(&index, page.replace(unset, &format!(r#"<meta name="api-base" content="{api}">"#))).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_in_a_browser() {
    needs_own_host!();
    let node = tools::find("node", "NODE", &[]);
    let chromium = tools::find("chromium", "CHROMIUM", &[]);
    let tests = workspace().join("e2e/browser");
    let packages = tools::folder("e2e/browser/node_modules");
    let (Some(node), Some(chromium), Some(_)) = (node, chromium, packages) else { return };

    let (friend, stranger) = (Origin::reserve().await, Origin::reserve().await);
    let (friend_url, stranger_url) = (friend.url.clone(), stranger.url.clone());
    let origins = format!("https://elsewhere.example, {friend_url}");
    let app = Setup::new().variable("cors_origin", &origins).start().await;
    let guarded =
        Setup::new().variable("issuer_token", ISSUER_TOKEN).variable("admin_token", "").start().await;
    let broken = Setup::new().variable("issuance_url", "http://127.0.0.1:1").start().await;
    let pictured = Setup::new().start().await;
    let files = static_copy(&app.base_url);
    let servers = [friend.serve(files.path()), stranger.serve(files.path())];

    let pictures = std::env::var_os("E2E_PICTURES")
        .map_or_else(|| tempfile::tempdir().unwrap().keep(), |folder| workspace().join(folder));
    let mut files: Vec<_> = fs::read_dir(&tests).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
    files.sort();
    assert!(files.len() >= 5, "{files:?}");
    let mut command = Command::new(node);
    command
        .arg("--test")
        .args(&files)
        .current_dir(&tests)
        .env("CHROMIUM", chromium)
        .env("ADMIN_TOKEN", ADMIN_TOKEN)
        .env("ISSUER_TOKEN", ISSUER_TOKEN)
        .env("APP_URL", &app.base_url)
        .env("GUARDED_APP_URL", &guarded.base_url)
        .env("BROKEN_APP_URL", &broken.base_url)
        .env("FRIEND_URL", &friend_url)
        .env("STRANGER_URL", &stranger_url)
        .env("PICTURE_APP_URL", &pictured.base_url)
        .env("SCREENSHOTS", &pictures);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("# fail 0") || text.contains("ℹ fail 0"), "node ran no tests: {text}");
    for server in servers {
        server.abort();
    }
}
