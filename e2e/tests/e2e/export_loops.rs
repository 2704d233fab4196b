//! The export scripts in docs/operations.md.

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use e2e::{ADMIN_TOKEN, Setup, TestApp, needs_own_host, read, tools, values::now};

use crate::export::{CSV, filled, get, items};

/// Runs the first script in a section of the document, with short pages.
fn run_script(app: &TestApp, heading: &str, token: &str) -> Output {
    let document = read("docs/operations.md");
    let section = document.split(&format!("\n{heading}\n")).nth(1).unwrap();
    let script = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let script = script
        .replace("localhost:3000", app.base_url.strip_prefix("http://").unwrap())
        .replace("ADMIN", token)
        .replace("limit=1000", "limit=2")
        .replace("1 minute ago", "10 seconds ago");
    Command::new("sh").args(["-c", &script]).current_dir(app.folder()).output().unwrap()
}

#[tokio::test]
async fn documented_exports_of_consecutive_ranges_have_each_row_once_even_delayed_ones() {
    needs_own_host!();
    if tools::find("curl", "CURL", &[]).is_none() {
        return;
    }
    let app = Setup::new().start().await;
    app.verify("first").await;
    let seconds = |seconds| tokio::time::sleep(Duration::from_secs(seconds));
    let export = || {
        let output = run_script(&app, "### Every night", ADMIN_TOKEN);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    // This row's verdict falls into a range that ends now, but its commit does not.
    let lock = app.lock("verification");
    let (held_up, ()) = tokio::join!(app.verify("held up"), async {
        seconds(2).await;
        let now = now();
        assert_eq!(app.all_pages(&format!("/verifications?until={now}")).await.len(), 1);
        export();
        seconds(1).await;
        drop(lock);
    });
    assert_eq!(held_up.status, 200, "{}", held_up.text());
    app.verify("last").await;
    seconds(8).await;
    export();
    seconds(4).await;
    export();
    let mut ids = Vec::new();
    for file in fs::read_dir(app.folder()).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "csv") {
            ids.extend(items(&fs::read_to_string(file).unwrap()).iter().map(|row| row["id"].to_string()));
        }
    }
    ids.sort_unstable();
    let mut all: Vec<_> =
        app.all_pages("/verifications?limit=9").await.iter().map(|row| row["id"].to_string()).collect();
    all.sort_unstable();
    assert_eq!((ids.len(), &ids), (3, &all));
}

#[tokio::test]
async fn the_documented_loop_writes_all_rows_into_one_file() {
    needs_own_host!();
    if tools::find("curl", "CURL", &[]).is_none() {
        return;
    }
    let app = filled().await;
    let run = |token| run_script(&app, "## Export", token);
    let output = run(ADMIN_TOKEN);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let file = fs::read_to_string(app.folder().join("verifications.csv")).unwrap();
    assert_eq!(file, get(&app, "/verifications", CSV).await.text());
    assert!(!app.folder().join("page.csv").exists());

    assert!(!run("a-wrong-admin-token").status.success());
    assert_eq!(fs::read_to_string(app.folder().join("verifications.csv")).unwrap(), "");
}
