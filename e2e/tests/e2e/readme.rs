//! README.md and .env.example say what is true.

use std::{collections::BTreeSet, fs, mem::discriminant};

use reqwest::Method;
use serde_json::Value;

use crate::app::{Answer, Setup, TestApp, needs_own_host, workspace};

/// A file of the project.
pub fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap()
}

/// Each `$ curl …` line of README's console blocks with the line below it.
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

async fn run_curl(app: &TestApp, command: &str) -> Answer {
    let words = shell_words::split(command).unwrap();
    let mut words = words.iter().map(String::as_str);
    let (mut path, mut header, mut body) = (None, None, None);
    while let Some(word) = words.next() {
        match word {
            "-s" => {}
            "-H" => header = words.next().unwrap().split_once(": "),
            "-d" => body = Some(words.next().unwrap().to_owned()),
            url => path = url.strip_prefix("localhost:3000"),
        }
    }
    let method = if body.is_some() { Method::POST } else { Method::GET };
    let mut request = app.request(method, path.expect("an example calls localhost:3000"));
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    Answer::to(request.body(body.unwrap_or_default())).await
}

/// Asserts that two answers are the same but for names, times and random values.
pub fn assert_alike(expected: &Value, actual: &Value, place: &str) {
    /// The members whose values differ from run to run.
    const VOLATILE: [&str; 18] = [
        "credential",
        "credential_hash",
        "expires_at",
        "id",
        "issued_at",
        "issuedAt",
        "issuedBy",
        "key_id",
        "next_cursor",
        "request_id",
        "revoked_at",
        "timestamp",
        "verificationId",
        "verifiedAt",
        "verified_at",
        "verified_by",
        "worker",
        "worker_id",
    ];
    /// The text without names of workers and without times.
    fn steady(text: &str) -> String {
        let is_time = |word: &&str| word.len() == 24 && word.ends_with('Z') && word.contains("T");
        let steady = |word| if is_time(&word) { "" } else { word.split("worker-").next().unwrap() };
        text.split(' ').map(steady).collect::<Vec<_>>().join(" ")
    }
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            assert_eq!(expected.keys().collect::<Vec<_>>(), actual.keys().collect::<Vec<_>>(), "{place}");
            for (name, value) in expected {
                let place = format!("{place}: {name}");
                if VOLATILE.contains(&name.as_str()) {
                    assert_eq!(discriminant(value), discriminant(&actual[name]), "{place}");
                } else {
                    assert_alike(value, &actual[name], &place);
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            assert_eq!(expected.len(), actual.len(), "{place}");
            for (expected, actual) in expected.iter().zip(actual) {
                assert_alike(expected, actual, place);
            }
        }
        (Value::String(expected), Value::String(actual)) => {
            assert_eq!(steady(expected), steady(actual), "{place}");
        }
        _ => assert_eq!(expected, actual, "{place}"),
    }
}

#[tokio::test]
async fn the_curl_examples_give_the_answers_that_stand_below_them() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let examples = curl_examples();
    assert!(examples.len() >= 9, "README.md has lost its examples");
    for (command, expected) in examples {
        let answer = run_curl(&app, &command).await;
        assert_alike(&serde_json::from_str(&expected).unwrap(), &answer.json(), &command);
    }
}

#[test]
fn every_variable_is_in_the_readme_and_in_the_example_with_its_default() {
    let manifest = read("spin.toml");
    let variables = manifest.split("[variables]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let (readme, example) = (read("README.md"), read(".env.example"));
    let mut names = BTreeSet::new();
    for line in variables.lines() {
        let (name, definition) = line.split_once(" = ").unwrap();
        let default = definition.split('"').nth(1).unwrap_or_default();
        let documented = match default {
            "" => format!("| `{name}` | "),
            default => format!("| `{name}` | `{default}` |"),
        };
        assert!(readme.contains(&documented), "README.md lacks {documented}");
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
fn every_link_and_picture_of_the_documents_is_there() {
    let documents = [
        "README.md",
        "host/README.md",
        "docs/architecture.md",
        "docs/operations.md",
        "docs/performance.md",
        "docs/web.md",
    ];
    let mut links = 0;
    for document in documents {
        let text = read(document);
        let folder = workspace().join(document);
        let markdown = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let pictures = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
        for link in markdown.chain(pictures).filter(|link| !link.contains("://")) {
            let (path, section) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { folder.clone() } else { folder.with_file_name(path) };
            assert!(target.exists(), "{document} links to {link}");
            let headings = fs::read_to_string(&target).unwrap_or_default().to_lowercase();
            let named = |line: &str| line.trim_start_matches('#').trim().replace(' ', "-") == section;
            assert!(
                section.is_empty() || headings.lines().any(|line| line.starts_with('#') && named(line)),
                "{document} links to {link}"
            );
            links += 1;
        }
    }
    assert!(links > 20, "{links}");
}
