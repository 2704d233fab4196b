//! Taking uses of limited credentials: a verification that finds one valid takes a use of it before it says so.

use std::time::Duration;

use credentials::{CredentialHash, IssueRecord, Status, Timestamp, Use, UseAnswer, Verdict, VerdictStatus};
use platform::{
    clock::{self, Deadline},
    edge::Problem,
};

use crate::{app::App, issuance_client::KnownCredentials, verify::Caller};

/// A credential that was presented, and what is known about it so far.
#[derive(Debug)]
pub(crate) struct Presented {
    /// Its place in the request.
    pub(crate) index: usize,
    pub(crate) hash: CredentialHash,
    pub(crate) verdict: Verdict,
    pub(crate) taking: Taking,
}

/// Whether a verification takes a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taking {
    /// It does not need one, or did not get one.
    No,
    /// It does.
    Yes,
    /// It may not, because its client is at the limit of failures, for this much of the minute.
    Refused(Duration),
}

/// Takes the uses that verdicts depend on, and completes these verdicts. Returns when issuance last responded, given when it
/// did before.
///
/// A client at its limit takes no use: its verification would be refused without a verdict, and the use lost.
///
/// # Errors
/// A 503 without a verdict. Uses may have been taken.
pub(crate) async fn take(
    app: &App,
    caller: &Caller,
    known: &KnownCredentials,
    presented: &mut [Presented],
    answered: Timestamp,
    deadline: Deadline,
) -> Result<Timestamp, Problem> {
    let needs_use = |verdict: &Verdict| match verdict {
        Verdict::Valid(record) => record.max_uses.is_some(),
        // The last use may be the one that this request, sent before, has taken.
        Verdict::UsedUp => caller.has_key(),
        _ => false,
    };
    if !presented.iter().any(|item| needs_use(&item.verdict)) {
        return Ok(answered);
    }
    let mut failures = match caller.limit(app) {
        Some((limit, limited)) => {
            let failures = app.store.failures(limited.key(), deadline).await?;
            limit.note(limited, failures, false);
            Some((failures, u64::from(limit.per_minute())))
        }
        None => None,
    };
    let mut uses = Vec::new();
    for item in presented.iter_mut() {
        if needs_use(&item.verdict) {
            if let Some((failures, limit)) = failures
                && failures.count >= limit
            {
                item.taking = Taking::Refused(failures.left);
                continue;
            }
            item.taking = Taking::Yes;
            let tags = caller.use_tags(app, item.index, item.hash);
            uses.push(Use { credential_hash: item.hash, tags });
        }
        if let Some((failures, _)) = &mut failures
            && item.verdict.status() != VerdictStatus::Valid
        {
            failures.count += 1;
        }
    }
    let answers = app.issuance.take(uses, caller.request_id.clone(), deadline).await.map_err(|error| {
        Problem::unavailable(
            "Issuance failed under way: there is no verdict, but a use may have been taken.",
            error,
        )
    })?;
    let taking = presented.iter_mut().filter(|item| item.taking == Taking::Yes);
    for (item, answer) in taking.zip(answers) {
        let (record, _) = known.get(&item.hash).ok_or_else(|| Problem::internal("a use without a record"))?;
        item.verdict = verdict(record, &answer);
        if !item.verdict.is_valid() {
            item.taking = Taking::No;
        }
    }
    Ok(clock::now()?)
}

/// The verdict on a limited credential of which a use was asked for.
fn verdict(record: &IssueRecord, answer: &UseAnswer) -> Verdict {
    match answer.status {
        Status::Active => {
            let uses = record.max_uses.map(|max_uses| max_uses.get().saturating_sub(answer.uses_left));
            Verdict::Valid(IssueRecord { uses, ..record.clone() })
        }
        Status::Expired => Verdict::Expired(answer.expires_at),
        Status::Revoked => Verdict::Revoked(answer.revoked_at),
        Status::UsedUp => Verdict::UsedUp,
    }
}
