//! PostgreSQL servers that stop, hang or refuse: a 503 without a wrong verdict, and nothing lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::{
    Setup, Signal, TestApp, Wasi,
    disk::Disk,
    needs_own_host, needs_postgres,
    postgres::{PASSWORD, PostgresServer},
    unique, wasi,
};
use futures_util::future::join_all;
use serde_json::json;

use crate::traffic::{Traffic, meanwhile};

/// A server of the test's own.
fn server(settings: &str) -> Arc<PostgresServer> {
    Arc::new(PostgresServer::start("127.0.0.1", settings))
}

/// Replicas with new databases on this server.
async fn replicas(server: &Arc<PostgresServer>) -> [TestApp; 2] {
    // Traffic has clients that guess all the time.
    let setup = || Setup::on(server).without_validation().variable("verify_failures_per_minute", "0");
    let one = setup().start().await;
    let other = setup().databases_of(&one).start().await;
    [one, other]
}

/// Waits until the application issues and verifies again. Returns how long that took.
async fn resumed(app: &TestApp, credential: &str) -> Duration {
    let started = Instant::now();
    loop {
        let issued = app.issue(credential).await.status;
        if (issued == 201 || issued == 409) && app.verify(credential).await.status == 200 {
            return started.elapsed();
        }
        assert!(started.elapsed() < Duration::from_secs(20), "it does not resume:\n{}", app.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asserts that every request is a 503 whose reason is only in the log, and that the log has no password.
async fn assert_refuses(app: &TestApp, logged: &str) {
    for response in [app.issue("a").await, app.verify("a").await, app.get("/health/verification").await] {
        assert_eq!(response.status, 503, "{}", response.text());
        assert!(
            !response.text().contains(logged) && !response.text().contains(PASSWORD),
            "{}",
            response.text()
        );
    }
    app.wait_for_log(logged).await;
    assert!(!app.log().contains(PASSWORD), "{}", app.log());
}

/// The pool has connections that the server no longer knows.
#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_notice_a_server_restart_between_requests() {
    needs_own_host!();
    needs_postgres!();
    let server = server("");
    let app = Setup::on(&server).start().await;
    app.issued(json!({ "credential": "before" })).await;
    join_all((0..20).map(|_| app.verify("before"))).await;
    for kill in [false, true] {
        if kill {
            server.kill();
            server.start_again();
        } else {
            server.restart("");
        }
        let verdicts = join_all((0..20).map(|_| app.verify("before"))).await;
        for verdict in verdicts {
            assert_eq!(verdict.expect(200)["isValid"], true);
        }
        app.issued(json!({ "credential": format!("after-{kill}") })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_that_was_answered() {
    needs_own_host!();
    needs_postgres!();
    let server = server("");
    let replicas = replicas(&server).await;
    let (traffic, back) = Traffic::run(&replicas, async {
        let mut back = Instant::now();
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            meanwhile(&server, PostgresServer::kill).await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            meanwhile(&server, PostgresServer::start_again).await;
            back = Instant::now();
        }
        back
    })
    .await;
    traffic.assert_resumed(&replicas, back, Duration::from_secs(3)).await;
}

/// A server that hangs delays no request beyond its deadline, with WASI 0.3. With WASI 0.2 a component cannot stop waiting
/// for the host's interface, which has no limit of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_server_is_a_503_until_it_resumes() {
    needs_own_host!();
    needs_postgres!();
    let server = server("");
    let app = Setup::on(&server).start().await;
    app.issued(json!({ "credential": "before" })).await;
    app.verify("before").await.expect(200);
    server.signal(Signal::SIGSTOP);
    let waits = join_all((0..8).map(|i| {
        let app = &app;
        async move {
            let started = Instant::now();
            let response = if i % 2 == 0 {
                app.issue(&format!("hanging-{i}")).await
            } else {
                app.verify("before").await
            };
            if wasi() == Wasi::V0_3 {
                response.assert_problem(503, "unavailable");
            }
            started.elapsed()
        }
    }));
    let (waits, ()) = tokio::join!(waits, async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        server.signal(Signal::SIGCONT);
    });
    let limit = if wasi() == Wasi::V0_3 { Duration::from_millis(6500) } else { Duration::from_secs(14) };
    assert!(waits.iter().all(|waited| *waited < limit), "{waits:?}");
    assert!(resumed(&app, "after").await < Duration::from_secs(6));
    assert_eq!(app.verify("before").await.json()["isValid"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_wait_for_a_server_that_has_no_connection_left() {
    needs_own_host!();
    needs_postgres!();
    // Three of them are reserved for superusers.
    let server = server("-c max_connections=13");
    let replicas = replicas(&server).await;
    for app in &replicas {
        resumed(app, "first").await;
    }
    let statuses = join_all((0..120).map(|i| {
        let app = &replicas[i % 2];
        async move { app.issue(&format!("crowded-{i}")).await.status }
    }))
    .await;
    assert!(statuses.iter().all(|status| [201, 503].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 201).count() > 60, "{statuses:?}");
    let issued = statuses.iter().filter(|status| **status == 201).count();
    assert!(replicas[0].count("issuance", "credentials") > issued);
    assert!(!replicas[0].log().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights_a_wrong_password_and_a_missing_database_are_a_503_that_the_log_explains() {
    needs_own_host!();
    needs_postgres!();
    let server = server("");
    server.execute("postgres", &format!("CREATE ROLE stranger LOGIN PASSWORD '{PASSWORD}'"));
    let both = |setting: &str, value: &str| {
        ["issuance", "verification"].iter().fold(Setup::on(&server), |setup, service| {
            setup.variable(&format!("{service}_database_{setting}"), value)
        })
    };
    for (setting, value, logged) in [
        ("user", "stranger", "permission denied for schema public"),
        ("password", "another-pa55word", "password authentication failed"),
        ("name", "missing", "does not exist"),
        ("tls", "require", "does not support TLS"),
    ] {
        let app = both(setting, value).variable("log_level", "debug").start().await;
        assert_refuses(&app, logged).await;
        assert!(!app.log().contains("another-pa55word"), "{}", app.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_may_only_read_is_a_503_until_it_may_write() {
    needs_own_host!();
    needs_postgres!();
    let server = server("");
    let app = Setup::on(&server).start().await;
    app.issued(json!({ "credential": "before" })).await;
    assert_eq!(app.verify("before").await.json()["isValid"], true);
    let database = app.postgres().unwrap().name("verification");
    server.execute(&database, "ALTER TABLE verifications OWNER TO postgres");
    server.execute(&database, "GRANT SELECT ON verifications TO verification");
    app.verify("before").await.assert_problem(503, "unavailable");
    app.wait_for_log("permission denied for table verifications").await;
    server.execute(&database, "GRANT INSERT ON verifications TO verification");
    assert_eq!(app.verify("before").await.json()["isValid"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_no_authority_of_the_machine_vouches_for_is_a_503() {
    needs_own_host!();
    needs_postgres!();
    let server = server("");
    server.restart_with_tls();
    let setup = ["issuance", "verification"].iter().fold(Setup::on(&server), |setup, service| {
        setup.variable(&format!("{service}_database_tls"), "require")
    });
    let app = setup.start().await;
    assert_refuses(&app, "certificate").await;
    // Without TLS it is the same server.
    let plain = Setup::on(&server).start().await;
    assert_eq!(plain.issue("a").await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_read_only_mode_is_read_and_refuses_writes() {
    needs_own_host!();
    needs_postgres!();
    let server = server("");
    let app = Setup::on(&server).start().await;
    let issued = app.issued(json!({ "credential": "before" })).await;
    assert_eq!(app.verify("before").await.json()["isValid"], true);
    let set = |value: &str| {
        server.execute("postgres", &format!("ALTER SYSTEM SET default_transaction_read_only = {value}"));
        server.execute("postgres", "SELECT pg_reload_conf()");
    };
    set("on");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (issue, verify) = tokio::join!(app.issue("during"), app.verify("before"));
    issue.assert_problem(503, "unavailable");
    verify.assert_problem(503, "unavailable");
    app.wait_for_log("read-only transaction").await;
    // Connections that are open still read.
    let checked = app.check(issued["credential_hash"].as_str().unwrap()).await;
    assert!([200, 503].contains(&checked.status), "{}", checked.text());
    set("off");
    assert!(resumed(&app, "after").await < Duration::from_secs(6));
}

/// First the tables cannot grow; then the server cannot write its log either, and stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_503_for_each_write_and_loses_nothing_that_was_answered() {
    needs_own_host!();
    needs_postgres!();
    let Some(mut disk) = Disk::mount(200) else { return };
    let server = Arc::new(PostgresServer::start_on(&disk));
    let replicas = replicas(&server).await;
    let app = &replicas[0];
    let issued = app.issued(json!({ "credential": "before" })).await;
    app.verify("before").await.expect(200);
    let (traffic, back) = Traffic::run(&replicas, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        disk.fill();
        writes_are_refused(app).await;
        app.wait_for_log("could not extend file").await;
        let checked = app.check(issued["credential_hash"].as_str().unwrap()).await;
        assert_eq!(checked.expect(200)["status"], "active");
        for list in ["/credentials", "/verifications", "/statistics/issuance", "/statistics/verification"] {
            app.admin_get(list).await.expect(200);
        }
        disk.free();
        assert!(resumed(app, "between").await < Duration::from_secs(6));

        disk.fill();
        // Begins one file of the log after another, until there is no space for one.
        let next = "SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal()";
        while server.try_query("postgres", next).is_ok() {}
        assert!(server.log().contains("could not write to file \"pg_wal"), "{}", server.log());
        assert_refuses(app, "no connection").await;
        assert_eq!(app.get("/health").await.status, 503);
        disk.free();
        meanwhile(&server, PostgresServer::start_again).await;
        Instant::now()
    })
    .await;
    traffic.assert_resumed(&replicas, back, Duration::from_secs(3)).await;
}

/// Writes until the pages that the tables have are used up, and then asserts that each write is a 503.
async fn writes_are_refused(app: &TestApp) {
    let started = Instant::now();
    let mut refused = 0;
    while refused < 5 {
        let credential = unique("during");
        let (issue, verify) = tokio::join!(app.issue(&credential), app.verify("before"));
        if issue.status == 201 || verify.status == 200 {
            assert!(started.elapsed() < Duration::from_secs(60), "the disk does not fill");
            refused = 0;
            continue;
        }
        for response in [issue, verify] {
            response.assert_problem(503, "unavailable");
            assert!(!response.text().contains("space"), "{}", response.text());
        }
        refused += 1;
    }
}
