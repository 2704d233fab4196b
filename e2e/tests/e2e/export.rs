//! GET /credentials and GET /verifications as CSV and NDJSON.

use std::{collections::HashSet, slice, time::Duration};

use e2e::{Response, Setup, TestApp, needs_own_host};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";
const FORMATS: [&str; 3] = [JSON, CSV, NDJSON];

/// The lists and their columns.
const LISTS: [(&str, &[&str]); 2] = [
    (
        "credentials",
        &[
            "credential_hash",
            "key_id",
            "worker_id",
            "issued_at",
            "status",
            "expires_at",
            "revoked_at",
            "max_uses",
            "uses",
            "reason",
            "metadata",
        ],
    ),
    (
        "verifications",
        &[
            "id",
            "request_id",
            "credential_hash",
            "is_valid",
            "status",
            "verified_by",
            "verified_at",
            "client_address",
        ],
    ),
];

pub(crate) async fn get(app: &TestApp, path: &str, accept: &str) -> Response {
    let response = app.send(app.admin(Method::GET, path).header("accept", accept)).await;
    assert_eq!(response.status, 200, "{}", response.text());
    response
}

/// The path of the next page.
fn next(response: &Response) -> Option<String> {
    let link = response.header("link")?;
    Some(format!("/{}", link.strip_prefix('<').unwrap().strip_suffix(r#">; rel="next""#).unwrap()))
}

/// This page and all that follow it.
async fn pages(app: &TestApp, path: &str, accept: &str) -> Vec<Response> {
    let mut pages = vec![get(app, path, accept).await];
    while let Some(path) = next(pages.last().unwrap()) {
        pages.push(get(app, &path, accept).await);
    }
    pages
}

/// The rows of pages in this format.
fn rows(pages: &[Response], accept: &str) -> Vec<Value> {
    match accept {
        CSV => items(&whole(pages)),
        NDJSON => lines(&whole(pages)),
        _ => {
            let array =
                |page: &Response| page.json().as_object()?.values().find_map(Value::as_array).cloned();
            pages.iter().flat_map(|page| array(page).unwrap()).collect()
        }
    }
}

fn whole(pages: &[Response]) -> String {
    pages.iter().map(Response::text).collect()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records of a CSV file. The first has the column names.
fn records(file: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(file.as_bytes());
    let record = |record: csv::StringRecord| record.iter().map(str::to_owned).collect();
    reader.records().map(|result| record(result.unwrap())).collect()
}

/// The rows of a CSV file as the JSON list would have them, but without apostrophes.
pub(crate) fn items(file: &str) -> Vec<Value> {
    let mut records = records(file).into_iter();
    let names = records.next().unwrap();
    let item = |record: Vec<String>| {
        let cells = names.iter().zip(record).filter(|(_, cell)| !cell.is_empty());
        let value = |name: &str, cell: String| match name {
            "metadata" | "is_valid" | "max_uses" | "uses" => {
                serde_json::from_str(&cell.replace('\'', "")).unwrap()
            }
            _ => Value::String(cell.replace('\'', "")),
        };
        cells.map(|(name, cell)| (name.clone(), value(name, cell))).collect()
    };
    records.map(item).collect()
}

/// Issues nine credentials, some of them with expiry, metadata, a number of uses or a revocation, and verifies them.
pub(crate) async fn filled() -> TestApp {
    let app = Setup::new().variable("worker_id", "=1+1").variable("audit_client_address", "true");
    let app = app.start().await;
    for i in 0..9 {
        let mut body = json!({ "credential": format!("c{i}") });
        if i % 2 == 0 {
            body["metadata"] =
                json!({ "text": "é \"quoted\", and\r\nmore", "sum": [i, null, -1.5], "x": ";=1" });
        }
        if i % 3 == 0 {
            body["ttl_seconds"] = 3600.into();
        }
        if i % 5 == 0 {
            body["max_uses"] = 1.into();
        }
        app.issued(body).await;
        if i % 4 == 0 {
            app.revoke(&json!({ "credential": format!("c{i}"), "reason": "+1; -1;-2\n@3, \"x\"" })).await;
        }
        let verify = app.request(Method::POST, "/verify").header("x-request-id", format!("-{i}"));
        app.send(verify.json(&json!({ "credential": format!("c{}", i + 3) }))).await;
    }
    app
}

#[tokio::test]
async fn all_formats_have_the_same_rows_in_pages_that_make_one_file() {
    needs_own_host!();
    let app = filled().await;
    for (list, columns) in LISTS {
        let expected = app.all_pages(&format!("/{list}?limit=1000")).await;
        assert_eq!(expected.len(), 9);
        let whole_csv = get(&app, &format!("/{list}"), CSV).await.text();
        assert_eq!(records(&whole_csv)[0], columns);
        assert_eq!(items(&whole_csv), expected);
        for (limit, count) in [(1, 9), (2, 5), (9, 1), (1000, 1)] {
            let path = format!("/{list}?limit={limit}&since=2026-01-01T00:00:00Z");
            let csv = pages(&app, &path, CSV).await;
            assert_eq!(csv.len(), count, "{path}");
            assert_eq!(whole(&csv), whole_csv, "{path}");
            for (i, page) in csv.iter().enumerate() {
                let header = if i == 0 { "present" } else { "absent" };
                let content_type = format!("text/csv; charset=utf-8; header={header}");
                assert_eq!(page.header("content-type"), Some(content_type.as_str()), "{path}");
            }
            let ndjson = pages(&app, &path, NDJSON).await;
            assert_eq!((ndjson.len(), lines(&whole(&ndjson))), (count, expected.clone()), "{path}");
            assert!(ndjson.iter().all(|page| page.header("content-type") == Some(NDJSON)));
            assert!(ndjson.iter().all(|page| page.text().ends_with("}\n")));
            let json = pages(&app, &path, JSON).await;
            assert_eq!((json.len(), rows(&json, JSON)), (count, expected.clone()), "{path}");
        }
    }
}

#[tokio::test]
async fn a_link_keeps_the_filters_and_its_cursor_works_with_any_format_and_limit() {
    needs_own_host!();
    let app = filled().await;
    let expected = app.all_pages("/credentials?limit=9&status=active").await;
    let first = get(&app, "/credentials?status=active&limit=1", CSV).await;
    let link = next(&first).unwrap();
    assert!(link.starts_with("/credentials?status=active&limit=1&cursor="), "{link}");
    let rest = get(&app, &link.replace("limit=1&", "limit=1000&"), NDJSON).await;
    assert_eq!(lines(&rest.text()), expected[1..]);
    assert_eq!(next(&rest), None);
    let page = get(&app, "/credentials?status=active&limit=1", "*/*").await;
    assert_eq!(page.json()["next_cursor"], link.rsplit("cursor=").next().unwrap());
    let other = app.admin(Method::GET, &link.replace("active", "revoked")).header("accept", CSV);
    app.send(other).await.assert_problem(400, "invalid-request");
}

#[tokio::test]
async fn the_format_is_the_one_that_the_client_prefers_and_json_by_default() {
    let app = TestApp::any().await;
    for (accept, format) in [
        ("*/*", JSON),
        ("text/html, */*;q=0.8", JSON),
        ("image/png", JSON),
        ("text/*", CSV),
        ("text/csv; charset=utf-8", CSV),
        ("application/json;q=0.5, text/csv;q=0.9, application/x-ndjson", NDJSON),
        ("application/x-ndjson;q=0.1, */*;q=0", NDJSON),
    ] {
        for (list, _) in LISTS {
            let response = get(&app, &format!("/{list}"), accept).await;
            let content_type = response.header("content-type").unwrap();
            assert_eq!(content_type.split(';').next(), Some(format), "{accept}");
            let vary =
                response.headers.get_all("vary").iter().flat_map(|value| value.to_str().unwrap().split(','));
            assert!(vary.map(str::trim).any(|name| name == "accept"), "{:?}", response.headers);
        }
    }
}

#[tokio::test]
async fn no_format_repeats_or_misses_a_row_while_rows_are_added() {
    needs_own_host!();
    let app = Setup::new().start().await;
    for i in 0..30 {
        app.issue(&format!("before-{i}")).await;
        app.verify(&format!("before-{i}")).await;
    }
    for (path, id) in [("/credentials?limit=4", "credential_hash"), ("/verifications?limit=4", "id")] {
        let before = app.all_pages(path).await;
        for accept in FORMATS {
            let adding = async {
                for i in 0..20 {
                    app.issue(&format!("{path}-{accept}-{i}")).await;
                    app.verify(&format!("{path}-{accept}-{i}")).await;
                }
            };
            let (pages, ()) = tokio::join!(pages(&app, path, accept), adding);
            assert!(pages.len() >= 8);
            let rows = rows(&pages, accept);
            let seen: HashSet<_> = rows.iter().map(|row| row[id].as_str()).collect();
            assert_eq!(seen.len(), rows.len(), "a row is repeated");
            assert!(before.iter().all(|row| seen.contains(&row[id].as_str())), "a row is missing");
        }
    }
}

#[tokio::test]
async fn no_cell_of_a_csv_file_is_a_formula() {
    needs_own_host!();
    let app = filled().await;
    let credentials = get(&app, "/credentials", CSV).await.text();
    let verifications = get(&app, "/verifications", CSV).await.text();
    let cell = |file: &str, row: usize, column: &str| {
        let records = records(file);
        records[row][records[0].iter().position(|name| name == column).unwrap()].clone()
    };
    // The first credential was revoked and has metadata.
    assert_eq!(cell(&credentials, 9, "worker_id"), "'=1+1");
    assert_eq!(cell(&credentials, 9, "reason"), "'+1; '-1;'-2\n'@3, \"x\"");
    assert_eq!(
        cell(&credentials, 9, "metadata"),
        r#"{"sum":[0,null,-1.5],"text":"é \"quoted\", and\r\nmore","x":";'=1"}"#
    );
    assert_eq!(cell(&verifications, 9, "request_id"), "'-0");
    assert_eq!(cell(&verifications, 9, "verified_by"), "'=1+1");
    // All cells are quoted, so that no other separator splits them.
    for file in [credentials, verifications] {
        assert!(file.starts_with('"') && file.ends_with("\"\r\n"));
        assert_eq!(file.split("\"\r\n\"").count(), 10);
    }
}

#[tokio::test]
async fn an_empty_list_is_an_empty_file_except_for_the_column_names() {
    needs_own_host!();
    let app = Setup::new().start().await;
    for (list, columns) in LISTS {
        let path = format!("/{list}");
        let csv = get(&app, &path, CSV).await;
        assert_eq!(csv.text(), format!("\"{}\"\r\n", columns.join("\",\"")));
        let ndjson = get(&app, &path, NDJSON).await;
        assert_eq!((ndjson.text().as_str(), ndjson.header("content-length")), ("", Some("0")));
        assert_eq!(ndjson.header("content-type"), Some(NDJSON));
        let json = get(&app, &path, JSON).await;
        assert_eq!(json.json(), json!({ list: [], "next_cursor": null }));
        for response in [csv, ndjson, json] {
            assert_eq!(response.header("link"), None);
        }
    }
}

#[tokio::test]
async fn an_empty_page_of_a_scan_links_to_the_next_one() {
    needs_own_host!();
    let app = Setup::new().start().await;
    let hash = app.issued(json!({ "credential": "old", "ttl_seconds": 1 })).await["credential_hash"].clone();
    let database = app.database("issuance");
    let (hash_of, now) = (database.hex("i", 64), database.now());
    database.execute(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20500) \
         INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at, expires_at) \
         SELECT {hash_of}, '0000000000000000', 'w', {now} + 1000 + i, {now} * 2 FROM n"
    ));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for accept in FORMATS {
        let pages = pages(&app, "/credentials?status=expired", accept).await;
        assert_eq!(pages.len(), 3, "{accept}");
        let rows = rows(&pages, accept);
        assert_eq!((rows.len(), &rows[0]["credential_hash"]), (1, &hash), "{accept}");
    }
}

#[tokio::test]
async fn a_page_of_1000_rows_has_room_for_the_longest_metadata_and_reasons() {
    needs_own_host!();
    let app = Setup::new().without_validation().start().await;
    app.issue("first").await;
    let database = app.database("issuance");
    let (hash_of, now) = (database.hex("i", 64), database.now());
    let (worker, reason) = ("w".repeat(128), "🦀".repeat(500));
    let metadata = format!(r#"{{"a":"{}"}}"#, r#"\""#.repeat(2044));
    database.execute(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200) \
         INSERT INTO credentials \
         (credential_hash, key_id, worker_id, issued_at, revoked_at, revocation_reason, metadata) \
         SELECT {hash_of}, '0000000000000000', '{worker}', {now} + i, 1, '{reason}', '{metadata}' FROM n"
    ));
    let pages = join_all(FORMATS.map(|accept| get(&app, "/credentials?limit=1000", accept))).await;
    let json = rows(&pages[..1], JSON);
    assert_eq!(json.len(), 1000);
    assert!(pages[0].body.len() > 6_000_000);
    for (page, accept) in pages.iter().zip(FORMATS) {
        assert!(rows(slice::from_ref(page), accept) == json, "{accept}");
        assert!(next(page).is_some());
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get() {
    needs_own_host!();
    let app = filled().await;
    for (list, _) in LISTS {
        for accept in FORMATS {
            let request = |method| app.admin(method, &format!("/{list}?limit=2")).header("accept", accept);
            let (get, head) = (app.send(request(Method::GET)).await, app.send(request(Method::HEAD)).await);
            assert_eq!((head.status, head.body.len()), (200, 0));
            for name in ["content-type", "content-length", "link"] {
                assert!(head.header(name).is_some() && head.header(name) == get.header(name), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn errors_are_problem_documents_and_pages_of_any_origin_may_read_links() {
    let app = TestApp::any().await;
    for (list, _) in LISTS {
        for accept in [CSV, NDJSON] {
            let bad = app.admin(Method::GET, &format!("/{list}?limit=1001")).header("accept", accept);
            app.send(bad).await.assert_problem(400, "invalid-request");
            let stranger = app.request(Method::GET, &format!("/{list}")).header("accept", accept);
            app.send(stranger).await.assert_problem(401, "unauthorized");
        }
        let request = app.admin(Method::GET, &format!("/{list}")).header("origin", "https://app.example");
        let response = app.send(request).await;
        let exposed = response.header("access-control-expose-headers").unwrap();
        assert!(exposed.split(',').any(|name| name == "link"), "{exposed}");
    }
}
