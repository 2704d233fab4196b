//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): requests that clients may send again.

use axum::extract::FromRequestParts;
use credentials::{IdempotencyKey, IdempotentRequest, Secret};
use http::{HeaderMap, HeaderName, request::Parts};

use super::{Principal, Problem};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The key that a request was sent with, if any, and by whom. A malformed key is a 400.
#[derive(Clone, Debug)]
pub struct Idempotency(Option<(IdempotencyKey, Principal)>);

impl Idempotency {
    /// For tests: a request with a key, on an open route.
    #[cfg(feature = "testing")]
    pub fn with(key: IdempotencyKey) -> Self {
        Self(Some((key, Principal::default())))
    }

    /// Whether it has a key.
    pub fn has_key(&self) -> bool {
        self.0.is_some()
    }

    /// The request under a secret, if it has a key.
    pub fn request(&self, secret: &Secret) -> Option<IdempotentRequest> {
        self.0.as_ref().map(|(key, principal)| secret.request(principal.as_bytes(), key))
    }
}

impl<S: Sync> FromRequestParts<S> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = head.extensions.get::<Principal>().cloned();
        let principal = principal.ok_or_else(|| Problem::internal("the route has no guard"))?;
        Ok(Self(read(&head.headers)?.map(|key| (key, principal))))
    }
}

fn read(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let invalid = |rule: String| Problem::invalid("header.Idempotency-Key", rule);
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(invalid("must not be given twice".to_owned()));
    }
    // Anything but ASCII is refused like other characters.
    let key = value.to_str().unwrap_or_default().parse();
    key.map(Some).map_err(|error: credentials::Error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<Option<IdempotencyKey>, Problem> {
        let values = values.iter().map(|value| (HEADER, HeaderValue::from_bytes(value).unwrap()));
        super::read(&values.collect())
    }

    #[test]
    fn a_request_has_one_key_or_none() {
        let key = b"8e03978e-40d5-43dd-bc93-6894a57f9324";
        assert_eq!(read(&[]).unwrap(), None);
        assert!(read(&[key]).unwrap().is_some());
        for values in [&[&key[..], key][..], &[b""], &[b"short"], &["ü".repeat(22).as_bytes()]] {
            let problem = serde_json::to_value(read(values).unwrap_err()).unwrap();
            assert_eq!(problem["status"], 400);
            assert_eq!(problem["errors"][0]["location"], "header.Idempotency-Key");
        }
    }
}
