//! Connections that all tenants share: everybody reads their own rows as their own role, and leaves nothing behind.

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::support::{Street, token, until};

const TENANTS: usize = 12;

/// Twelve tenants whose first column of every row is their name. `inner` is for tokens alone; `leave` sets for a session.
async fn street(budget: u32) -> Street {
    let mut tenants = String::new();
    let mut sql = String::new();
    for number in 0..TENANTS {
        let id = format!("t{number}");
        writeln!(tenants, "[tenants.{id}]\nhosts = [\"{id}.localhost\"]").unwrap();
        write!(
            sql,
            "SET search_path = {id};
             CREATE TABLE things (tenant text DEFAULT '{id}', id int PRIMARY KEY, at timestamptz DEFAULT 'epoch');
             INSERT INTO things (id) SELECT n FROM generate_series(1, 200) AS n;
             CREATE TABLE inner_things (tenant text DEFAULT '{id}', id int PRIMARY KEY);
             INSERT INTO inner_things (id) VALUES ({number});
             CREATE FUNCTION leave(text text) RETURNS text LANGUAGE sql STABLE AS
                $$ SELECT set_config('DateStyle', text, false) $$;
             GRANT SELECT ON things TO rowhouse_{id}_anon, rowhouse_{id}_user;
             GRANT SELECT ON inner_things TO rowhouse_{id}_user;
             RESET search_path;"
        )
        .unwrap();
    }
    let cluster = format!("budget = {budget}\ncredentials = \"shared\"\nshared_reads = true");
    let street = Street::with_cluster(&cluster, "", &tenants).await;
    street.superuser().await.batch_execute(&sql).await.unwrap();
    // What a statement costs is known to all once one of them has run it.
    for path in [
        "things?id=eq.1",
        "things?id=eq.1&select=tenant,id",
        "things?select=at&id=eq.1",
    ] {
        street.get("t0.localhost", &format!("/api/{path}")).await;
    }
    street
        .send(
            "GET",
            "t0.localhost",
            "/api/inner_things",
            &[("Authorization", &bearer(0))],
            "",
        )
        .await;
    street
}

fn bearer(number: usize) -> String {
    format!("Bearer {}", token(&format!("t{number}")))
}

async fn own_connections(street: &Street) -> u64 {
    let status = street.status().await;
    (1..TENANTS)
        .map(|number| status["tenants"][format!("t{number}")]["connections"].as_u64().unwrap())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_reads_their_own_rows_as_their_own_role() {
    let street = street(8).await;
    let ask = async |request: usize| {
        let number = request % TENANTS;
        let (id, host) = (format!("t{number}"), format!("t{number}.localhost"));
        let row = request % 200 + 1;
        let authorization = bearer(number);
        let as_user = [("Authorization", &*authorization)];
        match request / TENANTS % 5 {
            0 | 1 => {
                let reply = street
                    .get(&host, &format!("/api/things?id=eq.{row}&select=tenant,id"))
                    .await;
                assert_eq!(reply.json(), json!([{ "tenant": id, "id": row }]), "{reply:?}");
            }
            2 => {
                let reply = street.send("GET", &host, "/api/inner_things", &as_user, "").await;
                assert_eq!(reply.json(), json!([{ "tenant": id, "id": number }]), "{reply:?}");
            }
            3 => {
                let reply = street.get(&host, "/api/inner_things").await;
                assert_eq!((reply.status, &*reply.code()), (401, "42501"), "{reply:?}");
            }
            _ => {
                let zone = [("Prefer", "timezone=America/Sao_Paulo")];
                let there = street
                    .send("GET", &host, "/api/things?select=at&id=eq.1", &zone, "")
                    .await;
                assert_eq!(there.json()[0]["at"], "1969-12-31T21:00:00-03:00", "{there:?}");
                let here = street.get(&host, "/api/things?select=at&id=eq.1").await;
                assert_eq!(here.json()[0]["at"], "1970-01-01T00:00:00+00:00", "{here:?}");
            }
        }
    };
    for round in 0..12 {
        join_all((0..96).map(|request| ask(round * 96 + request))).await;
    }
    assert_eq!(street.status().await["clusters"]["main"]["shared"], 1);
}

/// A schema of the search path that is not there is passed over, and the shared one comes next.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_schema_is_gone_reads_nobody_elses_rows() {
    let street = street(8).await;
    let superuser = street.superuser().await;
    // Known to be short, so that it has no connection of its own that was opened before.
    let ask = async || street.get("t1.localhost", "/api/things?id=eq.1").await;
    assert_eq!(ask().await.json()[0]["tenant"], "t1");
    assert_eq!(own_connections(&street).await, 0);
    superuser
        .batch_execute(
            "CREATE TABLE public.things (tenant text DEFAULT 'nobody', id int PRIMARY KEY, at timestamptz);
             INSERT INTO public.things (id) VALUES (1);
             GRANT SELECT ON public.things TO PUBLIC;
             ALTER SCHEMA t1 RENAME TO gone;",
        )
        .await
        .unwrap();
    for _ in 0..5 {
        let reply = ask().await;
        assert_ne!(reply.status, 200, "{reply:?}");
    }
    let other = street.get("t2.localhost", "/api/things?id=eq.1").await;
    assert_eq!(other.json()[0]["tenant"], "t2", "{other:?}");
    superuser.batch_execute("ALTER SCHEMA gone RENAME TO t1").await.unwrap();
    until(Duration::from_secs(3), "the tenant's return", async || {
        ask().await.status == 200
    })
    .await;
    assert_eq!(ask().await.json()[0]["tenant"], "t1");
}

/// That is the operator's to mend, and nothing that a client has done: 503, and not the 401 of a token whose role is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_role_is_gone_is_misconfigured() {
    let street = street(8).await;
    let superuser = street.superuser().await;
    let ask = async || street.get("t1.localhost", "/api/things?id=eq.1").await;
    assert_eq!(ask().await.json()[0]["tenant"], "t1");
    assert_eq!(own_connections(&street).await, 0);
    let drop = "DROP OWNED BY rowhouse_t1_anon; DROP ROLE rowhouse_t1_anon";
    superuser.batch_execute(drop).await.unwrap();
    for change in ["", "NOTIFY rowhouse, 't1'"] {
        superuser.batch_execute(change).await.unwrap();
        let reply = ask().await;
        assert_eq!(reply.status, 503, "{reply:?}");
        assert_eq!(reply.json()["code"], "tenant_misconfigured", "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_a_tenants_code_has_a_connection_of_its_own() {
    let street = street(8).await;
    for round in 0..20 {
        let host = format!("t{}.localhost", round % 3);
        let reply = street.get(&host, "/api/rpc/leave?text=German").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let reply = street.get("t5.localhost", "/api/things?select=at&id=eq.1").await;
        assert_eq!(reply.json()[0]["at"], "1970-01-01T00:00:00+00:00", "{reply:?}");
        for query in shared_queries(&street.superuser().await).await {
            assert!(!query.contains("leave"), "{query}");
        }
    }
}

async fn shared_queries(superuser: &Client) -> Vec<String> {
    let sql = "SELECT query FROM pg_stat_activity WHERE application_name = 'rowhouse/shared reads'";
    let rows = superuser.query(sql, &[]).await.unwrap();
    assert!(!rows.is_empty(), "nobody shares anything");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Nor does anybody wait behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_much_to_do_has_connections_of_its_own() {
    let street = street(16).await;
    let end = Instant::now() + Duration::from_secs(2);
    // For as long as somebody else has its table, its requests pile up.
    let mut superuser = street.superuser().await;
    let locked = async {
        let lock = superuser.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE t1.things").await.unwrap();
        sleep(Duration::from_millis(500)).await;
        lock.commit().await.unwrap();
    };
    let busy = async |_| {
        while Instant::now() < end {
            let reply = street.get("t1.localhost", "/api/things?id=eq.7").await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    };
    let light = async {
        let mut longest = Duration::ZERO;
        while Instant::now() < end {
            let asked = Instant::now();
            let reply = street.get("t2.localhost", "/api/things?id=eq.7").await;
            assert_eq!(reply.status, 200, "{reply:?}");
            longest = longest.max(asked.elapsed());
            sleep(Duration::from_millis(5)).await;
        }
        longest
    };
    let (_, longest, ()) = tokio::join!(join_all((0..64).map(busy)), light, locked);
    assert!(longest < Duration::from_millis(750), "a light one waited {longest:?}");
    let status = street.status().await;
    assert!(status["tenants"]["t1"]["connections"].as_u64() > Some(0), "{status}");
}

/// Statements are prepared once for each tenant, and again when its tables have changed; others' stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_one_tenants_table_is_seen_by_it_alone() {
    let street = street(8).await;
    let superuser = street.superuser().await;
    for round in 0..3 {
        for number in 0..TENANTS {
            let reply = street.get(&format!("t{number}.localhost"), "/api/things?id=eq.1").await;
            assert_eq!(reply.json()[0]["tenant"], format!("t{number}"), "{reply:?}");
        }
        let sql = format!("ALTER TABLE t3.things ADD COLUMN more{round} int DEFAULT {round}; NOTIFY rowhouse, 't3'");
        superuser.batch_execute(&sql).await.unwrap();
        until(Duration::from_secs(3), "the new column", async || {
            let reply = street.get("t3.localhost", "/api/things?id=eq.1").await;
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.json()[0][format!("more{round}")] == round
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_connections_that_are_killed_cost_no_read() {
    let street = street(8).await;
    let superuser = street.superuser().await;
    let end = Instant::now() + Duration::from_secs(2);
    let reader = async |number: usize| {
        while Instant::now() < end {
            let reply = street
                .get(&format!("t{}.localhost", number % TENANTS), "/api/things?id=eq.9")
                .await;
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    };
    let killer = async {
        while Instant::now() < end {
            // Who is hit twice is told so.
            sleep(Duration::from_millis(500)).await;
            superuser
                .batch_execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE application_name = 'rowhouse/shared reads'",
                )
                .await
                .unwrap();
        }
    };
    tokio::join!(join_all((0..24).map(reader)), killer);
}

/// The same statement is short where there is little to read, and large where there is much.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_has_a_connection_of_its_own() {
    let street = street(8).await;
    let mut sql = String::new();
    for (id, rows) in [("t0", 1), ("t3", 1000)] {
        write!(
            sql,
            "CREATE TABLE {id}.wide (id int PRIMARY KEY, text text);
             INSERT INTO {id}.wide SELECT n, repeat('{id}', 2000) FROM generate_series(1, {rows}) AS n;
             GRANT SELECT ON {id}.wide TO rowhouse_{id}_anon;"
        )
        .unwrap();
    }
    street.superuser().await.batch_execute(&sql).await.unwrap();
    street.superuser().await.batch_execute("NOTIFY rowhouse").await.unwrap();
    for (id, rows) in [("t0", 1), ("t3", 1000)] {
        let host = format!("{id}.localhost");
        until(Duration::from_secs(3), "the new table", async || {
            street.get(&host, "/api/wide?limit=0").await.status == 200
        })
        .await;
        let reply = street.get(&host, "/api/wide").await;
        assert_eq!(reply.status, 200, "{}", reply.head);
        assert_eq!(reply.body.matches("\"id\":").count(), rows);
        assert_eq!(reply.header("Transfer-Encoding").is_some(), rows > 1, "{}", reply.head);
        assert!(!reply.body.contains(if rows > 1 { "t0" } else { "t3" }));
    }
    let status = street.status().await;
    assert!(status["tenants"]["t3"]["connections"].as_u64() > Some(0), "{status}");
}
