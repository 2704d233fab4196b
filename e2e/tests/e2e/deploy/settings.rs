//! Every setting reaches the service in every deployment, whether from a line in `.env` or by default.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use e2e::{read, workspace};
use serde_json::Value;

use super::{in_environment, list, one, python_tool, run, spin_app, text, texts, variables, yaml};

type Settings = BTreeMap<String, String>;

/// A distinct value for each variable, in the documented form.
fn all() -> Settings {
    let names = variables();
    names.keys().enumerate().map(|(number, name)| (name.clone(), format!("{number:064x}"))).collect()
}

/// The required variables.
fn required() -> Settings {
    let variables = variables();
    all().into_iter().filter(|(name, _)| variables[name].get("required").is_some()).collect()
}

fn env_file(settings: &Settings) -> String {
    settings.iter().map(|(name, value)| format!("{}={value}\n", in_environment(name))).collect()
}

/// The settings in `.env`, with the deployment's own where `.env` has none.
fn with_defaults(settings: &Settings, of_deployment: &[(&str, &str)]) -> Settings {
    let mut defaults: Settings =
        of_deployment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    defaults.extend(settings.clone());
    defaults
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Writes a shell script into a folder and returns a PATH with only that folder.
fn program(folder: &Path, name: &str, script: &str) -> String {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", folder.display(), env::var("PATH").unwrap())
}

#[test]
fn variables_in_deployments_exist() {
    let variables = variables();
    let mut found = 0;
    for (file, text) in texts() {
        for rest in text.split("SPIN_VARIABLE_").skip(1) {
            let name = rest.split(|c: char| !c.is_ascii_uppercase() && c != '_').next().unwrap();
            // The name is empty in "SPIN_VARIABLE_$name" and the like.
            if !name.is_empty() {
                let name = name.to_ascii_lowercase();
                assert!(variables.contains_key(&name), "{file}: {name} is not in spin.toml");
                found += 1;
            }
        }
    }
    assert!(found > 20, "{found}");
}

/// Whether a variable says where a database is, which in Kubernetes a Secret of CloudNativePG says.
fn of_the_server(name: &str) -> bool {
    name.split_once("_database_").is_some_and(|(_, setting)| !["standby_host", "tls"].contains(&setting))
}

#[test]
fn kubernetes_has_a_place_for_every_variable_and_shows_no_value() {
    let app = spin_app();
    let places: BTreeMap<_, _> = list(&app["spec"]["variables"])
        .iter()
        .map(|variable| (text(&variable["name"]).to_owned(), variable))
        .collect();
    let variables = variables();
    assert_eq!(places.keys().collect::<BTreeSet<_>>(), variables.keys().collect());
    for (name, variable) in places {
        assert!(variable["value"].is_null(), "{variable}");
        if name != "worker_id" && !of_the_server(&name) {
            let reference = &variable["valueFrom"]["secretKeyRef"];
            assert_eq!(reference["key"], in_environment(&name));
            assert_eq!(reference["optional"] == true, variables[&name].get("required").is_none(), "{name}");
        }
    }
}

/// The application's settings in Kubernetes. The operator makes an environment variable of each variable of the
/// SpinApp; an optional one whose key is missing stays unset.
fn in_kubernetes(kubectl: &Path, env_file: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    copy(&workspace().join("deploy/kubernetes"), folder.path());
    fs::write(folder.path().join(".env"), env_file).unwrap();
    let made = run(Command::new(kubectl).arg("kustomize").arg(folder.path()));
    let resources: Vec<Value> = serde_saphyr::from_multiple(&made).unwrap();
    let find = |kind: &str, name: &Value| {
        let mut found =
            resources.iter().filter(|made| made["kind"] == kind && made["metadata"]["name"] == *name);
        found.next().unwrap_or_else(|| panic!("there is no {kind} {name}"))
    };
    let app = find("SpinApp", &"kube-credentials".into());
    let mut settings = Settings::new();
    for variable in list(&app["spec"]["variables"]) {
        let from = &variable["valueFrom"];
        let value = if from["fieldRef"]["fieldPath"] == "metadata.name" {
            Some("the pod's name".to_owned())
        } else {
            if of_the_server(text(&variable["name"])) {
                continue;
            }
            let secret = find("Secret", &from["secretKeyRef"]["name"]);
            assert_eq!(secret["metadata"]["namespace"], app["metadata"]["namespace"]);
            let value = &secret["data"][text(&from["secretKeyRef"]["key"])];
            assert!(!value.is_null() || from["secretKeyRef"]["optional"] == true, "no pod would start");
            // Kustomize wraps long values.
            let value = value.as_str().map(|value| value.replace(['\n', ' '], ""));
            value.map(|value| String::from_utf8(BASE64_STANDARD.decode(value).unwrap()).unwrap())
        };
        if let Some(value) = value {
            settings.insert(text(&variable["name"]).to_owned(), value);
        }
    }
    settings
}

#[test]
fn in_kubernetes_every_line_of_env_arrives() {
    let Some(kubectl) = python_tool("kubectl", "KUBECTL") else { return };
    let mut expected = all();
    expected.retain(|name, _| !of_the_server(name));
    expected.insert("worker_id".to_owned(), "the pod's name".to_owned());
    assert_eq!(in_kubernetes(&kubectl, &env_file(&all())), expected);
    let mut expected = vec![("trusted_proxies", "1"), ("worker_id", "the pod's name")];
    expected.extend(["issuance_database_tls", "verification_database_tls"].map(|name| (name, "disable")));
    assert_eq!(in_kubernetes(&kubectl, &env_file(&required())), with_defaults(&required(), &expected));
    let example = in_kubernetes(&kubectl, &read(".env.example"));
    assert_eq!(example["credential_secret"], "");
    assert_eq!(example.len(), 5, "{example:?}");
}

/// The application's settings in Compose, as podman-compose reads its file.
fn in_compose(compose: &Path, env_file: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    copy(&workspace().join("deploy"), &folder.path().join("deploy"));
    fs::write(folder.path().join(".env"), env_file).unwrap();
    // Records the arguments of each container that it should create.
    let podman = r#"case $1 in
        --version) echo podman version 5.4.0 ;;
        create) shift; printf '%s\n' "$@" >> "$CREATED" ;;
        *) echo '[]' ;;
        esac"#;
    let path = program(folder.path(), "podman", podman);
    let created = folder.path().join("created");
    run(Command::new(compose)
        .args([
            "--env-file",
            ".env",
            "--file",
            "deploy/compose.yaml",
            "up",
            "--no-build",
            "--no-deps",
            "--no-start",
            "app",
        ])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("CREATED", &created));
    let created = fs::read_to_string(created).unwrap();
    let arguments: Vec<_> = created.lines().collect();
    let given = arguments.windows(2).filter(|pair| ["-e", "--env"].contains(&pair[0])).map(|pair| pair[1]);
    // The last value of a name wins.
    given.filter_map(setting).collect()
}

fn setting(line: &str) -> Option<(String, String)> {
    let (name, value) = line.strip_prefix("SPIN_VARIABLE_")?.split_once('=')?;
    Some((name.to_ascii_lowercase(), value.to_owned()))
}

#[test]
fn in_compose_every_line_of_env_arrives() {
    let app = &yaml("compose.yaml")[0]["services"]["app"];
    // `.env` overrides the defaults, and nothing overrides `.env`.
    assert_eq!(*list(&app["env_file"]), ["compose.env", "../.env"]);
    assert!(app["environment"].is_null());

    let Some(compose) = python_tool("podman-compose", "PODMAN_COMPOSE") else { return };
    assert_eq!(in_compose(&compose, &env_file(&all())), all());
    let mut expected = vec![("trusted_proxies", "1")];
    expected.extend(["issuance_database_host", "verification_database_host"].map(|name| (name, "postgres")));
    expected.extend(["issuance_database_tls", "verification_database_tls"].map(|name| (name, "disable")));
    // Its server needs passwords.
    let mut required = required();
    required.extend(all().into_iter().filter(|(name, _)| name.ends_with("_database_password")));
    assert_eq!(in_compose(&compose, &env_file(&required)), with_defaults(&required, &expected));
}

#[test]
fn in_a_container_only_a_worker_id_is_added() {
    let dockerfile = read("deploy/Dockerfile");
    let start = one(&dockerfile, r#"ENTRYPOINT ["sh", "-c", ""#, '"').replace("\\\n", "");
    let folder = tempfile::tempdir().unwrap();
    let path = program(folder.path(), "spin", "exec env");
    let with = |worker_id: &str| {
        let output = Command::new("sh")
            .args(["-c", &start])
            .env_clear()
            .envs([("PATH", &*path), ("HOSTNAME", "5c1d2e"), ("SPIN_VARIABLE_WORKER_ID", worker_id)])
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap().lines().filter_map(setting).collect::<Vec<_>>()
    };
    assert_eq!(with(""), [("worker_id".to_owned(), "5c1d2e".to_owned())]);
    assert_eq!(with("mine"), [("worker_id".to_owned(), "mine".to_owned())]);
}

#[test]
fn in_the_systemd_unit_only_trusted_proxies_is_set_and_env_counts_more() {
    let unit = read("deploy/systemd/kube-credentials.service");
    let of = |directive: &str| {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('='));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    // A file takes precedence over the unit's own settings, in any order (systemd.exec(5)).
    assert_eq!(of("EnvironmentFile"), ["/etc/kube-credentials.env"]);
    let set: Vec<_> = of("Environment").iter().filter_map(|line| setting(line)).collect();
    assert_eq!(set, [("trusted_proxies".to_owned(), "1".to_owned())]);
    assert_eq!(of("UnsetEnvironment"), Vec::<String>::new());
    assert!(!unit.contains("--variable") && !unit.contains("--env"));
    assert!(read("docs/deploy.md").contains("sudo install -m 600 .env /etc/kube-credentials.env"));
}

#[test]
fn the_clouds_get_every_line_of_env() {
    let page = read("docs/deploy.md");
    let blocks: Vec<_> =
        page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let block = |part: &str| {
        let found: Vec<_> = blocks.iter().filter(|block| block.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part}");
        *found[0]
    };
    let options = block("done < /path/to/.env");
    let folder = tempfile::tempdir().unwrap();
    let path = program(folder.path(), "spin", r#"printf '%s\n' "$@""#);
    for deploy in ["spin cloud deploy", "spin aka deploy"] {
        let command = block(deploy);
        let command = &command[command.find(deploy).unwrap()..];
        // Everything after the first `=` is the value.
        for odd in ["", "a=b=", "a b $HOME \\ \" ' #"] {
            let mut settings = all();
            settings.insert("admin_token".to_owned(), odd.to_owned());
            let file = folder.path().join("cloud env");
            fs::write(
                &file,
                "# A comment.\n\n#SPIN_VARIABLE_OUT=1\nOTHER=2\n".to_owned() + &env_file(&settings),
            )
            .unwrap();
            let quoted = format!("'{}'", file.display());
            let script = format!("set -eu\n{}\n{command}", options.replace("/path/to/.env", &quoted));
            let output = Command::new("sh").args(["-c", &script]).env("PATH", &path).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let printed = String::from_utf8(output.stdout).unwrap();
            let arguments: Vec<_> = printed.lines().collect();
            let given = arguments.windows(2).filter(|pair| pair[0] == "--variable");
            let given: Settings = given
                .map(|pair| pair[1].split_once('=').unwrap())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(given, settings, "{deploy}");
        }
    }
    // The number of proxies is unknown, and each section says so.
    for section in ["\n### Fermyon Cloud\n", "\n### Akamai Functions\n"] {
        let section = page.split(section).nth(1).unwrap().split("\n## ").next().unwrap();
        let words: Vec<_> = section.split_whitespace().collect();
        assert!(words.join(" ").contains("find out `trusted_proxies` [yourself](#settings)"), "{section}");
    }
}
