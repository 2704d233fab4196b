//! The response to `POST /check`, which issuance writes and verification reads.

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned},
};
use serde_json::value::RawValue;

use crate::{CredentialHash, IssueRecord, KeyId, Metadata, Status, Timestamp, WorkerId};

/// The result for one hash: `{"exists": false}`, or `{"exists": true}` with its status and the members of its
/// [`IssueRecord`].
///
/// Deserializing is strict where leniency could lead to a wrong verdict: `"exists": false` must have no other members,
/// `"exists": true` needs a status and a complete record, and duplicates are refused. Unknown members of a record are
/// ignored, so that later versions may add some.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_hash: Option<CredentialHash>,
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(flatten)]
    record: Option<IssueRecord>,
}

/// The response for a list of hashes: one result for each, in order, and the keys that issuance hashes with.
///
/// Verification must know all of these keys, or a credential issued under another would look as if it was never issued.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckList<T> {
    /// The current key first. Without the services' token there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_ids: Vec<KeyId>,
    /// [`CheckAnswer`]s; in issuance's response also errors.
    pub results: Vec<T>,
}

impl CheckAnswer {
    /// An upper bound for the JSON of one result, in bytes. Escaping can make a byte of a name take six.
    const MAX_BYTES: usize = Metadata::MAX_BYTES + 6 * WorkerId::MAX_BYTES + 2 * CredentialHash::BYTES + 256;

    /// The result for a hash at `now`. It has a record if it was issued.
    pub fn new(record: Option<IssueRecord>, now: Timestamp) -> Self {
        let status = record.as_ref().map(|record| record.status_at(now));
        Self { credential_hash: None, exists: record.is_some(), status, record }
    }

    /// The same result as an item of a list, where it repeats the hash.
    #[must_use]
    pub fn about(self, hash: CredentialHash) -> Self {
        Self { credential_hash: Some(hash), ..self }
    }

    /// What anyone may know: without metadata, and nothing of its life but the status.
    #[must_use]
    pub fn public(mut self) -> Self {
        self.record = self.record.map(|record| IssueRecord {
            worker_id: record.worker_id,
            issued_at: record.issued_at,
            expires_at: None,
            revoked_at: None,
            max_uses: None,
            uses: None,
            metadata: None,
        });
        self
    }

    /// Whether the result names this hash.
    pub fn is_about(&self, hash: CredentialHash) -> bool {
        self.credential_hash == Some(hash)
    }

    /// The record and the status that issuance reported, if the credential was issued.
    pub fn into_issued(self) -> Option<(IssueRecord, Status)> {
        self.record.zip(self.status)
    }
}

impl CheckList<CheckAnswer> {
    /// The most hashes in one request: 100 credentials under nine keys.
    pub const MAX_HASHES: usize = 900;

    /// The longest response to such a list, in bytes.
    pub const MAX_BYTES: usize = Self::MAX_HASHES * CheckAnswer::MAX_BYTES + 1024;
}

impl<'de> Deserialize<'de> for CheckAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Issued {
            credential_hash: Option<CredentialHash>,
            exists: bool,
            status: Status,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct NotIssued {
            credential_hash: Option<CredentialHash>,
            exists: bool,
        }
        // Two passes over the raw text, because `flatten` would not preserve metadata as it was sent.
        let json = Box::<RawValue>::deserialize(deserializer)?;
        match read::<NotIssued, D::Error>(&json) {
            Ok(NotIssued { credential_hash, exists: false }) => {
                Ok(Self { credential_hash, exists: false, status: None, record: None })
            }
            _ => {
                let Issued { credential_hash, exists, status } = read(&json)?;
                if !exists {
                    return Err(de::Error::custom("it does not exist, and has other members"));
                }
                let record: IssueRecord = read(&json)?;
                if record.max_uses.is_some() != record.uses.is_some() {
                    return Err(de::Error::custom("it has only one of max_uses and uses"));
                }
                Ok(Self { credential_hash, exists, status: Some(status), record: Some(record) })
            }
        }
    }
}

fn read<T: DeserializeOwned, E: de::Error>(json: &RawValue) -> Result<T, E> {
    // Serde also accepts an array instead of a struct.
    if !json.get().starts_with('{') {
        return Err(E::custom("it is not an object"));
    }
    serde_json::from_str(json.get()).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        MaxUses, Secret,
        record::tests::{record, time, used},
    };

    fn read(json: &str) -> Result<CheckAnswer, serde_json::Error> {
        serde_json::from_str(json)
    }

    fn instant() -> impl Strategy<Value = i64> {
        0_i64..253_402_300_799_999
    }

    proptest! {
        #[test]
        fn an_answer_round_trips_through_json(
            expires in prop::option::of(instant()),
            revoked in prop::option::of(instant()),
            uses in prop::option::of((0_u32..9, 1_u32..9)),
            metadata in prop::option::of("\\{\"a\":(1\\.0|1e400|\"[a-zé ]{0,9}\")\\}"),
            listed: bool,
        ) {
            let mut record = record(expires, revoked);
            if let Some((uses, max_uses)) = uses {
                record = used(uses, max_uses, record);
            }
            record.metadata = metadata.map(|json| Metadata::new(&json).unwrap());
            let mut answer = CheckAnswer::new(Some(record.clone()), time(5));
            if listed {
                answer = answer.about([0; 32].into());
                prop_assert!(answer.is_about([0; 32].into()) && !answer.is_about([1; 32].into()));
            }
            let json = serde_json::to_string(&answer).unwrap();
            prop_assert_eq!(&read(&json).unwrap(), &answer, "{}", json);
            prop_assert_eq!(answer.into_issued(), Some((record.clone(), record.status_at(time(5)))));
        }
    }

    #[test]
    fn an_answer_about_an_unissued_hash_has_no_other_members() {
        let answer = CheckAnswer::new(None, time(5));
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"exists":false}"#);
        assert_eq!(read(r#"{"exists": false}"#).unwrap(), answer);
        assert_eq!(answer.into_issued(), None);
    }

    #[test]
    fn the_public_has_no_metadata_and_nothing_of_a_credential_s_life_but_its_status() {
        let record = IssueRecord {
            metadata: Some(Metadata::new(r#"{"a": 1}"#).unwrap()),
            ..used(1, 1, record(Some(3), Some(4)))
        };
        let json = serde_json::to_value(CheckAnswer::new(Some(record), time(5)).public()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "exists": true,
                "status": "revoked",
                "worker_id": "worker-1",
                "issued_at": "1970-01-01T00:00:00.000Z",
            })
        );
        let unknown = CheckAnswer::new(None, time(5));
        assert_eq!(unknown.clone().public(), unknown);
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_refused() {
        let issued = r#""worker_id": "w", "issued_at": "2025-10-08T23:30:00.000Z""#;
        assert!(read(&format!(r#"{{"exists": true, "status": "active", {issued}, "later": 1}}"#)).is_ok());
        for json in [
            "{}".to_owned(),
            "[false]".to_owned(),
            r#"[null, true, "active"]"#.to_owned(),
            r#"{"exists": true}"#.to_owned(),
            r#"{"exists": "true"}"#.to_owned(),
            r#"{"exists": false, "exists": false}"#.to_owned(),
            r#"{"exists": false, "revoked_at": "2025-10-08T23:30:00.000Z"}"#.to_owned(),
            format!(r#"{{"exists": false, "status": "active", {issued}}}"#),
            format!(r#"{{"exists": true, {issued}}}"#),
            format!(r#"{{"exists": true, "status": "suspended", {issued}}}"#),
            format!(r#"{{"exists": true, "status": "active", {issued}, "worker_id": "v"}}"#),
            format!(r#"{{"exists": true, "status": "active", {issued}, "expires_at": "never"}}"#),
            format!(r#"{{"exists": true, "status": "active", {issued}, "metadata": []}}"#),
            format!(r#"{{"exists": true, "status": "active", {issued}, "max_uses": 3}}"#),
            format!(r#"{{"exists": true, "status": "active", {issued}, "uses": 3}}"#),
            format!(r#"{{"exists": true, "status": "active", {issued}, "max_uses": 0, "uses": 0}}"#),
        ] {
            assert!(read(&json).is_err(), "{json}");
        }
    }

    #[test]
    fn the_longest_answer_is_within_its_limit() {
        let record = IssueRecord {
            worker_id: WorkerId::configured("\u{1}".repeat(WorkerId::MAX_BYTES)).unwrap(),
            expires_at: Some(time(1)),
            revoked_at: Some(time(2)),
            max_uses: Some(MaxUses::MAX.try_into().unwrap()),
            uses: Some(MaxUses::MAX),
            metadata: Some(Metadata::new(&format!(r#"{{"a":"{}"}}"#, "x".repeat(4096 - 8))).unwrap()),
            ..record(None, None)
        };
        let answer = CheckAnswer::new(Some(record), time(5)).about([0xff; 32].into());
        let key_id = Secret::new(&"s".repeat(32)).unwrap().key_id();
        let list = CheckList {
            key_ids: vec![key_id; 9],
            results: vec![answer; CheckList::<CheckAnswer>::MAX_HASHES],
        };
        let json = serde_json::to_string(&list).unwrap();
        assert!(json.len() <= CheckList::MAX_BYTES, "{} bytes", json.len());
        assert!(
            json.len() > CheckList::MAX_BYTES * 9 / 10,
            "{} bytes: the limit is far too high",
            json.len()
        );
        assert_eq!(serde_json::from_str::<CheckList<CheckAnswer>>(&json).unwrap().results.len(), 900);
    }
}
