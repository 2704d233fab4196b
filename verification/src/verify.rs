//! POST /verify and POST /verify/batch: verdicts on credentials, recorded before they are returned.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, request::Parts},
};
use credentials::{
    Credential, CredentialHash, Metadata, Timestamp, Verdict, VerdictStatus, VerificationId, WorkerId,
};
use platform::{
    edge::{Client, Idempotency, ItemResult, Json, Problem, RawItems},
    request_id::RequestId,
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    limit::{FailureLimit, LimitedClient},
    verdicts::{Verdicts, verdicts},
};

/// The most credentials of one batch.
const MAX_BATCH: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyRequest {
    credential: Credential,
    #[serde(default = "yes")]
    r#use: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchRequest {
    credentials: RawItems,
    #[serde(default = "yes")]
    r#use: bool,
}

/// A verification takes a use of a limited credential unless it asks not to.
fn yes() -> bool {
    true
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VerifyResponse {
    is_valid: bool,
    status: VerdictStatus,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_by: Option<WorkerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uses_left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    verified_at: Timestamp,
    verification_id: VerificationId,
}

#[derive(Serialize)]
pub(crate) struct BatchResponse {
    results: Vec<ItemResult<VerifyResponse>>,
}

/// Who asks.
pub(crate) struct Caller {
    pub(crate) request_id: RequestId,
    idempotency: Idempotency,
    /// The client, if it is to be in the audit rows.
    pub(crate) address: Option<IpAddr>,
    /// The client, if its failures are limited.
    pub(crate) limited: Option<LimitedClient>,
}

impl Caller {
    /// The limit on the client's failures, and the client, if there is one.
    pub(crate) fn limit<'a>(&'a self, app: &'a App) -> Option<(&'a FailureLimit, &'a LimitedClient)> {
        app.limit.as_ref().zip(self.limited.as_ref())
    }

    /// Whether the request may be sent again.
    pub(crate) fn has_key(&self) -> bool {
        self.idempotency.has_key()
    }

    /// The tags of a use by the item at this index, under all secrets and in an order that does not depend on which of them is
    /// the current one; none without a key.
    pub(crate) fn use_tags(&self, app: &App, index: usize, credential: CredentialHash) -> Vec<String> {
        let requests = app.settings.keys.secrets().filter_map(|secret| self.idempotency.request(secret));
        let mut tags: Vec<_> = requests.map(|request| request.use_tag(index, credential)).collect();
        tags.sort_unstable();
        tags
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(head: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let request_id = head.extensions.get::<RequestId>().cloned();
        let client = Client::of(&head.headers, app.settings.trusted_proxies as usize);
        Ok(Self {
            request_id: request_id.ok_or_else(|| Problem::internal("the request has no id"))?,
            idempotency: Idempotency::from_request_parts(head, app).await?,
            address: client.address.filter(|_| app.settings.audit_client_address),
            limited: app.limit.as_ref().map(|_| LimitedClient::new(client, app.settings.keys.current())),
        })
    }
}

pub(crate) async fn verify(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(request): Json<VerifyRequest>,
) -> Result<Json<VerifyResponse>, Problem> {
    let hashes = app.settings.keys.hashes(&request.credential);
    drop(request.credential);
    let verdict = verdicts(&app, &caller, vec![(0, hashes)], request.r#use).await?.items.pop();
    verdict.unwrap_or_else(|| Err(Problem::internal("a verification had no verdict"))).map(Json)
}

pub(crate) async fn verify_batch(
    State(app): State<Arc<App>>,
    caller: Caller,
    Json(request): Json<BatchRequest>,
) -> Result<(HeaderMap, Json<BatchResponse>), Problem> {
    let items = request.credentials.read::<Credential>("body.credentials", MAX_BATCH)?;
    let mut hashes = Vec::new();
    let mut hash = |(index, item): (usize, Result<Credential, Problem>)| {
        item.map(|credential| hashes.push((index, app.settings.keys.hashes(&credential))))
    };
    let items: Vec<_> = items.into_iter().enumerate().map(&mut hash).collect();
    let Verdicts { items: verdicts, headers } = verdicts(&app, &caller, hashes, request.r#use).await?;
    // A batch without any verdict is refused as a whole, like a single verification.
    if verdicts.iter().all(Result::is_err)
        && let Some(Err(refusal)) = verdicts.first()
    {
        return Err(refusal.clone());
    }
    let mut verdicts = verdicts.into_iter();
    let no_verdict = || Err(Problem::internal("a verification had no verdict"));
    let results = items.into_iter().map(|item| match item {
        Err(error) => ItemResult::Error { error },
        Ok(()) => verdicts.next().unwrap_or_else(no_verdict).into(),
    });
    Ok((headers, Json(BatchResponse { results: results.collect() })))
}

impl VerifyResponse {
    pub(crate) fn new(
        verdict: Verdict,
        verified_by: &WorkerId,
        verified_at: Timestamp,
        id: VerificationId,
    ) -> Self {
        let mut response = Self {
            is_valid: verdict.is_valid(),
            status: verdict.status(),
            message: verdict.message(verified_by),
            issued_by: None,
            issued_at: None,
            expires_at: None,
            uses_left: None,
            metadata: None,
            verified_at,
            verification_id: id,
        };
        if let Verdict::UsedUp = verdict {
            response.uses_left = Some(0);
        }
        if let Verdict::Valid(record) = verdict {
            response.uses_left = record.uses_left();
            response.issued_by = Some(record.worker_id);
            response.issued_at = Some(record.issued_at);
            response.expires_at = record.expires_at;
            response.metadata = record.metadata;
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::routes::tests::post;

    #[tokio::test]
    async fn verify_takes_a_non_empty_string_and_nothing_else() {
        for (body, location) in [
            ("{}", "body.credential"),
            (r#"{"credential": ""}"#, "body.credential"),
            (r#"{"credential": 1}"#, "body.credential"),
            (r#"{"credential": "a", "reason": "b"}"#, "body.reason"),
        ] {
            let (status, problem) = post("/verify", body).await;
            assert_eq!((status, &problem["errors"][0]["location"]), (400, &json!(location)), "{body}");
        }
    }

    #[tokio::test]
    async fn a_batch_has_1_to_100_items_and_a_bad_one_is_an_error_in_its_place() {
        for body in
            ["{}", r#"{"credentials": []}"#, r#"{"credentials": "a"}"#, r#"{"credentials": ["a"], "x": 1}"#]
        {
            assert_eq!(post("/verify/batch", body).await.0, 400, "{body}");
        }
        let many = json!({ "credentials": vec![""; 101] }).to_string();
        assert_eq!(post("/verify/batch", &many).await.1["errors"][0]["location"], "body.credentials");
        let (status, body) = post("/verify/batch", r#"{"credentials": ["", 5, "\ud800"]}"#).await;
        assert_eq!(status, 200);
        for (index, message) in
            ["must not be empty", "must be a string", "must be valid Unicode"].iter().enumerate()
        {
            let error = &body["results"][index]["error"];
            assert_eq!(error["status"], 400);
            let location = format!("body.credentials[{index}]");
            assert_eq!(error["errors"], json!([{ "location": location, "message": message }]));
        }
    }
}
