//! Who may do what: tokens, roles and claims.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rowhouse::config::Secret;
use rowhouse::identity;
use rowhouse::identity::Key;
use serde_json::{Value, json};

use crate::support::{KEY, Reply, Street, token, token_for};

const CLIENTE: &str = "cliente.localhost";
const CLIENTE2: &str = "cliente2.localhost";
const ADM: &str = "adm.localhost";
const ROW: &str = r#"{"text":"a"}"#;

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// A token with exactly these claims.
fn signed(algorithm: Algorithm, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(KEY)).unwrap()
}

/// A write with an `Authorization` header as it is given.
async fn post_with(street: &Street, host: &str, path: &str, authorization: &str) -> Reply {
    let headers = [("Authorization", authorization), ("Prefer", "return=representation")];
    street.send("POST", host, path, &headers, ROW).await
}

async fn get_with(street: &Street, host: &str, path: &str, token: &str) -> Reply {
    let authorization = format!("Bearer {token}");
    street
        .send("GET", host, path, &[("Authorization", &authorization)], "")
        .await
}

/// 401 with a challenge.
#[track_caller]
fn is_challenged(what: &str, reply: &Reply) {
    assert_eq!(reply.status, 401, "{what}: {reply:?}");
    let challenge = reply.header("www-authenticate").unwrap_or_default();
    assert!(challenge.starts_with("Bearer"), "{what}: {reply:?}");
    assert!(!reply.code().is_empty(), "{what}: {reply:?}");
}

async fn is_empty(street: &Street, table: &str) {
    let database = street.superuser().await;
    let row = database
        .query_one(&format!("SELECT count(*) FROM {table}"), &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0, "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_need_a_token() {
    let street = Street::example().await;
    for (method, path, body) in [
        ("POST", "/api/mylist", ROW),
        ("PATCH", "/api/mylist?id=eq.1", ROW),
        ("DELETE", "/api/mylist?id=eq.1", ""),
        ("POST", "/api/beforeidie", ROW),
    ] {
        for host in [CLIENTE, ADM] {
            if host == ADM && path.contains("mylist") {
                continue;
            }
            let reply = street.send(method, host, path, &[], body).await;
            is_challenged(&format!("{method} {host}{path}"), &reply);
            assert_eq!(reply.code(), "42501");
        }
    }
    // Another scheme is no bearer token: nobody has signed in.
    is_challenged("Basic", &post_with(&street, CLIENTE, "/api/mylist", "Basic YTpi").await);
    is_empty(&street, "cliente.mylist").await;
    is_empty(&street, "public.beforeidie").await;
    let written = post_with(&street, CLIENTE, "/api/mylist", &format!("bearer {}", token("cliente"))).await;
    assert_eq!(written.status, 201, "{written:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_right_in_every_way_is_refused() {
    let street = Street::example().await;
    let good = token("cliente");
    let payload = good.split('.').nth(1).unwrap();
    let (unsigned, signature) = good.rsplit_once('.').unwrap();
    let key = Key::Server(Secret::new(KEY));
    let tenant = "cliente".parse().unwrap();
    let role = "rowhouse_cliente_user";
    let expired = identity::sign(&key, &tenant, role, Duration::from_secs(60), now() - 3600).unwrap();
    let early = json!({"role": role, "aud": "cliente", "nbf": now() + 3600});
    let no_audience = json!({"role": role, "exp": now() + 60});
    let role_list = json!({"role": [role], "aud": "cliente", "exp": now() + 60});
    for (what, token) in [
        ("expired", expired),
        ("not yet", signed(Algorithm::HS256, &early)),
        ("no audience", signed(Algorithm::HS256, &no_audience)),
        ("role is a list", signed(Algorithm::HS256, &role_list)),
        ("of the neighbour", token_for("cliente2", role, KEY)),
        (
            "another key",
            token_for("cliente", role, b"another key that is just as long as it"),
        ),
        ("alg none", format!("eyJhbGciOiJub25lIn0.{payload}.")),
        ("alg none, signed", format!("eyJhbGciOiJub25lIn0.{payload}.{signature}")),
        ("alg None", format!("eyJhbGciOiJOb25lIn0.{payload}.")),
        ("no signature", format!("{unsigned}.")),
        ("two parts", unsigned.to_owned()),
        ("cut", good[..good.len() - 4].to_owned()),
        ("garbage", "a.b.c".to_owned()),
        ("empty", String::new()),
    ] {
        let authorization = format!("Bearer {token}");
        let reply = post_with(&street, CLIENTE, "/api/mylist", &authorization).await;
        is_challenged(what, &reply);
        assert!(reply.code().starts_with("PGRST30"), "{what}: {reply:?}");
        // Not even a read: who shows a bad token is not nobody.
        is_challenged(what, &get_with(&street, CLIENTE, "/api/mylist", &token).await);
    }
    // A token of cliente at cliente2, for reading, writing and the shared table.
    for path in ["/api/mylist", "/api/beforeidie"] {
        is_challenged(path, &get_with(&street, CLIENTE2, path, &good).await);
        is_challenged(
            path,
            &post_with(&street, CLIENTE2, path, &format!("Bearer {good}")).await,
        );
    }
    is_empty(&street, "cliente.mylist").await;
    is_empty(&street, "cliente2.mylist").await;
    assert_eq!(get_with(&street, CLIENTE, "/api/mylist", &good).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_the_tenant_does_not_allow_is_403() {
    let street = Street::example().await;
    for role in [
        "rowhouse_cliente_owner",
        "rowhouse_cliente2_user",
        "rowhouse_cliente2_anon",
        "rowhouse_cliente_login",
        "rowhouse_adm_user",
        "rowhouse_shared_write",
        "rowhouse_shared_owner",
        "rowhouse_edge",
        "postgres",
        "none",
        "",
        "ROWHOUSE_CLIENTE_USER",
        "rowhouse_cliente_user\"; RESET ROLE; --",
    ] {
        let token = token_for("cliente", role, KEY);
        for reply in [
            post_with(&street, CLIENTE, "/api/mylist", &format!("Bearer {token}")).await,
            get_with(&street, CLIENTE, "/api/mylist", &token).await,
        ] {
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (403, "42501"),
                "{role}: {reply:?}"
            );
        }
    }
    // Allowed, but it may only read.
    let anonymous = token_for("cliente", "rowhouse_cliente_anon", KEY);
    assert_eq!(get_with(&street, CLIENTE, "/api/mylist", &anonymous).await.status, 200);
    let write = post_with(&street, CLIENTE, "/api/mylist", &format!("Bearer {anonymous}")).await;
    // Whoever acts as nobody in particular is told to say who it is.
    assert_eq!((write.status, write.code().as_str()), (401, "42501"), "{write:?}");
    is_empty(&street, "cliente.mylist").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_writes_the_shared_table() {
    let street = Street::example().await;
    for (tenant, host) in [("cliente", CLIENTE), ("cliente2", CLIENTE2)] {
        for (method, path, body) in [
            ("POST", "/api/beforeidie", ROW),
            ("PATCH", "/api/beforeidie?id=eq.1", ROW),
            ("DELETE", "/api/beforeidie?id=eq.1", ""),
        ] {
            let reply = street.write_as(method, tenant, host, path, body).await;
            assert_eq!(
                (reply.status, reply.code().as_str()),
                (403, "42501"),
                "{method}: {reply:?}"
            );
        }
    }
    let written = street.write_as("POST", "adm", ADM, "/api/beforeidie", ROW).await;
    assert_eq!(written.status, 201, "{written:?}");
    for host in [ADM, CLIENTE, CLIENTE2] {
        let read = street.get(host, "/api/beforeidie?select=text").await;
        assert_eq!(read.body, r#"[{"text":"a"}]"#, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_visible_in_sql_for_their_request_only() {
    let street = Street::example().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "CREATE VIEW cliente.whoami AS SELECT current_setting('request.jwt.claims', true) AS claims,
                 current_user::text AS role, session_user::text AS login, current_schema()::text AS schema;
             ALTER VIEW cliente.whoami OWNER TO rowhouse_cliente_owner;
             GRANT SELECT ON cliente.whoami TO rowhouse_cliente_anon, rowhouse_cliente_user",
        )
        .await
        .unwrap();
    let claims = json!({
        "role": "rowhouse_cliente_user", "aud": ["x", "cliente"], "exp": now() + 60,
        "sub": "o'brien \"\\ ☕", "app": {"level": 3, "big": 12_345_678_901_234_567_u64}
    });
    let token = signed(Algorithm::HS256, &claims);
    for _ in 0..3 {
        let nobody = street.get(CLIENTE, "/api/whoami").await;
        assert_eq!(nobody.status, 200, "{nobody:?}");
        let row = &nobody.json()[0];
        assert_eq!(row["claims"], r#"{"role":"rowhouse_cliente_anon"}"#, "{row}");
        assert_eq!(row["role"], "rowhouse_cliente_anon");

        let reply = get_with(&street, CLIENTE, "/api/whoami", &token).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let row = &reply.json()[0];
        let seen: Value = serde_json::from_str(row["claims"].as_str().unwrap()).unwrap();
        assert_eq!(seen, claims);
        assert_eq!(row["role"], "rowhouse_cliente_user");
        assert_eq!(
            (&row["login"], &row["schema"]),
            (&json!("rowhouse_cliente_login"), &json!("cliente"))
        );
    }
    // No role: the anonymous one, with the claims.
    let plain = signed(Algorithm::HS256, &json!({"aud": "cliente", "sub": "somebody"}));
    let reply = get_with(&street, CLIENTE, "/api/whoami", &plain).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let row = &reply.json()[0];
    assert_eq!(row["role"], "rowhouse_cliente_anon");
    assert!(row["claims"].as_str().unwrap_or_default().contains("somebody"), "{row}");
    // A page knows the caller too.
    let page = get_with(&street, CLIENTE, "/whoami", &token).await;
    assert!(page.body.contains("rowhouse_cliente_user"), "{page:?}");
}
