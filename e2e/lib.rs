//! Shared by the end-to-end tests and the benchmark of the lists.
//!
//! [`TestApp`] is the application on a running host. [`Setup`] configures and starts one, on a free port and in a folder
//! of its own.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

pub use launch::{Signal, SpinVersion, Wasi, workspace};

pub use crate::{
    app::TestApp,
    database::{Database, Databases, Lock, databases},
    response::Response,
    setup::{Setup, on_spin, wasi},
};

mod app;
pub mod cut;
mod database;
pub mod disk;
pub mod mock;
pub mod openapi;
pub mod postgres;
pub mod prefix;
mod response;
mod setup;
pub mod tools;
pub mod values;

/// The secret of every application under test, unless a test sets another.
pub const SECRET: &str = "an end-to-end secret of 32 bytes or more";

/// The admin token of every application under test, unless a test sets another.
pub const ADMIN_TOKEN: &str = "an-end-to-end-admin-token";

/// The issuer token, in tests that set one.
pub const ISSUER_TOKEN: &str = "an-end-to-end-issuer-token";

/// The verifier token, in tests that set one.
pub const VERIFIER_TOKEN: &str = "an-end-to-end-verifier-token";

/// The metrics token, in tests that set one.
pub const METRICS_TOKEN: &str = "an-end-to-end-metrics-token";

/// How long the application may take to respond once it has the whole request.
pub const MAX_RESPONSE_TIME: Duration = Duration::from_secs(5);

/// Skips a test that needs its own host when the tests run against `E2E_BASE_URL`.
#[macro_export]
macro_rules! needs_own_host {
    () => {
        if $crate::has_base_url(module_path!()) {
            return;
        }
    };
}

/// Whether `E2E_BASE_URL` is set; if so, notes that the test is skipped.
pub fn has_base_url(test: &str) -> bool {
    let is_set = env::var_os("E2E_BASE_URL").is_some();
    if is_set {
        eprintln!("skipped {test}: it needs a host of its own, and E2E_BASE_URL names another");
    }
    is_set
}

/// A credential that no other test and no earlier run uses.
pub fn unique(name: &str) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let time = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    format!("{name}-{time:x}-{}-{count}", process::id())
}

/// A local address with a port that is free for now.
pub fn free_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// The page's files.
pub fn page_files() -> Vec<PathBuf> {
    fs::read_dir(workspace().join("web/static")).unwrap().map(|file| file.unwrap().path()).collect()
}

/// The text of one of the project's files.
pub fn read(file: &str) -> String {
    fs::read_to_string(workspace().join(file)).unwrap()
}
