//! Who may: bearer tokens (RFC 6750).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use headers::{Authorization, HeaderMapExt, authorization::Bearer};
use http::header;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::Problem;

/// What is asked of a client that brings no token.
const CHALLENGE: &str = r#"Bearer realm="kube-credentials""#;
/// The same, for one that brings a token which does not count.
const CHALLENGE_INVALID: &str = r#"Bearer realm="kube-credentials", error="invalid_token""#;

/// Guards routes with a set of tokens, any of which opens them: so a token can be replaced without downtime.
#[derive(Clone, Debug)]
pub struct Guard {
    /// SHA-256 of each token: of one length, and no plaintext is kept.
    tokens: Arc<[[u8; 32]]>,
    unguarded: Unguarded,
}

/// What happens on a route whose tokens are not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unguarded {
    Open,
    Closed,
}

impl Guard {
    /// A guard that lets everyone in while the comma-separated list of tokens is empty.
    pub fn open_without(tokens: &str) -> Self {
        Self::new(tokens, Unguarded::Open)
    }

    /// A guard that lets nobody in while the comma-separated list of tokens is empty.
    pub fn closed_without(tokens: &str) -> Self {
        Self::new(tokens, Unguarded::Closed)
    }

    fn new(tokens: &str, unguarded: Unguarded) -> Self {
        let tokens = tokens.split(',').map(str::trim).filter(|token| !token.is_empty());
        Self { tokens: tokens.map(|token| Sha256::digest(token).into()).collect(), unguarded }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        if self.tokens.is_empty() {
            return match self.unguarded {
                Unguarded::Open => Ok(()),
                Unguarded::Closed => {
                    Err(Problem::forbidden("This route is closed while no admin_token is configured."))
                }
            };
        }
        if request.headers().get_all(header::AUTHORIZATION).iter().count() > 1 {
            return Err(Problem::unauthorized("Send one Authorization header only.", CHALLENGE));
        }
        match request.headers().typed_get::<Authorization<Bearer>>() {
            None => Err(Problem::unauthorized("Send a token: Authorization: Bearer <token>.", CHALLENGE)),
            Some(bearer) if self.has(bearer.token().trim()) => Ok(()),
            Some(_) => Err(Problem::unauthorized("This token does not open this route.", CHALLENGE_INVALID)),
        }
    }

    /// Whether the token is one of the set, in a time that tells nothing of where it differs or which one it is.
    fn has(&self, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.tokens.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&digest)).into()
    }
}

/// Middleware for a route that a [`Guard`] guards: what is wrong with the body is of no concern to a stranger.
///
/// # Errors
/// 401 without a token that counts, 403 where none is configured.
pub async fn require(State(guard): State<Guard>, request: Request, next: Next) -> Result<Response, Problem> {
    guard.check(&request)?;
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::HeaderMap;

    use super::*;
    use crate::RequestId;

    /// Status and challenge; 200 where the guard lets the request in.
    fn check(guard: &Guard, authorization: &[&str]) -> (u16, Option<String>) {
        let mut request = Request::builder();
        for value in authorization {
            request = request.header(header::AUTHORIZATION, *value);
        }
        match guard.check(&request.body(Body::empty()).unwrap()) {
            Ok(()) => (200, None),
            Err(problem) => {
                let response = problem.into_document(&RequestId::of(&HeaderMap::new()));
                let challenge = response.headers().get(header::WWW_AUTHENTICATE);
                (response.status().as_u16(), challenge.map(|value| value.to_str().unwrap().to_owned()))
            }
        }
    }

    #[test]
    fn any_of_the_tokens_opens_whatever_the_case_of_the_scheme() {
        let guard = Guard::closed_without("one, two,");
        for authorization in ["Bearer one", "bearer two", "BEARER one"] {
            assert_eq!(check(&guard, &[authorization]).0, 200, "{authorization}");
        }
    }

    #[test]
    fn without_a_token_that_counts_there_is_a_401_with_a_challenge() {
        let guard = Guard::closed_without("one,two");
        let challenge = Some(CHALLENGE.to_owned());
        for authorization in
            [&[][..], &["Basic b25lOnR3bw=="], &["Bearer"], &["one"], &["Bearer one", "Bearer two"]]
        {
            assert_eq!(check(&guard, authorization), (401, challenge.clone()), "{authorization:?}");
        }
        for wrong in ["Bearer three", "Bearer One", "Bearer one,two", "Bearer on", "Bearer onee"] {
            assert_eq!(check(&guard, &[wrong]), (401, Some(CHALLENGE_INVALID.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn without_configured_tokens_a_route_is_open_or_closed_as_it_says() {
        for list in ["", " , "] {
            assert_eq!(check(&Guard::open_without(list), &[]).0, 200);
            assert_eq!(check(&Guard::closed_without(list), &["Bearer x"]), (403, None));
        }
    }

    #[test]
    fn debug_output_shows_no_token() {
        assert!(!format!("{:?}", Guard::closed_without("hunter2")).contains("hunter2"));
    }
}
