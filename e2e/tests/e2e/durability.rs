//! Confirmed requests survive killing the host.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use e2e::{Databases, Setup, Signal, databases, needs_own_host};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::counts::assert_counted;

/// Enough for requests to share commits.
const WRITERS: usize = 48;

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_request_survives_a_kill() {
    needs_own_host!();
    let mut app = Setup::new().start().await;
    // Create the tables before the first kill.
    assert_eq!(app.get("/health/verification").await.status, 200);
    let mut answered_issues: Vec<Value> = Vec::new();
    let mut answered_verdicts: Vec<Value> = Vec::new();
    for round in 0..3 {
        let (issues, verdicts) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let killed = AtomicBool::new(false);
        let writers = join_all((0..WRITERS).map(|writer| {
            let (app, issues, verdicts, killed) = (&app, &issues, &verdicts, &killed);
            async move {
                let send = async |path, body: &Value| {
                    let response = app.try_send(app.request(Method::POST, path).json(body)).await;
                    assert!(
                        response.is_ok() || killed.load(Ordering::SeqCst),
                        "{path} failed before the kill"
                    );
                    response.ok()
                };
                for i in 0.. {
                    let body = json!({ "credential": format!("durable-{round}-{writer}-{i}") });
                    let Some(issued) = send("/issue", &body).await else { break };
                    assert_eq!(issued.status, 201, "{}", issued.text());
                    issues.lock().unwrap().push(issued.json());
                    let Some(verified) = send("/verify", &body).await else { break };
                    // A dying host may still respond, although its chained calls fail.
                    if verified.status != 200 && killed.load(Ordering::SeqCst) {
                        break;
                    }
                    assert_eq!(verified.json()["isValid"], true, "{}", verified.text());
                    verdicts.lock().unwrap().push(verified.json());
                }
            }
        }));
        // Kill while all of them are writing, however fast the machine is.
        let killer = async {
            while verdicts.lock().unwrap().len() < 2 * WRITERS {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            killed.store(true, Ordering::SeqCst);
            app.signal(Signal::SIGKILL);
        };
        tokio::join!(writers, killer);
        answered_issues.extend(issues.into_inner().unwrap());
        answered_verdicts.extend(verdicts.into_inner().unwrap());

        app.restart().await;
        for database in ["issuance", "verification"] {
            if databases() == Databases::Files {
                assert_eq!(app.query::<String>(database, "PRAGMA integrity_check"), "ok");
            }
            assert_counted(&app, database);
        }
        for issued in &answered_issues {
            let checked = app.check(issued["credential_hash"].as_str().unwrap()).await.json();
            assert_eq!(checked["issued_at"], issued["issued_at"], "{issued}");
            assert_eq!(checked["worker_id"], issued["worker_id"], "{issued}");
        }
        let rows = app.database("verification").rows("SELECT id FROM verifications WHERE status = 'valid'");
        let ids: HashSet<_> = rows.iter().map(|row| row[0].as_str()).collect();
        for verdict in &answered_verdicts {
            assert!(ids.contains(verdict["verificationId"].as_str().unwrap()), "{verdict}");
        }
    }
}
