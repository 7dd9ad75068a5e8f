//! What requests that share a connection have in common: nothing but the connection.

use std::time::Duration;

use futures_util::future::join_all;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::support::{KEY, Street, until};

const TENANTS: &str = r#"
[tenants.one]
hosts = ["one.localhost"]
managed = false
schema = "one"
anonymous_role = "lane_anon"
roles = ["lane_user"]
pool_max = 32

[tenants.two]
hosts = ["two.localhost"]
managed = false
schema = "two"
anonymous_role = "lane_anon"
roles = ["lane_user"]
pool_max = 2
"#;

const SQL: &str = r"
CREATE ROLE lane_anon;
CREATE ROLE lane_user;
GRANT lane_anon, lane_user TO rowhouse_edge;
";

const SCHEMA: &str = r"
CREATE SCHEMA {};
SET search_path = {};
CREATE TABLE things (id int PRIMARY KEY, tenant text);
INSERT INTO things SELECT n, '{}' FROM generate_series(1, 500) AS n;
CREATE FUNCTION nap(seconds float8) RETURNS text LANGUAGE sql STABLE AS $$ SELECT '{}' || COALESCE(left(pg_sleep(seconds)::text, 0), '') $$;
CREATE FUNCTION whoami() RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('schema', current_schema(), 'role', current_user,
        'sub', current_setting('request.jwt.claims', true)::json ->> 'sub', 'left', current_setting('app.left', true)) $$;
CREATE FUNCTION leave(text text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT set_config('app.left', text, false) $$;
CREATE TABLE owned (id int PRIMARY KEY, owner text);
INSERT INTO owned SELECT n, 'user' || n % 10 FROM generate_series(1, 100) AS n;
ALTER TABLE owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON owned FOR SELECT TO lane_user
    USING (owner = current_setting('request.jwt.claims', true)::json ->> 'sub');
GRANT USAGE ON SCHEMA {} TO lane_anon, lane_user;
GRANT SELECT ON ALL TABLES IN SCHEMA {} TO lane_anon, lane_user;
RESET search_path;
";

async fn street() -> Street {
    let street = Street::start("", TENANTS).await;
    let superuser = street.superuser().await;
    let sql = format!("{SQL}{}{}", SCHEMA.replace("{}", "one"), SCHEMA.replace("{}", "two"));
    superuser.batch_execute(&sql).await.unwrap();
    // What a statement costs is known from its second run on.
    for host in ["one.localhost", "two.localhost"] {
        for path in ["things?id=eq.1", "rpc/nap?seconds=0", "rpc/whoami"] {
            for _ in 0..8 {
                let reply = street.get(host, &format!("/api/{path}")).await;
                assert_eq!(reply.status, 200, "{path}: {reply:?}");
            }
        }
    }
    street
}

fn token(tenant: &str, sub: &str) -> String {
    let claims = json!({ "role": "lane_user", "aud": tenant, "sub": sub, "exp": 4_000_000_000_u64 });
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(KEY)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn short_reads_of_a_tenant_share_few_connections() {
    let street = street().await;
    for _ in 0..10 {
        let replies = join_all((1..=64).map(|id| {
            let path = format!("/api/things?id=eq.{id}");
            let street = &street;
            async move { (id, street.get("one.localhost", &path).await) }
        }));
        for (id, reply) in replies.await {
            assert_eq!(reply.json(), json!([{ "id": id, "tenant": "one" }]), "{reply:?}");
        }
    }
    let status = street.status().await;
    let connections = status["tenants"]["one"]["connections"].as_u64().unwrap();
    assert!(connections <= 20, "{connections} connections for 64 requests at once");
}

/// It was always short, and is long now. The requests behind it are not.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_long_one_runs_elsewhere() {
    let street = street().await;
    let long = async {
        let reply = street.get("one.localhost", "/api/rpc/nap?seconds=1.5").await;
        assert_eq!((reply.status, &*reply.body), (200, "\"one\""), "{reply:?}");
    };
    let short = async {
        let end = Instant::now() + Duration::from_secs(1);
        let mut longest = Duration::ZERO;
        while Instant::now() < end {
            let asked = Instant::now();
            let replies = join_all((1..=16).map(|_| street.get("one.localhost", "/api/things?id=eq.1")));
            for reply in replies.await {
                assert_eq!(reply.json(), json!([{ "id": 1, "tenant": "one" }]), "{reply:?}");
            }
            longest = longest.max(asked.elapsed());
        }
        longest
    };
    let ((), longest) = tokio::join!(long, short);
    assert!(longest < Duration::from_millis(750), "a short one waited {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_on_a_lane_is_its_own() {
    let street = street().await;
    let street = &street;
    let ask = async |number: u32| {
        let tenant = ["one", "two"][number as usize % 2];
        let host = format!("{tenant}.localhost");
        let sub = format!("user{}", number % 10);
        let authorization = format!("Bearer {}", token(tenant, &sub));
        let as_user = [("Authorization", &*authorization)];
        match number % 6 {
            0 | 1 => {
                let reply = street.send("GET", &host, "/api/rpc/whoami", &as_user, "").await;
                let expected =
                    json!({ "schema": tenant, "role": "lane_user", "sub": sub, "left": reply.json()["left"] });
                assert_eq!(reply.json(), expected, "{reply:?}");
                // Nothing is left of another request, but perhaps the empty text of a setting that was reset.
                assert!(
                    ["", "null"].contains(&reply.json()["left"].to_string().trim_matches('"')),
                    "{reply:?}"
                );
            }
            2 => {
                let reply = street.send("GET", &host, "/api/owned?select=owner", &as_user, "").await;
                assert_eq!(reply.json(), json!(vec![json!({ "owner": sub }); 10]), "{reply:?}");
            }
            3 => {
                let reply = street.get(&host, "/api/rpc/whoami").await;
                assert_eq!(reply.json()["role"], "lane_anon", "{reply:?}");
                assert!(reply.json()["sub"].is_null(), "{reply:?}");
            }
            4 => {
                let reply = street
                    .send("GET", &host, "/api/rpc/leave?text=behind", &as_user, "")
                    .await;
                assert_eq!((reply.status, &*reply.body), (200, "\"behind\""), "{reply:?}");
            }
            _ => {
                let reply = street.get(&host, "/api/things?id=eq.x").await;
                assert_eq!((reply.status, &*reply.code()), (400, "22P02"), "{reply:?}");
            }
        }
    };
    for round in 0..12 {
        join_all((0..60).map(|number| ask(round * 60 + number + round % 6))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_lane_takes_nobody_along() {
    let street = street().await;
    let leaver = async |number: usize| {
        let mut stream = TcpStream::connect(street.edge().address()).await.unwrap();
        let path = if number.is_multiple_of(7) {
            "rpc/nap?seconds=0.05"
        } else {
            "things?limit=400"
        };
        let request = format!("GET /api/{path} HTTP/1.1\r\nHost: one.localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // Some leave at once, some amid the answer.
        if number.is_multiple_of(2) {
            let _some = stream.read(&mut [0; 16]).await.unwrap();
        }
    };
    let stayer = async |id: usize| {
        let reply = street.get("one.localhost", &format!("/api/things?id=eq.{id}")).await;
        assert_eq!(reply.json(), json!([{ "id": id, "tenant": "one" }]), "{reply:?}");
    };
    for _ in 0..20 {
        tokio::join!(join_all((0..20).map(leaver)), join_all((1..=20).map(stayer)));
    }
    until(Duration::from_secs(5), "every connection coming back", async || {
        let status = street.status().await;
        let one = &status["tenants"]["one"];
        one["connections"] == one["idle"]
    })
    .await;
}

/// Lanes are as many as the tenant may have connections, and never empty.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_leave_room_for_what_needs_a_connection_of_its_own() {
    let street = street().await;
    let end = Instant::now() + Duration::from_secs(2);
    let short = async |_| {
        while Instant::now() < end {
            let reply = street.get("two.localhost", "/api/things?id=eq.1").await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    };
    let long = async {
        let mut served = 0;
        while Instant::now() < end {
            let reply = street.get("two.localhost", "/api/rpc/nap?seconds=0.1").await;
            assert_eq!(reply.status, 200, "{reply:?}");
            served += 1;
        }
        served
    };
    let (_, served) = tokio::join!(join_all((0..24).map(short)), long);
    assert!(served >= 4, "{served} long ones in two seconds");
}
