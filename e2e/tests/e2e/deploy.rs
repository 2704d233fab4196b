//! The files in `deploy/` agree with the project and with each other, and the programs they are for accept them.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use e2e::{read, tools, workspace};
use serde_json::Value;
use toml::Table;

mod env_files;
mod ignored;
mod parts;
mod postgres;
mod programs;
mod settings;
mod spinkube;

/// The documents of a YAML file in `deploy/`.
fn yaml(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(&format!("deploy/{file}"))).unwrap()
}

const KUBERNETES: [&str; 5] =
    ["app.yaml", "autoscaler.yaml", "databases.yaml", "executors.yaml", "network-policy.yaml"];

/// The resources of one kind in `deploy/kubernetes`.
fn kubernetes(kind: &str) -> Vec<Value> {
    let all = KUBERNETES.iter().flat_map(|file| yaml(&format!("kubernetes/{file}")));
    let found: Vec<_> = all.filter(|resource| resource["kind"] == kind).collect();
    assert!(!found.is_empty(), "there is no {kind}");
    found
}

fn spin_app() -> Value {
    kubernetes("SpinApp").remove(0)
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a string"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// The text between each `start` and the next `end`.
fn between<'a>(text: &'a str, start: &str, end: char) -> BTreeSet<&'a str> {
    text.split(start).skip(1).map(|rest| rest.split(end).next().unwrap().trim()).collect()
}

/// The same, if there is exactly one.
#[track_caller]
fn one<'a>(text: &'a str, start: &str, end: char) -> &'a str {
    let found: Vec<_> = between(text, start, end).into_iter().collect();
    assert_eq!(found.len(), 1, "{start}…{end}: {found:?}");
    found[0]
}

/// The variables of `spin.toml`, with their definitions.
fn variables() -> Table {
    let manifest: Table = read("spin.toml").parse().unwrap();
    let variables = manifest["variables"].as_table().unwrap().clone();
    assert!(variables.len() > 10, "{variables:?}");
    variables
}

/// The name of a variable in the environment.
fn in_environment(variable: &str) -> String {
    format!("SPIN_VARIABLE_{}", variable.to_ascii_uppercase())
}

/// The labels of the databases in `spin.toml`.
fn labels() -> BTreeSet<String> {
    let manifest = read("spin.toml");
    let labels: BTreeSet<_> = between(&manifest, "sqlite_databases = [\"", '"').into_iter().collect();
    assert_eq!(labels.len(), 2);
    labels.into_iter().map(str::to_owned).collect()
}

/// All files in `deploy/` and docs/deploy.md, with their names.
fn texts() -> Vec<(String, String)> {
    let mut files = vec!["docs/deploy.md".to_owned()];
    let mut folders = vec!["deploy".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(workspace().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() { folders.push(name) } else { files.push(name) }
        }
    }
    files.into_iter().map(|file| (file.clone(), read(&file))).collect()
}

/// Runs a program, which must succeed, and returns its output.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}

/// A program that `.ci/tools` installs with pip.
fn python_tool(name: &str, variable: &str) -> Option<PathBuf> {
    tools::find(name, variable, &[&format!("target/tools/python/bin/{name}")])
}
