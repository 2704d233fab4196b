//! `deploy/kubernetes` uses only what SpinKube and CloudNativePG offer.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};

use super::{KUBERNETES, keys, kubernetes, list, python_tool, run, spin_app, text, yaml};

#[track_caller]
fn within(value: &Value, fields: &[&str]) {
    let unknown: Vec<_> = keys(value).into_iter().filter(|key| !fields.contains(key)).collect();
    assert!(unknown.is_empty(), "{unknown:?} in {value}");
}

/// SpinKube ignores fields it does not know.
#[test]
fn the_resources_of_spinkube_have_only_its_fields() {
    let app = spin_app();
    let spec = &app["spec"];
    within(&app, &["apiVersion", "kind", "metadata", "spec"]);
    assert_eq!(app["apiVersion"], "core.spinkube.dev/v1alpha1");
    let fields = ["image", "executor", "enableAutoscaling", "variables", "checks", "resources"];
    within(spec, &fields);
    for variable in list(&spec["variables"]) {
        within(variable, &["name", "value", "valueFrom"]);
        within(&variable["valueFrom"], &["secretKeyRef", "fieldRef"]);
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

    // The operator names the Deployment after the SpinApp and labels its pods with that name.
    let name = &app["metadata"]["name"];
    assert_eq!(kubernetes("HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"]["name"], *name);

    let listed: BTreeSet<_> = list(&yaml("kubernetes/kustomization.yaml")[0]["resources"])
        .iter()
        .map(|file| text(file).to_owned())
        .collect();
    assert_eq!(listed, KUBERNETES.iter().map(|file| (*file).to_owned()).collect());
}

#[test]
fn the_clusters_of_cloudnativepg_have_only_its_fields() {
    for cluster in kubernetes("Cluster") {
        within(&cluster, &["apiVersion", "kind", "metadata", "spec"]);
        assert_eq!(cluster["apiVersion"], "postgresql.cnpg.io/v1");
        let spec = &cluster["spec"];
        within(spec, &["imageName", "instances", "postgresql", "bootstrap", "storage", "resources"]);
        within(&spec["postgresql"], &["synchronous", "parameters"]);
        within(&spec["postgresql"]["synchronous"], &["method", "number", "dataDurability"]);
        within(&spec["bootstrap"], &["initdb"]);
        within(&spec["bootstrap"]["initdb"], &["database", "owner"]);
        within(&spec["storage"], &["size"]);
        within(&spec["resources"], &["limits", "requests"]);
    }
}

#[test]
fn only_the_application_reaches_the_databases_and_only_the_ingress_controller_reaches_it() {
    let name = &spin_app()["metadata"]["name"];
    let application = json!({ "matchLabels": { "core.spinkube.dev/app-name": name } });
    // CloudNativePG sets this label on all pods of a cluster.
    let clusters: Vec<_> =
        kubernetes("Cluster").iter().map(|cluster| cluster["metadata"]["name"].clone()).collect();
    let database =
        json!({ "matchExpressions": [{ "key": "cnpg.io/cluster", "operator": "In", "values": clusters }] });
    let policies = kubernetes("NetworkPolicy");
    let of = |pods: &Value| {
        let mut found =
            policies.iter().map(|policy| &policy["spec"]).filter(|spec| spec["podSelector"] == *pods);
        let policy = found.next().unwrap_or_else(|| panic!("there is no policy for {pods}"));
        assert!(found.next().is_none(), "rules of several policies add up");
        policy
    };

    let databases = of(&database);
    // Its instances need the Kubernetes API.
    assert_eq!(databases["policyTypes"], json!(["Ingress"]));
    let [requests, operation] = &list(&databases["ingress"])[..] else { panic!("{databases}") };
    assert_eq!(*requests, json!({ "from": [{ "podSelector": application }], "ports": [{ "port": 5432 }] }));
    // "Networking" in CloudNativePG's documentation.
    let operator = json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "cnpg-system" } },
        "podSelector": { "matchLabels": { "app.kubernetes.io/name": "cloudnative-pg" } },
    });
    let ports = json!([{ "port": 5432 }, { "port": 8000 }]);
    assert_eq!(*operation, json!({ "from": [{ "podSelector": database }, operator], "ports": ports }));

    let policy = of(&application);
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    let [rule] = &list(&policy["ingress"])[..] else { panic!("{policy}") };
    // The operator has pods listen on this port.
    assert_eq!(rule["ports"], json!([{ "port": 80 }]));
    let [peer] = &list(&rule["from"])[..] else { panic!("{rule}") };
    assert_eq!(keys(peer), BTreeSet::from(["namespaceSelector"]));
    // Kubernetes sets this label on every namespace.
    let labels = &peer["namespaceSelector"]["matchLabels"];
    assert_eq!(keys(labels), BTreeSet::from(["kubernetes.io/metadata.name"]));
}

/// The operator's Deployment, as far as it matters here, with the patch applied.
fn drained() -> Value {
    let name = &spin_app()["metadata"]["name"];
    let patch = yaml("kubernetes/drain.yaml").remove(0);
    let [container] = &list(&patch["spec"]["template"]["spec"]["containers"])[..] else { panic!("{patch}") };
    assert_eq!(container["name"], *name, "the operator names it after the SpinApp");
    let labels = json!({ "core.spinkube.dev/app-name": name });
    let mut container = container.clone();
    container["image"] = spin_app()["spec"]["image"].clone();
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": [container] } },
        },
    })
}

#[test]
fn a_stopping_pod_has_time_to_finish_its_requests() {
    let deployment = drained();
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    // Long enough for the Ingress controller to notice, but Kubernetes kills after 30 s.
    assert!(e2e::MAX_RESPONSE_TIME.as_secs() + 2 < pause && pause < 30);

    let Some(validate) = python_tool("kubernetes-validate", "KUBERNETES_VALIDATE") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("deployment.yaml");
    fs::write(&file, deployment.to_string()).unwrap();
    let printed = run(Command::new(validate).arg("--strict").arg(file));
    assert!(printed.contains("passed for resource"), "{printed}");
}
