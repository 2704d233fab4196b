//! A real Prometheus scrapes the metrics, with the configuration in `deploy/`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use e2e::{METRICS_TOKEN, Setup, free_address, needs_own_host, tools, workspace};
use launch::Group;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A Prometheus that scrapes an application. Killed when dropped.
struct Prometheus {
    address: String,
    _group: Group,
    _folder: TempDir,
}

impl Prometheus {
    fn start(program: &Path, target: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for file in ["prometheus.yml", "alerts.yml"] {
            let text = fs::read_to_string(workspace().join("deploy/prometheus").join(file)).unwrap();
            let text = text.replace("app:3000", target).replace("15s", "1s");
            fs::write(folder.path().join(file), text).unwrap();
        }
        fs::write(folder.path().join("metrics-token.txt"), METRICS_TOKEN).unwrap();
        let address = free_address();
        let mut command = Command::new(program);
        command
            .current_dir(folder.path())
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=warn"])
            .arg(format!("--web.listen-address={address}"));
        let group = Group::spawn(command.stdin(Stdio::null())).unwrap();
        Self { address, _group: group, _folder: folder }
    }

    /// Waits for a query to have a value.
    async fn query(&self, query: &str) -> String {
        let started = Instant::now();
        loop {
            let url = reqwest::Url::parse_with_params(
                &format!("http://{}/api/v1/query", self.address),
                [("query", query)],
            );
            // At first it does not listen, and then it replies in plain text that it is starting.
            if let Ok(response) = reqwest::get(url.unwrap()).await
                && let Ok(response) = response.json::<Value>().await
                && let Some(value) = response["data"]["result"][0]["value"][1].as_str()
            {
                return value.to_owned();
            }
            assert!(started.elapsed() < Duration::from_secs(30), "Prometheus has no response to {query}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test]
async fn prometheus_reads_both_services_and_answers_queries() {
    needs_own_host!();
    let Some(program) = tools::find("prometheus", "PROMETHEUS", &[]) else { return };
    let app = Setup::new().variable("metrics_token", METRICS_TOKEN).start().await;
    for credential in ["a", "b", "c"] {
        app.issue(credential).await;
    }
    app.issued(json!({ "credential": "code", "max_uses": 1 })).await;
    for credential in ["a", "guess", "a", "code", "code"] {
        app.verify(credential).await;
    }
    let prometheus = Prometheus::start(&program, app.base_url.strip_prefix("http://").unwrap());
    assert_eq!(prometheus.query(r#"up{job="issuance"} == 1"#).await, "1");
    assert_eq!(prometheus.query("kube_credentials_issued_total").await, "4");
    assert_eq!(prometheus.query("kube_credentials_used_total").await, "1");
    assert_eq!(prometheus.query(r#"kube_credentials_verifications_total{status="valid"}"#).await, "3");
    assert_eq!(prometheus.query(r#"kube_credentials_verifications_total{status="used_up"}"#).await, "1");
    assert_eq!(prometheus.query("sum(kube_credentials_verifications_total)").await, "5");
    assert_eq!(prometheus.query("count(kube_credentials_database_bytes > 0)").await, "2");
    let rules = reqwest::get(format!("http://{}/api/v1/rules", prometheus.address)).await.unwrap();
    let rules: Value = rules.json().await.unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.len() >= 4 && rules.iter().all(|rule| rule["lastError"].is_null()), "{rules:#?}");
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_configuration_and_metrics() {
    needs_own_host!();
    let Some(promtool) = tools::find("promtool", "PROMTOOL", &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for file in ["prometheus.yml", "alerts.yml"] {
        fs::copy(workspace().join("deploy/prometheus").join(file), folder.path().join(file)).unwrap();
    }
    fs::write(folder.path().join("metrics-token.txt"), METRICS_TOKEN).unwrap();
    let app = Setup::new().start().await;
    for service in ["issuance", "verification"] {
        let metrics = app.admin_get(&format!("/metrics/{service}")).await.text();
        fs::write(folder.path().join(service), metrics).unwrap();
    }
    for arguments in
        ["check config prometheus.yml", "check metrics < issuance", "check metrics < verification"]
    {
        let (arguments, input) = arguments.split_once(" < ").unwrap_or((arguments, ""));
        let mut command = Command::new(&promtool);
        command.current_dir(folder.path()).args(arguments.split(' '));
        if !input.is_empty() {
            command.stdin(fs::File::open(folder.path().join(input)).unwrap());
        }
        let output = command.output().unwrap();
        let text =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{arguments} {input}: {text}");
    }
}
