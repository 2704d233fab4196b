//! Common generators accept `openapi.yaml`, and clients generated here in TypeScript and Python work.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use e2e::{
    ADMIN_TOKEN, ISSUER_TOKEN, Response, Setup, TestApp, VERIFIER_TOKEN, needs_own_host, openapi::document,
    prefix::Prefix, read, tools, workspace,
};
use reqwest::{Method, Url};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The values of all members with this name, at any depth.
fn all<'a>(name: &str, value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(name));
            members.values().for_each(|member| all(name, member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| all(name, item, found)),
        _ => {}
    }
}

/// `SnakeYAML`, the parser of OpenAPI Generator, allows at most 50 aliases.
#[test]
fn the_document_has_no_yaml_aliases() {
    for (number, line) in (1..).zip(read("openapi.yaml").lines()) {
        let value = line.split_once(": ").or_else(|| line.split_once("- ")).map_or("", |(_, value)| value);
        assert!(!value.trim_start().starts_with(['&', '*']), "line {number}: {line}");
    }
}

/// ogen expects each type to be a single string.
#[test]
fn no_schema_has_several_types() {
    let mut types = Vec::new();
    all("type", document(), &mut types);
    assert!(types.len() > 100, "{}", types.len());
    types.retain(|value| value.is_array());
    assert!(types.is_empty(), "use oneOf instead of {types:?}");
}

/// OpenAPI Generator rejects documents with such links.
#[test]
fn no_link_has_an_object_as_its_body() {
    let mut links = Vec::new();
    all("links", document(), &mut links);
    assert!(!links.is_empty());
    let mut bodies = Vec::new();
    links.into_iter().for_each(|link| all("requestBody", link, &mut bodies));
    assert!(bodies.iter().all(|body| body.is_string()), "{bodies:?}");
}

/// The URL of the API for a client that knows only the URL of the document.
async fn server(app: &TestApp) -> String {
    let url = Url::parse(&app.base_url).unwrap();
    let url = url.join(&format!("{}/openapi.yaml", url.path().trim_end_matches('/'))).unwrap();
    let text = reqwest::get(url.clone()).await.unwrap().text().await.unwrap();
    let document: Value = serde_saphyr::from_str(&text).unwrap();
    let servers = document["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 1);
    let server = url.join(servers[0]["url"].as_str().unwrap()).unwrap();
    // Clients append an operation's path, which begins with a slash.
    server.as_str().trim_end_matches('/').to_owned()
}

#[tokio::test]
async fn the_server_in_the_document_is_where_the_document_is() {
    let app = TestApp::any().await;
    assert_eq!(server(&app).await, app.base_url);
    let prefix = Prefix::of(&app.base_url).await;
    let below = TestApp::at(&prefix.url);
    let url = server(&below).await;
    assert_eq!(url, prefix.url);
    let response = TestApp::at(&url).check(&"0".repeat(64)).await;
    assert_eq!((response.status, response.json()), (200, json!({ "exists": false })));
}

#[tokio::test]
async fn a_link_to_the_next_page_leads_there_below_a_path_too() {
    needs_own_host!();
    let app = Setup::new().start().await;
    for credential in ["a", "b"] {
        app.issue(credential).await;
    }
    let prefix = Prefix::of(&app.base_url).await;
    let below = TestApp::at(&prefix.url);
    let get = async |url: &str| -> Response {
        below.send(below.request(Method::GET, url).bearer_auth(ADMIN_TOKEN)).await
    };
    let first = get("/credentials?limit=1").await;
    let link = first.header("link").unwrap().split(['<', '>']).nth(1).unwrap();
    let next = Url::parse(&format!("{}/credentials?limit=1", prefix.url)).unwrap().join(link).unwrap();
    let next = next.as_str().strip_prefix(&prefix.url).unwrap();
    let second = get(next).await.json();
    assert_eq!(second["credentials"].as_array().map(Vec::len), Some(1), "{second}");
    assert_ne!(second["credentials"], first.json()["credentials"]);
}

/// A folder with the document and the files of `e2e/generators`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(workspace().join("openapi.yaml"), folder.path().join("openapi.yaml")).unwrap();
    for file in fs::read_dir(workspace().join("e2e/generators")).unwrap() {
        let file = file.unwrap();
        let copy = folder.path().join(file.file_name());
        if file.path().is_dir() {
            symlink(file.path(), copy).unwrap();
        } else {
            fs::copy(file.path(), copy).unwrap();
        }
    }
    folder
}

/// Runs a program in the folder, which must succeed.
fn run(program: &Path, folder: &TempDir, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
    let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&text));
}

/// Runs a client script against an application that is served below a path.
async fn use_client(program: &Path, folder: &TempDir, script: &str) {
    let app = Setup::new().variable("issuer_token", ISSUER_TOKEN).variable("verifier_token", VERIFIER_TOKEN);
    let app = app.start().await;
    let prefix = Prefix::of(&app.base_url).await;
    let url = server(&TestApp::at(&prefix.url)).await;
    run(program, folder, &[script, &url, ISSUER_TOKEN, VERIFIER_TOKEN, ADMIN_TOKEN]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_client_is_generated_type_checked_and_used() {
    needs_own_host!();
    let node = tools::find("node", "NODE", &[]);
    let packages = tools::folder("e2e/generators/node_modules");
    let (Some(node), Some(_)) = (node, packages) else { return };
    let folder = folder();
    let generator = "node_modules/openapi-typescript/bin/cli.js";
    run(&node, &folder, &[generator, "openapi.yaml", "--output", "openapi.d.ts"]);
    run(&node, &folder, &["node_modules/typescript/bin/tsc", "--project", "."]);
    use_client(&node, &folder, "client.mjs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_is_generated_type_checked_and_used() {
    needs_own_host!();
    let generator = "target/tools/python/bin/openapi-python-client";
    let Some(generator) = tools::find("openapi-python-client", "OPENAPI_PYTHON_CLIENT", &[generator]) else {
        return;
    };
    let folder = folder();
    let output = ["--meta", "none", "--output-path", "kube_credentials_client"];
    let arguments = ["generate", "--path", "openapi.yaml", "--config", "python.yaml", "--fail-on-warning"];
    run(&generator, &folder, &[&arguments[..], &output].concat());
    run(&generator.with_file_name("mypy"), &folder, &["--strict", "client.py"]);
    use_client(&generator.with_file_name("python"), &folder, "client.py").await;
}
