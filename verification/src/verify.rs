//! POST /verify and POST /verify/batch: verdicts on credentials, recorded before they are returned.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, request::Parts},
};
use credentials::{
    Credential, CredentialHash, Metadata, Timestamp, Verdict, VerdictStatus, VerificationId, WorkerId,
};
use platform::{
    clock::{self, Deadline},
    edge::{Client, ItemResult, Json, Problem, RawItems, limit_reached},
    random,
    request_id::RequestId,
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    issuance_client::KnownCredentials,
    limit::LimitedClient,
    store::{Recorded, Verification},
};

/// The most credentials of one batch.
const MAX_BATCH: usize = 100;

/// Old audit rows are deleted once for this many new ones on average: at random, because an instance may serve a single
/// request and cannot count.
const ROWS_PER_CLEANUP: usize = 16;

/// The minimum `LIMIT` of a deletion: few rows to keep the lock short, but more than were added.
const MIN_CLEANUP_LIMIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyRequest {
    credential: Credential,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    credentials: RawItems,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerifyResponse {
    is_valid: bool,
    status: VerdictStatus,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_by: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    verified_at: Timestamp,
    verification_id: VerificationId,
}

#[derive(Serialize)]
pub(crate) struct BatchResponse {
    results: Vec<ItemResult<VerifyResponse>>,
}

/// Who asks.
pub(crate) struct Caller {
    request_id: RequestId,
    /// The client, if it is to be in the audit rows.
    address: Option<IpAddr>,
    /// The client, if its failures are limited.
    limited: Option<LimitedClient>,
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let request_id = head.extensions.get::<RequestId>().cloned();
        let client = Client::of(&head.headers, app.settings.trusted_proxies as usize);
        Ok(Self {
            request_id: request_id.ok_or_else(|| Problem::internal("the request has no id"))?,
            address: client.address.filter(|_| app.settings.audit_client_address),
            limited: app.limit.as_ref().map(|_| LimitedClient::new(client, app.settings.keys.current())),
        })
    }
}

pub(crate) async fn verify(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<VerifyResponse>, Problem> {
    let hashes = app.settings.keys.hashes(&request.credential);
    drop(request);
    let verdict = verdicts(&app, &caller, &[hashes]).await?.items.pop();
    verdict.unwrap_or_else(|| Err(Problem::internal("a verification had no verdict"))).map(Json)
}

pub(crate) async fn verify_batch(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(request): Json<BatchRequest>,
) -> Result<(HeaderMap, Json<BatchResponse>), Problem> {
    let items = request.credentials.read::<Credential>("body.credentials", MAX_BATCH)?;
    let items: Vec<_> =
        items.into_iter().map(|item| item.map(|credential| app.settings.keys.hashes(&credential))).collect();
    let hashes: Vec<_> = items.iter().flatten().cloned().collect();
    let Verdicts { items: verdicts, headers } = verdicts(&app, &caller, &hashes).await?;
    // A batch without any verdict is refused as a whole, like a single verification.
    if verdicts.iter().all(Result::is_err)
        && let Some(Err(refusal)) = verdicts.first()
    {
        return Err(refusal.clone());
    }
    let mut verdicts = verdicts.into_iter();
    let no_verdict = || Err(Problem::internal("a verification had no verdict"));
    let results = items.into_iter().map(|item| match item {
        Err(error) => ItemResult::Error { error },
        Ok(_) => verdicts.next().unwrap_or_else(no_verdict).into(),
    });
    Ok((headers, Json(BatchResponse { results: results.collect() })))
}

/// The verdicts of a request.
#[derive(Default)]
struct Verdicts {
    /// A verdict for each credential, or its refusal.
    items: Vec<Result<VerifyResponse, Problem>>,
    /// The headers of a response with refusals, about the limit.
    headers: HeaderMap,
}

/// The verdicts on credentials, each given as its hashes under all keys, in order.
async fn verdicts(
    app: &App,
    caller: &Caller,
    credentials: &[Vec<CredentialHash>],
) -> Result<Verdicts, Problem> {
    if credentials.is_empty() {
        return Ok(Verdicts::default());
    }
    let deadline = Deadline::of_request();
    let asked = clock::now()?;
    let limit = app.limit.as_ref().zip(caller.limited.as_ref());
    if let Some((limit, limited)) = limit
        && let Err(refusal) = limit.check(limited)
    {
        app.store.refuse(credentials.len(), asked, deadline).await?;
        return Err(refusal);
    }
    let known = app.issuance.check(credentials.concat(), caller.request_id.clone(), deadline).await?;
    let answered = clock::now()?;

    let mut audit_rows = Vec::new();
    let mut responses = Vec::new();
    for hashes in credentials {
        let (credential_hash, verdict) = judge(hashes, &known, answered)?;
        let verified_at = verdict.time(asked, answered);
        let id = VerificationId::new(verified_at, random::bytes()?);
        audit_rows.push(Verification {
            id,
            request_id: caller.request_id.clone(),
            credential_hash,
            status: verdict.status(),
            verified_by: app.identity.worker_id.clone(),
            verified_at: verified_at.as_millis(),
            client_address: caller.address,
            client: caller.limited.as_ref().map(LimitedClient::key),
        });
        responses.push(VerifyResponse::new(verdict, &app.identity.worker_id, verified_at, id));
    }
    let Recorded { refused, failures } = app.store.record(audit_rows, deadline).await?;
    let mut verdicts = Verdicts::default();
    let mut refusal = None;
    if let Some(((limit, limited), failures)) = limit.zip(failures) {
        limit.note(limited, failures, refused.contains(&false));
        if refused.contains(&true) {
            refusal = Some(Problem::too_many_failures(limit.per_minute(), failures.left));
            verdicts.headers.extend(limit_reached(limit.per_minute(), failures.left));
        }
    }
    let refuse =
        || refusal.clone().unwrap_or_else(|| Problem::internal("a verification was refused without a limit"));
    let item = |(response, refused)| if refused { Err(refuse()) } else { Ok(response) };
    verdicts.items = responses.into_iter().zip(refused).map(item).collect();
    clean_up(app, credentials.len()).await;
    Ok(verdicts)
}

impl VerifyResponse {
    fn new(verdict: Verdict, verified_by: &WorkerId, verified_at: Timestamp, id: VerificationId) -> Self {
        let mut response = Self {
            is_valid: verdict.is_valid(),
            status: verdict.status(),
            message: verdict.message(verified_by),
            issued_by: None,
            issued_at: None,
            expires_at: None,
            metadata: None,
            verified_at,
            verification_id: id,
        };
        if let Verdict::Valid(record) = verdict {
            response.issued_by = Some(record.worker_id);
            response.issued_at = Some(record.issued_at);
            response.expires_at = record.expires_at;
            response.metadata = record.metadata;
        }
        response
    }
}

/// The verdict on a credential, and its hash: the one it was issued under, else the one under the current key.
///
/// A credential may have been issued under several keys, by services that got them at different times. The worst status
/// applies: a revoked credential must not be valid under another key.
fn judge(
    hashes: &[CredentialHash],
    known: &KnownCredentials,
    now: Timestamp,
) -> Result<(CredentialHash, Verdict), Problem> {
    let current = *hashes.first().ok_or_else(|| Problem::internal("a credential had no hash"))?;
    let verdicts = hashes.iter().filter_map(|hash| {
        let (record, seen) = known.get(hash)?.clone();
        Some((*hash, Verdict::of(record, seen, now)))
    });
    Ok(verdicts.min_by_key(|(_, verdict)| verdict.status()).unwrap_or((current, Verdict::NotFound)))
}

/// Deletes some of the expired audit rows now and then. Tries once and does not wait for the connection, because the
/// verdict is ready; a failure is only logged.
async fn clean_up(app: &App, added: usize) {
    let Some(retention) = app.settings.retention else { return };
    let [chance] = random::bytes().unwrap_or([0]);
    if usize::from(chance) % ROWS_PER_CLEANUP >= added {
        return;
    }
    if let Err(error) = app.store.delete_older_than(retention, MIN_CLEANUP_LIMIT.max(2 * added)).await {
        tracing::warn!(service = "verification", reason = %error, "old audit rows were not deleted");
    }
}

#[cfg(test)]
mod tests {
    use credentials::{IssueRecord, Status};
    use serde_json::json;

    use super::*;
    use crate::routes::tests::post;

    #[tokio::test]
    async fn verify_takes_a_non_empty_string_and_nothing_else() {
        for (body, location) in [
            ("{}", "body.credential"),
            (r#"{"credential": ""}"#, "body.credential"),
            (r#"{"credential": 1}"#, "body.credential"),
            (r#"{"credential": "a", "reason": "b"}"#, "body.reason"),
        ] {
            let (status, problem) = post("/verify", body).await;
            assert_eq!((status, &problem["errors"][0]["location"]), (400, &json!(location)), "{body}");
        }
    }

    #[tokio::test]
    async fn a_batch_has_1_to_100_items_and_a_bad_one_is_an_error_in_its_place() {
        for body in
            ["{}", r#"{"credentials": []}"#, r#"{"credentials": "a"}"#, r#"{"credentials": ["a"], "x": 1}"#]
        {
            assert_eq!(post("/verify/batch", body).await.0, 400, "{body}");
        }
        let many = json!({ "credentials": vec![""; 101] }).to_string();
        assert_eq!(post("/verify/batch", &many).await.1["errors"][0]["location"], "body.credentials");
        let (status, body) = post("/verify/batch", r#"{"credentials": ["", 5, "\ud800"]}"#).await;
        assert_eq!(status, 200);
        for (index, message) in
            ["must not be empty", "must be a string", "must be valid Unicode"].iter().enumerate()
        {
            let error = &body["results"][index]["error"];
            assert_eq!(error["status"], 400);
            let location = format!("body.credentials[{index}]");
            assert_eq!(error["errors"], json!([{ "location": location, "message": message }]));
        }
    }

    #[test]
    fn the_worst_status_under_several_keys_applies() {
        let time = |millis| Timestamp::from_millis(millis).unwrap();
        let hash = |byte| CredentialHash::from([byte; 32]);
        let record = |revoked_at: Option<i64>| IssueRecord {
            worker_id: WorkerId::named("w"),
            issued_at: time(0),
            expires_at: None,
            revoked_at: revoked_at.map(time),
            metadata: None,
        };
        let valid = (record(None), Status::Active);
        let revoked = (record(Some(1)), Status::Revoked);
        let hashes = [hash(1), hash(2)];
        let judged = |known| {
            let (hash, verdict) =
                judge(&hashes, &KnownCredentials::from_iter::<Vec<_>>(known), time(5)).unwrap();
            (hash, verdict.status().as_str())
        };
        assert_eq!(judged(vec![]), (hash(1), "not_found"));
        assert_eq!(judged(vec![(hash(2), valid.clone())]), (hash(2), "valid"));
        assert_eq!(judged(vec![(hash(1), valid), (hash(2), revoked)]), (hash(2), "revoked"));
    }
}
