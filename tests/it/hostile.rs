//! What a tenant's own SQL may do, and must not be able to do, to the edge, to other requests and to the tenant's rules.

use serde_json::{Value, json};

use crate::support::{KEY, Reply, Street, token_for};

const TENANTS: &str = r#"
[tenants.odd]
hosts = ["odd.localhost"]
managed = false
schema = "odd"
anonymous_role = "odd_anon"
roles = ["odd_user"]
pool_max = 1
max_rows = 2
statement_timeout = "1s"
plan = true
tx_end = "commit-allow-override"

[tenants.gate]
hosts = ["gate.localhost"]
managed = false
schema = "gate"
home = "things"
anonymous_role = "odd_anon"
roles = ["odd_user"]
pre_request = "gate.check_request"
app_settings = ["motto=read more"]
"#;

const SQL: &str = r"
CREATE ROLE odd_anon;
CREATE ROLE odd_user;
GRANT odd_anon, odd_user TO rowhouse_edge;
ALTER ROLE odd_user SET search_path = elsewhere;
ALTER ROLE odd_user SET statement_timeout = '4s';
CREATE SCHEMA elsewhere;
CREATE SCHEMA odd;
CREATE SCHEMA gate;

SET search_path = odd;
CREATE TABLE things (id int PRIMARY KEY, secret text);
INSERT INTO things SELECT n, 'odd' FROM generate_series(1, 5) AS n;
CREATE TABLE elsewhere.things (id int PRIMARY KEY, secret text);
INSERT INTO elsewhere.things VALUES (100, 'elsewhere');
CREATE TABLE private (id int PRIMARY KEY);
INSERT INTO private VALUES (1);
CREATE FUNCTION answer(code text, message text, detail text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE USING ERRCODE = code, MESSAGE = message, DETAIL = detail;
END $$;
CREATE FUNCTION headers(list text) RETURNS int LANGUAGE sql AS $$ SELECT set_config('response.headers', list, true); SELECT 1 $$;
CREATE FUNCTION wait(seconds float8) RETURNS int LANGUAGE sql SET statement_timeout = '3s' AS 'SELECT pg_sleep(seconds); SELECT 1';
CREATE FUNCTION latin(word text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('client_encoding', 'LATIN1', false); SELECT word $$;
CREATE FUNCTION echo(word text) RETURNS text LANGUAGE sql STABLE AS 'SELECT word';
CREATE FUNCTION forget() RETURNS int LANGUAGE plpgsql AS 'BEGIN DEALLOCATE ALL; RETURN 1; END';
CREATE FUNCTION swap() RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1..40 LOOP
        BEGIN EXECUTE format('DEALLOCATE s%s', n); EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN EXECUTE format('PREPARE s%s (bigint) AS SELECT 666 LIMIT $1', n); EXCEPTION WHEN OTHERS THEN NULL; END;
    END LOOP;
    RETURN (SELECT count(*) FROM pg_prepared_statements WHERE from_sql);
END $$;
CREATE SEQUENCE calls;
CREATE FUNCTION unsupported() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM nextval('odd.calls');
    RAISE SQLSTATE '0A000';
END $$;
CREATE FUNCTION calls() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT last_value FROM odd.calls';

-- Everything that runs a function when no function is asked for.
CREATE FUNCTION become() RETURNS int LANGUAGE sql AS $$ SELECT set_config('role', 'odd_user', false); SELECT 1 $$;
CREATE FUNCTION key(things) RETURNS int LANGUAGE sql AS 'SELECT odd.become()';
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE FUNCTION to_int(mood) RETURNS int LANGUAGE sql AS 'SELECT odd.become()';
CREATE FUNCTION as_json(mood) RETURNS json LANGUAGE sql AS 'SELECT to_json(odd.become())';
CREATE CAST (mood AS int) WITH FUNCTION to_int(mood);
CREATE TYPE weather AS ENUM ('good', 'bad');
CREATE FUNCTION is_like(weather, weather) RETURNS bool LANGUAGE sql AS 'SELECT odd.become() = 1';
CREATE OPERATOR @> (FUNCTION = is_like, LEFTARG = weather, RIGHTARG = weather);
CREATE TYPE light AS ENUM ('good', 'bad');
CREATE FUNCTION as_json(light) RETURNS json LANGUAGE sql AS 'SELECT to_json(odd.become())';
CREATE CAST (light AS json) WITH FUNCTION as_json(light);
CREATE TABLE moods (id int PRIMARY KEY, mood mood, weather weather, light light);
INSERT INTO moods VALUES (1, 'good', 'good', 'good');

CREATE TABLE shapes (id int PRIMARY KEY, a int, b int8, c text, d date, e int);
INSERT INTO shapes VALUES (1, 2, 3, '4', '2020-01-01', 7);
CREATE FUNCTION shape() RETURNS int LANGUAGE sql STABLE AS 'SELECT 5';
CREATE TABLE watched (id int PRIMARY KEY, a int);
INSERT INTO watched VALUES (1, 2);
ALTER TABLE watched ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_rows ON watched USING (true);

CREATE TABLE parents (id int PRIMARY KEY);
CREATE TABLE children (id int PRIMARY KEY, parent_id int REFERENCES parents);
INSERT INTO parents VALUES (1);
INSERT INTO children SELECT n, 1 FROM generate_series(1, 9) AS n;

SET search_path = gate;
CREATE TABLE things (id int PRIMARY KEY);
INSERT INTO things VALUES (1), (2);
ALTER TABLE things ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_motto ON things USING (current_setting('app.settings.motto', true) = 'read more');
CREATE FUNCTION all_things() RETURNS SETOF things LANGUAGE sql STABLE AS 'SELECT * FROM things';
CREATE FUNCTION check_request() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('request.headers')::json ->> 'x-banned' = 'yes' THEN
        RAISE SQLSTATE 'PT403' USING MESSAGE = 'banned';
    END IF;
    PERFORM set_config('search_path', 'elsewhere', true);
END $$;

GRANT USAGE ON SCHEMA odd, gate, elsewhere TO odd_anon, odd_user;
GRANT SELECT ON ALL TABLES IN SCHEMA odd, gate, elsewhere TO odd_anon, odd_user;
GRANT UPDATE, DELETE ON odd.things TO odd_user;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA odd TO odd_anon, odd_user;
REVOKE ALL ON odd.private FROM odd_anon;
RESET search_path;
";

const ODD: &str = "odd.localhost";
const GATE: &str = "gate.localhost";

async fn street() -> Street {
    let street = Street::start("", TENANTS).await;
    street.superuser().await.batch_execute(SQL).await.unwrap();
    street
}

async fn call(street: &Street, function: &str, arguments: &Value) -> Reply {
    let path = format!("/api/rpc/{function}");
    let headers = [("Content-Type", "application/json")];
    street.send("POST", ODD, &path, &headers, &arguments.to_string()).await
}

async fn as_user(street: &Street, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Reply {
    let bearer = format!("Bearer {}", token_for("odd", "odd_user", KEY));
    let mut headers = vec![("Authorization", &*bearer), ("Content-Type", "application/json")];
    headers.extend_from_slice(more);
    street.send(method, ODD, path, &headers, body).await
}

/// With a length that is not the body's, the next answer would be taken for a part of this one, or the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn sql_says_nothing_of_how_a_message_is_framed() {
    const FRAMING: [(&str, &str); 6] = [
        ("Content-Length", "3"),
        ("Transfer-Encoding", "gzip"),
        ("Connection", "upgrade"),
        ("Upgrade", "x"),
        ("Keep-Alive", "x"),
        ("Trailer", "x"),
    ];
    let street = street().await;
    let message = json!({ "code": "x", "message": "m" }).to_string();
    for (name, value) in FRAMING {
        let detail = json!({ "status": 418, "headers": { name: value, "X-Kept": "yes" } }).to_string();
        let arguments = json!({ "code": "PGRST", "message": message, "detail": detail });
        let list = json!({ "list": json!([{ name: value }, { "X-Kept": "yes" }]).to_string() });
        for (reply, status) in [
            (call(&street, "answer", &arguments).await, 418),
            (call(&street, "headers", &list).await, 200),
        ] {
            assert_eq!(reply.status, status, "{name}: {reply:?}");
            assert_eq!(reply.header("x-kept"), Some("yes"), "{name}");
            let length = reply.header("content-length").unwrap();
            assert_eq!(length, reply.body.len().to_string(), "{name}: {reply:?}");
            for other in ["transfer-encoding", "upgrade", "keep-alive", "trailer"] {
                assert_eq!(reply.header(other), None, "{name}: {reply:?}");
            }
        }
    }
    // 1xx is no answer.
    for status in [100, 101, 103, 199] {
        let detail = json!({ "status": status, "headers": {} }).to_string();
        let arguments = json!({ "code": "PGRST", "message": message, "detail": detail });
        let reply = call(&street, "answer", &arguments).await;
        assert_eq!((reply.status, &*reply.code()), (500, "PGRST121"), "{status}: {reply:?}");
        let code = format!("PT{status}");
        let reply = call(
            &street,
            "answer",
            &json!({ "code": code, "message": "m", "detail": "d" }),
        )
        .await;
        assert_eq!((reply.status, reply.code()), (500, code), "{reply:?}");
    }
}

/// 1. The role of the token, or what runs before each request, says that another schema is searched first.
/// 2. The request's names mean the tenant's relations all the same.
#[tokio::test(flavor = "multi_thread")]
async fn no_search_path_leads_to_another_schema() {
    let street = street().await;
    let reply = as_user(&street, "GET", "/api/things?select=id&limit=1", &[], "").await;
    assert_eq!(reply.body, r#"[{"id":1}]"#, "{reply:?}");
    let headers = [("Content-Type", "application/json")];
    for path in ["/api/things?select=id", "/api/rpc/all_things?select=id"] {
        let reply = street.send("GET", GATE, path, &headers, "").await;
        assert_eq!(reply.body, r#"[{"id":1},{"id":2}]"#, "{path}: {reply:?}");
    }
}

/// 1. A request without a token runs a function although it calls none, and the function changes the role for good.
/// 2. The next request on the connection, the tenant's only one, is nobody all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_unasked_leaves_no_role_behind() {
    let street = street().await;
    for query in [
        "things?select=id&order=key",
        "things?select=key",
        "things?select=id&key=eq.1",
        "moods?select=mood::int",
        "moods?select=mood.max()::int",
        "moods?select=id&weather=cs.good",
        "moods?select=light",
        "moods?select=id&or=(weather.cs.good,id.eq.2)",
    ] {
        let reply = street.get(ODD, &format!("/api/{query}")).await;
        let disabled = query.contains("max");
        assert_eq!(reply.status, if disabled { 400 } else { 200 }, "{query}: {reply:?}");
        let reply = street.get(ODD, "/api/private").await;
        assert_eq!((reply.status, &*reply.code()), (401, "42501"), "{query}: {reply:?}");
    }
}

/// 1. A column's type changes, and nobody says so to the edge.
/// 2. The next answer has the values that are there now, and not their bytes taken for another type.
#[tokio::test(flavor = "multi_thread")]
async fn values_are_never_taken_for_another_type() {
    let street = street().await;
    let superuser = street.superuser().await;
    let row = async || street.get(ODD, "/api/shapes").await;
    let first = r#"[{"id":1,"a":2,"b":3,"c":"4","d":"2020-01-01","e":7}]"#;
    assert_eq!(row().await.body, first);
    assert_eq!(street.get(ODD, "/api/rpc/shape").await.body, "5");
    superuser
        .batch_execute(
            "ALTER TABLE odd.shapes ALTER a TYPE real, ALTER b TYPE float8, ALTER c TYPE jsonb USING c::jsonb,
                 ALTER d TYPE int USING 8, ALTER e TYPE bigint;
             DROP FUNCTION odd.shape; CREATE FUNCTION odd.shape() RETURNS real LANGUAGE sql STABLE AS 'SELECT 5.5::real'",
        )
        .await
        .unwrap();
    let reply = row().await;
    assert_eq!(reply.body, r#"[{"id":1,"a":2,"b":3,"c":4,"d":8,"e":7}]"#, "{reply:?}");
    assert_eq!(street.get(ODD, "/api/rpc/shape").await.body, "5.5");
    // Also where a policy makes it a transaction, whose end is sent with it.
    let watched = async || street.get(ODD, "/api/watched").await;
    assert_eq!(watched().await.body, r#"[{"id":1,"a":2}]"#);
    superuser
        .batch_execute("ALTER TABLE odd.watched ALTER a TYPE text USING 'two'")
        .await
        .unwrap();
    let reply = watched().await;
    assert_eq!(reply.body, r#"[{"id":1,"a":"two"}]"#, "{reply:?}");
    // Also of what a write returns, and in a transaction; it happens once.
    superuser
        .batch_execute("ALTER TABLE odd.things ALTER secret TYPE int USING 6")
        .await
        .unwrap();
    let path = "/api/things?id=eq.1&select=id,secret";
    let reply = as_user(&street, "GET", path, &[], "").await;
    assert_eq!(reply.body, r#"[{"id":1,"secret":6}]"#, "{reply:?}");
    superuser
        .batch_execute("ALTER TABLE odd.things ALTER secret TYPE real")
        .await
        .unwrap();
    let returns = [("Prefer", "return=representation")];
    let reply = as_user(&street, "PATCH", path, &returns, r#"{"secret": 7.5}"#).await;
    assert_eq!(reply.body, r#"[{"id":1,"secret":7.5}]"#, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_the_document_pass_the_gate_as_well() {
    let street = street().await;
    for path in ["/", "/things", "/api/", "/api/things"] {
        let reply = street.get(GATE, path).await;
        assert_eq!(reply.status, 200, "{path}: {reply:?}");
        let reply = street.send("GET", GATE, path, &[("X-Banned", "yes")], "").await;
        assert_eq!(reply.status, 403, "{path}: {reply:?}");
    }
    // Its policy looks at `app.settings.motto`.
    let page = street.get(GATE, "/things").await;
    assert!(page.body.contains("Rows 1–2"), "{page:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_way_of_embedding_passes_max_rows() {
    let street = street().await;
    for (query, expected) in [
        (
            "parents?select=children(id)",
            json!([{ "children": [{ "id": 1 }, { "id": 2 }] }]),
        ),
        (
            "children?select=parents(children(id))&limit=1",
            json!([{ "parents": { "children": [{ "id": 1 }, { "id": 2 }] } }]),
        ),
        (
            "children?select=...parents(children(id))&limit=1",
            json!([{ "children": [{ "id": 1 }, { "id": 2 }] }]),
        ),
        (
            "children?select=parents(...children(ids:id))&limit=1",
            json!([{ "parents": { "ids": [1, 2] } }]),
        ),
    ] {
        let reply = street.get(ODD, &format!("/api/{query}")).await;
        assert_eq!(reply.json(), expected, "{query}: {reply:?}");
    }
}

/// A function's own timeout holds, and a role's, also where they are longer than the tenant's.
#[tokio::test(flavor = "multi_thread")]
async fn a_longer_statement_timeout_holds() {
    let street = street().await;
    let reply = call(&street, "wait", &json!({ "seconds": 1.6 })).await;
    assert_eq!((reply.status, &*reply.body), (200, "1"), "{reply:?}");
    let reply = as_user(&street, "POST", "/api/rpc/wait", &[], r#"{"seconds": 1.6}"#).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let reply = call(&street, "wait", &json!({ "seconds": 9 })).await;
    assert_eq!((reply.status, &*reply.code()), (500, "57014"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_forgets_all_statements_costs_nobody_anything() {
    let street = street().await;
    for _ in 0..2 {
        assert_eq!(street.get(ODD, "/api/things?select=id&id=eq.1").await.status, 200);
        // It may have taken what should have run behind it.
        let reply = call(&street, "forget", &json!({})).await;
        assert!(
            matches!((reply.status, &*reply.code()), (200, "") | (400, "26000")),
            "{reply:?}"
        );
        for path in ["things?select=id&id=eq.1", "things?select=secret&id=gt.1", "rpc/calls"] {
            let reply = street.get(ODD, &format!("/api/{path}")).await;
            assert_eq!(reply.status, 200, "{path}: {reply:?}");
        }
    }
}

/// 1. A function makes prepared statements of its own, by the names that a client would use, in place of those there are.
/// 2. The next requests on the connection, the tenant's only one, are answered by the edge's all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_prepares_statements_stands_in_for_none() {
    let street = street().await;
    let paths = ["things?select=id", "things?select=id&order=id", "moods?select=id"];
    for turn in 0..3 {
        for (path, expected) in paths
            .iter()
            .zip(["[{\"id\":1},{\"id\":2}]", "[{\"id\":1},{\"id\":2}]", "[{\"id\":1}]"])
        {
            let reply = street.get(ODD, &format!("/api/{path}")).await;
            assert_eq!(
                (reply.status, &*reply.body),
                (200, expected),
                "{path}, turn {turn}: {reply:?}"
            );
        }
        let reply = call(&street, "swap", &json!({})).await;
        assert_eq!((reply.status, &*reply.body), (200, "40"), "it did nothing: {reply:?}");
    }
}

/// 1. A function has the session speak LATIN1. What is `Ã©` is sent as the bytes that are `é` in UTF-8.
/// 2. Nobody is told that it is that, neither who asked for the function nor who comes next.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_changes_the_encoding_makes_no_answer_wrong() {
    let street = street().await;
    for _ in 0..2 {
        let reply = call(&street, "latin", &json!({"word": "Ã©"})).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        for word in ["Ã©", "é", "e"] {
            let reply = call(&street, "echo", &json!({"word": word})).await;
            assert_eq!(
                (reply.status, &*reply.body),
                (200, &*format!("\"{word}\"")),
                "{reply:?}"
            );
        }
    }
}

/// It says what Postgres says of a prepared statement whose table has changed, but not of one.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_supports_nothing_runs_once() {
    let street = street().await;
    let before: i64 = street.get(ODD, "/api/rpc/calls").await.body.parse().unwrap();
    assert_eq!(before, 1);
    for _ in 0..3 {
        let reply = call(&street, "unsupported", &json!({})).await;
        assert_eq!(reply.code(), "0A000", "{reply:?}");
    }
    assert_eq!(street.get(ODD, "/api/rpc/calls").await.body, "3");
}

/// Lines of a plan are no rows; a bound that cannot be checked undoes what was done, one that is none is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_rows_is_never_lost() {
    let street = street().await;
    let analyze = ("Accept", "application/vnd.pgrst.plan+text; options=analyze");
    let bounded = ("Prefer", "handling=strict,max-affected=1");
    let reply = as_user(&street, "DELETE", "/api/things", &[analyze, bounded], "").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains("Delete on things"), "{reply:?}");
    for bound in ["x", "-1", "1.5", ""] {
        let prefer = format!("handling=strict,max-affected={bound}");
        let reply = as_user(&street, "DELETE", "/api/things", &[("Prefer", &prefer)], "").await;
        assert_eq!((reply.status, &*reply.code()), (400, "PGRST122"), "{bound}: {reply:?}");
    }
    let reply = as_user(&street, "DELETE", "/api/things", &[bounded], "").await;
    assert_eq!((reply.status, &*reply.code()), (400, "PGRST124"), "{reply:?}");
    let superuser = street.superuser().await;
    let left = superuser
        .query_one("SELECT count(*) FROM odd.things", &[])
        .await
        .unwrap();
    assert_eq!(left.get::<_, i64>(0), 5);
}

/// What is no text is refused, not stored as something else.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_text_are_refused() {
    let street = street().await;
    let path = "/api/rpc/headers";
    for (content_type, body) in [
        ("text/plain", b"caf\xe9".as_slice()),
        ("application/x-www-form-urlencoded", b"list=caf%E9"),
        ("application/x-www-form-urlencoded", b"list=caf\xe9"),
        ("text/csv", b"list\ncaf\xe9\n"),
        ("text/csv", b"list\n\"cut off\n"),
        ("application/json", b"{\"list\": \"caf\xe9\"}"),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {ODD}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        let reply = street.raw(&[head.as_bytes(), body].concat()).await;
        assert_eq!(
            (reply.status, &*reply.code()),
            (400, "PGRST102"),
            "{content_type}: {reply:?}"
        );
    }
}
