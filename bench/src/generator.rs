//! The load generator: a number of connections, each of which sends a request once it has the answer to the one before.
//!
//! It runs on one thread, so that it takes one core at the most from the server that it measures.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use hdrhistogram::Histogram;
use http::{
    StatusCode, Uri,
    header::{CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpStream,
    task::{JoinHandle, LocalSet, spawn_local},
    time::{sleep, sleep_until, timeout},
};

use crate::{
    load::{Known, Load, Request, Service, Source, Wrong, issued_hash, judge},
    usage::Usage,
};

/// How long answers are waited for after the end; those that do not come are timeouts.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many credentials are issued where none are known.
const PREPARED: usize = 1024;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// What to send.
    #[arg(long, value_enum)]
    pub(crate) load: Load,
    /// Where issuance is: http://HOST:PORT, with nothing behind it.
    #[arg(long, value_name = "URL")]
    pub(crate) issuance: Uri,
    /// Where verification is.
    #[arg(long, value_name = "URL")]
    pub(crate) verification: Uri,
    /// How many connections, each with one request at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// For how many seconds to send before anything is measured.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) warm_up: f64,
    /// For how many seconds to measure.
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// How many credentials the database was prefilled with. Without this, some are issued first.
    #[arg(long)]
    pub(crate) prefilled: Option<u64>,
    /// The process whose use of CPU and memory is to be measured, with its descendants.
    #[arg(long)]
    pub(crate) pid: Option<u32>,
}

/// What one run of the load generator found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Right answers per second, of those that came within the time measured.
    pub(crate) throughput: f64,
    /// Of the right answers to requests that were sent within the time measured, whenever they came.
    pub(crate) latency: Latency,
    /// From the beginning of the warm-up on.
    pub(crate) errors: Errors,
    /// The server's user and system time; `None` where its process is not known, or there was no right answer.
    pub(crate) cpu_seconds_per_1000: Option<f64>,
    /// The server's resident memory in bytes at the end.
    pub(crate) resident: Option<u64>,
    /// The load generator's own time.
    pub(crate) own_cpu_seconds_per_1000: Option<f64>,
    /// Credentials that were issued, from the beginning of the warm-up on.
    pub(crate) issued: u64,
    /// Verdicts that were given, from the beginning of the warm-up on.
    pub(crate) verified: u64,
}

/// From just before a request is sent until the last byte of its answer is there, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// What went wrong, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Errors {
    /// Answers with another status than that of a success, by status.
    pub(crate) status: BTreeMap<u16, u64>,
    /// Answers that are not true.
    pub(crate) verdict: u64,
    /// Connections that could not be made, or that ended before the answer did.
    pub(crate) connection: u64,
    /// Requests without an answer half a minute after the end.
    pub(crate) timeout: u64,
    /// The first of all, in words.
    pub(crate) first: Option<String>,
}

impl Errors {
    pub(crate) fn total(&self) -> u64 {
        self.status.values().sum::<u64>() + self.verdict + self.connection + self.timeout
    }
}

/// Loads a server and measures it.
///
/// # Errors
/// The server cannot be reached, or there is no process to measure.
pub(crate) fn run(options: &Options) -> Result<Measurement> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, generate(options))
}

async fn generate(options: &Options) -> Result<Measurement> {
    let servers = Servers::new(options)?;
    let known = match options.prefilled {
        Some(number) => Known::Prefilled(number),
        None if options.load.hits() => Known::Issued(prepare(&servers).await?),
        None => Known::Issued(Vec::new()),
    };
    let source = Rc::new(RefCell::new(Source::new(options.load, known)?));

    let start = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let end = start + Duration::from_secs_f64(options.seconds);
    let tally = Rc::new(RefCell::new(Tally::new(start, end)?));
    let workers: Vec<_> = (0..options.connections)
        .map(|_| spawn_local(work(servers.clone(), Rc::clone(&source), Rc::clone(&tally))))
        .collect();

    let usage = || options.pid.map(Usage::of).transpose();
    let own_usage = || Usage::of(std::process::id());
    sleep_until(start.into()).await;
    let before = (usage()?, own_usage()?);
    sleep_until(end.into()).await;
    let after = (usage()?, own_usage()?);

    let late = wait_for(workers, end + PATIENCE).await;
    let mut tally = tally.borrow_mut();
    tally.errors.timeout += late;
    if late > 0 {
        tally.errors.first.get_or_insert_with(|| format!("no answer within {PATIENCE:?} after the end"));
    }
    let thousands = tally.completed as f64 / 1000.0;
    let seconds_per_1000 = |from: Usage, to: Usage| {
        (tally.completed > 0).then(|| to.cpu.saturating_sub(from.cpu).as_secs_f64() / thousands)
    };
    let milliseconds = |micros: u64| micros as f64 / 1000.0;
    let quantile = |quantile| milliseconds(tally.latencies.value_at_quantile(quantile));
    Ok(Measurement {
        throughput: tally.completed as f64 / options.seconds,
        latency: Latency {
            p50: quantile(0.5),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: milliseconds(tally.latencies.max()),
        },
        errors: tally.errors.clone(),
        cpu_seconds_per_1000: before.0.zip(after.0).and_then(|(from, to)| seconds_per_1000(from, to)),
        resident: after.0.map(|usage| usage.resident),
        own_cpu_seconds_per_1000: seconds_per_1000(before.1, after.1),
        issued: tally.issued,
        verified: tally.verified,
    })
}

/// Waits for the workers to end; gives how many did not in time.
async fn wait_for(workers: Vec<JoinHandle<()>>, deadline: Instant) -> u64 {
    let mut late = 0;
    for worker in workers {
        if timeout(deadline.saturating_duration_since(Instant::now()), worker).await.is_err() {
            late += 1;
        }
    }
    late
}

/// Issues credentials to ask for later.
async fn prepare(servers: &Servers) -> Result<Vec<(String, String)>> {
    const AT_ONCE: usize = 16;

    let source = Rc::new(RefCell::new(Source::new(Load::Issue, Known::Prefilled(0))?));
    let workers: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (mut connections, source) = (Connections::to(servers.clone()), Rc::clone(&source));
            spawn_local(async move {
                let mut issued = Vec::new();
                for _ in 0..PREPARED / AT_ONCE {
                    let request = source.borrow_mut().next()?;
                    let sent: BTreeMap<String, String> = serde_json::from_slice(&request.body)?;
                    let (status, body) = connections.exchange(request).await?;
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
    for worker in workers {
        issued.extend(worker.await??);
    }
    Ok(issued)
}

/// One connection's life: a request, its answer, the next request.
async fn work(servers: Servers, source: Rc<RefCell<Source>>, tally: Rc<RefCell<Tally>>) {
    /// Before trying again to connect.
    const PAUSE: Duration = Duration::from_millis(10);

    let mut connections = Connections::to(servers);
    let end = tally.borrow().end;
    while Instant::now() < end {
        let Ok(request) = source.borrow_mut().next() else { return };
        let kind = request.kind;
        if let Err(error) = connections.connect(request.service).await {
            tally.borrow_mut().failed(&error);
            sleep(PAUSE).await;
            continue;
        }
        let sent = Instant::now();
        match connections.exchange(request).await {
            Ok((status, body)) => tally.borrow_mut().answered(kind, sent, status, &body),
            Err(error) => {
                tally.borrow_mut().failed(&error);
                sleep(PAUSE).await;
            }
        }
    }
}

/// What all connections have seen together.
struct Tally {
    start: Instant,
    end: Instant,
    completed: u64,
    /// In microseconds.
    latencies: Histogram<u64>,
    errors: Errors,
    issued: u64,
    verified: u64,
}

impl Tally {
    fn new(start: Instant, end: Instant) -> Result<Self> {
        Ok(Self {
            start,
            end,
            completed: 0,
            latencies: Histogram::new_with_bounds(1, 120_000_000, 3)?,
            errors: Errors::default(),
            issued: 0,
            verified: 0,
        })
    }

    fn answered(&mut self, kind: Load, sent: Instant, status: StatusCode, body: &[u8]) {
        let now = Instant::now();
        if let Err(wrong) = judge(kind, status, body) {
            match wrong {
                Wrong::Status(status) => *self.errors.status.entry(status.as_u16()).or_default() += 1,
                Wrong::Verdict => self.errors.verdict += 1,
            }
            self.errors.first.get_or_insert_with(|| {
                format!("{kind} was answered {status}: {}", String::from_utf8_lossy(body))
            });
            return;
        }
        match kind {
            Load::Issue => self.issued += 1,
            Load::VerifyHit | Load::VerifyMiss => self.verified += 1,
            _ => {}
        }
        if (self.start..self.end).contains(&now) {
            self.completed += 1;
        }
        if (self.start..self.end).contains(&sent) {
            let micros = u64::try_from((now - sent).as_micros()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(micros);
        }
    }

    fn failed(&mut self, error: &anyhow::Error) {
        self.errors.connection += 1;
        self.errors.first.get_or_insert_with(|| format!("{error:#}"));
    }
}

/// Where the two services are, as HOST:PORT.
#[derive(Clone)]
struct Servers {
    issuance: Rc<str>,
    verification: Rc<str>,
}

impl Servers {
    fn new(options: &Options) -> Result<Self> {
        Ok(Self { issuance: authority(&options.issuance)?, verification: authority(&options.verification)? })
    }
}

fn authority(url: &Uri) -> Result<Rc<str>> {
    if url.scheme_str() != Some("http") || !matches!(url.path(), "" | "/") {
        bail!("{url} is not of the form http://HOST:PORT");
    }
    let host = url.host().with_context(|| format!("{url} has no host"))?;
    Ok(format!("{host}:{}", url.port_u16().unwrap_or(80)).into())
}

/// The connections of one worker: one for each service, or one for both where they are one server.
struct Connections {
    servers: Servers,
    issuance: Option<SendRequest<Full<Bytes>>>,
    verification: Option<SendRequest<Full<Bytes>>>,
}

impl Connections {
    fn to(servers: Servers) -> Self {
        Self { servers, issuance: None, verification: None }
    }

    fn slot(&mut self, service: Service) -> (&mut Option<SendRequest<Full<Bytes>>>, &str) {
        if service == Service::Issuance || self.servers.issuance == self.servers.verification {
            (&mut self.issuance, &self.servers.issuance)
        } else {
            (&mut self.verification, &self.servers.verification)
        }
    }

    /// Connects where there is no connection, or none that can be used any more.
    async fn connect(&mut self, service: Service) -> Result<&mut SendRequest<Full<Bytes>>> {
        let (slot, authority) = self.slot(service);
        let usable = match slot.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let stream = TcpStream::connect(authority)
                .await
                .with_context(|| format!("cannot connect to {authority}"))?;
            stream.set_nodelay(true)?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            // Its errors are those of the requests.
            spawn_local(async move { drop(connection.await) });
            *slot = Some(sender);
        }
        slot.as_mut().context("there is no connection")
    }

    async fn exchange(&mut self, request: Request) -> Result<(StatusCode, Bytes)> {
        let host = self.slot(request.service).1.to_owned();
        let sender = self.connect(request.service).await?;
        let request = http::Request::builder()
            .method(request.method)
            .uri(request.path)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(request.body))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;
    use crate::{database::prefill, load::SECRET};

    /// Loads a baseline whose databases have 20 rows, as if they had `rows`; without a number, as an unknown server.
    fn measure(load: Load, rows: Option<u64>) -> Result<Measurement> {
        let folder = tempfile::tempdir()?;
        prefill(folder.path(), 20)?;
        let file = |name: &str| folder.path().join(name);
        let router = baseline::router(SECRET, &file("issuance.db"), &file("verification.db"))?;
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
        })
    }

    #[test]
    fn a_server_that_is_right_has_no_errors_whatever_is_asked() {
        for load in Load::ALL {
            let found = measure(load, Some(20)).unwrap();
            assert_eq!(found.errors, Errors::default(), "{load}");
            let Latency { p50, p99, p999, max } = found.latency;
            assert!(0.0 < p50 && p50 <= p99 && p99 <= p999 && p999 <= max, "{load}: {:?}", found.latency);
            assert!(found.throughput > 0.0 && found.resident > Some(0), "{load}");
            assert_eq!(found.issued > 0, matches!(load, Load::Issue | Load::Mixed), "{load}");
            let verifies = matches!(load, Load::VerifyHit | Load::VerifyMiss | Load::Mixed);
            assert_eq!(found.verified > 0, verifies, "{load}");
        }
    }

    #[test]
    fn a_server_whose_credentials_are_not_known_is_asked_for_some_that_it_issued() {
        for load in [Load::CheckHit, Load::VerifyHit] {
            assert_eq!(measure(load, None).unwrap().errors, Errors::default(), "{load}");
        }
    }

    #[test]
    fn a_wrong_verdict_is_an_error_and_no_answer() {
        let found = measure(Load::VerifyHit, Some(u64::MAX)).unwrap();
        assert!(found.errors.verdict > 0 && found.errors.total() == found.errors.verdict);
        assert!(found.errors.first.unwrap().contains("\"isValid\":false"));
        assert_eq!((found.throughput, found.verified, found.cpu_seconds_per_1000), (0.0, 0, None));
    }

    #[test]
    fn where_no_server_is_there_are_no_answers() {
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
        };
        let found = run(&options).unwrap();
        assert!(found.errors.connection > 0 && found.throughput == 0.0);
        assert!(run(&Options { pid: Some(u32::MAX), ..options }).is_err());
    }
}
