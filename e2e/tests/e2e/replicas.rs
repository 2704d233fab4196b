//! Several replicas of the application on one pair of libSQL databases.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use e2e::{Databases, Setup, TestApp, Wasi, libsql, needs_own_host, wasi};
use futures_util::future::join_all;
use serde_json::{Value, json};

/// Both ways to reach libSQL; none, with a note, if no server is installed.
fn ways() -> Vec<Databases> {
    if libsql::program().is_some() { vec![Databases::Libsql, Databases::LibsqlHttp] } else { Vec::new() }
}

/// Replicas that share new databases.
async fn replicas(databases: Databases, count: usize) -> Vec<TestApp> {
    let setup = || Setup::new().databases(databases).without_validation();
    let mut replicas = vec![setup().start().await];
    for _ in 1..count {
        replicas.push(setup().databases_of(&replicas[0]).start().await);
    }
    replicas
}

/// Asserts that one replica knows each of these issued credentials and another has an audit row for each of these
/// verdicts.
pub(crate) async fn assert_nothing_lost(
    one: &TestApp,
    other: &TestApp,
    issued: &[Value],
    verdicts: &[Value],
) {
    for issued in issued {
        let checked = one.check(issued["credential_hash"].as_str().unwrap()).await.json();
        assert_eq!(checked["issued_at"], issued["issued_at"], "{issued}");
    }
    let rows = other.all_pages("/verifications?limit=100").await;
    let rows: HashSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    for verdict in verdicts {
        assert!(rows.contains(verdict["verificationId"].as_str().unwrap()), "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_issues_over_three_replicas_give_one_201() {
    needs_own_host!();
    for databases in ways() {
        let replicas = replicas(databases, 3).await;
        for round in 0..4 {
            // In the first round all replicas migrate at once.
            let credential = format!("contested-{round}");
            let responses = join_all((0..50).map(|i| replicas[i % 3].issue(&credential))).await;
            let mut statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
            statuses.sort_unstable();
            assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 49][..]), "{databases:?}");
        }
        assert_eq!(replicas[0].count("issuance", "credentials"), 4);
        assert_eq!(replicas[0].count("issuance", "schema_migrations"), 4);
    }
}

/// Killing a server does not show whether a commit is on disk, so ask the server.
#[tokio::test(flavor = "multi_thread")]
async fn the_servers_of_these_tests_write_each_commit_through() {
    needs_own_host!();
    if libsql::program().is_none() {
        return;
    }
    let app = Setup::new().databases(Databases::LibsqlHttp).start().await;
    let result = app.servers().unwrap().issuance.execute("PRAGMA synchronous").await;
    assert_eq!(result["rows"][0][0]["value"], "2", "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_of_one_replica_holds_at_once_on_the_others() {
    needs_own_host!();
    for databases in ways() {
        let replicas = replicas(databases, 2).await;
        for round in 0..20 {
            let (one, other) = (&replicas[round % 2], &replicas[(round + 1) % 2]);
            let credential = format!("revoked-{round}");
            one.issued(json!({ "credential": credential })).await;
            assert_eq!(other.verify(&credential).await.json()["status"], "valid", "{databases:?}");
            other.revoke(&json!({ "credential": credential })).await.expect(200);
            assert_eq!(one.verify(&credential).await.json()["status"], "revoked", "{databases:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_one_replica_is_good_on_the_others() {
    needs_own_host!();
    for databases in ways() {
        let replicas = replicas(databases, 3).await;
        for i in 0..10 {
            replicas[i % 3].issued(json!({ "credential": format!("listed-{i}") })).await;
        }
        let rows = TestApp::pages_in_turn(&replicas, "/credentials?limit=3").await;
        let whole = replicas[0].all_pages("/credentials?limit=100").await;
        assert_eq!((rows.len(), &rows), (10, &whole), "{databases:?}");
    }
}

/// A server closes a stream that has been idle for 10 s.
#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_notice_a_closed_idle_connection() {
    needs_own_host!();
    join_all(ways().into_iter().map(|databases| async move {
        let app = Setup::new().databases(databases).variable("log_level", "debug").start().await;
        app.issued(json!({ "credential": "before" })).await;
        assert_eq!(app.verify("before").await.json()["isValid"], true);
        // An idle instance ends after a second, together with its connection. These requests keep it alive without the
        // database.
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(13) {
            app.post("/check", &json!({})).await.assert_problem(400, "invalid-request");
            app.post("/verify", &json!({})).await.assert_problem(400, "invalid-request");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        app.issued(json!({ "credential": "after" })).await;
        assert_eq!(app.verify("before").await.json()["isValid"], true, "{databases:?}");
        // There is no connection to lose over HTTP, or with one instance for each request.
        if databases == Databases::Libsql && wasi() == Wasi::V0_3 {
            app.wait_for_log("connecting again").await;
        }
    }))
    .await;
}

/// A restarted server has forgotten its streams.
#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_notice_a_server_restart_between_requests() {
    needs_own_host!();
    for databases in ways() {
        let app = Setup::new().databases(databases).start().await;
        app.issued(json!({ "credential": "before" })).await;
        assert_eq!(app.verify("before").await.json()["isValid"], true);
        let servers = app.servers().unwrap();
        for server in [&servers.issuance, &servers.verification] {
            server.kill();
            server.start_again();
        }
        app.issued(json!({ "credential": "after" })).await;
        assert_eq!(app.verify("before").await.json()["isValid"], true, "{databases:?}");
    }
}

/// The servers are killed while two replicas issue and verify, and restarted a while later.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_server_loses_nothing_that_was_answered() {
    needs_own_host!();
    for databases in ways() {
        let replicas = replicas(databases, 2).await;
        let servers = replicas[0].servers().unwrap();
        let (issued, verdicts) = (Mutex::new(Vec::<Value>::new()), Mutex::new(Vec::<Value>::new()));
        let done = AtomicBool::new(false);
        let refusals = AtomicUsize::new(0);
        // Which replica served a request, and when.
        let served = Mutex::new(Vec::<(usize, Instant)>::new());
        let clients = join_all((0..12).map(|client| {
            let (app, issued, verdicts) = (&replicas[client % 2], &issued, &verdicts);
            let (done, refusals, served) = (&done, &refusals, &served);
            async move {
                let refused = |response: e2e::Response| {
                    response.assert_problem(503, "unavailable");
                    refusals.fetch_add(1, Ordering::SeqCst);
                };
                for i in 0.. {
                    if done.load(Ordering::SeqCst) {
                        break;
                    }
                    let credential = format!("killed-{client}-{i}");
                    let response = app.issue(&credential).await;
                    if response.status != 201 {
                        refused(response);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                    issued.lock().unwrap().push(response.json());
                    served.lock().unwrap().push((client % 2, Instant::now()));
                    let response = app.verify(&credential).await;
                    if response.status != 200 {
                        refused(response);
                        continue;
                    }
                    assert_eq!(response.json()["isValid"], true, "{}", response.text());
                    verdicts.lock().unwrap().push(response.json());
                }
            }
        }));
        let killer = async {
            let mut back = Instant::now();
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                servers.issuance.kill();
                servers.verification.kill();
                tokio::time::sleep(Duration::from_millis(1500)).await;
                servers.issuance.start_again();
                servers.verification.start_again();
                back = Instant::now();
            }
            // Requests that began without the servers end by their deadlines.
            tokio::time::sleep(Duration::from_secs(6)).await;
            done.store(true, Ordering::SeqCst);
            back
        };
        let (_, back) = tokio::join!(clients, killer);

        assert!(refusals.into_inner() > 0, "nothing failed without servers");
        let served = served.into_inner().unwrap();
        let soon = back..back + Duration::from_secs(5);
        for replica in 0..2 {
            assert!(
                served.iter().any(|(by, when)| *by == replica && soon.contains(when)),
                "{databases:?}: {replica} does not serve within 5 s"
            );
        }
        // Nothing stays broken: without contention for the lock, every request succeeds.
        for (i, app) in replicas.iter().cycle().take(20).enumerate() {
            let credential = format!("calm-{i}");
            let statuses = (app.issue(&credential).await.status, app.verify(&credential).await.status);
            assert_eq!(statuses, (201, 200), "{databases:?}: {i}\n{}", end_of(&app.log()));
        }
        let (issued, verdicts) = (issued.into_inner().unwrap(), verdicts.into_inner().unwrap());
        assert_nothing_lost(&replicas[0], &replicas[1], &issued, &verdicts).await;
        assert!(verdicts.len() > 20, "{databases:?}: too few requests succeeded");
    }
}

/// The last lines of a log.
fn end_of(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A server that hangs delays no request beyond its deadline.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_database_server_is_a_503_until_it_resumes() {
    needs_own_host!();
    if libsql::program().is_none() {
        return;
    }
    let app = Setup::new().databases(Databases::LibsqlHttp).start().await;
    app.issued(json!({ "credential": "before" })).await;
    let servers = app.servers().unwrap();
    servers.issuance.signal(e2e::Signal::SIGSTOP);
    let started = Instant::now();
    let credentials: Vec<_> = (0..8).map(|i| format!("hanging-{i}")).collect();
    let responses = join_all(credentials.iter().map(|credential| app.issue(credential))).await;
    let waited = started.elapsed();
    servers.issuance.signal(e2e::Signal::SIGCONT);
    for response in responses {
        response.assert_problem(503, "unavailable");
    }
    assert!(waited < Duration::from_millis(6500), "{waited:?}");
    // An instance whose database could not be opened waits a second before it tries again.
    let resumed = Instant::now();
    let resumes = async || {
        let issued = app.issue("after").await.status;
        (issued == 201 || issued == 409) && app.verify("before").await.status == 200
    };
    while !resumes().await {
        assert!(resumed.elapsed() < Duration::from_secs(6), "it does not resume");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(app.verify("before").await.json()["isValid"], true);
}
