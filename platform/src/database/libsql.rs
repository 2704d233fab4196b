//! A libSQL server, reached by HTTP with the Hrana protocol.
//!
//! Each request is a pipeline on its own stream, which it also closes. Nothing is kept between requests, so nothing can
//! expire, and an instance's statements need not wait for each other. Protocol: `docs/HTTP_V2_SPEC.md` and
//! `docs/HRANA_3_SPEC.md` of tursodatabase/libsql.

use std::{sync::Arc, time::Duration};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use super::{
    error::DatabaseError,
    location::Server,
    retry::{TRANSIENT_PAUSE, pause},
    statement::Statement,
    value::{Row, Value},
};
use crate::{
    batch::Transient,
    clock::Deadline,
    outbound::{Limits, exchange},
};

/// The longest response that is read. By default, servers send at most 10 MB of rows.
const MAX_RESPONSE: usize = 16 * 1024 * 1024;

/// How long a statement is awaited beyond its request's deadline: the server waits 5 s for a lock before it reports
/// that nothing was done.
const GRACE: Duration = Duration::from_millis(500);

/// The pipeline route of a server.
pub(super) struct Libsql {
    url: String,
    authorization: Option<HeaderValue>,
}

impl Libsql {
    pub(super) fn new(server: &Server) -> Self {
        Self { url: format!("{}/v2/pipeline", server.url), authorization: server.authorization.clone() }
    }

    /// Runs one statement; gives up soon after the deadline, and then it may have taken effect.
    pub(super) async fn execute(
        &self,
        statement: &str,
        parameters: Vec<Value>,
        deadline: Deadline,
    ) -> Result<Vec<Row>, DatabaseError> {
        if deadline.has_passed() {
            return Err(DatabaseError::Busy);
        }
        let stmt =
            Stmt { sql: statement, args: parameters.iter().map(Wire::from).collect(), want_rows: true };
        match self.send(StreamRequest::Execute { stmt }, deadline.later(GRACE)).await {
            Ok(StreamResponse::Execute { result }) => result.into_rows(),
            Ok(_) => Err(unexpected("it has no result of the statement")),
            Err(error) => {
                if error.is_transient() {
                    pause(TRANSIENT_PAUSE).await;
                }
                Err(error)
            }
        }
    }

    /// Runs statements in a transaction, all in one request.
    pub(super) async fn transaction(
        &self,
        statements: Vec<Statement>,
        limit: Duration,
    ) -> Result<(), DatabaseError> {
        let batch = Batch::transaction(&statements);
        match self.send(StreamRequest::Batch { batch }, Deadline::after(limit)).await? {
            StreamResponse::Batch { result } => {
                // The first error is the reason: later steps are skipped, except the ROLLBACK.
                result.step_errors.into_iter().flatten().next().map_or(Ok(()), |error| Err(error.into()))
            }
            _ => Err(unexpected("it has no result of the batch")),
        }
    }

    async fn send(
        &self,
        request: StreamRequest<'_>,
        deadline: Deadline,
    ) -> Result<StreamResponse, DatabaseError> {
        let unsent = |reason: String| DatabaseError::Parameter(reason);
        let pipeline = Pipeline { requests: [request, StreamRequest::Close] };
        let body = serde_json::to_vec(&pipeline).map_err(|error| unsent(error.to_string()))?;
        let mut request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, body.len());
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body.into())).map_err(|error| unsent(error.to_string()))?;
        let limits = Limits { deadline, max_bytes: MAX_RESPONSE };
        let response = exchange(request, limits)
            .await
            .map_err(|error| DatabaseError::Statement(format!("the libSQL server: {error}")))?;
        if response.status != StatusCode::OK {
            let reason = serde_json::from_slice(&response.body).unwrap_or_else(|_| Refusal::default());
            let reason = format!("the libSQL server: status {}: {}", response.status, reason.text());
            return Err(DatabaseError::of_statement(reason));
        }
        // Only the position: the message might quote a row.
        let pipeline: PipelineResponse = serde_json::from_slice(&response.body).map_err(|error| {
            unexpected(&format!("{:?} at line {} column {}", error.classify(), error.line(), error.column()))
        })?;
        match pipeline.results.into_iter().next() {
            Some(StreamResult::Ok { response }) => Ok(response),
            Some(StreamResult::Error { error }) => Err(error.into()),
            None => Err(unexpected("it has no results")),
        }
    }
}

/// The response does not follow the protocol.
fn unexpected(what: &str) -> DatabaseError {
    DatabaseError::Statement(format!("the libSQL server's response cannot be read: {what}"))
}

#[derive(Serialize)]
struct Pipeline<'a> {
    requests: [StreamRequest<'a>; 2],
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StreamRequest<'a> {
    Execute { stmt: Stmt<'a> },
    Batch { batch: Batch<'a> },
    Close,
}

#[derive(Serialize)]
struct Stmt<'a> {
    sql: &'a str,
    args: Vec<Wire>,
    want_rows: bool,
}

#[derive(Serialize)]
struct Batch<'a> {
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Step<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
    stmt: Stmt<'a>,
}

/// When a step is run: depending on whether an earlier one, counted from 0, succeeded.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Condition {
    Ok { step: usize },
    Not { cond: Box<Self> },
}

impl<'a> Batch<'a> {
    fn transaction(statements: &'a [Statement]) -> Self {
        let step = |condition, sql, parameters: &[Value]| Step {
            condition,
            stmt: Stmt { sql, args: parameters.iter().map(Wire::from).collect(), want_rows: false },
        };
        let mut steps = vec![step(None, "BEGIN IMMEDIATE", &[])];
        for Statement { sql, parameters } in statements {
            steps.push(step(Some(Condition::Ok { step: steps.len() - 1 }), sql, parameters));
        }
        steps.push(step(Some(Condition::Ok { step: steps.len() - 1 }), "COMMIT", &[]));
        let committed = Box::new(Condition::Ok { step: steps.len() - 1 });
        steps.push(step(Some(Condition::Not { cond: committed }), "ROLLBACK", &[]));
        Self { steps }
    }
}

/// A response other than a pipeline's.
#[derive(Default, Deserialize)]
struct Refusal {
    error: Option<String>,
    message: Option<String>,
}

impl Refusal {
    fn text(self) -> String {
        self.error.or(self.message).unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct PipelineResponse {
    results: Vec<StreamResult>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StreamResult {
    Ok { response: StreamResponse },
    Error { error: ServerError },
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StreamResponse {
    Execute { result: StatementResult },
    Batch { result: BatchResult },
    Close,
}

#[derive(Deserialize)]
struct StatementResult {
    cols: Vec<Column>,
    rows: Vec<Vec<Wire>>,
}

#[derive(Deserialize)]
struct Column {
    name: Option<String>,
}

#[derive(Deserialize)]
struct BatchResult {
    step_errors: Vec<Option<ServerError>>,
}

/// Why a statement failed, in SQLite's words.
#[derive(Deserialize)]
struct ServerError {
    message: String,
    code: Option<String>,
}

impl From<ServerError> for DatabaseError {
    fn from(ServerError { message, code }: ServerError) -> Self {
        Self::of_statement(match code {
            Some(code) => format!("(error code: {code}) {message}"),
            None => message,
        })
    }
}

impl StatementResult {
    fn into_rows(self) -> Result<Vec<Row>, DatabaseError> {
        let columns: Arc<[String]> =
            self.cols.into_iter().map(|column| column.name.unwrap_or_default()).collect();
        let row = |values: Vec<Wire>| {
            let values = values.into_iter().map(Value::try_from).collect::<Result<_, _>>()?;
            Ok(Row::new(Arc::clone(&columns), values))
        };
        self.rows.into_iter().map(row).collect()
    }
}

/// A value in Hrana's JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Wire {
    Null,
    /// Decimal digits, because a JSON number may not be exact.
    Integer {
        value: String,
    },
    Float {
        value: f64,
    },
    Text {
        value: String,
    },
    Blob {
        base64: String,
    },
}

/// Hrana omits the padding, but some servers send it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl From<&Value> for Wire {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(integer) => Self::Integer { value: integer.to_string() },
            Value::Real(value) => Self::Float { value: *value },
            Value::Text(text) => Self::Text { value: text.clone() },
            Value::Blob(bytes) => Self::Blob { base64: BASE64.encode(bytes) },
        }
    }
}

impl TryFrom<Wire> for Value {
    type Error = DatabaseError;

    fn try_from(value: Wire) -> Result<Self, DatabaseError> {
        Ok(match value {
            Wire::Null => Self::Null,
            Wire::Integer { value } => {
                Self::Integer(value.parse().map_err(|_| unexpected("an integer is malformed"))?)
            }
            Wire::Float { value } => Self::Real(value),
            Wire::Text { value } => Self::Text(value),
            Wire::Blob { base64 } => {
                Self::Blob(BASE64.decode(base64).map_err(|_| unexpected("a blob is not in Base64"))?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_goes_there_and_back() {
        for (value, wire) in [
            (Value::Null, json!({"type": "null"})),
            (Value::Integer(i64::MAX), json!({"type": "integer", "value": "9223372036854775807"})),
            (Value::Real(0.5), json!({"type": "float", "value": 0.5})),
            (Value::Text("ä".to_owned()), json!({"type": "text", "value": "ä"})),
            (Value::Blob(vec![0, 255]), json!({"type": "blob", "base64": "AP8"})),
        ] {
            assert_eq!(serde_json::to_value(Wire::from(&value)).unwrap(), wire);
            assert_eq!(Value::try_from(serde_json::from_value::<Wire>(wire).unwrap()).unwrap(), value);
        }
        let padded: Wire = serde_json::from_value(json!({"type": "blob", "base64": "AP8="})).unwrap();
        assert_eq!(Value::try_from(padded).unwrap(), Value::Blob(vec![0, 255]));
        let overlong: Wire =
            serde_json::from_value(json!({"type": "integer", "value": "9223372036854775808"})).unwrap();
        assert!(Value::try_from(overlong).is_err());
    }

    #[test]
    fn a_transaction_commits_only_what_succeeded_as_a_whole() {
        let insert = Statement { sql: "INSERT", parameters: vec![1.into()] };
        let statements = [insert];
        let batch = Batch::transaction(&statements);
        let stmt = |sql: &str, args| json!({"sql": sql, "args": args, "want_rows": false});
        assert_eq!(
            serde_json::to_value(&batch.steps).unwrap(),
            json!([
                {"stmt": stmt("BEGIN IMMEDIATE", json!([]))},
                {"condition": {"type": "ok", "step": 0}, "stmt": stmt("INSERT", json!([{"type": "integer", "value": "1"}]))},
                {"condition": {"type": "ok", "step": 1}, "stmt": stmt("COMMIT", json!([]))},
                {"condition": {"type": "not", "cond": {"type": "ok", "step": 2}}, "stmt": stmt("ROLLBACK", json!([]))},
            ])
        );
    }

    #[test]
    fn what_had_no_effect_is_recognised_by_message_or_code() {
        let error = |message: &str, code: &str| {
            DatabaseError::from(ServerError { message: message.to_owned(), code: Some(code.to_owned()) })
        };
        assert!(error("SQLite error: database is locked", "SQLITE_BUSY").is_transient());
        assert!(error("SQLite error: interrupted", "SQLITE_INTERRUPT").is_transient());
        assert!(!error("SQLite error: disk I/O error", "SQLITE_IOERR").is_transient());
    }
}
