//! What verification asks issuance, over HTTP.

use std::time::Duration;

use axum::http::StatusCode;
use credentials::{CredentialHash, IssueRecord, Timestamp, WorkerId};
use platform::{
    Problem, RequestId,
    outbound::{self, OutboundError},
};
use serde::{Deserialize, Serialize};

/// How long issuance may take for its whole answer; after that there is no verdict.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The issuance service, at the URL that the variable `issuance_url` gives.
#[derive(Clone, Debug)]
pub(crate) struct Issuance {
    base_url: String,
}

/// Why there is no answer from issuance that could be trusted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IssuanceError {
    #[error("issuance: {0}")]
    Unreachable(#[from] OutboundError),
    #[error("issuance answered with status {0}")]
    Status(StatusCode),
    #[error("issuance: {0}")]
    Nonsense(String),
}

impl Issuance {
    pub(crate) fn at(url: &str) -> Self {
        Self { base_url: url.trim_end_matches('/').to_owned() }
    }

    /// What issuance knows of the credential with this hash.
    pub(crate) async fn check(
        &self,
        hash: &CredentialHash,
        request_id: &RequestId,
    ) -> Result<Option<IssueRecord>, IssuanceError> {
        let url = format!("{}/check", self.base_url);
        let answer =
            outbound::post(&url, request_id, &CheckRequest { credential_hash: hash }, TIMEOUT).await?;
        if answer.status != StatusCode::OK {
            return Err(IssuanceError::Status(answer.status));
        }
        let answer: CheckAnswer = answer.object().map_err(IssuanceError::Nonsense)?;
        answer.record()
    }

    /// Whether issuance says that it can do its work.
    pub(crate) async fn probe(&self, request_id: &RequestId) -> Result<(), IssuanceError> {
        let url = format!("{}/health/issuance", self.base_url);
        let answer = outbound::get(&url, request_id, TIMEOUT).await?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(IssuanceError::Status(answer.status)) }
    }
}

impl From<IssuanceError> for Problem {
    fn from(error: IssuanceError) -> Self {
        Self::unavailable("Issuance could not be asked; there is no verdict.", error)
    }
}

#[derive(Serialize)]
struct CheckRequest<'a> {
    credential_hash: &'a CredentialHash,
}

/// Members that are not listed here are of no concern; a status that is not listed here is.
#[derive(Deserialize)]
struct CheckAnswer {
    exists: bool,
    worker_id: Option<String>,
    issued_at: Option<Timestamp>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Active,
}

impl CheckAnswer {
    fn record(self) -> Result<Option<IssueRecord>, IssuanceError> {
        match (self.exists, self.worker_id, self.issued_at, self.status) {
            (false, None, None, None) => Ok(None),
            (true, Some(worker_id), Some(issued_at), Some(Status::Active)) => {
                Ok(Some(IssueRecord { issued_by: WorkerId::named(worker_id), issued_at }))
            }
            _ => Err(IssuanceError::Nonsense("the answer contradicts itself".to_owned())),
        }
    }
}
