//! The component that the project's are compared with: what the same requests cost on a host if a component does no
//! more than they need.
//!
//! It reads the body, parses it, hashes, runs one statement, and answers. It has no router, no validation, no request
//! ids, no CORS, no log, and shares no statements between requests. `spin.toml` deploys it twice: as `issuance` it
//! answers `/issue` and `/check`, as `verification` `/verify`, for which it asks the other. Its databases have the
//! project's schema, so that SQLite and the disk do the same work.

#![cfg(target_family = "wasm")]
#![allow(missing_docs, unreachable_pub, unsafe_code, reason = "what the SDK's macro generates")]

use std::sync::OnceLock;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use spin_sdk::{
    http::{self, FullBody, HeaderMap, IncomingMessage, Request, Response, StatusCode},
    http_service,
    sqlite::{Connection, RowResult, Value},
    variables,
    wasip3::http_compat::IncomingBody,
};

const CONTENT_TYPE: &str = "content-type";
const CONTENT_LENGTH: &str = "content-length";

/// What an instance keeps.
struct Instance {
    database: Connection,
    key: Hmac<Sha256>,
}

#[derive(Deserialize)]
struct Credential {
    credential: String,
}

#[derive(Serialize, Deserialize)]
struct Hash {
    credential_hash: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    exists: bool,
    worker_id: Option<String>,
    issued_at: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    is_valid: bool,
    issued_by: Option<String>,
    issued_at: Option<i64>,
}

#[http_service]
async fn handle(request: Request) -> Result<Response<FullBody<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = read(&head.headers, body).await?;
    match head.uri.path() {
        "/issue" => issue(serde_json::from_slice(&body)?).await,
        "/check" => check(serde_json::from_slice(&body)?).await,
        "/verify" => verify(serde_json::from_slice(&body)?).await,
        path => bail!("there is no {path}"),
    }
}

async fn issue(Credential { credential }: Credential) -> Result<Response<FullBody<Bytes>>> {
    let issuance = instance("issuance").await?;
    let credential_hash = issuance.hash(&credential);
    let insert = "INSERT INTO credentials (credential_hash, key_id, worker_id, issued_at) \
                  VALUES (?, '0123456789abcdef', 'worker-000000', unixepoch() * 1000)";
    issuance.execute(insert, [credential_hash.clone().into()]).await?;
    answer(&Hash { credential_hash })
}

async fn check(Hash { credential_hash }: Hash) -> Result<Response<FullBody<Bytes>>> {
    let select = "SELECT worker_id, issued_at FROM credentials WHERE credential_hash = ?";
    let rows = instance("issuance").await?.execute(select, [credential_hash.into()]).await?;
    let row = rows.first();
    answer(&Record {
        exists: row.is_some(),
        worker_id: row.and_then(|row| row.get::<&str>(0)).map(ToOwned::to_owned),
        issued_at: row.and_then(|row| row.get(1)),
    })
}

async fn verify(Credential { credential }: Credential) -> Result<Response<FullBody<Bytes>>> {
    let verification = instance("verification").await?;
    let credential_hash = verification.hash(&credential);
    let record = ask(&credential_hash).await?;
    // The ids sort by time, as the project's do.
    let insert = "INSERT INTO verifications (id, request_id, credential_hash, status, verified_by, verified_at) \
                  VALUES (printf('%014d-%s', unixepoch('subsec') * 1000, hex(randomblob(10))), \
                  hex(randomblob(16)), ?, ?, 'verification-worker-000000', unixepoch() * 1000)";
    let status = if record.exists { "valid" } else { "not_found" };
    verification.execute(insert, [credential_hash.into(), status.into()]).await?;
    answer(&Verdict { is_valid: record.exists, issued_by: record.worker_id, issued_at: record.issued_at })
}

/// Asks issuance about a hash.
async fn ask(credential_hash: &str) -> Result<Record> {
    let body = serde_json::to_vec(&Hash { credential_hash: credential_hash.to_owned() })?;
    let request = Request::post("http://issuance.spin.internal/check")
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, body.len())
        .body(FullBody::new(Bytes::from(body)))?;
    let (head, body) = http::send(request).await?.into_parts();
    ensure!(head.status == StatusCode::OK, "issuance answered {}", head.status);
    Ok(serde_json::from_slice(&read(&head.headers, body).await?)?)
}

/// What this instance keeps, which its first request makes.
async fn instance(database: &str) -> Result<&'static Instance> {
    static INSTANCE: OnceLock<Instance> = OnceLock::new();
    if let Some(instance) = INSTANCE.get() {
        return Ok(instance);
    }
    let secret = variables::get("credential_secret").await?;
    let instance = Instance {
        database: Connection::open(database).await?,
        key: Hmac::new_from_slice(secret.as_bytes())?,
    };
    // A commit is on disk before its statement returns, as in the project.
    instance.execute("PRAGMA synchronous = FULL", []).await?;
    // Of several requests that come first, all but one have made it in vain.
    Ok(INSTANCE.get_or_init(|| instance))
}

impl Instance {
    fn hash(&self, credential: &str) -> String {
        hex::encode(self.key.clone().chain_update(credential).finalize().into_bytes())
    }

    async fn execute<const N: usize>(
        &self,
        statement: &str,
        parameters: [Value; N],
    ) -> Result<Vec<RowResult>> {
        Ok(self.database.execute(statement, parameters).await?.collect().await?)
    }
}

/// Reads a body up to its length: to wait for its end would be two more turns of the host's event loop.
async fn read<T: IncomingMessage>(headers: &HeaderMap, mut body: IncomingBody<T>) -> Result<Bytes> {
    let length = headers.get(CONTENT_LENGTH).context("there is no length")?.to_str()?.parse()?;
    let mut received = BytesMut::new();
    while received.len() < length {
        let frame = body.frame().await.context("the body ended early")??;
        received.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    Ok(received.freeze())
}

fn answer(content: &impl Serialize) -> Result<Response<FullBody<Bytes>>> {
    let body = Bytes::from(serde_json::to_vec(content)?);
    let response =
        Response::builder().header(CONTENT_TYPE, "application/json").header(CONTENT_LENGTH, body.len());
    Ok(response.body(FullBody::new(body))?)
}
