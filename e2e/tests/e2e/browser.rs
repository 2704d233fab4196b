//! The page in headless Chromium: starts applications and static hosts for `e2e/browser/*.test.mjs`, then runs those.

use std::{env, fs, path::Path, process::Command};

use axum::Router;
use e2e::{
    ADMIN_TOKEN, ISSUER_TOKEN, Setup, VERIFIER_TOKEN, needs_own_host, page_files, prefix::Prefix, tools,
    workspace,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;

/// A static host whose URL is known before it starts serving.
struct StaticHost {
    url: String,
    listener: TcpListener,
}

impl StaticHost {
    async fn reserve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { url: format!("http://{}", listener.local_addr().unwrap()), listener }
    }

    /// Serves a folder at `/` and at `/folder`.
    fn serve(self, folder: &Path) {
        let router = Router::new()
            .nest_service("/folder", ServeDir::new(folder))
            .fallback_service(ServeDir::new(folder));
        tokio::spawn(async move { axum::serve(self.listener, router).await.unwrap() });
    }
}

/// A copy of the page for a static host, made as `docs/web.md` says.
fn static_copy(api: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in page_files() {
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
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

    let (friend, stranger) = (StaticHost::reserve().await, StaticHost::reserve().await);
    let (friend_url, stranger_url) = (friend.url.clone(), stranger.url.clone());
    let origins = format!("https://elsewhere.example, {friend_url}");
    let app = Setup::new().variable("cors_origin", &origins).start().await;
    let guarded = Setup::new()
        .variable("issuer_token", ISSUER_TOKEN)
        .variable("verifier_token", VERIFIER_TOKEN)
        .variable("admin_token", "")
        .start()
        .await;
    let broken = Setup::new().variable("issuance_url", "http://127.0.0.1:1").start().await;
    let limited = Setup::new()
        .variable("verify_failures_per_minute", "2")
        .variable("audit_client_address", "true")
        .start()
        .await;
    let pristine = Setup::new().start().await;
    let below = Prefix::of(&app.base_url).await;
    let files = static_copy(&app.base_url);
    friend.serve(files.path());
    stranger.serve(files.path());

    let temporary = tempfile::tempdir().unwrap();
    let screenshots = env::var_os("E2E_SCREENSHOTS")
        .map_or_else(|| temporary.path().to_owned(), |folder| workspace().join(folder));
    let mut scripts: Vec<_> = fs::read_dir(&tests).unwrap().map(|file| file.unwrap().path()).collect();
    scripts.retain(|file| file.to_string_lossy().ends_with(".test.mjs"));
    scripts.sort();
    assert!(scripts.len() >= 7, "{scripts:?}");
    let mut command = Command::new(node);
    command
        .arg("--test")
        .args(&scripts)
        .current_dir(&tests)
        .env("CHROMIUM", chromium)
        .env("ADMIN_TOKEN", ADMIN_TOKEN)
        .env("ISSUER_TOKEN", ISSUER_TOKEN)
        .env("VERIFIER_TOKEN", VERIFIER_TOKEN)
        .env("APP_URL", &app.base_url)
        .env("GUARDED_APP_URL", &guarded.base_url)
        .env("BROKEN_APP_URL", &broken.base_url)
        .env("LIMITED_APP_URL", &limited.base_url)
        .env("BELOW_URL", &below.url)
        .env("FRIEND_URL", &friend_url)
        .env("STRANGER_URL", &stranger_url)
        .env("SCREENSHOT_APP_URL", &pristine.base_url)
        .env("SCREENSHOTS", &screenshots);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("# fail 0") || text.contains("ℹ fail 0"), "node ran no tests: {text}");
}
