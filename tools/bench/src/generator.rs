//! The load generator: connections that each send a request once the previous one is answered.
//!
//! It runs on one thread, so that it takes at most one core from the server it measures.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::Args;
use http::Uri;
use tokio::{
    task::{LocalSet, spawn_local},
    time::{sleep, sleep_until, timeout_at},
};

use crate::{
    client::{Addresses, Client},
    load::{Known, Load, Source, issued_hash, judge},
    measurement::{Measurement, Tally, Used},
    target::url,
    usage::Usage,
};

/// How long to wait for responses after the end of the measured time.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The kind of load.
    #[arg(long, value_enum)]
    pub(crate) load: Load,
    /// The URL of issuance: http://HOST:PORT, without a path.
    #[arg(long, value_name = "URL", value_parser = url)]
    pub(crate) issuance: Uri,
    /// The URL of verification.
    #[arg(long, value_name = "URL", value_parser = url)]
    pub(crate) verification: Uri,
    /// The number of connections, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// How many seconds to send before the measured time.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm_up: f64,
    /// How many seconds to measure.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// How many credentials the database was prefilled with. Without this, some are issued first.
    #[arg(long)]
    pub(crate) prefilled: Option<u64>,
    /// The process whose CPU time and memory to measure, with its descendants.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// The process of its database server, whose CPU time to measure with that of its descendants.
    #[arg(long, value_name = "PID")]
    pub(crate) database_pid: Option<u32>,
}

/// Loads a server and measures it. Fails if the process to measure does not exist.
pub(crate) fn run(options: &Options) -> Result<Measurement> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, generate(options))
}

async fn generate(options: &Options) -> Result<Measurement> {
    let addresses = Addresses::new(&options.issuance, &options.verification)?;
    let known = match options.prefilled {
        Some(number) => Known::Prefilled(number),
        None if options.load.hits() => Known::Issued(issue_some(&addresses).await?),
        None => Known::Issued(Vec::new()),
    };
    let source = Rc::new(RefCell::new(Source::new(options.load, known)?));

    let start = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let end = start + Duration::from_secs_f64(options.seconds);
    let tally = Rc::new(RefCell::new(Tally::new(start, end)?));
    let connections: Vec<_> = (0..options.connections)
        .map(|_| Client::new(addresses.clone()))
        .map(|client| spawn_local(send_until(end, client, Rc::clone(&source), Rc::clone(&tally))))
        .collect();

    let usage = || {
        anyhow::Ok(Used {
            server: options.pid.map(Usage::of).transpose()?,
            database: options.database_pid.map(Usage::of).transpose()?,
            own: Usage::of(std::process::id())?,
        })
    };
    sleep_until(start.into()).await;
    let before = usage()?;
    sleep_until(end.into()).await;
    let after = usage()?;

    for connection in connections {
        if timeout_at((end + GRACE_PERIOD).into(), connection).await.is_err() {
            tally.borrow_mut().timed_out(GRACE_PERIOD);
        }
    }
    Ok(tally.borrow().measurement(&before, &after))
}

/// Issues credentials for later requests; returns each with its hash.
async fn issue_some(addresses: &Addresses) -> Result<Vec<(String, String)>> {
    const CREDENTIALS: usize = 1024;
    const CONNECTIONS: usize = 16;

    let source = Rc::new(RefCell::new(Source::new(Load::Issue, Known::Prefilled(0))?));
    let connections: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (mut client, source) = (Client::new(addresses.clone()), Rc::clone(&source));
            spawn_local(async move {
                let mut issued = Vec::new();
                for _ in 0..CREDENTIALS / CONNECTIONS {
                    let request = source.borrow_mut().next()?;
                    let sent: BTreeMap<String, String> = serde_json::from_slice(&request.body)?;
                    let (status, body) = client.send(request).await?;
                    if judge(Load::Issue, status, &body).is_err() {
                        bail!("POST /issue was answered {status}: {}", String::from_utf8_lossy(&body));
                    }
                    let hash = issued_hash(&body)?;
                    issued.extend(sent.into_values().map(|credential| (credential, hash.clone())));
                }
                Ok(issued)
            })
        })
        .collect();
    let mut issued = Vec::new();
    for connection in connections {
        issued.extend(connection.await??);
    }
    Ok(issued)
}

/// Sends one request after another.
async fn send_until(
    end: Instant,
    mut client: Client,
    source: Rc<RefCell<Source>>,
    tally: Rc<RefCell<Tally>>,
) {
    const RECONNECT_DELAY: Duration = Duration::from_millis(10);

    while Instant::now() < end {
        let Ok(request) = source.borrow_mut().next() else { return };
        let kind = request.kind;
        // Connecting first keeps the connection time out of the latency.
        let response = match client.connect(request.service).await {
            Ok(_) => {
                let sent = Instant::now();
                client.send(request).await.map(|response| (sent, response))
            }
            Err(error) => Err(error),
        };
        match response {
            Ok((sent, (status, body))) => tally.borrow_mut().answered(kind, sent, status, &body),
            Err(error) => {
                tally.borrow_mut().connection_failed(&error);
                sleep(RECONNECT_DELAY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        future,
        net::TcpListener,
        sync::{Arc, Mutex},
        thread,
    };

    use axum::Router;
    use credentials::Secret;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        load::{SECRET, hash, prefilled},
        measurement::{Errors, Latency},
    };

    /// The body of a service's response.
    fn respond(known: &Mutex<HashSet<String>>, path: &str, body: &str) -> Value {
        let body: Value = serde_json::from_str(body).unwrap();
        let hash = match body["credential"].as_str() {
            Some(credential) => hash(&Secret::new(SECRET).unwrap(), credential).unwrap().to_string(),
            None => body["credential_hash"].as_str().unwrap().to_owned(),
        };
        let mut known = known.lock().unwrap();
        match path {
            "/issue" => {
                known.insert(hash.clone());
                json!({"credential_hash": hash})
            }
            "/check" => json!({"exists": known.contains(&hash)}),
            "/verify" => json!({"isValid": known.contains(&hash)}),
            _ => panic!("there is no {path}"),
        }
    }

    /// Loads a server with 20 credentials as if it had `rows`, or an unknown number.
    fn measure(load: Load, rows: Option<u64>) -> Result<Measurement> {
        let secret = Secret::new(SECRET)?;
        let known = (0..20).map(|index| Ok(hash(&secret, &prefilled(index))?.to_string()));
        let known = Arc::new(Mutex::new(known.collect::<Result<HashSet<_>>>()?));
        let router = Router::new().fallback(move |url: Uri, body: String| {
            future::ready(respond(&known, url.path(), &body).to_string())
        });
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url: Uri = format!("http://{}", listener.local_addr()?).parse()?;
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                axum::serve(tokio::net::TcpListener::from_std(listener).unwrap(), router).await.unwrap();
            });
        });
        run(&Options {
            load,
            issuance: url.clone(),
            verification: url,
            connections: 4,
            warm_up: 0.05,
            seconds: 0.4,
            prefilled: rows,
            pid: Some(std::process::id()),
            database_pid: Some(std::process::id()),
        })
    }

    #[test]
    fn a_correct_server_has_no_errors_under_any_load() {
        for load in Load::ALL {
            let found = measure(load, Some(20)).unwrap();
            assert_eq!(found.errors, Errors::default(), "{load}");
            let Latency { p50, p99, p999, max } = found.latency;
            assert!(0.0 < p50 && p50 <= p99 && p99 <= p999 && p999 <= max, "{load}: {:?}", found.latency);
            assert!(found.throughput > 0.0 && found.resident > Some(0), "{load}");
            assert!(found.database_cpu_seconds_per_1000.is_some(), "{load}");
            assert_eq!(found.issued > 0, matches!(load, Load::Issue | Load::Mixed), "{load}");
            let verifies = matches!(load, Load::VerifyHit | Load::VerifyMiss | Load::Mixed);
            assert_eq!(found.verified > 0, verifies, "{load}");
        }
    }

    #[test]
    fn credentials_are_issued_first_if_the_servers_own_are_unknown() {
        for load in [Load::CheckHit, Load::VerifyHit] {
            assert_eq!(measure(load, None).unwrap().errors, Errors::default(), "{load}");
        }
    }

    #[test]
    fn a_wrong_verdict_counts_as_an_error_and_not_as_a_response() {
        let found = measure(Load::VerifyHit, Some(u64::MAX)).unwrap();
        assert!(found.errors.verdict > 0 && found.errors.total() == found.errors.verdict);
        assert!(found.errors.first.unwrap().contains("\"isValid\":false"));
        assert_eq!((found.throughput, found.verified, found.cpu_seconds_per_1000), (0.0, 0, None));
    }

    #[test]
    fn an_unreachable_server_gives_connection_errors() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url: Uri = format!("http://127.0.0.1:{port}").parse().unwrap();
        let options = Options {
            load: Load::Ping,
            issuance: url.clone(),
            verification: url,
            connections: 1,
            warm_up: 0.0,
            seconds: 0.1,
            prefilled: None,
            pid: None,
            database_pid: None,
        };
        let found = run(&options).unwrap();
        assert!(found.errors.connection > 0 && found.throughput == 0.0);
        assert!(run(&Options { pid: Some(u32::MAX), ..options }).is_err());
    }
}
