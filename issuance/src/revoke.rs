//! POST /revoke: revokes a credential, for good. Time and reason of the first revocation stand.

use std::sync::Arc;

use axum::extract::State;
use credentials::{Credential, CredentialHash, Reason, Timestamp};
use platform::{
    clock::Deadline,
    edge::{Json, Problem, non_null},
};
use serde::{Deserialize, Serialize};

use crate::app::App;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeRequest {
    #[serde(default, deserialize_with = "non_null")]
    credential: Option<Credential>,
    #[serde(default, deserialize_with = "non_null")]
    credential_hash: Option<CredentialHash>,
    #[serde(default, deserialize_with = "non_null")]
    reason: Option<Reason>,
}

#[derive(Serialize)]
pub(crate) struct RevokeResponse {
    message: String,
    credential_hash: CredentialHash,
    revoked_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

pub(crate) async fn revoke(
    State(app): State<Arc<App>>,
    Json(request): Json<RevokeRequest>,
) -> Result<Json<RevokeResponse>, Problem> {
    let deadline = Deadline::of_request();
    let hashes = match (request.credential, request.credential_hash) {
        (Some(credential), None) => app.settings.keys.hashes(&credential),
        (None, Some(hash)) => vec![hash],
        (Some(_), Some(_)) => {
            return Err(Problem::invalid(
                "body.credential_hash",
                "must not be given together with credential",
            ));
        }
        (None, None) => return Err(Problem::invalid("body.credential", "is required, or credential_hash")),
    };
    let revocation = app.store.revoke(&hashes, request.reason.as_ref(), deadline).await?;
    let revocation = revocation.ok_or_else(|| Problem::not_found("No such credential was issued."))?;
    Ok(Json(RevokeResponse {
        message: format!("credential revoked since {}", revocation.revoked_at),
        credential_hash: revocation.credential_hash,
        revoked_at: revocation.revoked_at,
        reason: revocation.reason,
    }))
}

#[cfg(test)]
mod tests {
    use crate::routes::tests::assert_refused;

    #[tokio::test]
    async fn a_credential_to_revoke_is_named_either_by_itself_or_by_its_hash() {
        let long = format!(r#"{{"credential": "a", "reason": "{}"}}"#, "x".repeat(501));
        let hash = "0".repeat(64);
        let both = format!(r#"{{"credential": "a", "credential_hash": "{hash}"}}"#);
        let spaced = format!(r#"{{"credential_hash": " {hash}"}}"#);
        let prefixed = format!(r#"{{"credential_hash": "sha256:{hash}"}}"#);
        for (body, location) in [
            ("{}", "body.credential"),
            (&both, "body.credential_hash"),
            (&spaced, "body.credential_hash"),
            (&prefixed, "body.credential_hash"),
            (r#"{"credential_hash": "no hash"}"#, "body.credential_hash"),
            (r#"{"credential_hash": ""}"#, "body.credential_hash"),
            (r#"{"credential": "a", "reason": "a\u0000b"}"#, "body.reason"),
            (r#"{"credential": ""}"#, "body.credential"),
            (r#"{"credential": "a", "reason": 1}"#, "body.reason"),
            (&long, "body.reason"),
        ] {
            assert_refused("/revoke", body, location).await;
        }
    }
}
