//! Measures how long one page of a list takes with a thousand and with a million rows: `cargo bench -p e2e --profile dev`.
//!
//! Needs the builds that `cargo xtask test` makes; `E2E_DATABASE=postgres` selects PostgreSQL. Inserts rows directly into the databases and requests pages over
//! HTTP.

use std::time::{Duration, Instant};

use credentials::Timestamp;
use e2e::{Database, Setup, TestApp, values::now};

const REQUESTS: usize = 50;

/// `NEXT` stands for the cursor of the page before.
const PAGES: [(&str, &str); 14] = [
    ("first page", "/credentials?"),
    ("from the middle", "/credentials?until=MIDDLE"),
    ("the page after that", "/credentials?until=MIDDLE&cursor=NEXT"),
    ("one hash", "/credentials?credential_hash=HASH"),
    ("active", "/credentials?status=active"),
    ("expired (one in 1000)", "/credentials?status=expired"),
    ("expired from the middle", "/credentials?status=expired&until=MIDDLE"),
    ("revoked (one in 1000)", "/credentials?status=revoked"),
    ("first page", "/verifications?"),
    ("from the middle", "/verifications?until=MIDDLE"),
    ("the page after that", "/verifications?until=MIDDLE&cursor=NEXT"),
    ("one credential", "/verifications?credential_hash=HASH"),
    ("valid", "/verifications?status=valid"),
    ("revoked (one in 1000)", "/verifications?status=revoked"),
];

#[tokio::main]
async fn main() {
    let [small, large] = [measure(1_000).await, measure(1_000_000).await];
    println!("| page | 1 thousand rows | 1 million rows | ratio |\n|---|---|---|---|");
    for ((name, path), times) in PAGES.iter().zip(small.iter().zip(large)) {
        let [small, large] = [*times.0, times.1].map(|time| time.as_secs_f64() * 1000.0);
        let list = path.split('?').next().unwrap_or_default();
        println!("| `{list}`, {name} | {small:.2} ms | {large:.2} ms | {:.1} |", large / small);
    }
}

/// The median time of each of the [`PAGES`] with this many rows.
async fn measure(rows: i64) -> Vec<Duration> {
    let app = Setup::new().without_validation().start().await;
    // Create the tables.
    app.issue("first").await;
    app.verify("first").await;
    fill(&app, rows);
    // Rows are one second apart, and the newest is a day old.
    let middle = now().as_millis() - (86400 + rows / 2) * 1000;
    let middle = Timestamp::from_millis(middle).unwrap().to_string();
    let hash = format!("{:064x}", rows / 2);
    let mut medians = Vec::new();
    for (_, path) in PAGES {
        let mut path = path.replace("MIDDLE", &middle).replace("HASH", &hash);
        if let Some(first) = path.strip_suffix("&cursor=NEXT") {
            let page = app.admin_get(first).await.json();
            path = path.replace("NEXT", page["next_cursor"].as_str().unwrap());
        }
        let mut times = Vec::new();
        for _ in 0..REQUESTS {
            let started = Instant::now();
            let response = app.admin_get(&path).await;
            times.push(started.elapsed());
            assert_eq!(response.status, 200, "{}", response.text());
        }
        times.sort_unstable();
        medians.push(times[REQUESTS / 2]);
    }
    medians
}

fn fill(app: &TestApp, rows: i64) {
    let numbers_in = |database: &Database| {
        let now = database.now();
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}), \
             t (now) AS (SELECT {now} - 86400000)"
        )
    };
    let database = app.database("issuance");
    let (numbers, hash) = (numbers_in(&database), database.hex("i", 64));
    database.execute(&format!(
        "{numbers} INSERT INTO credentials \
         (credential_hash, key_id, worker_id, issued_at, expires_at, revoked_at) \
         SELECT {hash}, 'k', 'w', now - ({rows} - i) * 1000, \
         CASE WHEN i % 1000 = 1 THEN now WHEN i % 2 = 0 THEN now + 1000000000000 END, \
         CASE WHEN i % 1000 = 2 THEN now END FROM n, t"
    ));
    let database = app.database("verification");
    let (numbers, id) = (numbers_in(&database), database.verification_id("ms", "i"));
    database.execute(&format!(
        "{numbers}, m (i, ms) AS (SELECT i, now - ({rows} - i) * 1000 FROM n, t) INSERT INTO verifications \
         (id, request_id, credential_hash, status, verified_by, verified_at) \
         SELECT {id}, 'r', {hash}, CASE WHEN i % 1000 = 1 THEN 'revoked' ELSE 'valid' END, 'w', ms FROM m"
    ));
}
