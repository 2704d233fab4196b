//! The HTTP client for issuance.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use credentials::{CheckAnswer, CheckList, CredentialHash, IssueRecord, KeyId, Status};
use platform::{
    batch::{Batch, BatchError, Batcher, Transient},
    clock::Deadline,
    edge::Problem,
    outbound::{self, Limits, OutboundError},
    request_id::RequestId,
};
use serde::Serialize;

/// The number of concurrent calls, so that one without a response does not hold up the next.
const MAX_BATCHES: usize = 2;

/// The issuance service, at the variable `issuance_url`.
pub(crate) struct Issuance {
    health_url: String,
    checks: Batcher<CheckBatch>,
}

/// Asks issuance about the hashes of several requests at once.
struct CheckBatch {
    url: String,
    /// The keys that verification hashes with.
    key_ids: Vec<KeyId>,
}

/// What issuance knows, by hash: the record and the status it reported. Hashes that were not issued are missing.
pub(crate) type KnownCredentials = HashMap<CredentialHash, (IssueRecord, Status)>;

/// Why there is no trustworthy response from issuance.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum IssuanceError {
    #[error("issuance: {0}")]
    Unreachable(#[from] OutboundError),
    #[error("issuance responded with status {0}")]
    Status(StatusCode),
    #[error("issuance: {0}")]
    InvalidResponse(String),
    #[error("issuance hashes with the keys {issuance:?}, and verification with {verification:?} only")]
    UnknownKeys { issuance: Vec<KeyId>, verification: Vec<KeyId> },
    #[error("issuance: {0}")]
    Batch(#[from] BatchError),
}

impl Issuance {
    pub(crate) fn new(url: &str, key_ids: Vec<KeyId>) -> Self {
        let base_url = url.trim_end_matches('/');
        let batch = CheckBatch { url: format!("{base_url}/check"), key_ids };
        Self { health_url: format!("{base_url}/health/issuance"), checks: Batcher::new(batch, MAX_BATCHES) }
    }

    /// What issuance knows about these hashes. Concurrent requests share a call, which carries the id of the first.
    pub(crate) async fn check(
        &self,
        hashes: Vec<CredentialHash>,
        request_id: RequestId,
        deadline: Deadline,
    ) -> Result<KnownCredentials, IssuanceError> {
        self.checks.run((hashes, request_id), deadline).await
    }

    /// Checks that issuance is healthy and has no keys that verification lacks.
    pub(crate) async fn probe(
        &self,
        request_id: &RequestId,
        deadline: Deadline,
    ) -> Result<(), IssuanceError> {
        let limits = Limits { deadline, max_bytes: 64 * 1024 };
        let response = outbound::get(&self.health_url, request_id, limits).await?;
        if response.status != StatusCode::OK {
            return Err(IssuanceError::Status(response.status));
        }
        // Any hash will do: only the keys matter.
        self.checks.batch().ask(&[CredentialHash::from([0; 32])], request_id, deadline).await.map(drop)
    }
}

/// Calls are not repeated.
impl Transient for IssuanceError {}

impl Batch for CheckBatch {
    type Item = (Vec<CredentialHash>, RequestId);
    type Output = KnownCredentials;
    type Error = IssuanceError;

    async fn run(
        &self,
        requests: &[Self::Item],
        deadline: Deadline,
    ) -> Result<Vec<KnownCredentials>, IssuanceError> {
        let Some((_, request_id)) = requests.first() else { return Ok(Vec::new()) };
        for (_, other) in &requests[1..] {
            tracing::info!(
                request_id = other.as_str(),
                asked_as = request_id.as_str(),
                "issuance is asked together"
            );
        }
        let hashes: HashSet<_> = requests.iter().flat_map(|(hashes, _)| hashes).copied().collect();
        let hashes: Vec<_> = hashes.into_iter().collect();
        let mut known = KnownCredentials::new();
        for hashes in hashes.chunks(CheckList::MAX_HASHES) {
            known.extend(self.ask(hashes, request_id, deadline).await?);
        }
        let of_request = |(hashes, _): &Self::Item| {
            hashes.iter().filter_map(|hash| known.get(hash).cloned().map(|record| (*hash, record))).collect()
        };
        Ok(requests.iter().map(of_request).collect())
    }
}

impl CheckBatch {
    /// Asks about up to [`CheckList::MAX_HASHES`] different hashes.
    async fn ask(
        &self,
        hashes: &[CredentialHash],
        request_id: &RequestId,
        deadline: Deadline,
    ) -> Result<KnownCredentials, IssuanceError> {
        #[derive(Serialize)]
        struct CheckRequest<'a> {
            credential_hashes: &'a [CredentialHash],
        }

        let limits = Limits { deadline, max_bytes: CheckList::MAX_BYTES };
        let request = CheckRequest { credential_hashes: hashes };
        let response = outbound::post(&self.url, request_id, &request, limits).await?;
        if response.status != StatusCode::OK {
            return Err(IssuanceError::Status(response.status));
        }
        self.read(hashes, &response.body)
    }

    fn read(&self, hashes: &[CredentialHash], body: &[u8]) -> Result<KnownCredentials, IssuanceError> {
        let invalid = |what: &str| IssuanceError::InvalidResponse(what.to_owned());
        // Serde also accepts an array in place of a struct.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(invalid("the response is not a JSON object"));
        }
        let response: CheckList<CheckAnswer> = serde_json::from_slice(body).map_err(|error| {
            IssuanceError::InvalidResponse(format!("the response does not have the agreed form: {error}"))
        })?;
        if response.key_ids.is_empty() {
            return Err(invalid("the response names no key"));
        }
        if response.key_ids.iter().any(|key_id| !self.key_ids.contains(key_id)) {
            return Err(IssuanceError::UnknownKeys {
                issuance: response.key_ids,
                verification: self.key_ids.clone(),
            });
        }
        if response.results.len() != hashes.len() {
            return Err(invalid("the response has a different number of results"));
        }
        let mut known = KnownCredentials::new();
        for (hash, result) in hashes.iter().zip(response.results) {
            if !result.is_about(*hash) {
                return Err(invalid("the response is about another hash"));
            }
            if let Some(issued) = result.into_issued() {
                known.insert(*hash, issued);
            }
        }
        Ok(known)
    }
}

impl IssuanceError {
    /// What the public response may say.
    pub(crate) fn public(&self) -> &'static str {
        match self {
            Self::UnknownKeys { .. } => "issuance has secrets that verification does not have",
            _ => "issuance does not respond, or is unhealthy",
        }
    }
}

impl From<IssuanceError> for Problem {
    fn from(error: IssuanceError) -> Self {
        let detail = match error {
            IssuanceError::UnknownKeys { .. } => {
                "Issuance has secrets that verification does not have; there is no verdict."
            }
            _ => "Issuance could not be asked; there is no verdict.",
        };
        Self::unavailable(detail, error)
    }
}

#[cfg(test)]
mod tests {
    use credentials::{Secret, Timestamp};

    use super::*;

    fn key_id(letter: &str) -> KeyId {
        Secret::new(&letter.repeat(32)).unwrap().key_id()
    }

    fn read(body: &str) -> Result<KnownCredentials, IssuanceError> {
        let batch = CheckBatch { url: String::new(), key_ids: vec![key_id("a"), key_id("b")] };
        batch.read(&[CredentialHash::from([7; 32])], body.as_bytes())
    }

    fn response(key_ids: &[KeyId]) -> String {
        let answer = CheckAnswer::new(None, Timestamp::from_millis(0).unwrap()).about([7; 32].into());
        serde_json::to_string(&CheckList { key_ids: key_ids.to_vec(), results: vec![answer] }).unwrap()
    }

    #[test]
    fn issuance_may_have_fewer_keys_than_verification_but_no_others() {
        assert!(read(&response(&[key_id("b")])).unwrap().is_empty());
        assert!(read(&response(&[key_id("b"), key_id("a")])).unwrap().is_empty());
        let error = read(&response(&[key_id("c"), key_id("a")])).unwrap_err();
        assert!(matches!(error, IssuanceError::UnknownKeys { .. }));
        assert!(error.to_string().contains(&key_id("c").to_string()), "{error}");
        assert!(matches!(read(&response(&[])), Err(IssuanceError::InvalidResponse(_))));
        assert!(matches!(read(r#"{"results": []}"#), Err(IssuanceError::InvalidResponse(_))));
    }
}
