//! Replicas behind nginx, with the configuration in `deploy/`.

use std::{
    fmt::Write,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use e2e::{Setup, Signal, TestApp, free_address, mock::read_request, needs_own_host, read, tools};
use futures_util::future::join_all;
use launch::Group;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    replicas::assert_nothing_lost,
    uses::{KEY, post_with_key},
};

/// nginx in front of replicas. Killed when dropped.
pub(crate) struct Nginx {
    pub(crate) address: String,
    _group: Group,
    folder: TempDir,
}

impl Nginx {
    /// Finds nginx. Like [`tools::find`] if it is missing.
    pub(crate) fn program() -> Option<PathBuf> {
        tools::find("nginx", "NGINX", &["/usr/sbin/nginx"])
    }

    pub(crate) async fn start(program: &Path, replicas: &[String]) -> Self {
        Self::start_with(program, replicas, tempfile::tempdir().unwrap(), "", |config| config).await
    }

    /// Starts with an edited configuration and additional lines in `listen.conf`, in a folder with the files for these.
    pub(crate) async fn start_with(
        program: &Path,
        replicas: &[String],
        folder: TempDir,
        listen: &str,
        edit: impl Fn(String) -> String,
    ) -> Self {
        let address = free_address();
        fs::write(folder.path().join("nginx.conf"), edit(read("deploy/nginx/nginx.conf"))).unwrap();
        fs::write(folder.path().join("listen.conf"), format!("listen {address};\n{listen}")).unwrap();
        // Like upstreams.conf, but without Docker's DNS.
        let mut upstreams = "upstream app {\n    zone app 64k;\n".to_owned();
        for replica in replicas {
            writeln!(upstreams, "    server {replica} max_fails=1 fail_timeout=2s;").unwrap();
            writeln!(upstreams, "    server {replica} max_fails=0 backup;").unwrap();
        }
        upstreams += "    keepalive 32;\n}\n";
        fs::write(folder.path().join("upstreams.conf"), upstreams).unwrap();
        let mut nginx = Command::new(program);
        nginx.args(["-e", "stderr", "-p"]).arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        let log = File::create(folder.path().join("log")).unwrap();
        // nginx would take this variable for inherited sockets.
        nginx.env_remove("NGINX");
        let group = Group::spawn(nginx.stdin(Stdio::null()).stderr(log)).unwrap();
        let nginx = Self { address, _group: group, folder };
        let started = Instant::now();
        while TcpStream::connect(&nginx.address).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "nginx does not listen: {}", nginx.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        nginx
    }

    /// A client of nginx.
    pub(crate) fn front(&self) -> TestApp {
        TestApp::at(&format!("http://{}", self.address))
    }

    /// The error log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

/// One of three hosts is killed under load, and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_costs_a_client_at_most_one_issue_without_a_key_and_loses_no_response() {
    needs_own_host!();
    let Some(program) = Nginx::program() else { return };
    let setup = |replica: usize| {
        Setup::new()
            .without_validation()
            .variable("worker_id", &format!("replica-{replica}"))
            .listen(&free_address())
    };
    let mut replicas = vec![setup(0).start().await];
    for replica in 1..3 {
        replicas.push(setup(replica).databases_of(&replicas[0]).start().await);
    }
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.base_url.replace("http://", "")).collect();
    let nginx = Nginx::start(&program, &addresses).await;
    let front = nginx.front();

    let (issued, verdicts) = (Mutex::new(Vec::<Value>::new()), Mutex::new(Vec::<Value>::new()));
    let generated = Mutex::new(Vec::<Value>::new());
    // The number of failed /issue requests of each client without a key.
    let failures = Mutex::new([0; 12]);
    let done = AtomicBool::new(false);
    let clients = join_all((0..12).map(|client| {
        let (front, issued, verdicts) = (&front, &issued, &verdicts);
        let (generated, failures, done) = (&generated, &failures, &done);
        async move {
            for i in 0.. {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                let mut credential = format!("balanced-{client}-{i}");
                if client % 2 == 0 {
                    let key = format!("the-key-of-request-{client}-{i}");
                    let body = json!({ "generate": true, "max_uses": 1 });
                    let response = post_with_key(front, "/issue", &key, &body).await.expect(201);
                    credential = response["credential"].as_str().unwrap().to_owned();
                    generated.lock().unwrap().push(response);
                } else {
                    let response = front.issue(&credential).await;
                    match response.status {
                        201 => issued.lock().unwrap().push(response.json()),
                        502 | 503 => {
                            failures.lock().unwrap()[client] += 1;
                            // The credential may have been issued all the same: a second try shows it.
                            let again = front.issue(&credential).await.status;
                            assert!(again == 201 || again == 409, "{again}");
                        }
                        _ => panic!("{}", response.text()),
                    }
                }
                let response = front.verify(&credential).await;
                assert_eq!(response.status, 200, "{}", response.text());
                assert_eq!(response.json()["isValid"], true, "{}", response.text());
                verdicts.lock().unwrap().push(response.json());
            }
        }
    }));
    let killer = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        replicas[1].signal(Signal::SIGKILL);
        tokio::time::sleep(Duration::from_secs(2)).await;
        replicas[1].restart().await;
        let back = verdicts.lock().unwrap().len();
        tokio::time::sleep(Duration::from_secs(5)).await;
        done.store(true, Ordering::SeqCst);
        back
    };
    let (_, back) = tokio::join!(clients, killer);

    let (issued, verdicts) = (issued.into_inner().unwrap(), verdicts.into_inner().unwrap());
    assert_nothing_lost(&front, &replicas[0], &issued, &verdicts).await;
    // Each was issued once and used once.
    let generated = generated.into_inner().unwrap();
    assert_nothing_lost(&front, &replicas[0], &generated, &[]).await;
    let used: usize = replicas[0].query("issuance", "SELECT sum(uses) FROM credentials WHERE max_uses = 1");
    let rows: usize = replicas[0].query("issuance", "SELECT count(*) FROM credentials WHERE max_uses = 1");
    assert_eq!((rows, used), (generated.len(), generated.len()));
    let by = |verdicts: &[Value], replica: usize| {
        let name = format!("credential verified by replica-{replica}");
        verdicts.iter().filter(|verdict| verdict["message"] == json!(name)).count()
    };
    for replica in 0..3 {
        assert!(by(&verdicts, replica) > 0, "replica {replica} served no request");
    }
    assert!(by(&verdicts[back..], 1) > 0, "the replica that came back gets no requests");
    let failures = failures.into_inner().unwrap();
    assert!(failures.iter().all(|failures| *failures <= 1), "{failures:?}");
}

/// A replica that hands requests on to an application and dies before it responds.
async fn dying_replica(application: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let request = read_request(&mut client).await;
            let mut application = TcpStream::connect(&application).await.unwrap();
            application.write_all(request.as_bytes()).await.unwrap();
            application.read_exact(&mut [0; 1]).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_request_whose_replica_dies_under_way_is_done_once() {
    needs_own_host!();
    let Some(program) = Nginx::program() else { return };
    let app = Setup::new().without_validation().start().await;
    let address = app.base_url.replace("http://", "");
    let dying = dying_replica(address.clone()).await;
    let upstream = format!("upstream app {{ server {dying} max_fails=0; server {address} backup; }}");
    let edit = |config: String| config.replace("include upstreams.conf;", &upstream);
    let nginx = Nginx::start_with(&program, &[], tempfile::tempdir().unwrap(), "", edit).await;
    let front = nginx.front();

    let code = json!({ "generate": true, "max_uses": 2 });
    let issued = post_with_key(&front, "/issue", KEY, &code).await.expect(201);
    assert_eq!(app.count("issuance", "credentials"), 1);
    let hash = issued["credential_hash"].as_str().unwrap();
    assert_eq!(app.check(hash).await.expect(200)["issued_at"], issued["issued_at"]);
    let uses = || app.query::<usize>("issuance", "SELECT sum(uses) FROM credentials");
    let body = json!({ "credential": issued["credential"] });
    for (left, used) in [(1, 1), (0, 2)] {
        let verdict = front.post("/verify", &body).await.expect(200);
        assert_eq!((&verdict["status"], &verdict["usesLeft"]), (&json!("valid"), &json!(left)));
        assert_eq!(uses(), used);
    }
    assert_eq!(app.count("verification", "verifications"), 4);

    let batch = json!({ "credentials": [code, code] });
    let key = KEY.replace('8', "9");
    let results = post_with_key(&front, "/issue/batch", &key, &batch).await.expect(200)["results"].clone();
    assert_eq!(app.count("issuance", "credentials"), 3);
    let batch = json!({ "credentials": [results[0]["credential"], results[1]["credential"]] });
    let results = front.post("/verify/batch", &batch).await.expect(200)["results"].clone();
    assert_eq!((&results[0]["usesLeft"], &results[1]["usesLeft"], uses()), (&json!(1), &json!(1), 4));

    // Without a key, a second request to issue would be a duplicate, so there is none.
    front.issue("without a key").await.assert_problem(502, "bad-gateway");
    assert_eq!(app.count("issuance", "credentials"), 4);
    front.post("/issue/batch", &json!({ "credentials": [code] })).await.assert_problem(502, "bad-gateway");
    assert_eq!(app.count("issuance", "credentials"), 5);
}
