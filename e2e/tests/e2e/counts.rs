//! GET /statistics/… and GET /metrics/….

use std::collections::BTreeMap;

use credentials::Timestamp;
use e2e::{ADMIN_TOKEN, METRICS_TOKEN, Setup, TestApp, needs_own_host};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

/// Asserts that a service's counts match its rows.
pub(crate) fn assert_counted(app: &TestApp, service: &str) {
    let rows = match service {
        "issuance" => {
            "SELECT issued_at / 3600000 * 3600000, 'issued', count(*) FROM credentials GROUP BY 1 UNION ALL \
             SELECT revoked_at / 3600000 * 3600000, 'revoked', count(*) FROM credentials \
             WHERE revoked_at IS NOT NULL GROUP BY 1 ORDER BY 1, 2"
        }
        _ => {
            "SELECT verified_at / 3600000 * 3600000, status, count(*) FROM verifications GROUP BY 1, 2 ORDER BY 1, 2"
        }
    };
    let counts = "SELECT hour, kind, sum(count) FROM counts WHERE kind NOT IN ('refused', 'used') GROUP BY 1, 2 ORDER BY 1, 2";
    let database = app.database(service);
    assert_eq!(database.rows(counts), database.rows(rows), "{service}");
    if service == "issuance" {
        let counted: u64 = database.query("SELECT coalesce(sum(count), 0) FROM counts WHERE kind = 'used'");
        assert_eq!(counted, database.query::<u64>("SELECT coalesce(sum(uses), 0) FROM credentials"));
    }
}

/// Sets the count of an hour.
fn count(app: &TestApp, service: &str, hour: &str, kind: &str, number: i64) {
    let hour = hour.parse::<Timestamp>().unwrap().as_millis();
    let database = app.database(service);
    let (column, shard) = database.databases().either(("", ""), (", shard", ", 7"));
    let row = format!("(hour, kind, count{column}) VALUES ({hour}, '{kind}', {number}{shard})");
    database.execute(&format!("INSERT INTO counts {row}"));
}

async fn statistics(app: &TestApp, service: &str, query: &str) -> Value {
    let response = app.admin_get(&format!("/statistics/{service}?{query}")).await;
    assert_eq!(response.status, 200, "{query}: {}", response.text());
    response.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_those_of_the_rows_after_races() {
    needs_own_host!();
    let app = Setup::new().without_validation().start().await;
    join_all((0..60).map(|i| {
        let app = &app;
        async move {
            // Each name twice, so that half of the requests are duplicates.
            let name = format!("raced {}", i / 2);
            app.issue(&name).await;
            app.verify(&name).await;
            app.revoke(&json!({ "credential": name })).await;
            app.post("/verify/batch", &json!({ "credentials": [name, "guess"] })).await;
            app.post(
                "/issue/batch",
                &json!({ "credentials": [{ "credential": name }, { "generate": true }] }),
            )
            .await;
        }
    }))
    .await;
    for service in ["issuance", "verification"] {
        assert_counted(&app, service);
    }
    assert_eq!(
        statistics(&app, "issuance", "").await["totals"],
        json!({ "issued": 30 + 60, "revoked": 30, "used": 0 })
    );
}

#[tokio::test]
async fn statistics_cover_a_range_by_hour_or_day() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.get("/health/verification").await;
    for (hour, kind, number) in [
        ("2026-01-31T23:00:00Z", "valid", 1),
        ("2026-02-01T00:00:00Z", "valid", 20),
        ("2026-02-01T00:00:00Z", "not_found", 300),
        ("2026-02-01T13:00:00Z", "refused", 4000),
        ("2026-02-02T00:00:00Z", "expired", 50_000),
    ] {
        count(&app, "verification", hour, kind, number);
    }
    let hours =
        statistics(&app, "verification", "since=2026-02-01T00:59:59Z&until=2026-02-01T13:00:01Z").await;
    assert_eq!((&hours["by"], &hours["since"]), (&json!("hour"), &json!("2026-02-01T00:00:00.000Z")));
    assert_eq!(hours["until"], "2026-02-01T14:00:00.000Z");
    assert_eq!(
        hours["buckets"],
        json!([
            { "start": "2026-02-01T00:00:00.000Z", "valid": 20, "expired": 0, "revoked": 0, "used_up": 0, "not_found": 300, "refused": 0 },
            { "start": "2026-02-01T13:00:00.000Z", "valid": 0, "expired": 0, "revoked": 0, "used_up": 0, "not_found": 0, "refused": 4000 },
        ])
    );
    assert_eq!(
        hours["totals"],
        json!({ "valid": 20, "expired": 0, "revoked": 0, "used_up": 0, "not_found": 300, "refused": 4000 })
    );
    let exact =
        statistics(&app, "verification", "since=2026-01-31T23:00:00Z&until=2026-02-01T00:00:00Z").await;
    assert_eq!((exact["buckets"].as_array().unwrap().len(), &exact["totals"]["valid"]), (1, &json!(1)));
    let days =
        statistics(&app, "verification", "by=day&since=2026-01-01T00:00:00Z&until=2026-02-02T00:00:00Z")
            .await;
    let starts: Vec<_> = days["buckets"].as_array().unwrap().iter().map(|bucket| &bucket["start"]).collect();
    assert_eq!(starts, ["2026-01-31T00:00:00.000Z", "2026-02-01T00:00:00.000Z"]);
    assert_eq!((&days["totals"]["valid"], &days["totals"]["expired"]), (&json!(21), &json!(0)));
}

#[tokio::test]
async fn without_a_range_statistics_cover_the_last_day_or_month() {
    needs_own_host!();
    let app = Setup::new().start().await;
    app.issue("a").await;
    for (query, hours) in [("", 24), ("by=day", 30 * 24)] {
        let response = statistics(&app, "issuance", query).await;
        assert_eq!(response["totals"], json!({ "issued": 1, "revoked": 0, "used": 0 }));
        let time =
            |member: &str| response[member].as_str().unwrap().parse::<Timestamp>().unwrap().as_millis();
        assert_eq!(time("until") - time("since"), hours * 3_600_000, "{response}");
    }
}

#[tokio::test]
async fn a_range_has_an_order_and_a_length() {
    let app = TestApp::any().await;
    for (query, location) in [
        ("since=2026-02-01T00:00:00Z&until=2026-02-01T00:00:00Z", "query.since"),
        ("since=2126-02-01T00:00:00Z", "query.since"),
        ("since=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z", "query.since"),
        ("by=day&since=2000-01-01T00:00:00Z&until=2027-01-01T00:00:00Z", "query.since"),
        ("until=9999-12-31T23:59:59Z", "query.until"),
        ("by=week", "query.by"),
        ("limit=1", "query.limit"),
    ] {
        let response = app.admin_get(&format!("/statistics/issuance?{query}")).await;
        response.assert_problem(400, "invalid-request");
        assert_eq!(response.json()["errors"][0]["location"], location, "{query}");
    }
}

#[tokio::test]
async fn statistics_are_for_admins_and_metrics_also_for_monitors() {
    needs_own_host!();
    let app = Setup::new().variable("metrics_token", METRICS_TOKEN).start().await;
    for service in ["issuance", "verification"] {
        for (path, admin, monitor, nobody) in [("statistics", 200, 401, 401), ("metrics", 200, 200, 401)] {
            let path = format!("/{path}/{service}");
            assert_eq!(app.get(&path).await.status, nobody);
            for (token, status) in [(ADMIN_TOKEN, admin), (METRICS_TOKEN, monitor)] {
                let response = app.send(app.request(Method::GET, &path).bearer_auth(token)).await;
                assert_eq!(response.status, status, "{path} {token}");
            }
        }
    }
    let open = Setup::new().variable("admin_token", "").start().await;
    open.get("/metrics/issuance").await.assert_problem(403, "forbidden");
    open.get("/statistics/verification").await.assert_problem(403, "forbidden");
}

/// The samples in Prometheus's text format.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit_once(' ').unwrap());
    lines.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

#[tokio::test]
async fn metrics_are_the_counts_of_all_time() {
    needs_own_host!();
    let app = Setup::new().variable("verify_failures_per_minute", "2").start().await;
    app.issue("a").await;
    app.revoke(&json!({ "credential": "a" })).await;
    count(&app, "issuance", "2020-01-01T00:00:00Z", "issued", 41);
    for credential in ["a", "guess", "guess"] {
        app.verify(credential).await;
    }
    let issuance = app.admin_get("/metrics/issuance").await;
    assert_eq!(issuance.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let issuance = samples(&issuance.text());
    assert_eq!(issuance["kube_credentials_issued_total"], 42.0);
    assert_eq!(issuance["kube_credentials_revoked_total"], 1.0);
    assert!(issuance["kube_credentials_database_bytes{service=\"issuance\"}"] >= 4096.0);
    let version = env!("CARGO_PKG_VERSION");
    let build_info = format!("kube_credentials_build_info{{service=\"issuance\",version=\"{version}\"}}");
    assert_eq!(issuance[build_info.as_str()], 1.0);
    let verification = samples(&app.admin_get("/metrics/verification").await.text());
    for (status, number) in [("valid", 0.0), ("expired", 0.0), ("revoked", 1.0), ("not_found", 1.0)] {
        assert_eq!(
            verification[&format!("kube_credentials_verifications_total{{status=\"{status}\"}}")],
            number
        );
    }
    assert_eq!(verification["kube_credentials_refused_total"], 1.0);
}
