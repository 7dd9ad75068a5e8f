//! What a running edge learns of a schema that changes under it.

use std::time::Duration;

use crate::support::{Street, until};

const CLIENTE: &str = "cliente.localhost";
const CLIENTE2: &str = "cliente2.localhost";

#[tokio::test(flavor = "multi_thread")]
async fn a_notification_makes_new_tables_and_functions_seen() {
    let street = Street::example().await;
    let database = street.superuser().await;
    // What nobody has listened to yet is not heard: the edge opens its connection a moment after its first answer.
    for (channel, payload, table) in [
        ("pgrst", "reload schema", "one"),
        ("rowhouse", "", "two"),
        ("rowhouse", "cliente", "three"),
    ] {
        let path = format!("/api/{table}");
        assert_eq!(street.get(CLIENTE, &path).await.status, 404);
        let sql = format!(
            "CREATE TABLE cliente.{table} (id int PRIMARY KEY);
             GRANT SELECT ON cliente.{table} TO rowhouse_cliente_anon"
        );
        database.batch_execute(&sql).await.unwrap();
        until(Duration::from_secs(5), "the new table", async || {
            let notify = format!("NOTIFY {channel}, '{payload}'");
            database.batch_execute(&notify).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
            street.get(CLIENTE, &path).await.status == 200
        })
        .await;
    }
    database
        .batch_execute(
            "CREATE FUNCTION cliente.answer() RETURNS int LANGUAGE sql STABLE AS 'SELECT 42';
             GRANT EXECUTE ON FUNCTION cliente.answer TO rowhouse_cliente_anon",
        )
        .await
        .unwrap();
    until(Duration::from_secs(5), "the new function", async || {
        database.batch_execute("NOTIFY pgrst").await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        street.get(CLIENTE, "/api/rpc/answer").await.body == "42"
    })
    .await;
    assert_eq!(street.get(CLIENTE2, "/api/rpc/answer").await.status, 404);
}

/// What a schema has that names something of its own, such as a cast by a function of its own, is the same for both.
#[tokio::test(flavor = "multi_thread")]
async fn tenants_with_the_same_own_types_share_a_catalog() {
    let street = Street::example().await;
    let catalogs = async || street.status().await["catalogs"].as_u64().unwrap();
    for host in [CLIENTE, CLIENTE2] {
        assert_eq!(street.get(host, "/api/mylist").await.status, 200);
    }
    assert_eq!(catalogs().await, 1);
    let database = street.superuser().await;
    for schema in ["cliente", "cliente2"] {
        let sql = format!(
            "SET search_path = {schema};
             CREATE DOMAIN colour AS int;
             CREATE FUNCTION colour(text) RETURNS colour IMMUTABLE LANGUAGE sql RETURN 1;
             CREATE FUNCTION colour(json) RETURNS colour IMMUTABLE LANGUAGE sql RETURN 1;
             CREATE FUNCTION \"json\"(colour) RETURNS json IMMUTABLE LANGUAGE sql RETURN '\"red\"'::json;
             CREATE CAST (text AS colour) WITH FUNCTION colour(text) AS IMPLICIT;
             CREATE CAST (json AS colour) WITH FUNCTION colour(json) AS IMPLICIT;
             CREATE CAST (colour AS json) WITH FUNCTION \"json\"(colour) AS IMPLICIT;
             CREATE TABLE walls (id int PRIMARY KEY, colour colour);
             INSERT INTO walls VALUES (1, 1);
             GRANT SELECT ON walls TO rowhouse_{schema}_anon;"
        );
        database.batch_execute(&sql).await.unwrap();
    }
    street.edge().reload();
    until(Duration::from_secs(5), "the new table of both", async || {
        let mut found = 0;
        for host in [CLIENTE, CLIENTE2] {
            let reply = street.get(host, "/api/walls?colour=eq.red").await;
            found += usize::from(reply.body == r#"[{"id":1,"colour":"red"}]"#);
        }
        found == 2
    })
    .await;
    assert_eq!(catalogs().await, 1);
}

/// A schema that is gone is that tenant's trouble alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_schema_breaks_its_own_tenant_only() {
    let street = Street::example().await;
    for host in [CLIENTE, CLIENTE2] {
        assert_eq!(street.get(host, "/api/mylist").await.status, 200);
    }
    let database = street.superuser().await;
    database.batch_execute("DROP SCHEMA cliente CASCADE").await.unwrap();
    street.edge().reload();
    until(Duration::from_secs(5), "an error", async || {
        street.get(CLIENTE, "/api/mylist").await.status != 200
    })
    .await;
    assert_eq!(street.get(CLIENTE2, "/api/mylist").await.status, 200);
    assert_eq!(street.get(CLIENTE2, "/api/beforeidie").await.status, 200);
}
