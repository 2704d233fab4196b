//! The files in `deploy/` are accepted by the programs they are for.

use std::{fs, path::Path, process::Command};

use e2e::{read, tools, workspace};
use serde_json::Value;

use super::{KUBERNETES, python_tool, run, text, yaml};

#[test]
fn nginx_accepts_its_configuration() {
    let Some(nginx) = tools::find("nginx", "NGINX", &["/usr/sbin/nginx"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(workspace().join("deploy/nginx")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    // Debian's nginx is older than the image in compose.yaml and cannot resolve names again, and there is no Docker
    // here.
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
    let drop_in = read("deploy/systemd/postgres.conf").replace("/usr/local/bin/spin", "/bin/true");
    let drop_ins = folder.path().join("kube-credentials.service.d");
    fs::create_dir(&drop_ins).unwrap();
    // systemd only warns about directives that it does not know.
    for drop_in in [None, Some(drop_in)] {
        if let Some(drop_in) = drop_in {
            fs::write(drop_ins.join("postgres.conf"), drop_in).unwrap();
        }
        let printed = run(Command::new(&analyze).arg("verify").arg(&file));
        assert!(!printed.contains("kube-credentials"), "{printed}");
    }

    run(Command::new(caddy)
        .args(["validate", "--adapter", "caddyfile", "--config"])
        .arg(workspace().join("deploy/systemd/Caddyfile"))
        .env("HOME", folder.path()));
}

#[test]
fn compose_and_kubernetes_files_match_their_schemas() {
    let compose = python_tool("check-jsonschema", "CHECK_JSONSCHEMA");
    let kubernetes = python_tool("kubernetes-validate", "KUBERNETES_VALIDATE");
    let (Some(compose), Some(kubernetes)) = (compose, kubernetes) else { return };
    let deploy: &Path = &workspace().join("deploy");
    run(Command::new(compose)
        .args(["--builtin-schema", "vendor.compose-spec"])
        .arg(deploy.join("compose.yaml")));

    let resources: Vec<_> = KUBERNETES.iter().flat_map(|file| yaml(&format!("kubernetes/{file}"))).collect();
    // The kinds of SpinKube and CloudNativePG have no schemas here.
    let is_known = |resource: &&Value| {
        let version = text(&resource["apiVersion"]);
        !version.starts_with("core.spinkube.dev/") && !version.starts_with("postgresql.cnpg.io/")
    };
    let known = resources.iter().filter(is_known).count();
    let printed = run(Command::new(kubernetes)
        .arg("--strict")
        .args(KUBERNETES.map(|file| deploy.join("kubernetes").join(file))));
    assert_eq!(printed.matches("passed for resource").count(), known, "{printed}");
}
