//! Helpers for JSON values.

use std::mem::discriminant;

use std::time::SystemTime;

use credentials::Timestamp;
use serde_json::Value;

/// The current time.
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    Timestamp::from_millis(i64::try_from(since_epoch).unwrap()).unwrap()
}

/// The names of an object's members, sorted.
pub fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// Whether this is a time like `2025-10-08T23:30:00.000Z`.
pub fn is_timestamp(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        shape == "0000-00-00T00:00:00.000Z"
    })
}

/// Asserts that a response matches a documented one, apart from worker names, times and random values.
pub fn assert_similar(expected: &Value, actual: &Value, place: &str) {
    /// Members whose values differ between runs.
    const VOLATILE: [&str; 18] = [
        "credential",
        "credential_hash",
        "expires_at",
        "id",
        "issued_at",
        "issuedAt",
        "issuedBy",
        "key_id",
        "next_cursor",
        "request_id",
        "revoked_at",
        "timestamp",
        "verificationId",
        "verifiedAt",
        "verified_at",
        "verified_by",
        "worker",
        "worker_id",
    ];
    /// The text without worker names and times.
    fn stable(text: &str) -> String {
        let is_time = |word: &&str| word.len() == 24 && word.ends_with('Z') && word.contains('T');
        let stable = |word| if is_time(&word) { "" } else { word.split("worker-").next().unwrap() };
        text.split(' ').map(stable).collect::<Vec<_>>().join(" ")
    }
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            assert_eq!(expected.keys().collect::<Vec<_>>(), actual.keys().collect::<Vec<_>>(), "{place}");
            for (name, value) in expected {
                let place = format!("{place}: {name}");
                if VOLATILE.contains(&name.as_str()) {
                    assert_eq!(discriminant(value), discriminant(&actual[name]), "{place}");
                } else {
                    assert_similar(value, &actual[name], &place);
                }
            }
        }
        (Value::Array(expected), Value::Array(actual)) => {
            assert_eq!(expected.len(), actual.len(), "{place}");
            for (expected, actual) in expected.iter().zip(actual) {
                assert_similar(expected, actual, place);
            }
        }
        (Value::String(expected), Value::String(actual)) => {
            assert_eq!(stable(expected), stable(actual), "{place}");
        }
        _ => assert_eq!(expected, actual, "{place}"),
    }
}
