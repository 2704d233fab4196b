//! What a request costs its host: the calls it makes, each of which takes time.

use std::{
    collections::BTreeMap,
    io::{Write, stderr},
    time::Duration,
};

use e2e::{Setup, TestApp, Wasi, databases, needs_own_host, on_spin};
use serde_json::{Value, json};

/// The calls of one request, by interface or by stream or future operation. WASI 0.3 instances are warm; with 0.2 each
/// request starts new ones. /verify includes the calls of issuance. Do not add calls without a reason.
const ON_FILES: [&str; 6] = [
    "WASI 0.2, /check: monotonic-clock 2, random 3, sqlite 3, streams 3, types 14, variables 8, wall-clock 1",
    "WASI 0.2, /issue: monotonic-clock 2, preopens 1, random 3, sqlite 5, stderr 1, stdin 1, stdout 1, \
     streams 4, types 14, variables 8, wall-clock 2",
    "WASI 0.2, /verify: monotonic-clock 8, outgoing-handler 1, poll 1, random 6, sqlite 8, streams 12, \
     types 46, variables 21, wall-clock 3",
    "WASI 0.3, /check: drop-readable 6, drop-writable 4, monotonic-clock 1, random 2, read 3, sqlite 1, \
     types 8, wall-clock 1, write 3",
    "WASI 0.3, /issue: drop-readable 6, drop-writable 4, monotonic-clock 1, random 2, read 3, sqlite 1, \
     types 8, wall-clock 1, write 3",
    "WASI 0.3, /verify: client 1, drop-readable 15, drop-writable 11, monotonic-clock 4, random 4, read 7, \
     sqlite 2, types 26, wall-clock 3, write 9",
];

/// The same on PostgreSQL.
const ON_POSTGRES: [&str; 6] = [
    "WASI 0.2, /check: monotonic-clock 1, postgres 2, random 3, streams 3, types 14, variables 15, \
     wall-clock 1",
    "WASI 0.2, /issue: monotonic-clock 1, postgres 2, preopens 1, random 3, stderr 1, stdin 1, stdout 1, \
     streams 4, types 14, variables 15, wall-clock 2",
    "WASI 0.2, /verify: monotonic-clock 6, outgoing-handler 1, poll 1, postgres 4, random 6, streams 12, \
     types 46, variables 35, wall-clock 3",
    "WASI 0.3, /check: drop-readable 6, drop-writable 4, monotonic-clock 5, postgres 2, random 2, read 3, \
     types 8, wall-clock 1, write 3",
    "WASI 0.3, /issue: drop-readable 6, drop-writable 4, monotonic-clock 5, postgres 2, random 2, read 3, \
     types 8, wall-clock 1, write 3",
    "WASI 0.3, /verify: client 1, drop-readable 15, drop-writable 11, monotonic-clock 12, postgres 4, \
     random 4, read 7, types 26, wall-clock 3, write 9",
];

#[tokio::test]
async fn a_request_makes_no_more_calls_than_these() {
    needs_own_host!();
    if on_spin() {
        let _ = writeln!(stderr(), "skipped a test: only the embedded host shows the calls");
        return;
    }
    let mut found = Vec::new();
    for wasi in Wasi::ALL {
        let app = Setup::of_build(wasi, databases()).host_argument("--trace-calls").start().await;
        let hash = app.issued(json!({ "credential": "a" })).await["credential_hash"].clone();
        for path in ["/check", "/issue", "/verify"] {
            let mut number = 0;
            let mut body = || {
                number += 1;
                match path {
                    "/check" => json!({ "credential_hash": hash }),
                    "/issue" => json!({ "credential": format!("new-{number}") }),
                    _ => json!({ "credential": "a" }),
                }
            };
            let usual = usual_calls(&app, path, &mut body).await;
            found.push(format!("WASI {wasi}, {path}: {}", by_interface(&usual)));
        }
    }
    assert_eq!(found, databases().either(ON_FILES, ON_POSTGRES), "{found:#?}");
}

/// The median over several requests: on a busy machine one may start a timer or end late.
async fn usual_calls(app: &TestApp, path: &str, body: &mut impl FnMut() -> Value) -> BTreeMap<String, usize> {
    const REQUESTS: usize = 9;

    // Starts the instance.
    calls(app, path, &body()).await;
    let mut numbers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for _ in 0..REQUESTS {
        for (name, number) in calls(app, path, &body()).await {
            numbers.entry(name).or_default().push(number);
        }
    }
    let median = |mut numbers: Vec<usize>| {
        numbers.resize(REQUESTS, 0);
        numbers.sort_unstable();
        numbers[REQUESTS / 2]
    };
    numbers
        .into_iter()
        .map(|(name, numbers)| (name, median(numbers)))
        .filter(|(_, number)| *number > 0)
        .collect()
}

async fn calls(app: &TestApp, path: &str, body: &Value) -> BTreeMap<String, usize> {
    let before = app.log().len();
    let response = app.post(path, body).await;
    assert!([200, 201].contains(&response.status), "{}", response.text());
    // Some calls follow the response.
    let mut length = 0;
    while app.log().len() > length {
        length = app.log().len();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for call in app.log()[before..].lines().filter_map(|line| line.strip_prefix("call: ")) {
        *calls.entry(call.to_owned()).or_default() += 1;
    }
    // An instance may or may not go to sleep. When it does, it reads the stream through which its other requests can
    // wake it, and cancels the read afterwards.
    let sleeps = calls.remove("cancel-read").unwrap_or_default();
    if let Some(reads) = calls.get_mut("read") {
        *reads = reads.saturating_sub(sleeps);
    }
    calls.retain(|name, _| !["event", "subtask.drop"].contains(&name.as_str()));
    calls
}

/// One line with the number of calls for each interface.
fn by_interface(calls: &BTreeMap<String, usize>) -> String {
    let mut interfaces: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, number) in calls {
        let interface = name.split(' ').next().unwrap_or_default();
        *interfaces.entry(interface).or_default() += number;
    }
    let interfaces: Vec<_> = interfaces.iter().map(|(name, number)| format!("{name} {number}")).collect();
    interfaces.join(", ")
}
