//! Access control with bearer tokens (RFC 6750).

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use credentials::KeyRing;
use headers::{Authorization, HeaderMapExt, authorization::Bearer};
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::Problem;
use crate::settings::{SettingsError, is_token68};

/// The challenge to a client that sends no token.
const CHALLENGE: &str = r#"Bearer realm="kube-credentials""#;
/// The challenge to a client whose token is not accepted.
const CHALLENGE_INVALID: &str = r#"Bearer realm="kube-credentials", error="invalid_token""#;

/// Guards routes with a set of tokens, any of which is accepted, so that tokens can be replaced without downtime.
#[derive(Clone, Debug)]
pub struct Guard {
    /// SHA-256 of each token: equal lengths to compare, and no plaintext in memory.
    tokens: Arc<[[u8; 32]]>,
    unguarded: Unguarded,
}

/// Who sent a request, as far as its token tells: the token's SHA-256, or nothing on a route that is open.
#[derive(Clone, Debug, Default)]
pub struct Principal(Vec<u8>);

impl Principal {
    /// Bytes that identify the sender.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Whether a route is open while no tokens are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unguarded {
    Open,
    Closed,
}

impl Guard {
    /// The minimum length of a token, in characters: shorter ones could be guessed over the network.
    const MIN_CHARACTERS: usize = 16;

    /// A guard with the comma-separated tokens of a variable, which lets everyone in if the variable is empty.
    ///
    /// # Errors
    /// [`SettingsError::Value`] if a non-empty variable has no token, or one that is shorter than 16 characters or not
    /// a `token68`: a route that was meant to be closed must not be open.
    pub fn open_if_unset(variable: &'static str, tokens: &str) -> Result<Self, SettingsError> {
        Self::new(variable, tokens, Unguarded::Open)
    }

    /// Like [`open_if_unset`](Self::open_if_unset), but lets nobody in if the variable is empty.
    ///
    /// # Errors
    /// The same.
    pub fn closed_if_unset(variable: &'static str, tokens: &str) -> Result<Self, SettingsError> {
        Self::new(variable, tokens, Unguarded::Closed)
    }

    fn new(variable: &'static str, list: &str, unguarded: Unguarded) -> Result<Self, SettingsError> {
        let tokens: Vec<_> = list.split(',').map(str::trim).filter(|token| !token.is_empty()).collect();
        if tokens.is_empty() && !list.is_empty() {
            return Err(SettingsError::value(variable, "is not empty, but has no token in it"));
        }
        if !tokens.iter().all(|token| is_token68(token)) {
            return Err(SettingsError::value(
                variable,
                "must have only letters, digits and - . _ ~ + / in each token, and = only at its end",
            ));
        }
        if tokens.iter().any(|token| token.len() < Self::MIN_CHARACTERS) {
            return Err(SettingsError::value(variable, "must have at least 16 characters in each token"));
        }
        Ok(Self { tokens: tokens.into_iter().map(|token| Sha256::digest(token).into()).collect(), unguarded })
    }

    /// A guard that accepts the tokens of both, and lets nobody in without one.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        Self { tokens: [&*self.tokens, &other.tokens].concat().into(), unguarded: Unguarded::Closed }
    }

    /// A guard that accepts the tokens of the services that have one of these secrets, and lets nobody in without one.
    pub fn services(keys: &KeyRing) -> Self {
        let tokens = keys.secrets().map(|secret| Sha256::digest(secret.service_token().as_str()).into());
        Self { tokens: tokens.collect(), unguarded: Unguarded::Closed }
    }

    /// Whether everyone is let in.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.unguarded == Unguarded::Open
    }

    /// Whether a request with these headers has an accepted token.
    pub fn recognises(&self, headers: &HeaderMap) -> bool {
        !self.tokens.is_empty() && self.check(headers).is_ok()
    }

    fn check(&self, headers: &HeaderMap) -> Result<Principal, Problem> {
        if self.tokens.is_empty() {
            return match self.unguarded {
                Unguarded::Open => Ok(Principal::default()),
                Unguarded::Closed => {
                    Err(Problem::forbidden("This route is closed while no token for it is configured."))
                }
            };
        }
        if headers.get_all(header::AUTHORIZATION).iter().count() > 1 {
            return Err(Problem::unauthorized("Send one Authorization header only.", CHALLENGE));
        }
        let Some(bearer) = headers.typed_get::<Authorization<Bearer>>() else {
            return Err(Problem::unauthorized("Send a token: Authorization: Bearer <token>.", CHALLENGE));
        };
        let digest: [u8; 32] = Sha256::digest(bearer.token().trim()).into();
        // In constant time.
        let known = self.tokens.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&digest));
        if known.into() {
            Ok(Principal(digest.to_vec()))
        } else {
            Err(Problem::unauthorized("This token does not open this route.", CHALLENGE_INVALID))
        }
    }
}

/// Middleware that checks a [`Guard`] before the body is parsed, so a stranger learns nothing about the body. Handlers find
/// the request's [`Principal`] among its extensions.
///
/// # Errors
/// 401 without an accepted token, 403 if none is configured.
pub async fn require(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal = guard.check(request.headers())?;
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_id::RequestId;
    use axum::body::Body;
    use credentials::Secret;

    /// Status and challenge; 200 where the guard lets the request in.
    fn check(guard: &Guard, authorization: &[&str]) -> (u16, Option<String>) {
        let mut request = Request::builder();
        for value in authorization {
            request = request.header(header::AUTHORIZATION, *value);
        }
        match guard.check(request.body(Body::empty()).unwrap().headers()) {
            Ok(_) => (200, None),
            Err(problem) => {
                let response = problem.into_document(&RequestId::of(&HeaderMap::new()));
                let challenge = response.headers().get(header::WWW_AUTHENTICATE);
                (response.status().as_u16(), challenge.map(|value| value.to_str().unwrap().to_owned()))
            }
        }
    }

    const ONE: &str = "token-number-one";
    const TWO: &str = "token-number-two";

    fn guard() -> Guard {
        Guard::closed_if_unset("admin_token", &format!("{ONE}, {TWO},")).unwrap()
    }

    #[test]
    fn any_of_the_tokens_is_accepted_in_any_case_of_the_scheme() {
        for authorization in [format!("Bearer {ONE}"), format!("bearer {TWO}"), format!("BEARER {ONE}")] {
            assert_eq!(check(&guard(), &[&authorization]).0, 200, "{authorization}");
        }
    }

    #[test]
    fn without_an_accepted_token_there_is_a_401_with_a_challenge() {
        let (one, two) = (format!("Bearer {ONE}"), format!("Bearer {TWO}"));
        for authorization in [&[][..], &["Basic b25lOnR3bw=="], &["Bearer"], &[ONE], &[&one, &two]] {
            assert_eq!(
                check(&guard(), authorization),
                (401, Some(CHALLENGE.to_owned())),
                "{authorization:?}"
            );
        }
        for wrong in
            ["Bearer token-number-three", &one.replace('t', "T"), &format!("{one},{TWO}"), &one[..22]]
        {
            assert_eq!(check(&guard(), &[wrong]), (401, Some(CHALLENGE_INVALID.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn services_are_recognised_by_the_current_and_the_retired_secrets() {
        let (a, b, c) = ("a".repeat(32), "b".repeat(32), "c".repeat(32));
        let guard = Guard::services(&KeyRing::new(&a, &b).unwrap());
        let recognises = |authorization: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
            guard.recognises(&headers)
        };
        for (secret, is_known) in [(&a, true), (&b, true), (&c, false)] {
            let token = Secret::new(secret).unwrap().service_token().as_str().to_owned();
            assert_eq!(recognises(&format!("Bearer {token}")), is_known, "{secret}");
            assert!(
                !recognises(&format!("Basic {token}")) && !recognises(&format!("Bearer {}", &token[1..]))
            );
        }
        assert!(!guard.recognises(&HeaderMap::new()) && !guard.is_open());
        assert!(!Guard::open_if_unset("issuer_token", "").unwrap().recognises(&HeaderMap::new()));
    }

    #[test]
    fn without_configured_tokens_a_route_is_open_or_closed_as_declared() {
        let open = Guard::open_if_unset("issuer_token", "").unwrap();
        assert!(open.is_open());
        assert_eq!(check(&open, &[]).0, 200);
        let closed = Guard::closed_if_unset("admin_token", "").unwrap();
        assert!(!closed.is_open());
        assert_eq!(check(&closed, &["Bearer x"]), (403, None));
    }

    #[test]
    fn two_guards_accept_the_tokens_of_both_and_never_everyone() {
        let closed = |tokens| Guard::closed_if_unset("x", tokens).unwrap();
        let both = closed(ONE).or(&closed(TWO));
        for token in [ONE, TWO] {
            assert_eq!(check(&both, &[&format!("Bearer {token}")]).0, 200);
        }
        assert_eq!(check(&both, &["Bearer token-number-three"]).0, 401);
        let open = Guard::open_if_unset("x", "").unwrap();
        assert_eq!(check(&open.or(&closed(ONE)), &[]).0, 401);
        assert_eq!(check(&open.or(&open), &[]).0, 403);
    }

    #[test]
    fn a_variable_without_a_usable_token_is_an_error_and_not_an_open_door() {
        for list in [",", " ", " , ,", "short", "token-number-on", &format!("{ONE},short")] {
            let error = Guard::open_if_unset("issuer_token", list).unwrap_err().to_string();
            assert!(error.starts_with("issuer_token ") && !error.contains("short"), "{list:?}: {error}");
        }
    }

    #[test]
    fn a_token_that_no_client_can_send_is_an_error() {
        for token in ["AZaz09-._~+/AZaz09", "0123456789abcdef==", "================a"] {
            let usable = Guard::closed_if_unset("admin_token", token).is_ok();
            assert_eq!(usable, !token.starts_with('='), "{token}");
        }
        for token in [
            "a-tökén-of-16-chars",
            "a token of 16 characters",
            "a-token\tof-16-characters",
            "\"a-token-in-quotes-\"",
            "a-token-with-a-$-in-it",
            "a-token-with-=-in-it",
            "a-token-with-(parens)",
            "a-token-with-\u{200b}-in-it",
            "================",
        ] {
            for list in [token.to_owned(), format!("{ONE},{token}"), format!("{token}, {ONE}")] {
                let error = Guard::closed_if_unset("admin_token", &list).unwrap_err().to_string();
                assert!(error.starts_with("admin_token must have only letters"), "{list}: {error}");
                assert!(!error.contains(token), "{error}");
            }
        }
    }

    #[test]
    fn debug_output_shows_no_token() {
        assert!(!format!("{:?}", guard()).contains(ONE));
    }
}
