//! From hashes to verdicts: issuance is asked, uses are taken, and audit rows are written before anything is returned.

use axum::http::HeaderMap;
use credentials::{CredentialHash, Timestamp, Verdict, VerificationId};
use platform::{
    clock::{self, Deadline},
    edge::{Problem, limit_reached},
    random,
};

use crate::{
    app::App,
    issuance_client::KnownCredentials,
    limit::{FailureLimit, LimitedClient},
    store::{Recorded, Verification},
    uses::{Presented, Taking, take},
    verify::{Caller, VerifyResponse},
};

/// Old audit rows are deleted once for this many new ones on average: at random, because an instance may serve a single
/// request and cannot count.
const ROWS_PER_CLEANUP: usize = 16;

/// The minimum `LIMIT` of a deletion: few rows to keep the lock short, but more than were added.
const MIN_CLEANUP_LIMIT: usize = 100;

/// The verdicts of a request.
#[derive(Default)]
pub(crate) struct Verdicts {
    /// A verdict for each credential, or its refusal.
    pub(crate) items: Vec<Result<VerifyResponse, Problem>>,
    /// The headers of a response with refusals, about the limit.
    pub(crate) headers: HeaderMap,
}

/// The verdicts on credentials, in order, each given as its place in the request and its hashes under all keys. `takes_uses`
/// says whether those with a number of uses are used.
pub(crate) async fn verdicts(
    app: &App,
    caller: &Caller,
    credentials: Vec<(usize, Vec<CredentialHash>)>,
    takes_uses: bool,
) -> Result<Verdicts, Problem> {
    if credentials.is_empty() {
        return Ok(Verdicts::default());
    }
    let deadline = Deadline::of_request();
    let asked = clock::now()?;
    let limit = caller.limit(app);
    if let Some((limit, limited)) = limit
        && let Err(refusal) = limit.check(limited)
    {
        app.store.refuse(credentials.len(), asked, deadline).await?;
        return Err(refusal);
    }
    let hashes = credentials.iter().flat_map(|(_, hashes)| hashes).copied().collect();
    let known = app.issuance.check(hashes, caller.request_id.clone(), deadline).await?;
    let mut answered = clock::now()?;
    let mut presented = Vec::new();
    for (index, hashes) in credentials {
        let (hash, verdict) = judge(&hashes, &known, answered)?;
        presented.push(Presented { index, hash, verdict, taking: Taking::No });
    }
    if takes_uses {
        answered = take(app, caller, &known, &mut presented, answered, deadline).await?;
    }
    let refused = presented.iter().filter(|item| matches!(item.taking, Taking::Refused(_))).count();
    if refused > 0 {
        app.store.refuse(refused, asked, deadline).await?;
    }
    let added = presented.len();
    let verdicts = record(app, caller, presented, (asked, answered), deadline).await?;
    clean_up(app, added).await;
    Ok(verdicts)
}

/// Writes the audit rows, and returns the verdicts, or refusals, once they are written. `times` are when issuance was asked and
/// when it responded.
async fn record(
    app: &App,
    caller: &Caller,
    presented: Vec<Presented>,
    (asked, answered): (Timestamp, Timestamp),
    deadline: Deadline,
) -> Result<Verdicts, Problem> {
    let limit = caller.limit(app);
    let worker_id = &app.identity.worker_id;
    let has_taken = presented.iter().any(|item| item.taking == Taking::Yes);
    let mut verdicts = Verdicts::default();
    let per_minute = limit.map_or(0, |(limit, _)| FailureLimit::per_minute(limit));
    let mut refused_for = None;
    let mut refusal = |left| {
        refused_for = Some(left);
        Problem::too_many_failures(per_minute, left)
    };
    let (mut rows, mut responses) = (Vec::new(), Vec::new());
    for Presented { hash, verdict, taking, .. } in presented {
        if let Taking::Refused(left) = taking {
            responses.push(Err(refusal(left)));
            continue;
        }
        let verified_at = verdict.time(asked, answered);
        let id = VerificationId::new(verified_at, random::bytes()?);
        rows.push(Verification {
            id,
            request_id: caller.request_id.clone(),
            credential_hash: hash,
            status: verdict.status(),
            verified_by: worker_id.clone(),
            verified_at: verified_at.as_millis(),
            client_address: caller.address,
            // A verification that has taken a use is not refused.
            client: caller.limited.as_ref().filter(|_| taking == Taking::No).map(LimitedClient::key),
        });
        responses.push(Ok(VerifyResponse::new(verdict, worker_id, verified_at, id)));
    }
    let Recorded { refused, failures } = match app.store.record(rows, deadline).await {
        Ok(recorded) => recorded,
        Err(error) if has_taken => {
            let detail = "The verdict could not be recorded, so there is none, but a use has been taken.";
            return Err(Problem::unavailable(detail, error));
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(((limit, limited), failures)) = limit.zip(failures) {
        limit.note(limited, failures, refused.contains(&false));
    }
    let mut refused = refused.into_iter();
    for response in responses {
        let refused = response.is_ok() && refused.next() == Some(true);
        verdicts.items.push(match failures {
            Some(failures) if refused => Err(refusal(failures.left)),
            None if refused => Err(Problem::internal("a verification was refused without a limit")),
            _ => response,
        });
    }
    if let Some(left) = refused_for {
        verdicts.headers.extend(limit_reached(per_minute, left));
    }
    Ok(verdicts)
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
    use credentials::{IssueRecord, Status, WorkerId};

    use super::*;

    #[test]
    fn the_worst_status_under_several_keys_applies() {
        let time = |millis| Timestamp::from_millis(millis).unwrap();
        let hash = |byte| CredentialHash::from([byte; 32]);
        let record = |revoked_at: Option<i64>| IssueRecord {
            worker_id: WorkerId::named("w"),
            issued_at: time(0),
            expires_at: None,
            revoked_at: revoked_at.map(time),
            max_uses: None,
            uses: None,
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
