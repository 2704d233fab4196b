//! Query strings, as strict as bodies.

use axum::extract::FromRequestParts;
use credentials::{CredentialHash, Secret, Timestamp};
use http::request::Parts;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use super::{Cursors, Problem, json};
use crate::database::Value;

/// A request's query. Unknown, repeated or malformed parameters are a 400 that names them.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = head.uri.query().unwrap_or_default();
        let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(deserializer)
            .map(Self)
            .map_err(|error| json::refuse("query", &error.path().to_string(), &error.inner().to_string()))
    }
}

/// The parameters of a list, newest first; `S` is the type of its `status`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, bound = "S: DeserializeOwned")]
pub struct Listing<S> {
    /// The most rows of the page: 1 to 1,000.
    #[serde(default)]
    pub limit: Limit,
    /// Where the previous page ended.
    pub cursor: Option<String>,
    /// Only rows with this status.
    pub status: Option<S>,
    /// Only rows with this hash.
    pub credential_hash: Option<CredentialHash>,
    /// Only rows from this time on.
    pub since: Option<Timestamp>,
    /// Only rows from before this time.
    pub until: Option<Timestamp>,
}

impl<S: std::fmt::Debug> Listing<S> {
    /// The cursors of the list with this name, bound to these filters.
    pub fn cursors<'a>(&self, secret: &'a Secret, list: &str) -> Cursors<'a> {
        let Self { status, credential_hash, since, until, .. } = self;
        Cursors::new(secret, list, &format!("{status:?} {credential_hash:?} {since:?} {until:?}"))
    }

    /// The key of the previous page's last row, if there was a page.
    ///
    /// # Errors
    /// A 400 for any other cursor.
    pub fn after(&self, cursors: &Cursors<'_>) -> Result<Option<Vec<Value>>, Problem> {
        self.cursor.as_deref().map(|cursor| cursors.read(cursor)).transpose()
    }
}

impl<S> Default for Listing<S> {
    fn default() -> Self {
        Self {
            limit: Limit::default(),
            cursor: None,
            status: None,
            credential_hash: None,
            since: None,
            until: None,
        }
    }
}

/// The size of a page.
#[derive(Clone, Copy, Debug)]
pub struct Limit(u16);

impl Limit {
    /// The largest page. With metadata and reasons of maximum length it has about 6 MB; a libSQL server sends at most
    /// 10 MB of rows.
    const MAX: u16 = 1000;

    /// The number of rows.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(50)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse().ok().filter(|limit| (1..=Self::MAX).contains(limit));
        number.map(Self).ok_or_else(|| de::Error::custom(format!("must be a number from 1 to {}", Self::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::request_id::RequestId;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Status {
        Valid,
    }

    async fn extract(query: &str) -> Result<Listing<Status>, serde_json::Value> {
        let request = http::Request::get(format!("/list?{query}")).body(()).unwrap();
        match Query::from_request_parts(&mut request.into_parts().0, &()).await {
            Ok(Query(listing)) => Ok(listing),
            Err(problem) => {
                let response = problem.into_document(&RequestId::of(&http::HeaderMap::new()));
                let body = response.into_body().collect().await.unwrap().to_bytes();
                Err(serde_json::from_slice(&body).unwrap())
            }
        }
    }

    #[tokio::test]
    async fn all_parameters_may_be_left_out() {
        let listing = extract("").await.unwrap();
        assert_eq!(listing.limit.0, 50);
        assert!(listing.cursor.is_none() && listing.status.is_none() && listing.since.is_none());
    }

    #[tokio::test]
    async fn parameters_are_decoded() {
        let listing = extract("limit=1000&status=valid&since=2025-10-08T23%3A30%3A00%2B02%3A00&cursor=a-b_")
            .await
            .unwrap();
        assert_eq!(listing.limit.0, 1000);
        assert!(matches!(listing.status, Some(Status::Valid)));
        assert_eq!(listing.since.unwrap().to_string(), "2025-10-08T21:30:00.000Z");
        assert_eq!(listing.cursor.as_deref(), Some("a-b_"));
    }

    #[tokio::test]
    async fn an_invalid_parameter_is_named_and_its_value_is_not_repeated() {
        let problem = extract("status=good").await.unwrap_err();
        assert_eq!(problem["errors"][0]["message"], "must be valid");
        for (query, location) in [
            ("limit=0", "query.limit"),
            ("limit=1001", "query.limit"),
            ("limit=ten", "query.limit"),
            ("limit=1&limit=2", "query.limit"),
            ("limt=1", "query.limt"),
            ("status=good", "query.status"),
            ("since=yesterday", "query.since"),
            ("until=2025-10-08", "query.until"),
            ("credential_hash=abc", "query.credential_hash"),
        ] {
            let problem = extract(query).await.unwrap_err();
            assert_eq!(problem["status"], 400);
            assert_eq!(problem["errors"][0]["location"], location, "{query}: {problem}");
            let value = query.split('=').next_back().unwrap();
            assert!(value.len() < 4 || !problem.to_string().contains(value), "the value is not repeated");
        }
    }
}
