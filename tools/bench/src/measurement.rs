//! What the load generator measures.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Error, Result};
use hdrhistogram::Histogram;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    load::{Load, Wrong, judge},
    usage::Usage,
};

/// The result of one run of the load generator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// Correct responses per second that arrived within the measured time.
    pub(crate) throughput: f64,
    /// Of the correct responses to requests sent within the measured time, whenever they arrived.
    pub(crate) latency: Latency,
    /// Including the warm-up.
    pub(crate) errors: Errors,
    /// The server's user and system time; `None` if its process is unknown or there was no correct response.
    pub(crate) cpu_seconds_per_1000: Option<f64>,
    /// The same of its database server.
    pub(crate) database_cpu_seconds_per_1000: Option<f64>,
    /// The server's resident memory in bytes at the end.
    pub(crate) resident: Option<u64>,
    /// The load generator's own user and system time.
    pub(crate) own_cpu_seconds_per_1000: Option<f64>,
    /// Credentials issued, including the warm-up.
    pub(crate) issued: u64,
    /// Verdicts given, including the warm-up.
    pub(crate) verified: u64,
}

/// From just before a request is sent to the last byte of its response, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// Errors by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Errors {
    /// Responses without a success status, by status.
    pub(crate) status: BTreeMap<u16, u64>,
    /// Successes with the wrong content.
    pub(crate) verdict: u64,
    /// Connections that failed or ended too early.
    pub(crate) connection: u64,
    /// Requests that were never answered.
    pub(crate) timeout: u64,
    /// The first error, in words.
    pub(crate) first: Option<String>,
}

impl Errors {
    pub(crate) fn total(&self) -> u64 {
        self.status.values().sum::<u64>() + self.verdict + self.connection + self.timeout
    }
}

/// What the processes have used so far.
pub(crate) struct Used {
    /// `None` if its process is unknown.
    pub(crate) server: Option<Usage>,
    /// `None` without a database server.
    pub(crate) database: Option<Usage>,
    /// This process, the load generator.
    pub(crate) own: Usage,
}

/// Counts the responses on all connections.
pub(crate) struct Tally {
    /// The beginning and the end of the measured time.
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
    pub(crate) fn new(start: Instant, end: Instant) -> Result<Self> {
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

    pub(crate) fn answered(&mut self, kind: Load, sent: Instant, status: StatusCode, body: &[u8]) {
        let now = Instant::now();
        if let Err(wrong) = judge(kind, status, body) {
            match wrong {
                Wrong::Status(status) => *self.errors.status.entry(status.as_u16()).or_default() += 1,
                Wrong::Verdict => self.errors.verdict += 1,
            }
            let describe = || format!("{kind} was answered {status}: {}", String::from_utf8_lossy(body));
            self.errors.first.get_or_insert_with(describe);
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

    pub(crate) fn connection_failed(&mut self, error: &Error) {
        self.errors.connection += 1;
        self.errors.first.get_or_insert_with(|| format!("{error:#}"));
    }

    pub(crate) fn timed_out(&mut self, limit: Duration) {
        self.errors.timeout += 1;
        self.errors.first.get_or_insert_with(|| format!("no response within {limit:?} of the end"));
    }

    /// The result, given what all processes had used at the beginning and at the end of the measured time.
    pub(crate) fn measurement(&self, before: &Used, after: &Used) -> Measurement {
        let cpu_seconds_per_1000 = |(from, to): (Usage, Usage)| {
            let used = to.cpu.saturating_sub(from.cpu).as_secs_f64();
            (self.completed > 0).then(|| used * 1000.0 / self.completed as f64)
        };
        let milliseconds = |micros: u64| micros as f64 / 1000.0;
        let quantile = |quantile| milliseconds(self.latencies.value_at_quantile(quantile));
        Measurement {
            throughput: self.completed as f64 / (self.end - self.start).as_secs_f64(),
            latency: Latency {
                p50: quantile(0.5),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: milliseconds(self.latencies.max()),
            },
            errors: self.errors.clone(),
            cpu_seconds_per_1000: before.server.zip(after.server).and_then(cpu_seconds_per_1000),
            database_cpu_seconds_per_1000: before.database.zip(after.database).and_then(cpu_seconds_per_1000),
            resident: after.server.map(|server| server.resident),
            own_cpu_seconds_per_1000: cpu_seconds_per_1000((before.own, after.own)),
            issued: self.issued,
            verified: self.verified,
        }
    }
}
