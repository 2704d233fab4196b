//! Random lives of credentials, against a model of a few lines.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use serde_json::json;

use e2e::{Setup, TestApp, needs_own_host};

/// A step of a random history over a few credentials and secrets.
#[derive(Clone, Debug)]
enum Step {
    Issue {
        credential: u8,
        expiring: bool,
    },
    Revoke {
        credential: u8,
    },
    Verify {
        credential: u8,
    },
    VerifyAll,
    /// Waits until what is expiring has expired.
    Expire,
    /// Makes this secret the current one, and retires the one before.
    Rotate {
        secret: u8,
    },
    /// Drops all retired secrets.
    DropRetired,
}

const CREDENTIALS: u8 = 4;
/// Long enough for a few steps, short enough to wait for.
const TTL: Duration = Duration::from_secs(3);
/// How long a step may take on a busy machine: so near to its end, a credential may be judged either way.
const MARGIN: Duration = Duration::from_secs(1);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let credential = 0..CREDENTIALS;
    let step = prop_oneof![
        6 => (credential.clone(), any::<bool>()).prop_map(|(credential, expiring)| Step::Issue { credential, expiring }),
        3 => credential.clone().prop_map(|credential| Step::Revoke { credential }),
        6 => credential.prop_map(|credential| Step::Verify { credential }),
        2 => Just(Step::VerifyAll),
        1 => Just(Step::Expire),
        2 => (0_u8..3).prop_map(|secret| Step::Rotate { secret }),
        1 => Just(Step::DropRetired),
    ];
    prop::collection::vec(step, 5..30)
}

/// What the service should know.
#[derive(Default)]
struct Model {
    /// Each credential under each secret it was issued under.
    issued: HashMap<(u8, u8), Life>,
    current: u8,
    retired: Vec<u8>,
}

#[derive(Clone, Copy, Default)]
struct Life {
    expires: Option<Instant>,
    revoked: bool,
}

impl Model {
    fn usable(&self) -> impl Iterator<Item = u8> + '_ {
        std::iter::once(self.current).chain(self.retired.iter().copied())
    }

    fn lives(&self, credential: u8) -> Vec<Life> {
        self.usable().filter_map(|secret| self.issued.get(&(secret, credential)).copied()).collect()
    }

    /// The verdict, or none where the credential expires about now.
    fn verdict(&self, credential: u8) -> Option<&'static str> {
        let lives = self.lives(credential);
        if lives.iter().any(|life| life.revoked) {
            return Some("revoked");
        }
        let ends: Vec<_> = lives.iter().filter_map(|life| life.expires).collect();
        let now = Instant::now();
        if ends.iter().any(|end| now + MARGIN > *end && now < *end + MARGIN) {
            return None;
        }
        Some(match lives.len() {
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
            Step::Issue { credential, expiring } => {
                let mut body = json!({ "credential": name(credential) });
                if expiring {
                    body["ttl_seconds"] = TTL.as_secs().into();
                }
                let expected = if model.lives(credential).is_empty() { 201 } else { 409 };
                let before = Instant::now();
                prop_assert_eq!(app.post("/issue", &body).await.status, expected);
                if expected == 201 {
                    let life = Life { expires: expiring.then(|| before + TTL), revoked: false };
                    model.issued.insert((model.current, credential), life);
                }
            }
            Step::Revoke { credential } => {
                let expected = if model.lives(credential).is_empty() { 404 } else { 200 };
                prop_assert_eq!(
                    app.revoke(&json!({ "credential": name(credential) })).await.status,
                    expected
                );
                for secret in model.usable().collect::<Vec<_>>() {
                    if let Some(life) = model.issued.get_mut(&(secret, credential)) {
                        life.revoked = true;
                    }
                }
            }
            Step::Verify { credential } => verify(&app, &model, credential).await?,
            Step::VerifyAll => {
                let expected: Vec<_> = (0..CREDENTIALS).map(|credential| model.verdict(credential)).collect();
                let batch = json!({ "credentials": (0..CREDENTIALS).map(name).collect::<Vec<_>>() });
                let answer = app.post("/verify/batch", &batch).await.json();
                for (index, expected) in expected.into_iter().enumerate() {
                    if let Some(expected) = expected {
                        prop_assert_eq!(&answer["results"][index]["status"], expected);
                    }
                }
            }
            Step::Expire => tokio::time::sleep(TTL + MARGIN + Duration::from_millis(100)).await,
            Step::Rotate { secret: next } => {
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
