//! A primary with a synchronous standby.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use e2e::{Setup, needs_own_host, needs_postgres, postgres::PostgresServer};

use crate::traffic::{Traffic, meanwhile};

/// The primary is killed in traffic, and the standby promoted a while later.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_has_everything_that_was_answered_and_service_resumes_by_itself() {
    needs_own_host!();
    needs_postgres!();
    let primary = Arc::new(PostgresServer::start("127.0.0.2", ""));
    let setup = || {
        let setup = Setup::on(&primary).without_validation().variable("verify_failures_per_minute", "0");
        ["issuance", "verification"].iter().fold(setup, |setup, service| {
            setup.variable(&format!("{service}_database_standby_host"), "127.0.0.3")
        })
    };
    let one = setup().start().await;
    let other = setup().databases_of(&one).start().await;
    let replicas = [one, other];
    let standby = Arc::new(primary.start_standby("127.0.0.3"));
    let (traffic, promoted) = Traffic::run(&replicas, async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        meanwhile(&primary, PostgresServer::kill).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        meanwhile(&standby, PostgresServer::promote).await;
        Instant::now()
    })
    .await;
    traffic.assert_resumed(&replicas, promoted, Duration::from_secs(5)).await;
}
