//! Random histories of credentials, compared with a model.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use e2e::{Setup, TestApp, needs_own_host};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::json;

/// A step in a history. Credentials and secrets are numbered.
#[derive(Clone, Debug)]
enum Step {
    /// Issues with this time to live, if any.
    Issue(u8, Option<Duration>),
    Revoke(u8),
    Verify(u8),
    VerifyAll,
    /// Waits until all expiring credentials have expired.
    Expire,
    /// Makes this secret current and retires the previous one.
    Rotate(u8),
    DropRetired,
}

const CREDENTIALS: u8 = 4;
/// Long enough for a few steps, short enough to wait for.
const TTL: Duration = Duration::from_secs(3);
/// How long a step may take on a busy machine. This close to its expiry, a credential may be valid or expired.
const MARGIN: Duration = Duration::from_secs(1);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let credential = 0..CREDENTIALS;
    let step = prop_oneof![
        6 => (credential.clone(), any::<bool>())
            .prop_map(|(credential, expires)| Step::Issue(credential, expires.then_some(TTL))),
        3 => credential.clone().prop_map(Step::Revoke),
        6 => credential.prop_map(Step::Verify),
        2 => Just(Step::VerifyAll),
        1 => Just(Step::Expire),
        2 => (0_u8..3).prop_map(Step::Rotate),
        1 => Just(Step::DropRetired),
    ];
    prop::collection::vec(step, 5..30)
}

/// The expected state of the service.
#[derive(Default)]
struct Model {
    /// Keyed by secret and credential.
    issued: HashMap<(u8, u8), Record>,
    current: u8,
    retired: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Record {
    expires: Option<Instant>,
    revoked: bool,
}

impl Model {
    fn usable(&self) -> impl Iterator<Item = u8> + '_ {
        std::iter::once(self.current).chain(self.retired.iter().copied())
    }

    /// The records of a credential under the usable secrets.
    fn records(&self, credential: u8) -> Vec<Record> {
        self.usable().filter_map(|secret| self.issued.get(&(secret, credential)).copied()).collect()
    }

    /// The expected verdict; `None` if the credential expires around now.
    fn verdict(&self, credential: u8) -> Option<&'static str> {
        let records = self.records(credential);
        if records.iter().any(|record| record.revoked) {
            return Some("revoked");
        }
        let ends: Vec<_> = records.iter().filter_map(|record| record.expires).collect();
        let now = Instant::now();
        if ends.iter().any(|end| now + MARGIN > *end && now < *end + MARGIN) {
            return None;
        }
        Some(match records.len() {
            0 => "not_found",
            _ if ends.iter().any(|end| now >= *end) => "expired",
            _ => "valid",
        })
    }
}

fn secret(number: u8) -> String {
    format!("model secret number {number} of 32 bytes or more")
}

fn name(credential: u8) -> String {
    format!("model credential {credential}")
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let mut app = Setup::new().variable("credential_secret", &secret(0)).start().await;
    for step in steps {
        match step {
            Step::Issue(credential, ttl) => {
                let mut body = json!({ "credential": name(credential) });
                if let Some(ttl) = ttl {
                    body["ttl_seconds"] = ttl.as_secs().into();
                }
                let expected = if model.records(credential).is_empty() { 201 } else { 409 };
                let before = Instant::now();
                prop_assert_eq!(app.post("/issue", &body).await.status, expected);
                if expected == 201 {
                    let record = Record { expires: ttl.map(|ttl| before + ttl), revoked: false };
                    model.issued.insert((model.current, credential), record);
                }
            }
            Step::Revoke(credential) => {
                let expected = if model.records(credential).is_empty() { 404 } else { 200 };
                let response = app.revoke(&json!({ "credential": name(credential) })).await;
                prop_assert_eq!(response.status, expected);
                for secret in model.usable().collect::<Vec<_>>() {
                    if let Some(record) = model.issued.get_mut(&(secret, credential)) {
                        record.revoked = true;
                    }
                }
            }
            Step::Verify(credential) => verify(&app, &model, credential).await?,
            Step::VerifyAll => {
                let expected: Vec<_> = (0..CREDENTIALS).map(|credential| model.verdict(credential)).collect();
                let batch = json!({ "credentials": (0..CREDENTIALS).map(name).collect::<Vec<_>>() });
                let response = app.post("/verify/batch", &batch).await.json();
                for (index, expected) in expected.into_iter().enumerate() {
                    if let Some(expected) = expected {
                        prop_assert_eq!(&response["results"][index]["status"], expected);
                    }
                }
            }
            Step::Expire => tokio::time::sleep(TTL + MARGIN + Duration::from_millis(100)).await,
            Step::Rotate(next) => {
                if next != model.current {
                    model.retired.retain(|retired| *retired != next);
                    model.retired.insert(0, std::mem::replace(&mut model.current, next));
                }
                restart(&mut app, &model).await;
            }
            Step::DropRetired => {
                model.retired.clear();
                restart(&mut app, &model).await;
            }
        }
    }
    for credential in 0..CREDENTIALS {
        verify(&app, &model, credential).await?;
    }
    Ok(())
}

async fn verify(app: &TestApp, model: &Model, credential: u8) -> Result<(), TestCaseError> {
    let Some(expected) = model.verdict(credential) else { return Ok(()) };
    let verdict = app.verify(&name(credential)).await.json();
    prop_assert_eq!(&verdict["status"], expected);
    prop_assert_eq!(&verdict["isValid"], expected == "valid");
    Ok(())
}

async fn restart(app: &mut TestApp, model: &Model) {
    let retired: Vec<_> = model.retired.iter().copied().map(secret).collect();
    app.restart_with(&[
        ("credential_secret", &secret(model.current)),
        ("retired_credential_secrets", &retired.join(",")),
    ])
    .await;
}

#[test]
fn random_histories_agree_with_the_model() {
    needs_own_host!();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = Config { cases: 12, max_shrink_iters: 30, failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&steps(), |steps| runtime.block_on(run(steps))).unwrap();
}
