//! Labels, ports, paths and versions in `deploy/` match.

use std::collections::BTreeSet;

use e2e::{
    openapi::{document, members},
    read,
};

use serde_json::{Value, json};

use super::{
    between, in_environment, keys, kubernetes, labels, list, one, spin_app, text, texts, variables, yaml,
};

/// The most connections that a replica has open to each database.
const POOL: u64 = 64;

/// How many connections a server must admit, with those for administrators.
fn connections(services: u64, replicas: u64) -> u64 {
    POOL * services * replicas + 10
}

#[test]
fn every_deployment_gives_each_service_a_database_of_its_own() {
    let compose = yaml("compose.yaml").remove(0);
    let server = &compose["services"]["postgres"];
    assert_eq!(server["volumes"][0], "postgres:/var/lib/postgresql/data");
    assert_eq!(server["volumes"][1], "./postgres:/docker-entrypoint-initdb.d:ro");
    assert!(keys(&compose["volumes"]).contains("postgres"));
    let (defaults, sql) = (read("deploy/compose.env"), read("deploy/postgres/databases.sql"));
    let literals = read("deploy/kubernetes/kustomization.yaml");
    let app = spin_app();
    let clusters = kubernetes("Cluster");
    let variables = variables();
    let labels = labels();
    // It gets no other secrets.
    assert_eq!(keys(&server["environment"]).len(), labels.len() + 1);
    assert!(server["env_file"].is_null());
    for label in &labels {
        let default = |setting: &str| {
            let default = variables[&format!("{label}_database_{setting}")]["default"].as_str().unwrap();
            default.to_owned()
        };
        let (name, user) = (default("name"), default("user"));
        assert!(sql.contains(&format!("CREATE ROLE {user} LOGIN PASSWORD :'{label}_password';")));
        assert!(sql.contains(&format!("CREATE DATABASE {name} OWNER {user} ")));
        let password = in_environment(&format!("{label}_database_password"));
        assert!(sql.contains(&format!("\\getenv {label}_password {password}\n")));
        assert!(text(&server["environment"][&password]).starts_with(&format!("${{{password}:?")));
        let host = in_environment(&format!("{label}_database_host"));
        assert!(defaults.contains(&format!("{host}=postgres\n")), "the name of the service");
        // Neither server has a certificate that Spin trusts.
        let tls = format!("{}=disable\n", in_environment(&format!("{label}_database_tls")));
        assert!(defaults.contains(&tls) && literals.contains(&tls));

        let cluster = clusters.iter().find(|cluster| cluster["metadata"]["name"] == format!("{label}-db"));
        let made = &cluster.unwrap()["spec"]["bootstrap"]["initdb"];
        assert_eq!((&made["database"], &made["owner"]), (&name.into(), &user.into()));
        for (setting, key) in [
            ("host", "host"),
            ("port", "port"),
            ("name", "dbname"),
            ("user", "user"),
            ("password", "password"),
        ] {
            let variable = format!("{label}_database_{setting}");
            let variables = list(&app["spec"]["variables"]);
            let variable = variables.iter().find(|found| found["name"] == variable).unwrap();
            // CloudNativePG names its Secret after the cluster.
            let secret = json!({ "name": format!("{label}-db-app"), "key": key });
            assert_eq!(variable["valueFrom"]["secretKeyRef"], secret);
        }
    }
    assert_eq!((clusters.len(), between(&sql, "CREATE DATABASE ", ' ').len()), (labels.len(), labels.len()));

    let page = read("docs/deploy.md");
    let linked = between(&page, "--link sqlite:", '=');
    assert_eq!(linked, labels.iter().map(String::as_str).collect(), "docs/deploy.md");

    let texts = texts();
    let versions: BTreeSet<_> = ["postgres:", "postgresql:"]
        .iter()
        .flat_map(|image| texts.iter().flat_map(|(_, text)| text.split(*image).skip(1)))
        .filter(|rest| rest.starts_with(|character: char| character.is_ascii_digit()))
        .map(|rest| rest.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(versions.len(), 1, "{versions:?}");
}

#[test]
fn a_confirmed_commit_is_on_two_servers_and_all_replicas_get_their_connections() {
    let most = text_number(&kubernetes("HorizontalPodAutoscaler")[0]["spec"]["maxReplicas"]);
    for cluster in kubernetes("Cluster") {
        let spec = &cluster["spec"];
        assert_eq!(spec["instances"], 3);
        let postgresql = &spec["postgresql"];
        assert_eq!(
            postgresql["synchronous"],
            json!({ "method": "any", "number": 1, "dataDurability": "required" })
        );
        let admitted = text(&postgresql["parameters"]["max_connections"]).parse::<u64>().unwrap();
        // A rolling update starts a quarter more before it stops the old ones.
        assert!(admitted >= connections(1, most + most.div_ceil(4)), "{admitted}");
    }
    let page = read("docs/deploy.md");
    let replicas = one(&page, "--scale app=", '\n').parse().unwrap();
    let compose = yaml("compose.yaml").remove(0);
    let command = list(&compose["services"]["postgres"]["command"]);
    let admitted = text(command.last().unwrap()).strip_prefix("max_connections=").unwrap();
    assert!(admitted.parse::<u64>().unwrap() >= connections(2, replicas), "{admitted}");
    assert!(
        read("docs/postgresql.md").contains("max_connections ≥ 64 × services on this server × replicas + 10")
    );
}

fn text_number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a number"))
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
    // While the image makes the volume, its server listens on a socket only.
    assert_eq!(check("postgres"), "127.0.0.1");

    let unit = read("deploy/systemd/kube-credentials.service");
    let caddy = read("deploy/systemd/Caddyfile");
    assert_eq!(one(&unit, "--listen ", ' '), one(&caddy, "reverse_proxy ", ' '));
    let start =
        |unit: &str| unit.split("ExecStart=/").nth(1).unwrap().split("\n\n").next().unwrap().to_owned();
    let words =
        |command: &str| command.replace("\\\n", "").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut with_files = words(start(&unit).split("\nRestart").next().unwrap());
    let at = with_files.iter().position(|word| word == "--runtime-config-file").unwrap();
    with_files.drain(at..at + 2);
    assert_eq!(words(&start(&read("deploy/systemd/postgres.conf"))), with_files);

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
