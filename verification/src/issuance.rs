//! What verification asks issuance, over HTTP.

use std::{collections::HashMap, time::Duration};

use axum::http::StatusCode;
use credentials::{CredentialHash, IssueRecord, Metadata, Status, Timestamp, WorkerId};
use platform::{
    Group, Interrupted, Problem, RequestId, Work,
    outbound::{self, OutboundError},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// How long issuance may take for its whole answer; after that there is no verdict.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most hashes that issuance takes in one question.
const MAX_HASHES: usize = 900;

/// How many questions may be under way at once: when one gets no answer, the next need not wait for it.
const MAX_QUESTIONS: usize = 2;

/// The issuance service, at the URL that the variable `issuance_url` gives.
pub(crate) struct Issuance {
    base_url: String,
    checks: Group<Check>,
}

/// Asks issuance about the hashes of several requests at once.
struct Check {
    url: String,
}

/// What issuance knows, by hash: a record, and the status that it saw. What was not issued is not in the map.
pub(crate) type Known = HashMap<CredentialHash, (IssueRecord, Status)>;

/// Why there is no answer from issuance that could be trusted.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum IssuanceError {
    #[error("issuance: {0}")]
    Unreachable(#[from] OutboundError),
    #[error("issuance answered with status {0}")]
    Status(StatusCode),
    #[error("issuance: {0}")]
    Nonsense(String),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl Issuance {
    pub(crate) fn at(url: &str) -> Self {
        let base_url = url.trim_end_matches('/').to_owned();
        let check = Check { url: format!("{base_url}/check") };
        Self { base_url, checks: Group::new(check, MAX_QUESTIONS) }
    }

    /// What issuance knows of the credentials with these hashes. Requests that ask at the same time ask one question,
    /// which carries the id of the first of them.
    pub(crate) async fn check(
        &self,
        hashes: Vec<CredentialHash>,
        request_id: RequestId,
    ) -> Result<Known, IssuanceError> {
        self.checks.join((hashes, request_id)).await
    }

    /// Whether issuance says that it can do its work.
    pub(crate) async fn probe(&self, request_id: &RequestId) -> Result<(), IssuanceError> {
        let url = format!("{}/health/issuance", self.base_url);
        let answer = outbound::get(&url, request_id, TIMEOUT).await?;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(IssuanceError::Status(answer.status)) }
    }
}

impl Work for Check {
    type Item = (Vec<CredentialHash>, RequestId);
    type Outcome = Known;
    type Error = IssuanceError;

    /// Asking again is up to the client.
    fn passes(_: &IssuanceError) -> bool {
        false
    }

    async fn carry_out(&self, requests: &[Self::Item]) -> Result<Vec<Known>, IssuanceError> {
        let Some((_, request_id)) = requests.first() else { return Ok(Vec::new()) };
        let hashes: Vec<_> = requests.iter().flat_map(|(hashes, _)| hashes).copied().collect();
        for (_, other) in &requests[1..] {
            tracing::info!(
                request_id = other.as_str(),
                asked_as = request_id.as_str(),
                "issuance is asked together"
            );
        }
        let mut known = Known::new();
        for hashes in hashes.chunks(MAX_HASHES) {
            self.ask(hashes, request_id, &mut known).await?;
        }
        let of_request = |(hashes, _): &Self::Item| {
            hashes.iter().filter_map(|hash| known.get(hash).cloned().map(|record| (*hash, record))).collect()
        };
        Ok(requests.iter().map(of_request).collect())
    }
}

impl Check {
    /// Asks about at most [`MAX_HASHES`], and adds what is known.
    async fn ask(
        &self,
        hashes: &[CredentialHash],
        request_id: &RequestId,
        known: &mut Known,
    ) -> Result<(), IssuanceError> {
        let question = CheckRequest { credential_hashes: hashes };
        let answer = outbound::post(&self.url, request_id, &question, TIMEOUT).await?;
        if answer.status != StatusCode::OK {
            return Err(IssuanceError::Status(answer.status));
        }
        let answer: CheckResponse = answer.object().map_err(IssuanceError::Nonsense)?;
        if answer.results.len() != hashes.len() {
            return Err(IssuanceError::Nonsense("the answer has another number of results".to_owned()));
        }
        for (hash, result) in hashes.iter().zip(answer.results) {
            let result: CheckResult =
                outbound::object(result.get().as_bytes()).map_err(IssuanceError::Nonsense)?;
            if result.credential_hash != *hash {
                return Err(IssuanceError::Nonsense("the answer is about another hash".to_owned()));
            }
            if let Some(record) = result.record()? {
                known.insert(*hash, record);
            }
        }
        Ok(())
    }
}

impl From<IssuanceError> for Problem {
    fn from(error: IssuanceError) -> Self {
        Self::unavailable("Issuance could not be asked; there is no verdict.", error)
    }
}

#[derive(Serialize)]
struct CheckRequest<'a> {
    credential_hashes: &'a [CredentialHash],
}

#[derive(Deserialize)]
struct CheckResponse {
    results: Vec<Box<RawValue>>,
}

/// Members that are not listed here are of no concern; a status that is not known here is.
#[derive(Deserialize)]
struct CheckResult {
    credential_hash: CredentialHash,
    exists: bool,
    worker_id: Option<String>,
    issued_at: Option<Timestamp>,
    status: Option<Status>,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    metadata: Option<Metadata>,
}

impl CheckResult {
    fn record(self) -> Result<Option<(IssueRecord, Status)>, IssuanceError> {
        match (self.exists, self.worker_id, self.issued_at, self.status) {
            (false, None, None, None)
                if self.expires_at.is_none() && self.revoked_at.is_none() && self.metadata.is_none() =>
            {
                Ok(None)
            }
            (true, Some(worker_id), Some(issued_at), Some(status)) => {
                let record = IssueRecord {
                    issued_by: WorkerId::named(worker_id),
                    issued_at,
                    expires_at: self.expires_at,
                    revoked_at: self.revoked_at,
                    metadata: self.metadata,
                };
                Ok(Some((record, status)))
            }
            _ => Err(IssuanceError::Nonsense("the answer contradicts itself".to_owned())),
        }
    }
}
