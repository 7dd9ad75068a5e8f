//! What a client is told when a request cannot be answered, and that the next one is answered all the same.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Reply, Street, token, until};

const CLIENTE: &str = "cliente.localhost";

/// An error of the dialect: its four members, as JSON.
#[track_caller]
fn is_problem(what: &str, reply: &Reply, status: u16, code: &str) {
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (status, code),
        "{what}: {reply:?}"
    );
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8"),
        "{what}"
    );
    let body = reply.json();
    let body = body.as_object().unwrap();
    let members: Vec<_> = body.keys().map(String::as_str).collect();
    assert_eq!(members, ["code", "details", "hint", "message"], "{what}");
    assert!(body["message"].as_str().is_some_and(|text| !text.is_empty()), "{what}");
    assert!(reply.header("x-request-id").is_some(), "{what}: {reply:?}");
}

async fn post(street: &Street, body: &str) -> Reply {
    street.write_as("POST", "cliente", CLIENTE, "/api/mylist", body).await
}

/// The service still answers, and `rows` rows are there.
async fn serves(street: &Street, rows: usize) {
    let reply = street.get(CLIENTE, "/api/mylist").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json().as_array().unwrap().len(), rows, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_values_that_do_not_fit() {
    let street = Street::example().await;
    for (query, status, code) in [
        ("mylist?id=eq.abc", 400, "22P02"),
        ("mylist?due=gt.yesterdayish", 400, "22007"),
        ("mylist?id=eq.99999999999999999999", 400, "22003"),
        ("mylist?text=match.(", 400, "2201B"),
        ("mylist?absent=eq.1", 400, "42703"),
        ("mylist?select=absent", 400, "42703"),
        ("mylist?order=absent", 400, "42703"),
        ("mylist?id=1", 400, "PGRST100"),
        ("mylist?id=like", 400, "PGRST100"),
        ("mylist?id=xx.1", 400, "PGRST100"),
        ("mylist?id", 400, "PGRST100"),
        ("mylist?limit=x", 400, "PGRST100"),
        ("mylist?select=text(", 400, "PGRST100"),
        ("mylist?order=text.up", 400, "PGRST100"),
        ("mylist?limit=-1", 416, "PGRST103"),
        ("absent", 404, "PGRST205"),
        ("MYLIST", 404, "PGRST205"),
        ("rowhouse_migrations", 404, "PGRST205"),
        ("mylist/1", 404, "PGRST125"),
    ] {
        let reply = street.get(CLIENTE, &format!("/api/{query}")).await;
        is_problem(query, &reply, status, code);
    }
    // NUL is no text of Postgres.
    let nul = street.get(CLIENTE, "/api/mylist?text=eq.%00").await;
    assert_eq!(nul.status, 400, "{nul:?}");
    let absent = street
        .write_as("DELETE", "cliente", CLIENTE, "/api/mylist?absent=eq.1", "")
        .await;
    is_problem("DELETE", &absent, 400, "42703");
    let half = street
        .write_as("DELETE", "cliente", CLIENTE, "/api/mylist?id", "")
        .await;
    is_problem("DELETE with half a filter", &half, 400, "PGRST100");
    serves(&street, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_fit() {
    let street = Street::example().await;
    street
        .superuser()
        .await
        .batch_execute("CREATE UNIQUE INDEX ON cliente.mylist (text)")
        .await
        .unwrap();
    assert_eq!(post(&street, r#"{"text":"there"}"#).await.status, 201);
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(256));
    let deep = format!(r#"{{"text":"x","details":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for (body, status, code) in [
        ("", 400, "PGRST102"),
        ("{", 400, "PGRST102"),
        (r#"{"text":"a"} x"#, 400, "PGRST102"),
        (r#"{"text":"a"}{"text":"b"}"#, 400, "PGRST102"),
        ("{'text':'a'}", 400, "PGRST102"),
        ("\"text\"", 400, "PGRST102"),
        ("[1]", 400, "PGRST102"),
        (r#"[{"text":"a"},{"checkbox":true}]"#, 400, "PGRST102"),
        (&deep, 400, "PGRST102"),
        (r#"{"text":"a","absent":1}"#, 400, "PGRST204"),
        (r#"{"text":"a","checkbox":"perhaps"}"#, 400, "22P02"),
        (r#"{"text":"a","due":"2030-02-31"}"#, 400, "22008"),
        (r#"{"text":""}"#, 400, "23514"),
        (r#"{"text":null}"#, 400, "23502"),
        (r#"{"checkbox":true}"#, 400, "23502"),
        (r#"{"text":"a","id":7}"#, 400, "428C9"),
        (&long, 400, "22001"),
        (r#"{"text":"there"}"#, 409, "23505"),
        (r#"[{"text":"new"},{"text":"there"}]"#, 409, "23505"),
    ] {
        let what = body.get(..60).unwrap_or(body);
        is_problem(what, &post(&street, body).await, status, code);
    }
    let nul = post(&street, r#"{"text":"a\u0000b"}"#).await;
    assert_eq!(nul.status, 400, "{nul:?}");
    let patch = street
        .write_as(
            "PATCH",
            "cliente",
            CLIENTE,
            "/api/mylist?text=eq.there",
            r#"{"text":""}"#,
        )
        .await;
    is_problem("PATCH", &patch, 400, "23514");
    let authorization = format!("Bearer {}", token("cliente"));
    let headers = [
        ("Authorization", authorization.as_str()),
        ("Content-Type", "application/xml"),
    ];
    let xml = street.send("POST", CLIENTE, "/api/mylist", &headers, "<text/>").await;
    is_problem("xml", &xml, 400, "PGRST102");
    let latin = [b"\xe9".as_slice(), b"\"}"].concat();
    let head = head(
        "POST",
        &format!("Authorization: {authorization}\r\nContent-Length: 12\r\n"),
    );
    let request = [head.as_bytes(), br#"{"text":""#, &latin].concat();
    is_problem("latin-1", &street.raw(&request).await, 400, "PGRST102");
    serves(&street, 1).await;
}

fn head(method: &str, lines: &str) -> String {
    format!("{method} /api/mylist HTTP/1.1\r\nHost: {CLIENTE}\r\nConnection: close\r\n{lines}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_says_is_the_clients_to_mend() {
    let street = Street::example().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "CREATE VIEW cliente.division AS SELECT 1 / 0 AS x;
             CREATE FUNCTION cliente.refuse() RETURNS int LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'refused' USING HINT = 'ask again', DETAIL = 'why'; END $$;
             CREATE VIEW cliente.raising AS SELECT cliente.refuse() AS x;
             CREATE TABLE cliente.parent (id int PRIMARY KEY);
             CREATE TABLE cliente.child (id int REFERENCES cliente.parent);
             CREATE TABLE cliente.secret (id int);
             CREATE TABLE cliente.gone (id int);
             GRANT SELECT ON cliente.division, cliente.raising, cliente.gone TO rowhouse_cliente_anon;
             GRANT EXECUTE ON FUNCTION cliente.refuse() TO rowhouse_cliente_anon;
             GRANT INSERT, SELECT ON cliente.child TO rowhouse_cliente_user",
        )
        .await
        .unwrap();
    let get = async |path: &str| street.get(CLIENTE, path).await;
    is_problem("division", &get("/api/division").await, 400, "22012");
    let raised = get("/api/raising").await;
    is_problem("raised", &raised, 400, "P0001");
    let raised = raised.json();
    assert_eq!(
        (&raised["message"], &raised["details"], &raised["hint"]),
        (&"refused".into(), &"why".into(), &"ask again".into())
    );
    let child = street
        .write_as("POST", "cliente", CLIENTE, "/api/child", r#"{"id":1}"#)
        .await;
    is_problem("foreign key", &child, 409, "23503");
    let secret = get("/api/secret").await;
    is_problem("no right", &secret, 401, "42501");
    assert!(secret.header("www-authenticate").is_some());
    // A table that went after the catalog was read is not the server's failure.
    assert_eq!(get("/api/gone").await.status, 200);
    database.batch_execute("DROP TABLE cliente.gone").await.unwrap();
    let gone = get("/api/gone").await;
    assert_eq!(gone.status, 404, "{gone:?}");
    assert!(matches!(gone.code().as_str(), "42P01" | "PGRST205"), "{gone:?}");
    for _ in 0..20 {
        is_problem("again", &get("/api/division").await, 400, "22012");
    }
    serves(&street, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_types_that_are_not_spoken() {
    let street = Street::example().await;
    for method in ["TRACE", "PROPFIND", "BREW"] {
        let reply = street.send(method, CLIENTE, "/api/mylist", &[], "").await;
        is_problem(method, &reply, 405, "PGRST117");
        let allow = reply.header("allow").unwrap_or_default();
        for allowed in ["GET", "HEAD", "POST", "PATCH", "DELETE"] {
            assert!(allow.split(", ").any(|given| given == allowed), "{method}: {allow}");
        }
    }
    for accept in ["application/xml", "text/xml, image/png;q=0.9", "application/json;q=0"] {
        let reply = street
            .send("GET", CLIENTE, "/api/mylist", &[("Accept", accept)], "")
            .await;
        is_problem(accept, &reply, 406, "PGRST107");
    }
    for accept in [
        "application/json",
        "*/*",
        "application/*",
        "application/xml, */*;q=0.1",
        "APPLICATION/JSON; q=1",
    ] {
        let reply = street
            .send("GET", CLIENTE, "/api/mylist", &[("Accept", accept)], "")
            .await;
        assert_eq!(reply.status, 200, "{accept}: {reply:?}");
    }
}

/// 1 MiB, the default of `max_body`.
const MAX_BODY: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413() {
    let street = Street::example().await;
    let authorization = format!("Authorization: Bearer {}\r\n", token("cliente"));
    // Said beforehand: refused without being read.
    for length in [MAX_BODY + 1, usize::MAX / 4] {
        let request = head("POST", &format!("{authorization}Content-Length: {length}\r\n"));
        let reply = street.raw(request.as_bytes()).await;
        is_problem("Content-Length", &reply, 413, "body_too_large");
        assert_eq!(reply.header("connection"), Some("close"));
    }
    // Not said: refused where it gets too long.
    let chunked = head("POST", &format!("{authorization}Transfer-Encoding: chunked\r\n"));
    let request = format!("{chunked}{:x}\r\n{}", MAX_BODY + 1, " ".repeat(MAX_BODY + 1));
    let reply = street.raw(request.as_bytes()).await;
    is_problem("chunked", &reply, 413, "body_too_large");
    serves(&street, 0).await;
    // The limit itself is allowed.
    let row = r#"{"text":"a"}"#;
    let whole = format!("{row}{}", " ".repeat(MAX_BODY - row.len()));
    assert_eq!(post(&street, &whole).await.status, 201);
    serves(&street, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lies_about_its_body_or_leaves_hurts_nobody() {
    let street = Street::example().await;
    let authorization = format!("Authorization: Bearer {}\r\n", token("cliente"));
    let row = r#"{"text":"half"}"#;
    let with_length = |length: usize| head("POST", &format!("{authorization}Content-Length: {length}\r\n"));
    // Less than was sent: the rest is not a request.
    let short = format!("{}{row}{}{row}", with_length(5), with_length(row.len()));
    is_problem("too short", &street.raw(short.as_bytes()).await, 400, "PGRST102");
    // More than was sent, and gone; also in the middle of a chunk and of the head.
    let long = format!("{}{row}", with_length(100));
    let chunk = format!(
        "{}40\r\n{row}",
        head("POST", &format!("{authorization}Transfer-Encoding: chunked\r\n"))
    );
    for request in [&*long, &chunk, &long[..60], "G"] {
        for _ in 0..10 {
            let mut stream = TcpStream::connect(street.edge().address()).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            drop(stream);
        }
    }
    // Half a body that will not go on, with the writing side closed: an answer or a close, never a row.
    let mut stream = TcpStream::connect(street.edge().address()).await.unwrap();
    stream.write_all(long.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    // No connection is held for them.
    let database = street.superuser().await;
    until(Duration::from_secs(5), "every connection idle", async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'rowhouse%' AND state <> 'idle'";
        database.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    serves(&street, 0).await;
    assert_eq!(post(&street, r#"{"text":"whole"}"#).await.status, 201);
    serves(&street, 1).await;
}
