//! A response, and the members that every problem document has.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// A response with its whole body.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Response {
    pub(crate) async fn read(response: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.bytes().await?.to_vec() })
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{} with a body that is not JSON: {}", self.status, self.text()))
    }

    /// Asserts the status, and returns the body as JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header, which must not be repeated.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        assert!(self.headers.get_all(name).iter().count() <= 1, "{name} is repeated");
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Asserts that this is a complete problem document of this kind and returns it.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:kube-credentials:problem:{kind}"));
        assert_eq!(problem["status"], status);
        for member in ["title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        assert_eq!(problem["message"], problem["detail"]);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        assert_eq!(problem.get("isValid"), None);
        assert_eq!(self.header("retry-after").is_some(), [429, 503].contains(&status));
        problem
    }
}
