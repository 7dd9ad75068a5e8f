//! Nobody ever sees a neighbour's row: not by the edge's mistake, and not where the edge would let them.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_postgres::error::SqlState;

use crate::support::{EXAMPLE, Street, token, until};

/// One connection that stays open between requests, to whichever host each of them names.
struct KeepAlive {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl KeepAlive {
    async fn connect(street: &Street) -> Self {
        let stream = TcpStream::connect(street.edge().address()).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move { connection.await.unwrap() });
        Self {
            sender,
            _driver: driver,
        }
    }

    async fn send(&mut self, method: &str, tenant: &str, path: &str, body: String) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", format!("{tenant}.localhost"))
            .header("Authorization", format!("Bearer {}", token(tenant)))
            .header("Content-Type", "application/json")
            .header("Prefer", "return=representation")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}

/// Fails if a row is not `tenant`'s.
#[track_caller]
fn check_rows(rows: &Value, tenant: &str) {
    for row in rows.as_array().unwrap() {
        let text = row["text"].as_str().unwrap();
        assert!(text.starts_with(&format!("{tenant}:")), "{tenant} was shown {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_on_the_same_connections_never_see_each_others_rows() {
    const CONNECTIONS: usize = 16;
    const ROUNDS: usize = 40;
    let street = Street::example().await;
    let clients = (0..CONNECTIONS).map(async |number| {
        let mut client = KeepAlive::connect(&street).await;
        for round in 0..ROUNDS {
            // Both tenants on one connection in turn, so that whatever a connection remembers of the last is wrong.
            for tenant in ["cliente", "cliente2"] {
                let body = format!(r#"{{"text":"{tenant}:{number}:{round}"}}"#);
                let (status, made) = client.send("POST", tenant, "/api/mylist", body).await;
                assert_eq!(status, StatusCode::CREATED, "{made}");
                check_rows(&made, tenant);
                let path = "/api/mylist?select=text&order=id.desc&limit=20";
                let (status, rows) = client.send("GET", tenant, path, String::new()).await;
                assert_eq!(status, StatusCode::OK, "{rows}");
                assert!(!rows.as_array().unwrap().is_empty());
                check_rows(&rows, tenant);
            }
        }
    });
    futures_util::future::join_all(clients).await;

    let superuser = street.superuser().await;
    for tenant in ["cliente", "cliente2"] {
        let count = format!("SELECT count(*), count(*) FILTER (WHERE text LIKE '{tenant}:%') FROM {tenant}.mylist");
        let row = superuser.query_one(&count, &[]).await.unwrap();
        let expected = i64::try_from(CONNECTIONS * ROUNDS).unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (expected, expected));
    }
}

#[tokio::test]
async fn a_neighbours_token_is_refused() {
    let street = Street::example().await;
    let reply = street
        .write_as(
            "POST",
            "cliente2",
            "cliente.localhost",
            "/api/mylist",
            r#"{"text":"mine now"}"#,
        )
        .await;
    assert_eq!(reply.status, 401, "{reply:?}");
    assert_eq!(street.get("cliente.localhost", "/api/mylist").await.body, "[]");
}

#[tokio::test]
async fn a_tenants_role_cannot_read_another_schema_by_its_full_name() {
    let street = Street::example().await;
    let superuser = street.superuser().await;
    for role in ["rowhouse_cliente_anon", "rowhouse_cliente_user"] {
        superuser.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
        superuser
            .batch_execute("SELECT FROM cliente.mylist; SELECT FROM public.beforeidie")
            .await
            .unwrap();
        for statement in [
            "SELECT FROM cliente2.mylist",
            "INSERT INTO cliente2.mylist (text) VALUES ('x')",
            "SELECT FROM cliente2.rowhouse_migrations",
            "SELECT FROM cliente.rowhouse_migrations",
            "CREATE TABLE cliente.own ()",
            "CREATE TABLE cliente2.own ()",
        ] {
            let error = superuser.batch_execute(statement).await.unwrap_err();
            assert_eq!(
                error.code(),
                Some(&SqlState::INSUFFICIENT_PRIVILEGE),
                "{role}: {statement}: {error}"
            );
        }
        superuser.batch_execute("RESET ROLE").await.unwrap();
    }
}

/// 1. A trigger, a view or a row-level policy of the tenant sets something for the whole session: `set_config(…, false)`.
/// 2. The connection goes back to the pool, and the next request gets the same one.
/// 3. It must run as if nothing had been set: else a request without a token writes, or reads elsewhere.
#[tokio::test]
async fn what_a_tenants_functions_set_for_the_session_is_gone_for_the_next_request() {
    const POISONS: [(&str, &str); 8] = [
        ("role", "none"),
        ("role", "rowhouse_cliente_user"),
        ("search_path", "public"),
        ("statement_timeout", "0"),
        ("TimeZone", "Asia/Tokyo"),
        ("default_transaction_read_only", "off"),
        ("request.jwt.claims", "{\"role\":\"boss\"}"),
        ("my.own", "x"),
    ];
    let street = Street::start("[defaults]\npool_max = 1", EXAMPLE).await;
    let superuser = street.superuser().await;
    superuser
        .batch_execute(
            "SET search_path = cliente;
             CREATE VIEW session AS SELECT pg_backend_pid() AS pid, current_user::text AS role,
                 (SELECT json_object_agg(name, setting ORDER BY name) FROM pg_settings WHERE source = 'session') AS set,
                 current_setting('search_path') AS path, current_setting('request.jwt.claims') AS claims,
                 current_setting('my.own', true) AS own;
             CREATE TABLE poison (name text PRIMARY KEY, value text);
             CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM set_config(NEW.name, NEW.value, false); RETURN NEW; END $$;
             CREATE TRIGGER poison AFTER INSERT ON poison FOR EACH ROW EXECUTE FUNCTION poison();
             GRANT SELECT ON session TO rowhouse_cliente_anon;
             GRANT INSERT ON poison TO rowhouse_cliente_user;",
        )
        .await
        .unwrap();
    for (number, (name, value)) in POISONS.iter().enumerate() {
        let view = format!(
            "CREATE VIEW cliente.poison{number} AS SELECT set_config('{name}', '{value}', false) AS set;
             GRANT SELECT ON cliente.poison{number} TO rowhouse_cliente_anon;
             CREATE TABLE cliente.guarded{number} AS SELECT 1 AS id;
             ALTER TABLE cliente.guarded{number} ENABLE ROW LEVEL SECURITY;
             CREATE POLICY all_of_them ON cliente.guarded{number}
                 USING (set_config('{name}', '{value}', false) IS NOT NULL);
             GRANT SELECT ON cliente.guarded{number} TO rowhouse_cliente_anon"
        );
        superuser.batch_execute(&view).await.unwrap();
    }
    street.edge().reload();
    let clean = async || {
        let reply = street.get("cliente.localhost", "/api/session").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let mut row = reply.json()[0].clone();
        // A setting of one's own leaves an empty text behind; nobody else's is concerned.
        row["own"] = (row["own"] == "x").into();
        row
    };
    until(Duration::from_secs(3), "the views", async || {
        street.get("cliente.localhost", "/api/session").await.status == 200
    })
    .await;
    let before = clean().await;
    for (number, (name, value)) in POISONS.into_iter().enumerate() {
        let read = street
            .get("cliente.localhost", &format!("/api/poison{number}?select=set"))
            .await;
        assert_eq!(read.status, 200, "{name}: {read:?}");
        assert_eq!(clean().await, before, "{name} = {value} by a view");
        let guarded = street.get("cliente.localhost", &format!("/api/guarded{number}")).await;
        assert_eq!(
            (guarded.status, &*guarded.body),
            (200, r#"[{"id":1}]"#),
            "{name}: {guarded:?}"
        );
        assert_eq!(clean().await, before, "{name} = {value} by a policy");
        let body = serde_json::json!({ "name": name, "value": value }).to_string();
        let path = "/api/poison";
        let headers = [
            ("Authorization", &*format!("Bearer {}", token("cliente"))),
            ("Content-Type", "application/json"),
        ];
        let written = street.send("POST", "cliente.localhost", path, &headers, &body).await;
        if written.status != 201 {
            // The same name again: refused by the key, and rolled back.
            assert_eq!((name, written.status), ("role", 409), "{written:?}");
        }
        assert_eq!(clean().await, before, "{name} = {value} by a trigger");
        let anonymous = street
            .send(
                "POST",
                "cliente.localhost",
                "/api/mylist",
                &headers[1..],
                r#"{"text":"x"}"#,
            )
            .await;
        assert_eq!(anonymous.status, 401, "{name} = {value}: {anonymous:?}");
    }
}

/// 1. A tenant's schema is gone, and the shared schema has a table of the same name.
/// 2. Postgres skips what is missing in a `search_path` without a word, so the name now means the shared table.
/// 3. The next connection is verified before anything runs on it, and refused.
#[tokio::test]
async fn failed_verification_refuses_the_connection() {
    let street = Street::example().await;
    let superuser = street.superuser().await;
    superuser
        .batch_execute(
            "CREATE TABLE public.mylist AS SELECT 1 AS id, 'everybody''s'::varchar AS text, false AS checkbox, \
             now() AS created, NULL::date AS due, '{}'::text[] AS tags, '{}'::jsonb AS details; \
             GRANT ALL ON public.mylist TO PUBLIC",
        )
        .await
        .unwrap();
    let path = "/api/mylist?select=text";
    assert_eq!(street.get("cliente.localhost", path).await.body, "[]");
    for (undo, gone) in [
        (
            "ALTER SCHEMA elsewhere RENAME TO cliente",
            "ALTER SCHEMA cliente RENAME TO elsewhere",
        ),
        ("", "DROP SCHEMA cliente CASCADE"),
    ] {
        superuser.batch_execute(gone).await.unwrap();
        close_connections(&street, &superuser).await;
        for _ in 0..3 {
            let reply = street.get("cliente.localhost", path).await;
            assert_eq!(reply.status, 503, "{gone}: {reply:?}");
            assert_eq!(reply.code(), "tenant_misconfigured", "{gone}");
            assert!(reply.header("Retry-After").is_some(), "{reply:?}");
        }
        let page = street.get("cliente.localhost", "/").await;
        assert_eq!(page.status, 503, "{gone}: {page:?}");
        assert!(!page.body.contains("everybody"), "{gone}: {page:?}");
        let neighbour = street.get("cliente2.localhost", path).await;
        assert_eq!((neighbour.status, neighbour.body.as_str()), (200, "[]"), "{gone}");
        if !undo.is_empty() {
            superuser.batch_execute(undo).await.unwrap();
            until(Duration::from_secs(6), "the next probe", async || {
                let reply = street.get("cliente.localhost", path).await;
                (reply.status, reply.body.as_str()) == (200, "[]")
            })
            .await;
        }
    }
}

/// Ends the edge's backends and waits until the edge knows.
async fn close_connections(street: &Street, superuser: &tokio_postgres::Client) {
    superuser
        .batch_execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'rowhouse%'")
        .await
        .unwrap();
    until(
        Duration::from_secs(5),
        "the edge noticing closed connections",
        async || street.status().await["clusters"]["main"]["in_use"] == 0,
    )
    .await;
}
