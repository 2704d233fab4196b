//! README, links and versions agree with the project.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use e2e::{Response, Setup, TestApp, needs_own_host, openapi, read, values::assert_similar, workspace};
use reqwest::Method;

/// The `$ curl …` lines in README's console blocks, each with the line below it.
fn curl_examples() -> Vec<(String, String)> {
    let readme = read("README.md");
    let mut examples = Vec::new();
    for block in readme.split("```console\n").skip(1) {
        let mut lines = block.split("```").next().unwrap().lines();
        while let Some(line) = lines.next() {
            if let Some(command) = line.strip_prefix("$ curl ") {
                examples.push((command.to_owned(), lines.next().unwrap().to_owned()));
            }
        }
    }
    examples
}

async fn run_curl(app: &TestApp, command: &str) -> Response {
    let words = shell_words::split(command).unwrap();
    let mut words = words.iter().map(String::as_str);
    let (mut path, mut headers, mut body) = (None, Vec::new(), None);
    while let Some(word) = words.next() {
        match word {
            "-s" => {}
            "-H" => headers.push(words.next().unwrap().split_once(": ").unwrap()),
            "-d" => body = Some(words.next().unwrap().to_owned()),
            url => path = url.strip_prefix("localhost:3000"),
        }
    }
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut request = app.request(method, path.expect("examples call localhost:3000"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    app.send(request.body(body.unwrap_or_default())).await
}

#[tokio::test]
async fn the_curl_examples_give_the_responses_shown() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let examples = curl_examples();
    assert!(examples.len() >= 9, "README.md has lost its examples");
    for (command, expected) in examples {
        let response = run_curl(&app, &command).await;
        assert_similar(&serde_json::from_str(&expected).unwrap(), &response.json(), &command);
    }
}

#[test]
fn every_variable_is_documented_with_its_default() {
    let manifest = read("spin.toml");
    let variables = manifest.split("[variables]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let (readme, example) = (read("README.md"), read(".env.example"));
    let table = readme.split("\n| variable | default |").nth(1).unwrap().split("\n\n").next().unwrap();
    // A row has one variable or several, with one default or one each.
    let ticked = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let mut defaults = BTreeMap::new();
    for row in table.lines().skip(2) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let values = ticked(cells[1]);
        for (index, name) in ticked(cells[0]).into_iter().enumerate() {
            defaults.insert(name, values.get(index).or(values.first()).cloned().unwrap_or_default());
        }
    }
    let mut names = BTreeSet::new();
    for line in variables.lines().filter(|line| !line.starts_with('#')) {
        let (name, definition) = line.split_once(" = ").unwrap();
        let default = definition.split('"').nth(1).unwrap_or_default();
        assert_eq!(defaults.get(name).map(String::as_str), Some(default), "README.md, {name}");
        let variable = format!("SPIN_VARIABLE_{}={default}\n", name.to_ascii_uppercase());
        assert!(example.contains(&variable), ".env.example lacks {variable}");
        names.insert(name.to_ascii_uppercase());
    }
    assert!(names.len() >= 9, "{names:?}");
    let listed =
        example.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix("SPIN_VARIABLE_"));
    let listed: BTreeSet<_> = listed.map(|line| line.split('=').next().unwrap().to_owned()).collect();
    assert_eq!(listed, names);
}

#[test]
fn every_link_and_picture_in_the_documents_exists() {
    let mut documents: Vec<_> =
        fs::read_dir(workspace().join("docs")).unwrap().map(|file| file.unwrap().path()).collect();
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    assert!(!documents.is_empty());
    let others =
        ["README.md", "CHANGELOG.md", "SECURITY.md", "tools/bench/README.md", "tools/host/README.md"];
    documents.extend(others.map(|file| workspace().join(file)));
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).unwrap();
        let place = document.display();
        let markdown = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let pictures = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for link in markdown.chain(pictures).filter(|link| !link.contains("://")) {
            let (path, section) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { document.clone() } else { document.with_file_name(path) };
            assert!(target.exists(), "{place} links to {link}");
            let headings = fs::read_to_string(&target).unwrap_or_default().to_lowercase();
            let named = |line: &str| line.trim_start_matches('#').trim().replace(' ', "-") == section;
            assert!(
                section.is_empty() || headings.lines().any(|line| line.starts_with('#') && named(line)),
                "{place} links to {link}"
            );
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}

#[test]
fn the_manifest_names_its_schema_and_its_authors() {
    let manifest = read("spin.toml");
    assert!(
        manifest.starts_with("#:schema https://schemas.spinframework.dev/spin/manifest-v2/latest.json\n")
    );
    assert!(manifest.contains("\nauthors = [\"The Kube Credentials maintainers\"]\n"));
}

/// Anything that looks like a full version right after this text.
fn versions_after<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let ends = |c: char| !c.is_ascii_digit() && c != '.';
    let words = text.split(prefix).skip(1).map(move |rest| rest.split(ends).next().unwrap_or_default());
    words.filter(|word| word.split('.').filter(|number| !number.is_empty()).count() == 3)
}

#[test]
fn every_file_names_the_newest_version_of_the_changelog() {
    let changelog = read("CHANGELOG.md");
    let mut headings = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    let version = headings.find(|heading| *heading != "Unreleased").unwrap();
    assert_eq!(version, env!("CARGO_PKG_VERSION"), "Cargo.toml");
    assert_eq!(openapi::document()["info"]["version"], version, "openapi.yaml");
    for file in ["spin.toml", "tools/bench/bare/spin.toml"] {
        assert!(read(file).contains(&format!("\nversion = \"{version}\"\n")), "{file}");
    }
    let examples = [
        ("README.md", "\"version\":\""),
        ("openapi.yaml", "version: '"),
        ("docs/deploy.md", "kube-credentials-"),
        ("docs/deploy.md", "kube-credentials:"),
        ("deploy/kubernetes/app.yaml", "kube-credentials:"),
    ];
    for (file, prefix) in examples {
        let text = read(file);
        let named: Vec<_> = versions_after(&text, prefix).collect();
        assert!(!named.is_empty() && named.iter().all(|named| *named == version), "{file}: {named:?}");
    }
}
