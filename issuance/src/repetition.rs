//! Requests to issue that are repeated with the same `Idempotency-Key`: they get the same response for a day.

use std::{collections::HashMap, time::Duration};

use credentials::{IdempotentRequest, KeyId, KeyRing, Secret, Status, Timestamp};
use platform::edge::{Idempotency, Problem};
use serde_json::json;

use crate::{
    issue::{IssueRequest, IssueResponse},
    store::{IssuedItem, RequestItem},
};

/// How long a repetition gets the same response.
const REPEATABLE_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A request with an idempotency key, under each secret, the current one first: the first request may have been served
/// under another than its repetition.
pub(crate) struct Repeatable(Vec<UnderSecret>);

struct UnderSecret {
    key_id: KeyId,
    request: IdempotentRequest,
    tag: String,
    fingerprint: String,
}

impl Repeatable {
    /// `None` without a key.
    pub(crate) fn new(
        idempotency: &Idempotency,
        keys: &KeyRing,
        items: &[Result<IssueRequest, Problem>],
    ) -> Option<Self> {
        let under = |secret: &Secret| {
            let request = idempotency.request(secret)?;
            let fingerprint = request.fingerprint(&content(items, secret));
            Some(UnderSecret { key_id: secret.key_id(), tag: request.tag(), request, fingerprint })
        };
        keys.secrets().map(under).collect::<Option<_>>().map(Self)
    }

    /// The credential of the item at this index, if it is to be generated.
    pub(crate) fn generate(&self, index: usize) -> String {
        self.0.first().map(|current| current.request.generate(index)).unwrap_or_default()
    }

    /// What is stored of the item at this index.
    pub(crate) fn item(&self, index: usize) -> RequestItem {
        let fingerprints = self.0.iter().map(|under| under.fingerprint.clone()).collect();
        RequestItem { tags: self.tags(), fingerprints, index }
    }

    /// The tags of the request.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.0.iter().map(|under| under.tag.clone()).collect()
    }
}

/// What a request asks for, as text. Two spellings of one request have the same content; a credential is represented by its
/// hash.
fn content(items: &[Result<IssueRequest, Problem>], secret: &Secret) -> String {
    let content = |item: &Result<IssueRequest, Problem>| {
        let item = item.as_ref().ok()?;
        Some(json!([
            item.credential.as_ref().map(|credential| secret.hash(credential)),
            item.generate,
            item.expires_at,
            item.ttl_seconds,
            item.max_uses,
            item.metadata.as_ref().map(|metadata| metadata.as_str()),
        ]))
    };
    json!(items.iter().map(content).collect::<Vec<_>>()).to_string()
}

/// The items of a request that were issued when it was sent before.
#[derive(Default)]
pub(crate) struct Repetitions<'a>(HashMap<usize, (IssuedItem, Option<&'a UnderSecret>)>);

impl<'a> Repetitions<'a> {
    /// # Errors
    /// A 422 if another request was sent with the same key.
    pub(crate) fn new(repeatable: &'a Repeatable, issued: Vec<IssuedItem>) -> Result<Self, Problem> {
        let known = |item: IssuedItem| {
            let under = repeatable.0.iter().find(|under| under.tag == item.tag);
            if under.is_none_or(|under| under.fingerprint != item.fingerprint) {
                return Err(Problem::idempotency_key_reused());
            }
            Ok((item.index, (item, under)))
        };
        issued.into_iter().map(known).collect::<Result<_, _>>().map(Self)
    }

    /// The response to a repeated item.
    ///
    /// # Errors
    /// A 409 if the credential was issued by another request or too long ago, or no longer counts.
    pub(crate) fn response(
        &self,
        index: usize,
        generated: bool,
        now: Timestamp,
    ) -> Result<IssueResponse, Problem> {
        let Some((item, Some(under))) = self.0.get(&index) else { return Err(Problem::already_issued()) };
        let record = &item.record;
        let age = Duration::from_millis(now.as_millis().abs_diff(record.issued_at.as_millis()));
        if age >= REPEATABLE_FOR || record.status_at(now) != Status::Active {
            return Err(Problem::already_issued());
        }
        let generated = generated.then(|| under.request.generate(index));
        Ok(IssueResponse::new(record, item.credential_hash, under.key_id, generated))
    }
}

#[cfg(test)]
mod tests {
    use credentials::{Credential, IdempotencyKey, IssueRecord, WorkerId};

    use super::*;

    const HOUR: i64 = 60 * 60 * 1000;

    fn ring(current: &str, retired: &str) -> KeyRing {
        KeyRing::new(&current.repeat(32), &retired.repeat(32)).unwrap()
    }

    fn repeatable(keys: &KeyRing, key: &str, items: &[&str]) -> Repeatable {
        let key: IdempotencyKey = key.repeat(22).parse().unwrap();
        let items: Vec<_> = items.iter().map(|item| Ok(serde_json::from_str(item).unwrap())).collect();
        Repeatable::new(&Idempotency::with(key), keys, &items).unwrap()
    }

    /// The row of an item, issued at the time 0 under the current secret.
    fn issued(keys: &KeyRing, repeatable: &Repeatable, index: usize) -> IssuedItem {
        let item = repeatable.item(index);
        let credential = Credential::new(repeatable.generate(index)).unwrap();
        IssuedItem {
            tag: item.tags[0].clone(),
            index,
            fingerprint: item.fingerprints[0].clone(),
            credential_hash: keys.hashes(&credential)[0],
            record: IssueRecord {
                worker_id: WorkerId::named("first"),
                issued_at: time(0),
                expires_at: None,
                revoked_at: None,
                max_uses: None,
                uses: None,
                metadata: None,
            },
        }
    }

    fn time(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    fn status(result: Result<IssueResponse, Problem>) -> u64 {
        let problem = serde_json::to_value(result.unwrap_err()).unwrap();
        problem["status"].as_u64().unwrap()
    }

    #[test]
    fn a_repetition_gets_the_same_response_for_a_day_and_while_the_credential_counts() {
        let keys = ring("a", "");
        let request = repeatable(&keys, "k", &[r#"{"generate": true}"#]);
        let response = |now, change: fn(&mut IssueRecord)| {
            let mut item = issued(&keys, &request, 0);
            change(&mut item.record);
            Repetitions::new(&request, vec![item]).unwrap().response(0, true, time(now))
        };
        let first = response(0, |_| ()).unwrap();
        assert_eq!(response(24 * HOUR - 1, |_| ()).unwrap(), first);
        assert_eq!(status(response(24 * HOUR, |_| ())), 409);
        // The clock of another replica is behind.
        assert_eq!(response(0, |record| record.issued_at = time(5)).map(drop).ok(), Some(()));
        assert_eq!(status(response(2, |record| record.revoked_at = Some(time(1)))), 409);
        assert_eq!(status(response(2, |record| record.expires_at = Some(time(2)))), 409);
        let used_up = |record: &mut IssueRecord| {
            (record.max_uses, record.uses) = (Some(1.try_into().unwrap()), Some(1));
        };
        assert_eq!(status(response(2, used_up)), 409);
        let nothing = Repetitions::new(&request, vec![]).unwrap();
        assert_eq!(status(nothing.response(0, true, time(0))), 409, "another request issued it");
    }

    #[test]
    fn a_repetition_under_a_new_secret_gets_what_the_old_one_made() {
        let old = ring("a", "");
        let first = repeatable(&old, "k", &[r#"{"generate": true}"#]);
        let request = repeatable(&ring("b", "a"), "k", &[r#"{"generate": true}"#]);
        assert_ne!(request.generate(0), first.generate(0));
        let response =
            |request, row| Repetitions::new(request, vec![row]).unwrap().response(0, true, time(1));
        let repeated = response(&request, issued(&old, &first, 0)).unwrap();
        assert_eq!(repeated, response(&first, issued(&old, &first, 0)).unwrap());
    }

    #[test]
    fn other_content_with_the_same_key_is_refused_as_a_whole() {
        let keys = ring("a", "");
        let first = r#"{"credential": "a", "ttl_seconds": 60, "metadata": {"a": 1}}"#;
        let request = repeatable(&keys, "k", &[first, first]);
        let again = r#"{"metadata": {"a": 1}, "ttl_seconds": 60.0, "credential": "a", "generate": false}"#;
        assert!(
            Repetitions::new(&repeatable(&keys, "k", &[again, again]), vec![issued(&keys, &request, 1)])
                .is_ok()
        );
        for items in [
            &[first][..],
            &[first, first, first],
            &[first, r#"{"credential": "b", "ttl_seconds": 60, "metadata": {"a": 1}}"#],
            &[first, r#"{"credential": "a", "ttl_seconds": 61, "metadata": {"a": 1}}"#],
            &[first, r#"{"credential": "a", "ttl_seconds": 60, "metadata": {"a": 1.0}}"#],
            &[first, r#"{"credential": "a", "ttl_seconds": 60}"#],
            &[first, r#"{"credential": "a", "ttl_seconds": 60, "metadata": {"a": 1}, "max_uses": 1}"#],
            &[first, r#"{"generate": true}"#],
        ] {
            let other = repeatable(&keys, "k", items);
            let problem = Repetitions::new(&other, vec![issued(&keys, &request, 1)]).err().unwrap();
            assert_eq!(serde_json::to_value(problem).unwrap()["status"], 422, "{items:?}");
        }
    }
}
