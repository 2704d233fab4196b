//! Clients of replicas while something happens to the databases.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use e2e::{Response, TestApp, postgres::PostgresServer};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::replicas::assert_nothing_lost;

/// What clients were told.
#[derive(Default)]
pub(crate) struct Traffic {
    issued: Mutex<Vec<Value>>,
    revoked: Mutex<Vec<String>>,
    verdicts: Mutex<Vec<Value>>,
    refusals: Mutex<Vec<Instant>>,
    /// Which replica served a verification, and when.
    served: Mutex<Vec<(usize, Instant)>>,
    done: AtomicBool,
}

impl Traffic {
    /// Has clients issue, verify and revoke while `during` runs, and a while longer. Each response must be right or a 503.
    pub(crate) async fn run<T>(replicas: &[TestApp], during: impl Future<Output = T>) -> (Self, T) {
        let traffic = Self::default();
        let clients = join_all((0..12).map(|client| traffic.client(replicas, client)));
        let during = async {
            let result = during.await;
            // Requests that began during an outage end by their deadlines.
            tokio::time::sleep(Duration::from_secs(6)).await;
            traffic.done.store(true, Ordering::SeqCst);
            result
        };
        let (_, result) = tokio::join!(clients, during);
        (traffic, result)
    }

    async fn client(&self, replicas: &[TestApp], client: usize) {
        let replica = client % replicas.len();
        let (app, other) = (&replicas[replica], &replicas[(client + 1) % replicas.len()]);
        for i in 0.. {
            if self.done.load(Ordering::SeqCst) {
                break;
            }
            assert!(
                self.served_or_refused(app.verify(&format!("unknown-{client}-{i}")).await, replica)
                    .is_none_or(|verdict| verdict["status"] == "not_found")
            );
            let credential = format!("traffic-{client}-{i}");
            let response = app.issue(&credential).await;
            if response.status != 201 {
                self.refused(&response).await;
                continue;
            }
            self.issued.lock().unwrap().push(response.json());
            if let Some(verdict) =
                self.served_or_refused(other.verify(&credential).await, (client + 1) % replicas.len())
            {
                assert_eq!(verdict["status"], "valid", "{verdict}");
            }
            if i % 3 > 0 {
                continue;
            }
            let response = app.revoke(&json!({ "credential": credential })).await;
            if response.status != 200 {
                self.refused(&response).await;
                continue;
            }
            self.revoked.lock().unwrap().push(credential.clone());
            if let Some(verdict) =
                self.served_or_refused(other.verify(&credential).await, (client + 1) % replicas.len())
            {
                assert_eq!(verdict["status"], "revoked", "{verdict}");
            }
        }
    }

    /// The verdict, if there is one.
    fn served_or_refused(&self, response: Response, replica: usize) -> Option<Value> {
        if response.status != 200 {
            response.assert_problem(503, "unavailable");
            self.refusals.lock().unwrap().push(Instant::now());
            return None;
        }
        self.served.lock().unwrap().push((replica, Instant::now()));
        self.verdicts.lock().unwrap().push(response.json());
        Some(response.json())
    }

    async fn refused(&self, response: &Response) {
        response.assert_problem(503, "unavailable");
        self.refusals.lock().unwrap().push(Instant::now());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Asserts that some requests were refused, but on each replica none after this time since `from`, and that everything
    /// a client was told is in the databases.
    pub(crate) async fn assert_resumed(self, replicas: &[TestApp], from: Instant, within: Duration) {
        let (refusals, served) = (self.refusals.into_inner().unwrap(), self.served.into_inner().unwrap());
        assert!(!refusals.is_empty(), "nothing failed");
        for replica in 0..replicas.len() {
            let first = served
                .iter()
                .filter(|(by, when)| *by == replica && *when > from)
                .map(|(_, when)| *when - from)
                .min();
            assert!(first.is_some_and(|first| first < within), "replica {replica} serves after {first:?}");
        }
        // Nothing stays broken.
        for (i, app) in replicas.iter().cycle().take(20).enumerate() {
            let credential = format!("calm-{i}");
            let statuses = (app.issue(&credential).await.status, app.verify(&credential).await.status);
            assert_eq!(statuses, (201, 200), "{i}\n{}", end_of(&app.log()));
        }
        let (issued, verdicts) = (self.issued.into_inner().unwrap(), self.verdicts.into_inner().unwrap());
        let (one, other) = (&replicas[0], &replicas[replicas.len() - 1]);
        assert_nothing_lost(one, other, &issued, &verdicts).await;
        for credential in self.revoked.into_inner().unwrap() {
            assert_eq!(other.verify(&credential).await.json()["status"], "revoked", "{credential}");
        }
        assert!(verdicts.len() > 20, "too few requests succeeded");
    }
}

/// Does something to a server while the clients go on.
pub(crate) async fn meanwhile(server: &Arc<PostgresServer>, action: fn(&PostgresServer)) {
    let server = Arc::clone(server);
    tokio::task::spawn_blocking(move || action(&server)).await.unwrap();
}

/// The last lines of a log.
fn end_of(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
