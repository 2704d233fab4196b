//! The HTTP client for issuance.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use credentials::{
    CheckAnswer, CheckList, CredentialHash, IssueRecord, KeyId, KeyRing, ServiceToken, Status, Use,
    UseAnswer, UseList,
};
use platform::{
    batch::{Batch, BatchError, Batcher, Transient},
    clock::Deadline,
    edge::Problem,
    outbound::{self, Limits, OutboundError},
    request_id::RequestId,
};
use serde::{Serialize, de::DeserializeOwned};

/// The number of concurrent calls, so that one without a response does not hold up the next.
const MAX_BATCHES: usize = 2;

/// The issuance service, at the variable `issuance_url`.
pub(crate) struct Issuance {
    health_url: String,
    checks: Batcher<CheckBatch>,
    uses: Batcher<UseBatch>,
}

/// Asks issuance about the hashes of several requests at once.
struct CheckBatch {
    url: String,
    token: ServiceToken,
    /// The keys that verification hashes with, the current one first.
    key_ids: Vec<KeyId>,
}

/// Takes uses for several requests at once.
struct UseBatch {
    url: String,
    token: ServiceToken,
    /// The key that the token is derived from.
    key_id: KeyId,
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
    #[error(
        "issuance does not recognise this service: it has no secret with the key id {0}, or a proxy between them removes \
         the Authorization header"
    )]
    Unrecognised(KeyId),
    #[error("issuance hashes with the keys {issuance:?}, and verification with {verification:?} only")]
    UnknownKeys { issuance: Vec<KeyId>, verification: Vec<KeyId> },
    #[error("issuance: {0}")]
    Batch(#[from] BatchError),
}

impl Issuance {
    pub(crate) fn new(url: &str, keys: &KeyRing) -> Self {
        let base_url = url.trim_end_matches('/');
        let token = keys.current().service_token().clone();
        let checks =
            CheckBatch { url: format!("{base_url}/check"), token: token.clone(), key_ids: keys.key_ids() };
        let key_id = keys.current().key_id();
        let uses = UseBatch { url: format!("{base_url}/check/use"), token, key_id };
        Self {
            health_url: format!("{base_url}/health/issuance"),
            checks: Batcher::new(checks, MAX_BATCHES),
            uses: Batcher::new(uses, MAX_BATCHES),
        }
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

    /// Takes uses: for each, whether it was granted. Concurrent requests share a call, which carries the id of the first.
    pub(crate) async fn take(
        &self,
        uses: Vec<Use>,
        request_id: RequestId,
        deadline: Deadline,
    ) -> Result<Vec<UseAnswer>, IssuanceError> {
        if uses.is_empty() { Ok(Vec::new()) } else { self.uses.run((uses, request_id), deadline).await }
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
        let Some(request_id) = shared_id(requests) else { return Ok(Vec::new()) };
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

/// The id of the first request, for the call that several share. The log has the others.
fn shared_id<T>(requests: &[(T, RequestId)]) -> Option<&RequestId> {
    let ((_, request_id), others) = requests.split_first()?;
    for (_, other) in others {
        tracing::info!(
            request_id = other.as_str(),
            asked_as = request_id.as_str(),
            "issuance is asked together"
        );
    }
    Some(request_id)
}

impl Batch for UseBatch {
    type Item = (Vec<Use>, RequestId);
    type Output = Vec<UseAnswer>;
    type Error = IssuanceError;

    async fn run(
        &self,
        requests: &[Self::Item],
        deadline: Deadline,
    ) -> Result<Vec<Vec<UseAnswer>>, IssuanceError> {
        let Some(request_id) = shared_id(requests) else { return Ok(Vec::new()) };
        let uses: Vec<_> = requests.iter().flat_map(|(uses, _)| uses).cloned().collect();
        let mut answers = Vec::new();
        for uses in uses.chunks(UseList::MAX_USES) {
            answers.extend(self.ask(uses, request_id, deadline).await?);
        }
        let mut answers = answers.into_iter();
        Ok(requests.iter().map(|(uses, _)| answers.by_ref().take(uses.len()).collect()).collect())
    }
}

impl UseBatch {
    /// Takes up to [`UseList::MAX_USES`] uses.
    async fn ask(
        &self,
        uses: &[Use],
        request_id: &RequestId,
        deadline: Deadline,
    ) -> Result<Vec<UseAnswer>, IssuanceError> {
        #[derive(Serialize)]
        struct UseRequest<'a> {
            uses: &'a [Use],
        }

        let limits = Limits { deadline, max_bytes: UseList::MAX_BYTES };
        let response =
            outbound::post(&self.url, request_id, &self.token, &UseRequest { uses }, limits).await?;
        match response.status {
            StatusCode::OK => Self::read(uses, &response.body),
            StatusCode::UNAUTHORIZED => Err(IssuanceError::Unrecognised(self.key_id)),
            status => Err(IssuanceError::Status(status)),
        }
    }

    fn read(uses: &[Use], body: &[u8]) -> Result<Vec<UseAnswer>, IssuanceError> {
        let UseList { results } = read_json(body)?;
        if results.len() != uses.len() {
            return Err(invalid("the response has a different number of results"));
        }
        if uses.iter().zip(&results).any(|(wanted, result)| result.credential_hash != wanted.credential_hash)
        {
            return Err(invalid("the response is about another hash"));
        }
        Ok(results)
    }
}

fn invalid(what: &str) -> IssuanceError {
    IssuanceError::InvalidResponse(what.to_owned())
}

fn read_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, IssuanceError> {
    // Serde also accepts an array in place of a struct.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(invalid("the response is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        IssuanceError::InvalidResponse(format!("the response does not have the agreed form: {error}"))
    })
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
        let response = outbound::post(&self.url, request_id, &self.token, &request, limits).await?;
        if response.status != StatusCode::OK {
            return Err(IssuanceError::Status(response.status));
        }
        self.read(hashes, &response.body)
    }

    fn read(&self, hashes: &[CredentialHash], body: &[u8]) -> Result<KnownCredentials, IssuanceError> {
        let response: CheckList<CheckAnswer> = read_json(body)?;
        if response.key_ids.is_empty() {
            return Err(IssuanceError::Unrecognised(self.key_ids[0]));
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
            Self::Unrecognised(_) => {
                "issuance does not recognise this service: do both have the same secret?"
            }
            Self::UnknownKeys { .. } => "issuance has secrets that verification does not have",
            _ => "issuance does not respond, or is unhealthy",
        }
    }
}

impl From<IssuanceError> for Problem {
    fn from(error: IssuanceError) -> Self {
        let detail = match error {
            IssuanceError::Unrecognised(_) => {
                "Issuance does not recognise this service; there is no verdict."
            }
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
        let token = Secret::new(&"a".repeat(32)).unwrap().service_token().clone();
        let batch = CheckBatch { url: String::new(), token, key_ids: vec![key_id("a"), key_id("b")] };
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
    }

    #[test]
    fn a_response_without_keys_is_one_to_a_stranger() {
        assert!(matches!(read(&response(&[])), Err(IssuanceError::Unrecognised(_))));
        assert!(matches!(read(r#"{"results": []}"#), Err(IssuanceError::Unrecognised(_))));
    }

    #[test]
    fn a_response_about_other_uses_is_refused() {
        let asked = [7, 8].map(|byte| Use { credential_hash: [byte; 32].into(), tags: Vec::new() });
        let list = |hashes: &[u8]| {
            let result = |byte: &u8| UseAnswer {
                credential_hash: [*byte; 32].into(),
                status: Status::Active,
                uses_left: 1,
                expires_at: None,
                revoked_at: None,
            };
            serde_json::to_vec(&UseList { results: hashes.iter().map(result).collect() }).unwrap()
        };
        assert_eq!(UseBatch::read(&asked, &list(&[7, 8])).unwrap().len(), 2);
        for body in [list(&[7]), list(&[8, 7]), list(&[7, 8, 8]), b"[]".to_vec(), b"{}".to_vec()] {
            assert!(matches!(UseBatch::read(&asked, &body), Err(IssuanceError::InvalidResponse(_))));
        }
    }
}
