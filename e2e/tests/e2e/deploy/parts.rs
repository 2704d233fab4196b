//! Labels, ports, paths and versions in `deploy/` match.

use std::collections::{BTreeMap, BTreeSet};

use e2e::{
    openapi::{document, members},
    read,
};

use super::{between, keys, kubernetes, labels, list, one, spin_app, text, texts, yaml};

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
