//! With a real server: values, errors, the pool, and what a connection string may name.

use std::{path::Path, time::Duration};

use e2e::postgres::{PASSWORD, PostgresServer, programs};

use super::*;
use crate::{
    bindings::spin::postgres::postgres::{DbDataType, DbError, DbValue},
    config::variables::Variables,
};

fn postgres(hosts: &[&str]) -> Postgres {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let variables = Variables::resolve(&[].into(), |_| None, Path::new("no such file")).unwrap();
    Postgres::new(AllowedHosts::new(&hosts, &variables).unwrap())
}

/// A server, if PostgreSQL is installed.
fn start() -> Option<PostgresServer> {
    programs().map(|_| PostgresServer::start("127.0.0.1", ""))
}

async fn connect(server: &PostgresServer) -> Connection {
    postgres(&["postgres://*:*"]).connect(&server.address(""), None).await.unwrap()
}

/// Reads all rows by the asynchronous call.
async fn stream(
    connection: &Connection,
    statement: &str,
    parameters: &[ParameterValue],
) -> Result<RowSet, Error> {
    let mut running = connection.start(statement, parameters).await?;
    let mut rows = Vec::new();
    while let Some(row) = running.rows.recv().await {
        rows.push(row);
    }
    running.outcome.await.unwrap()?;
    Ok(RowSet { columns: running.columns, rows })
}

/// Why a connection fails.
async fn refusal(postgres: &Postgres, address: &str) -> String {
    match postgres.connect(address, None).await.map(|_| ()) {
        Err(Error::ConnectionFailed(text)) => {
            assert!(!text.contains(PASSWORD), "{text}");
            text
        }
        other => panic!("{address}: {other:?}"),
    }
}

fn db_error<T: std::fmt::Debug>(result: Result<T, Error>) -> DbError {
    match result {
        Err(Error::QueryFailed(QueryError::DbError(error))) => error,
        other => panic!("{other:?}"),
    }
}

fn text<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::QueryFailed(QueryError::Text(text))) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_value_goes_to_the_server_and_back() {
    let Some(server) = start() else { return };
    let connection = connect(&server).await;
    let text = "\u{1f511} \"text\"".to_owned();
    let parameters = [
        ParameterValue::Boolean(true),
        ParameterValue::Int16(i16::MIN),
        ParameterValue::Int32(i32::MIN),
        ParameterValue::Int64(i64::MIN),
        ParameterValue::Floating32(0.5),
        ParameterValue::Floating64(0.1),
        ParameterValue::Str(text.clone()),
        ParameterValue::Binary(vec![0, 255]),
        ParameterValue::Jsonb(b"{\"b\": [1, null], \"a\": \"x\"}".to_vec()),
        ParameterValue::ArrayInt32(vec![Some(1), None]),
        ParameterValue::ArrayInt64(vec![Some(i64::MAX), None]),
        ParameterValue::ArrayStr(vec![Some(text.clone()), None]),
        ParameterValue::DbNull,
        ParameterValue::DbNull,
    ];
    let statement = "SELECT $1::bool, $2::smallint, $3::int, $4::bigint, $5::real, $6::float8, $7::text AS named, \
                     $8::bytea, $9::jsonb, $10::int[], $11::bigint[], $12::text[], $13::bigint, $14::uuid, \
                     'c'::char(2), '{}'::json, 'm'::name";
    let expected = vec![
        DbValue::Boolean(true),
        DbValue::Int16(i16::MIN),
        DbValue::Int32(i32::MIN),
        DbValue::Int64(i64::MIN),
        DbValue::Floating32(0.5),
        DbValue::Floating64(0.1),
        DbValue::Str(text.clone()),
        DbValue::Binary(vec![0, 255]),
        DbValue::Jsonb(b"{\"a\":\"x\",\"b\":[1,null]}".to_vec()),
        DbValue::ArrayInt32(vec![Some(1), None]),
        DbValue::ArrayInt64(vec![Some(i64::MAX), None]),
        DbValue::ArrayStr(vec![Some(text), None]),
        DbValue::DbNull,
        DbValue::DbNull,
        DbValue::Str("c ".to_owned()),
        DbValue::Unsupported(b"{}".to_vec()),
        DbValue::Unsupported(b"m".to_vec()),
    ];
    for result in
        [connection.query(statement, &parameters).await, stream(&connection, statement, &parameters).await]
    {
        let result = result.unwrap();
        assert_eq!(format!("{:?}", result.rows), format!("{:?}", [&expected]));
        assert_eq!(result.columns.len(), expected.len());
        assert_eq!(result.columns[6].name, "named");
        assert!(matches!(result.columns[8].data_type, DbDataType::Jsonb));
        assert!(matches!(result.columns[13].data_type, DbDataType::Uuid));
        assert!(matches!(&result.columns[15].data_type, DbDataType::Other(name) if name == "json"));
    }

    let json = connection.execute("CREATE TEMP TABLE t AS SELECT $1::json AS j", &parameters[8..9]).await;
    assert_eq!(json.unwrap(), 1);
    assert_eq!(connection.execute("UPDATE t SET j = NULL WHERE false", &[]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_value_without_a_place_is_an_error() {
    let Some(server) = start() else { return };
    let connection = connect(&server).await;
    for statement in ["SELECT now()", "SELECT NULL::timestamptz", "SELECT 1.5", "SELECT '[1,2)'::int4range"] {
        assert!(
            text(connection.query(statement, &[]).await)
                .contains("the embedded host does not support the type")
        );
        assert!(text(stream(&connection, statement, &[]).await).contains("does not support the type"));
    }
    for (parameter, part) in [
        (ParameterValue::Decimal("1.5".to_owned()), "does not support a parameter of this type"),
        (ParameterValue::Jsonb(b"{".to_vec()), "invalid JSON {"),
    ] {
        let parameters = [parameter];
        match connection.execute("SELECT $1", &parameters).await {
            Err(Error::ValueConversionFailed(text)) => assert!(text.contains(part), "{text}"),
            other => panic!("{other:?}"),
        }
        for result in [
            connection.query("SELECT $1", &parameters).await,
            stream(&connection, "SELECT $1", &parameters).await,
        ] {
            assert!(matches!(result, Err(Error::BadParameter(text)) if text.contains(part)));
        }
    }
    let wrong = [ParameterValue::Int64(1)];
    let error = text(connection.execute("SELECT $1::int", &wrong).await);
    assert_eq!(error, "Error { kind: ToSql(0), cause: Some(WrongType { postgres: Int4, rust: \"i64\" }) }");
}

#[tokio::test]
async fn an_error_of_the_server_keeps_its_parts() {
    let Some(server) = start() else { return };
    let connection = connect(&server).await;
    connection.execute("CREATE TABLE t (id int PRIMARY KEY)", &[]).await.unwrap();
    connection.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();

    let insert = "INSERT INTO t VALUES (1) RETURNING id";
    for error in
        [db_error(connection.execute(insert, &[]).await), db_error(stream(&connection, insert, &[]).await)]
    {
        assert_eq!((error.severity.as_str(), error.code.as_str()), ("ERROR", "23505"));
        assert_eq!(error.message, "duplicate key value violates unique constraint \"t_pkey\"");
        assert_eq!(error.detail.as_deref(), Some("Key (id)=(1) already exists."));
        let extra =
            |name: &str| error.extras.iter().find(|(found, _)| found == name).map(|(_, value)| &**value);
        assert_eq!(extra("constraint"), Some("t_pkey"));
        assert_eq!((extra("schema"), extra("table"), extra("hint")), (Some("public"), Some("t"), None));
        assert!(extra("line").is_some());
        assert!(error.as_text.starts_with("Error { kind: Db, cause: Some(DbError {"), "{}", error.as_text);
    }
    // As in Spin, what fails once it runs is text here.
    let error = text(connection.query(insert, &[]).await);
    assert!(error.contains("DbError") && error.contains("23505") && error.contains("t_pkey"), "{error}");

    for statement in ["SELEC 1", "SELECT * FROM missing"] {
        for error in [
            db_error(connection.execute(statement, &[]).await),
            db_error(connection.query(statement, &[]).await.map(|_| ())),
            db_error(stream(&connection, statement, &[]).await.map(|_| ())),
        ] {
            assert!(["42601", "42P01"].contains(&error.code.as_str()), "{error:?}");
            assert_eq!(error.detail, None);
        }
    }

    let slow = server.address("options='-c statement_timeout=50ms'");
    let slow = postgres(&["postgres://*:*"]).connect(&slow, None).await.unwrap();
    let error = db_error(slow.execute("SELECT pg_sleep(10)", &[]).await);
    assert_eq!(
        (error.code.as_str(), error.message.as_str()),
        ("57014", "canceling statement due to statement timeout")
    );
    assert_eq!(db_error(stream(&slow, "SELECT pg_sleep(10)", &[]).await.map(|_| ())).code, "57014");

    // A connection survives statements that fail, but not the server's end.
    assert_eq!(connection.query("SELECT id FROM t", &[]).await.unwrap().rows.len(), 1);
    server.restart("");
    let error = text(connection.execute("SELECT 1", &[]).await);
    assert!(error.contains("kind: Closed") || error.contains("terminating connection"), "{error}");
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_says_why_without_the_password() {
    let Some(server) = start() else { return };
    let postgres = postgres(&["postgres://*:*"]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = server.cluster.port;
    let refused = server.address("").replace(&port.to_string(), &closed.to_string());
    let error = refusal(&postgres, &refused).await;
    assert!(error.contains("error connecting to server") && error.contains("Connection refused"), "{error}");

    let wrong = server.address("").replace(PASSWORD, "wr0ng");
    let error = refusal(&postgres, &wrong).await;
    assert!(error.contains("password authentication failed for user \"postgres\""), "{error}");
    assert!(!error.contains("wr0ng"), "{error}");

    let error = refusal(&postgres, &server.address("dbname=missing")).await;
    assert!(error.contains("database \"missing\" does not exist"), "{error}");
    let error = refusal(&postgres, &server.address("sslmode=require")).await;
    assert!(error.contains("server does not support TLS"), "{error}");
    let error = refusal(&postgres, &server.address("sslrootcert=file")).await;
    assert!(error.contains("invalid connection string"), "{error}");
    let error = refusal(&postgres, &server.address("target_session_attrs=read-only")).await;
    assert!(error.contains("database is not read only"), "{error}");
    // The first host that answers as asked is taken.
    let both = server.address("target_session_attrs=read-write connect_timeout=5");
    let both = both.replace("127.0.0.1", "127.0.0.1,localhost");
    let both = both.replace(&format!("port={port}"), &format!("port={closed},{port}"));
    postgres.connect(&both, None).await.unwrap();
    assert!(!format!("{postgres:?}").contains(PASSWORD));
}

#[tokio::test]
async fn a_server_is_trusted_by_its_root_certificate() {
    let Some(server) = start() else { return };
    let root = RootCertificate::from_pem(&server.restart_with_tls()).unwrap();
    let postgres = postgres(&["postgres://*:*"]);
    let named = |host, mode| server.address(mode).replace("127.0.0.1", host);
    let secure = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    for mode in ["", "sslmode=require", "sslmode=require channel_binding=require"] {
        let connection = postgres.connect(&named("localhost", mode), Some(&root)).await.unwrap();
        let rows = connection.query(secure, &[]).await.unwrap().rows;
        assert!(matches!(rows[0][..], [DbValue::Boolean(true)]), "{mode}");
        // Without it, even where TLS is not required: the pool is another's.
        let error = refusal(&postgres, &named("localhost", mode)).await;
        assert!(error.contains("error performing TLS handshake"), "{error}");
    }
    postgres.connect(&named("localhost", "sslmode=disable"), Some(&root)).await.unwrap();
    // The certificate is for another name.
    let error = postgres.connect(&named("127.0.0.1", ""), Some(&root)).await.map(|_| ()).unwrap_err();
    assert!(format!("{error:?}").contains("error performing TLS handshake"), "{error:?}");

    for malformed in ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let error = RootCertificate::from_pem(malformed).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "invalid root certificate");
    }
}

#[tokio::test]
async fn every_host_of_a_connection_string_must_be_allowed() {
    let postgres = postgres(&["postgres://a.example", "postgres://b.example:6000", "http://c.example:5432"]);
    for allowed in [
        "host=a.example",
        "host=a.example port=5432",
        "host=a.example,b.example port=5432,6000",
        "postgres://user:secret@a.example/db",
        "postgresql://user:secret@b.example:6000,a.example/db",
    ] {
        assert!(postgres.check(allowed).is_ok(), "{allowed}");
    }
    for (refused, named) in [
        ("host=a.example port=5433", "address postgres://a.example:5433 is not permitted"),
        ("host=b.example", "address postgres://b.example is not permitted"),
        ("host=c.example", "address postgres://c.example is not permitted"),
        ("host=a.example,b.example port=5432", "address postgres://b.example:5432 is not permitted"),
        ("host=a.example,d.example port=5432,1", "address postgres://d.example:1 is not permitted"),
        (
            "postgres://user:secret@a.example,evil.example/db",
            "address postgres://evil.example:5432 is not permitted",
        ),
        ("postgres://user:sec@ret@evil.example/db", "address postgres://evil.example:5432 is not permitted"),
        ("host=a.example hostaddr=127.0.0.1", "the embedded host does not support `hostaddr`; Spin may"),
        ("hostaddr=127.0.0.1", "the embedded host does not support `hostaddr`; Spin may"),
        ("host=/run/postgresql", "Unix sockets are not supported on WebAssembly"),
    ] {
        assert_eq!(refusal(&postgres, refused).await, named, "{refused}");
    }
    assert!(refusal(&postgres, "host=a.example port=x").await.contains("invalid connection string"));
}

#[tokio::test]
async fn a_connection_string_has_one_pool_of_64_connections() {
    let Some(server) = start() else { return };
    let postgres = postgres(&["postgres://*:*"]);
    let address = server.address("");
    let mut connections = Vec::new();
    for _ in 0..64 {
        connections.push(postgres.connect(&address, None).await.unwrap());
    }
    let waiting = tokio::spawn({
        let (postgres, address) = (postgres.clone(), address.clone());
        async move { postgres.connect(&address, None).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    // Another string has its own.
    postgres.connect(&server.address("application_name=other"), None).await.unwrap();

    let given_back = connections.pop().unwrap();
    let id = |rows: RowSet| format!("{:?}", rows.rows);
    let backend = "SELECT pg_backend_pid(), current_setting('work_mem'), to_regclass('pg_temp.t') IS NULL";
    let before = id(given_back.query(backend, &[]).await.unwrap());
    given_back.execute("SET work_mem = '1234kB'", &[]).await.unwrap();
    given_back.execute("CREATE TEMP TABLE t ()", &[]).await.unwrap();
    drop(given_back);
    // It is the same connection, with nothing left of who had it.
    let taken = waiting.await.unwrap().unwrap();
    assert_eq!(id(taken.query(backend, &[]).await.unwrap()), before);
}

#[tokio::test]
async fn rows_arrive_all_and_in_order_until_the_guest_wants_no_more() {
    let Some(server) = start() else { return };
    let connection = connect(&server).await;
    let rows = stream(&connection, "SELECT generate_series(1, 1000)", &[]).await.unwrap().rows;
    assert!(rows.iter().zip(1..).all(|(row, i)| matches!(row[..], [DbValue::Int32(found)] if found == i)));
    assert_eq!(rows.len(), 1000);

    let empty = stream(&connection, "SELECT 1 WHERE false", &[]).await.unwrap();
    assert!(empty.rows.is_empty() && empty.columns.is_empty());

    let mut running = connection.start("SELECT generate_series(1, 100000)", &[]).await.unwrap();
    assert_eq!(running.columns[0].name, "generate_series");
    running.rows.recv().await.unwrap();
    drop(running.rows);
    // It may be an error, if a row was on its way.
    let _ = running.outcome.await.unwrap();
    assert_eq!(connection.execute("SELECT 1", &[]).await.unwrap(), 1);

    let failing = "SELECT 10 / (5 - i) FROM generate_series(1, 9) AS i";
    let mut running = connection.start(failing, &[]).await.unwrap();
    let mut count = 0;
    while running.rows.recv().await.is_some() {
        count += 1;
    }
    assert_eq!(count, 4);
    assert_eq!(db_error(running.outcome.await.unwrap()).code, "22012");
}
