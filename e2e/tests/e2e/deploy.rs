//! The files in `deploy/` agree with the project and with each other, and the programs that they are for accept them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use e2e::{
    openapi::{document, members},
    read, tools, workspace,
};
use serde_json::Value;

/// The documents of a YAML file in `deploy/`.
fn yaml(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(&format!("deploy/{file}"))).unwrap()
}

const KUBERNETES: [&str; 5] =
    ["app.yaml", "autoscaler.yaml", "databases.yaml", "executors.yaml", "network-policy.yaml"];

/// What `deploy/kubernetes` makes, of one kind.
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
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// What stands before `end` after each `start`.
fn between<'a>(text: &'a str, start: &str, end: char) -> BTreeSet<&'a str> {
    text.split(start).skip(1).map(|rest| rest.split(end).next().unwrap().trim()).collect()
}

/// The only text between these.
#[track_caller]
fn one<'a>(text: &'a str, start: &str, end: char) -> &'a str {
    let found: Vec<_> = between(text, start, end).into_iter().collect();
    assert_eq!(found.len(), 1, "{start}…{end}: {found:?}");
    found[0]
}

/// The variables of `spin.toml`, with their definitions.
fn variables() -> BTreeMap<String, String> {
    let manifest = read("spin.toml");
    let lines = manifest.split("[variables]\n").nth(1).unwrap().split("\n\n").next().unwrap().lines();
    lines.map(|line| line.split_once(" = ").unwrap()).map(|(name, is)| (name.into(), is.into())).collect()
}

/// The labels of the databases in `spin.toml`.
fn labels() -> BTreeSet<String> {
    let manifest = read("spin.toml");
    let labels: BTreeSet<_> = between(&manifest, "sqlite_databases = [\"", '"').into_iter().collect();
    assert_eq!(labels.len(), 2);
    labels.into_iter().map(str::to_owned).collect()
}

/// All files in `deploy/` and the document about them, with their names.
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

#[test]
fn variables_in_deployments_exist() {
    let variables = variables();
    let mut found = 0;
    for (file, text) in texts() {
        let in_environment = text.split("SPIN_VARIABLE_").skip(1).map(|rest| {
            rest.split(|c: char| !c.is_ascii_uppercase() && c != '_').next().unwrap().to_ascii_lowercase()
        });
        let options = text
            .split("--variable ")
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap().to_owned());
        // Empty in "SPIN_VARIABLE_$name" and the like.
        for name in in_environment.chain(options).filter(|name| !name.is_empty()) {
            assert!(variables.contains_key(&name), "{file}: {name} is not in spin.toml");
            found += 1;
        }
    }
    assert!(found > 8, "{found}");
}

#[test]
fn every_deployment_can_set_the_required_and_secret_variables() {
    let app = spin_app();
    let set: BTreeMap<_, _> =
        list(&app["spec"]["variables"]).iter().map(|variable| (text(&variable["name"]), variable)).collect();
    for (name, definition) in variables() {
        let secret = definition.contains("secret = true");
        let required = definition.contains("required = true");
        // These are for hosts without Spin's own interface to databases.
        if (secret || required) && !name.ends_with("_database_token") {
            let reference = &set[name.as_str()]["valueFrom"]["secretKeyRef"];
            assert_eq!(reference["key"], format!("SPIN_VARIABLE_{}", name.to_ascii_uppercase()), "{name}");
            assert_eq!(reference["optional"] == true, !required, "{name}");
            let kustomization = &yaml("kubernetes/kustomization.yaml")[0];
            assert_eq!(reference["name"], kustomization["secretGenerator"][0]["name"]);
        }
    }
    for name in set.keys() {
        assert!(variables().contains_key(*name), "app.yaml: {name} is not in spin.toml");
    }

    // The others read a whole file: a copy of .env.example, of which another test says that it names every variable.
    assert_eq!(yaml("kubernetes/kustomization.yaml")[0]["secretGenerator"][0]["envs"][0], ".env");
    assert_eq!(yaml("compose.yaml")[0]["services"]["app"]["env_file"], "../.env");
    assert_eq!(read("deploy/systemd/kube-credentials.service").matches("\nEnvironmentFile=/").count(), 1);
}

#[test]
fn every_deployment_configures_each_database_on_a_server_of_its_own() {
    let compose = yaml("compose.yaml").remove(0);
    let config = read("deploy/runtime-config.toml");
    let app = spin_app();
    let databases = list(&app["spec"]["runtimeConfig"]["sqliteDatabases"]);
    let services = kubernetes("Service");

    let configured: BTreeSet<_> = between(&config, "\n[sqlite_database.", ']');
    let labels = labels();
    assert_eq!(configured, labels.iter().map(String::as_str).collect());
    assert_eq!(configured, databases.iter().map(|database| text(&database["name"])).collect());
    for label in &labels {
        let url = format!("http://{label}-db:8080");
        let section = config.split(&format!("[sqlite_database.{label}]")).nth(1).unwrap();
        let section = section.split("\n\n").next().unwrap();
        assert_eq!((one(section, "type = \"", '"'), one(section, "url = \"", '"')), ("libsql", &*url));
        assert_ne!(one(section, "token = \"", '"'), "", "Spin requires a token");

        let database = databases.iter().find(|database| database["name"] == **label).unwrap();
        assert_eq!(database["type"], "libsql");
        let options: BTreeMap<_, _> = list(&database["options"])
            .iter()
            .map(|option| (text(&option["name"]), text(&option["value"])))
            .collect();
        assert_eq!((options["url"], options["token"].is_empty()), (&*url, false));

        let name = format!("{label}-db");
        let server = &compose["services"][&name];
        assert_eq!(server["volumes"][0], format!("{name}:/var/lib/sqld"));
        assert!(keys(&compose["volumes"]).contains(&*name));
        let service = services.iter().find(|service| service["metadata"]["name"] == *name).unwrap();
        assert_eq!(service["spec"]["ports"][0]["port"], 8080);
        let server = kubernetes("StatefulSet");
        let server = server.iter().find(|server| server["metadata"]["name"] == *name).unwrap();
        assert_eq!(server["spec"]["serviceName"], *name);
        assert_eq!(server["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"], *name);
        assert_eq!(service["spec"]["selector"]["app.kubernetes.io/name"], *name);
    }

    let page = read("docs/deploy.md");
    let linked = between(&page, "--link sqlite:", '=');
    assert_eq!(linked, configured, "docs/deploy.md");

    let texts = texts();
    let versions: BTreeSet<_> = texts
        .iter()
        .flat_map(|(_, text)| text.split("libsql-server:").skip(1))
        .map(|rest| rest.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(versions.len(), 1, "{versions:?}");
}

#[test]
fn ports_and_paths_lead_somewhere() {
    let dockerfile = read("deploy/Dockerfile");
    let port = one(&dockerfile, "--listen 0.0.0.0:", ' ');
    assert_eq!(one(&dockerfile, "EXPOSE ", '\n'), port);
    let upstreams = read("deploy/nginx/upstreams.conf");
    assert_eq!(one(&upstreams, "server app:", ' '), port);
    let nginx = read("deploy/nginx/nginx.conf");
    assert_eq!(one(&nginx, "proxy_pass http://", ';'), one(&upstreams, "upstream ", ' '));

    let compose = yaml("compose.yaml").remove(0);
    let listen = read("deploy/nginx/listen.conf");
    let listen = listen.lines().find_map(|line| line.strip_prefix("listen ")).unwrap();
    let published = text(&compose["services"]["nginx"]["ports"][0]);
    assert_eq!(published.rsplit(':').next().unwrap(), listen.trim_end_matches(';'));
    let check = |service: &str| {
        let command = list(&compose["services"][service]["healthcheck"]["test"]);
        text(command.last().unwrap()).to_owned()
    };
    assert_eq!(check("app"), format!("http://127.0.0.1:{port}/health/verification"));
    let at_nginx = format!("http://127.0.0.1:{}/.well-known/spin/health", listen.trim_end_matches(';'));
    assert_eq!(check("nginx"), at_nginx);
    for label in labels() {
        assert!(check(&format!("{label}-db")).ends_with("/dev/tcp/127.0.0.1/8080"));
    }

    let unit = read("deploy/systemd/kube-credentials.service");
    let caddy = read("deploy/systemd/Caddyfile");
    assert_eq!(one(&unit, "--listen ", ' '), one(&caddy, "reverse_proxy ", ' '));

    let routes: BTreeSet<_> = members(&document()["paths"]).iter().map(|(path, _)| path.as_str()).collect();
    let app = spin_app();
    let checks = &app["spec"]["checks"];
    assert_eq!(checks["liveness"]["httpGet"]["path"], "/.well-known/spin/health");
    assert_eq!(checks["readiness"]["httpGet"]["path"], "/health/verification");
    assert!(routes.contains("/health/verification"));
    for name in one(&nginx, "location ~ ^/(", ')').split('|') {
        assert!(routes.contains(&*format!("/{name}")), "nginx.conf names /{name}");
    }
}

/// The fields that SpinKube has. It ignores others.
#[test]
fn the_resources_of_spinkube_have_only_its_fields() {
    let within = |value: &Value, fields: &[&str]| {
        let unknown: Vec<_> = keys(value).into_iter().filter(|key| !fields.contains(key)).collect();
        assert!(unknown.is_empty(), "{unknown:?} in {value}");
    };
    let app = spin_app();
    let spec = &app["spec"];
    within(&app, &["apiVersion", "kind", "metadata", "spec"]);
    assert_eq!(app["apiVersion"], "core.spinkube.dev/v1alpha1");
    let fields =
        ["image", "executor", "enableAutoscaling", "variables", "runtimeConfig", "checks", "resources"];
    within(spec, &fields);
    for variable in list(&spec["variables"]) {
        within(variable, &["name", "value", "valueFrom"]);
        within(&variable["valueFrom"], &["secretKeyRef", "fieldRef"]);
    }
    within(&spec["runtimeConfig"], &["sqliteDatabases"]);
    for database in list(&spec["runtimeConfig"]["sqliteDatabases"]) {
        within(database, &["name", "type", "options"]);
    }
    within(&spec["checks"], &["readiness", "liveness"]);
    for probe in ["readiness", "liveness"] {
        let fields = [
            "httpGet",
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ];
        within(&spec["checks"][probe], &fields);
        within(&spec["checks"][probe]["httpGet"], &["path", "httpHeaders"]);
    }
    within(&spec["resources"], &["limits", "requests"]);

    let executors = kubernetes("SpinAppExecutor");
    for executor in &executors {
        assert_eq!(executor["apiVersion"], "core.spinkube.dev/v1alpha1");
        within(&executor["spec"], &["createDeployment", "deploymentConfig"]);
        let config = &executor["spec"]["deploymentConfig"];
        within(config, &["runtimeClassName", "spinImage", "installDefaultCACerts"]);
        assert_ne!(config["runtimeClassName"].is_null(), config["spinImage"].is_null());
    }
    assert!(executors.iter().any(|executor| executor["metadata"]["name"] == spec["executor"]));

    // The operator names the Deployment and labels its pods after the SpinApp.
    let name = &app["metadata"]["name"];
    assert_eq!(kubernetes("HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"]["name"], *name);
    let policy = &kubernetes("NetworkPolicy")[0]["spec"];
    let from = &policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(from["core.spinkube.dev/app-name"], *name);
    let component = &policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"];
    for server in kubernetes("StatefulSet") {
        let labels = &server["spec"]["template"]["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/component"], *component);
    }

    let listed: BTreeSet<_> = list(&yaml("kubernetes/kustomization.yaml")[0]["resources"])
        .iter()
        .map(|file| text(file).to_owned())
        .collect();
    assert_eq!(listed, KUBERNETES.iter().map(|file| (*file).to_owned()).collect());
}

/// Runs a program, which must succeed, and returns what it printed.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {printed}");
    printed
}

#[test]
fn nginx_accepts_its_configuration() {
    let Some(nginx) = tools::find("nginx", "NGINX", &["/usr/sbin/nginx"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(workspace().join("deploy/nginx")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    // Debian's nginx is older than the image that compose.yaml names: it cannot ask DNS again, and there is no Docker.
    let upstreams =
        read("deploy/nginx/upstreams.conf").replace(" resolve ", " ").replace("app:", "127.0.0.1:");
    fs::write(folder.path().join("upstreams.conf"), upstreams).unwrap();
    run(Command::new(nginx)
        .args(["-t", "-e", "stderr", "-p"])
        .arg(folder.path())
        .arg("-c")
        .arg(folder.path().join("nginx.conf")));
}

#[test]
fn systemd_and_caddy_accept_their_files() {
    let analyze = tools::find("systemd-analyze", "SYSTEMD_ANALYZE", &[]);
    let caddy = tools::find("caddy", "CADDY", &[]);
    let (Some(analyze), Some(caddy)) = (analyze, caddy) else { return };
    let folder = tempfile::tempdir().unwrap();
    let unit = read("deploy/systemd/kube-credentials.service");
    let installed = unit.replace("/usr/local/bin/spin", "/bin/true");
    let file = folder.path().join("kube-credentials.service");
    fs::write(&file, installed).unwrap();
    // It only warns of names that it does not know.
    let printed = run(Command::new(analyze).arg("verify").arg(file));
    assert!(!printed.contains("kube-credentials"), "{printed}");

    run(Command::new(caddy)
        .args(["validate", "--adapter", "caddyfile", "--config"])
        .arg(workspace().join("deploy/systemd/Caddyfile"))
        .env("HOME", folder.path()));
}

#[test]
fn compose_and_kubernetes_files_match_their_schemas() {
    let tool =
        |name: &str, variable| tools::find(name, variable, &[&format!("target/tools/python/bin/{name}")]);
    let compose = tool("check-jsonschema", "CHECK_JSONSCHEMA");
    let kubernetes = tool("kubernetes-validate", "KUBERNETES_VALIDATE");
    let (Some(compose), Some(kubernetes)) = (compose, kubernetes) else { return };
    let deploy: &Path = &workspace().join("deploy");
    run(Command::new(compose)
        .args(["--builtin-schema", "vendor.compose-spec"])
        .arg(deploy.join("compose.yaml")));

    let resources: Vec<_> = KUBERNETES.iter().flat_map(|file| yaml(&format!("kubernetes/{file}"))).collect();
    // Kubernetes has no schemas for the kinds of SpinKube.
    let known = resources.iter().filter(|resource| !text(&resource["kind"]).starts_with("SpinApp")).count();
    let printed = run(Command::new(kubernetes)
        .arg("--strict")
        .args(KUBERNETES.map(|file| deploy.join("kubernetes").join(file))));
    assert_eq!(printed.matches("passed for resource").count(), known, "{printed}");
}
