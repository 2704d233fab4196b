//! The requests, and how their responses are judged.

use std::fmt;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::ValueEnum;
use credentials::{Credential, CredentialHash, Secret};
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

/// The HMAC key of the servers that are started here.
pub(crate) const SECRET: &str = "a secret for cargo xtask bench, known to all";

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    /// `POST /check` with the hash of a credential that was issued.
    CheckHit,
    /// `POST /check` with a hash that was never issued.
    CheckMiss,
    /// `POST /verify` with a credential that was issued.
    VerifyHit,
    /// `POST /verify` with a credential that was never issued.
    VerifyMiss,
    /// `POST /issue` with a new credential each time.
    Issue,
    /// 60 % verify-hit, 25 % check-hit, 10 % issue, 5 % verify-miss.
    Mixed,
    /// `GET /.well-known/spin/health`, which does nothing: the limit of the load generator and of the server's HTTP.
    Ping,
}

impl Load {
    /// All kinds that measure the services.
    pub(crate) const ALL: [Self; 6] =
        [Self::CheckHit, Self::CheckMiss, Self::VerifyHit, Self::VerifyMiss, Self::Issue, Self::Mixed];

    /// Whether it needs credentials that were issued before.
    pub(crate) fn hits(self) -> bool {
        matches!(self, Self::CheckHit | Self::VerifyHit | Self::Mixed)
    }

    /// The kind of the next request: never `Mixed`.
    fn next(self) -> Self {
        if self != Self::Mixed {
            return self;
        }
        match fastrand::u8(..100) {
            0..60 => Self::VerifyHit,
            60..85 => Self::CheckHit,
            85..95 => Self::Issue,
            _ => Self::VerifyMiss,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// The services, which may be one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Issuance,
    Verification,
}

/// A request to send.
pub(crate) struct Request {
    /// Never [`Load::Mixed`].
    pub(crate) kind: Load,
    pub(crate) service: Service,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
}

/// A source of requests. Every new credential in them is unique.
pub(crate) struct Source {
    load: Load,
    secret: Secret,
    known: Known,
    /// Distinguishes the credentials of this run from those of others.
    nonce: u64,
    counter: u64,
}

/// The credentials that were issued before.
pub(crate) enum Known {
    /// This many, as [`prefilled`] gives them.
    Prefilled(u64),
    /// Each with its hash.
    Issued(Vec<(String, String)>),
}

/// The nth credential of a prefilled database.
pub(crate) fn prefilled(index: u64) -> String {
    format!("bench-{index}")
}

/// Hashes a credential.
pub(crate) fn hash(secret: &Secret, credential: &str) -> Result<CredentialHash> {
    Ok(secret.hash(&Credential::new(credential)?))
}

impl Source {
    /// Fails if the load needs known credentials and there are none.
    pub(crate) fn new(load: Load, known: Known) -> Result<Self> {
        let none = match &known {
            Known::Prefilled(number) => *number == 0,
            Known::Issued(issued) => issued.is_empty(),
        };
        if load.hits() && none {
            bail!("{load} needs credentials that were issued before");
        }
        Ok(Self { load, secret: Secret::new(SECRET)?, known, nonce: fastrand::u64(..), counter: 0 })
    }

    pub(crate) fn next(&mut self) -> Result<Request> {
        let kind = self.load.next();
        let (service, path, member, value) = match kind {
            Load::CheckHit => (Service::Issuance, "/check", "credential_hash", self.known_hash()?),
            Load::CheckMiss => (Service::Issuance, "/check", "credential_hash", random_hash()),
            Load::Issue => (Service::Issuance, "/issue", "credential", self.new_credential()),
            Load::VerifyHit => (Service::Verification, "/verify", "credential", self.known_credential()),
            Load::VerifyMiss => (Service::Verification, "/verify", "credential", self.new_credential()),
            Load::Ping | Load::Mixed => {
                let path = "/.well-known/spin/health";
                return Ok(Request {
                    kind: Load::Ping,
                    service: Service::Issuance,
                    method: Method::GET,
                    path,
                    body: Bytes::new(),
                });
            }
        };
        // No value has a character that JSON escapes.
        let body = format!(r#"{{"{member}":"{value}"}}"#);
        Ok(Request { kind, service, method: Method::POST, path, body: body.into() })
    }

    fn new_credential(&mut self) -> String {
        self.counter += 1;
        format!("{:016x}-{}", self.nonce, self.counter)
    }

    fn known_credential(&self) -> String {
        match &self.known {
            Known::Prefilled(number) => prefilled(fastrand::u64(..number)),
            Known::Issued(issued) => issued[fastrand::usize(..issued.len())].0.clone(),
        }
    }

    fn known_hash(&self) -> Result<String> {
        match &self.known {
            Known::Prefilled(number) => {
                Ok(hash(&self.secret, &prefilled(fastrand::u64(..number)))?.to_string())
            }
            Known::Issued(issued) => Ok(issued[fastrand::usize(..issued.len())].1.clone()),
        }
    }
}

fn random_hash() -> String {
    let mut bytes = [0; CredentialHash::BYTES];
    fastrand::fill(&mut bytes);
    CredentialHash::from(bytes).to_string()
}

/// Why a response is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// It is not a success.
    Status(StatusCode),
    /// It is a success, but `exists` or `isValid` is wrong or missing.
    Verdict,
}

/// Checks the response to a request.
pub(crate) fn judge(kind: Load, status: StatusCode, body: &[u8]) -> Result<(), Wrong> {
    #[derive(Default, Deserialize)]
    struct Body {
        exists: Option<bool>,
        #[serde(rename = "isValid")]
        is_valid: Option<bool>,
    }
    // This project responds with 201 and 200; other servers with the same API may use any of these.
    let expected: &[StatusCode] = match kind {
        Load::Issue => &[StatusCode::CREATED, StatusCode::OK],
        Load::CheckMiss | Load::VerifyMiss => &[StatusCode::OK, StatusCode::NOT_FOUND],
        _ => &[StatusCode::OK],
    };
    if !expected.contains(&status) {
        return Err(Wrong::Status(status));
    }
    let content = || serde_json::from_slice::<Body>(body).unwrap_or_default();
    let right = match kind {
        Load::CheckHit => content().exists == Some(true),
        Load::CheckMiss => content().exists == Some(false),
        Load::VerifyHit => content().is_valid == Some(true),
        Load::VerifyMiss => content().is_valid == Some(false),
        Load::Issue | Load::Ping | Load::Mixed => true,
    };
    if right { Ok(()) } else { Err(Wrong::Verdict) }
}

/// Reads the hash from a response to `POST /issue`.
pub(crate) fn issued_hash(body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Issued {
        credential_hash: String,
    }
    let issued: Issued =
        serde_json::from_slice(body).context("the response to /issue has no credential_hash")?;
    Ok(issued.credential_hash)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    #[test]
    fn a_response_with_the_wrong_verdict_is_an_error() {
        let judge =
            |kind, status, body: &str| judge(kind, StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(judge(Load::CheckHit, 200, r#"{"exists": true, "status": "active"}"#), Ok(()));
        assert_eq!(judge(Load::CheckHit, 200, r#"{"exists":false}"#), Err(Wrong::Verdict));
        assert_eq!(judge(Load::CheckMiss, 200, r#"{"exists":true}"#), Err(Wrong::Verdict));
        assert_eq!(judge(Load::VerifyHit, 200, r#"{"isValid":true}"#), Ok(()));
        assert_eq!(judge(Load::VerifyHit, 200, "{}"), Err(Wrong::Verdict));
        assert_eq!(judge(Load::VerifyMiss, 200, r#"{"isValid":true}"#), Err(Wrong::Verdict));
        assert_eq!(
            judge(Load::VerifyMiss, 503, r#"{"status":503}"#),
            Err(Wrong::Status(StatusCode::SERVICE_UNAVAILABLE))
        );
        assert_eq!(judge(Load::Issue, 201, ""), Ok(()));
        assert_eq!(judge(Load::Issue, 409, ""), Err(Wrong::Status(StatusCode::CONFLICT)));
        assert_eq!(judge(Load::VerifyMiss, 404, r#"{"isValid":false}"#), Ok(()));
        assert_eq!(judge(Load::VerifyMiss, 404, "not found"), Err(Wrong::Verdict));
    }

    #[test]
    fn every_new_credential_is_unique() {
        let mut sources: Vec<_> =
            (0..2).map(|_| Source::new(Load::Issue, Known::Prefilled(0)).unwrap()).collect();
        let bodies: HashSet<_> = (0..1000).map(|i: usize| sources[i % 2].next().unwrap().body).collect();
        assert_eq!(bodies.len(), 1000);
    }

    #[test]
    fn the_mixed_load_has_the_stated_shares() {
        let mut source = Source::new(Load::Mixed, Known::Prefilled(10)).unwrap();
        let mut kinds: HashMap<_, i32> = HashMap::new();
        for _ in 0..10_000 {
            *kinds.entry(source.next().unwrap().kind).or_default() += 1;
        }
        for (kind, expected) in
            [(Load::VerifyHit, 6000), (Load::CheckHit, 2500), (Load::Issue, 1000), (Load::VerifyMiss, 500)]
        {
            assert!((kinds[&kind] - expected).abs() < 300, "{kinds:?}");
        }
    }

    #[test]
    fn hits_need_known_credentials() {
        assert!(Source::new(Load::VerifyHit, Known::Prefilled(0)).is_err());
        assert!(Source::new(Load::CheckHit, Known::Issued(vec![])).is_err());
        assert!(Source::new(Load::VerifyMiss, Known::Prefilled(0)).is_ok());
    }
}
