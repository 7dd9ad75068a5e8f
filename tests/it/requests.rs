//! The requests of the product's table, and the dialect around them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Reply, Street, token, until};

const CLIENTE: &str = "cliente.todo.local";
const CLIENTE2: &str = "cliente2.todo.local";
const ADM: &str = "adm.todo.local";

/// The example with two rows in each list.
async fn street() -> Street {
    let street = Street::example().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "INSERT INTO cliente.mylist (text) VALUES ('pão'), ('café');
             INSERT INTO cliente2.mylist (text) VALUES ('paper'), ('ink');
             INSERT INTO public.beforeidie (text) VALUES ('aurora'), ('swim')",
        )
        .await
        .unwrap();
    street
}

/// The values of `text` in a JSON answer.
#[track_caller]
fn texts(reply: &Reply) -> Vec<String> {
    assert!((200..300).contains(&reply.status), "{reply:?}");
    let rows = reply.json();
    let rows = rows.as_array().unwrap();
    rows.iter()
        .map(|row| row["text"].as_str().unwrap().to_owned())
        .collect()
}

/// The ids in a JSON answer.
#[track_caller]
fn ids(reply: &Reply) -> Vec<i64> {
    assert!((200..300).contains(&reply.status), "{reply:?}");
    let rows = reply.json();
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| row["id"].as_i64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_the_products_table() {
    let street = street().await;
    // GET / on cliente / cliente2: HTML, that tenant's mylist.
    for (host, own, other) in [(CLIENTE, "café", "paper"), (CLIENTE2, "paper", "café")] {
        let reply = street.get(host, "/").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(reply.body.contains(own) && !reply.body.contains(other), "{host}");
    }
    // GET /beforeidie on any host: HTML, the same everywhere.
    for host in [ADM, CLIENTE, CLIENTE2] {
        let reply = street.get(host, "/beforeidie").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(reply.body.contains("aurora") && reply.body.contains("swim"), "{host}");
    }
    // GET /api/mylist (or /api/mylist/): JSON, exclusive to the tenant.
    for path in ["/api/mylist", "/api/mylist/"] {
        let reply = street.get(CLIENTE, path).await;
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(texts(&reply), ["pão", "café"]);
        assert_eq!(texts(&street.get(CLIENTE2, path).await), ["paper", "ink"]);
        assert_eq!(street.get(ADM, path).await.status, 404, "{path}");
    }
    // GET /api/beforeidie: JSON, shared.
    let shared = street.get(ADM, "/api/beforeidie").await;
    assert_eq!(texts(&shared), ["aurora", "swim"]);
    for host in [CLIENTE, CLIENTE2, "cliente.localhost", "cliente2.localhost"] {
        assert_eq!(street.get(host, "/api/beforeidie").await.body, shared.body, "{host}");
    }
    // Any host not configured: 404, the same body for all.
    let nobody = street.get("nobody.todo.local", "/api/mylist").await;
    assert_eq!(nobody.status, 404);
    assert_eq!(street.get("nobody.else", "/").await.body, nobody.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_with_a_token_reach_that_tenants_schema_only() {
    let street = street().await;
    let write =
        async |method: &str, path: &str, body: &str| street.write_as(method, "cliente", CLIENTE, path, body).await;
    let posted = write("POST", "/api/mylist", r#"{"text":"novo"}"#).await;
    assert_eq!((posted.status, texts(&posted)), (201, vec!["novo".to_owned()]));
    let id = posted.json()[0]["id"].as_i64().unwrap();
    let patched = write("PATCH", &format!("/api/mylist?id=eq.{id}"), r#"{"text":"velho"}"#).await;
    assert_eq!((patched.status, texts(&patched)), (200, vec!["velho".to_owned()]));
    assert_eq!(
        texts(&street.get(CLIENTE, "/api/mylist?order=id").await),
        ["pão", "café", "velho"]
    );
    let deleted = write("DELETE", &format!("/api/mylist/?id=eq.{id}"), "").await;
    assert_eq!((deleted.status, texts(&deleted)), (200, vec!["velho".to_owned()]));
    // Even without a filter, only this tenant's rows go.
    let deleted = write("DELETE", "/api/mylist", "").await;
    assert_eq!(texts(&deleted).len(), 2);
    assert_eq!(street.get(CLIENTE, "/api/mylist").await.body, "[]");
    assert_eq!(texts(&street.get(CLIENTE2, "/api/mylist").await), ["paper", "ink"]);
    assert_eq!(texts(&street.get(CLIENTE, "/api/beforeidie").await), ["aurora", "swim"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_compare_as_the_dialect_says() {
    let street = Street::example().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "INSERT INTO cliente.mylist (text, checkbox, due, tags) VALUES
             ('Alpha', true, '2030-01-01', '{a}'), ('beta', false, '2030-02-01', '{}'),
             ('gamma (x), \"y\"', false, NULL, '{}'), ('50% off', true, '2031-01-01', '{}')",
        )
        .await
        .unwrap();
    for (filter, expected) in [
        ("id=eq.1", &[1][..]),
        ("id=neq.1", &[2, 3, 4]),
        ("id=gt.2", &[3, 4]),
        ("id=gte.2", &[2, 3, 4]),
        ("id=lt.2", &[1]),
        ("id=lte.2", &[1, 2]),
        ("id=gt.1&id=lt.4", &[2, 3]),
        ("id=not.eq.1", &[2, 3, 4]),
        ("id=in.(1,4,9)", &[1, 4]),
        ("id=not.in.(1,4)", &[2, 3]),
        ("id=in.()", &[]),
        ("text=eq.beta", &[2]),
        ("text=eq.BETA", &[]),
        ("text=like.*a", &[1, 2]),
        ("text=ilike.A*", &[1]),
        ("text=ilike.a*", &[1]),
        ("text=match.^[a-z]", &[2, 3]),
        ("text=imatch.^A", &[1]),
        ("text=eq.50%25+off", &[4]),
        ("text=eq.50%25%20off", &[4]),
        ("text=in.(beta,%22gamma%20(x),%20%5C%22y%5C%22%22)", &[2, 3]),
        ("checkbox=is.true", &[1, 4]),
        ("checkbox=eq.false", &[2, 3]),
        ("due=is.null", &[3]),
        ("due=not.is.null", &[1, 2, 4]),
        ("due=gte.2030-02-01", &[2, 4]),
        ("due=isdistinct.2030-01-01", &[2, 3, 4]),
        // A value is a value, whatever it looks like.
        ("text=eq.'%20OR%20true%20--", &[]),
        ("text=eq.id", &[]),
    ] {
        let reply = street
            .get(CLIENTE, &format!("/api/mylist?select=id&order=id&{filter}"))
            .await;
        assert_eq!(ids(&reply), expected, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn select_order_limit_and_offset() {
    let street = Street::example().await;
    let database = street.superuser().await;
    database
        .batch_execute(
            "INSERT INTO cliente.mylist (text, checkbox, due, tags, details) VALUES
             ('b', true, '2030-01-01', '{x,\"y z\"}', '{\"n\": [1, null]}'), ('a', false, NULL, '{}', '{}'),
             ('c', false, '2029-01-01', '{}', '{}')",
        )
        .await
        .unwrap();
    let get = async |query: &str| street.get(CLIENTE, &format!("/api/mylist?{query}")).await;
    // The types keep their JSON form.
    let whole = get("id=eq.1&select=id,text,checkbox,due,tags,details").await;
    let row =
        r#"[{"id":1,"text":"b","checkbox":true,"due":"2030-01-01","tags":["x","y z"],"details":{"n": [1, null]}}]"#;
    assert_eq!(whole.json(), serde_json::from_str::<Value>(row).unwrap());
    assert_eq!(get("id=eq.1&select=text,id").await.body, r#"[{"text":"b","id":1}]"#);
    assert_eq!(get("id=eq.1&select=what:text").await.body, r#"[{"what":"b"}]"#);
    assert_eq!(get("id=eq.1&select=id::text").await.body, r#"[{"id":"1"}]"#);
    assert_eq!(get("id=eq.1&select=*").await.json()[0].as_object().unwrap().len(), 7);
    for (query, expected) in [
        ("order=text", &[2, 1, 3][..]),
        ("order=text.desc", &[3, 1, 2]),
        ("order=checkbox.desc,id.desc", &[1, 3, 2]),
        ("order=due", &[3, 1, 2]),
        ("order=due.desc", &[2, 1, 3]),
        ("order=due.nullsfirst", &[2, 3, 1]),
        ("order=due.desc.nullslast", &[1, 3, 2]),
        ("order=id&limit=2", &[1, 2]),
        ("order=id&limit=2&offset=1", &[2, 3]),
        ("order=id&offset=2", &[3]),
        ("order=id&offset=3", &[]),
        ("order=id&limit=0", &[]),
    ] {
        assert_eq!(ids(&get(query).await), expected, "{query}");
    }
    for (query, range) in [
        ("", "0-2/*"),
        ("limit=2", "0-1/*"),
        ("limit=2&offset=1", "1-2/*"),
        ("offset=3", "*/*"),
        ("id=eq.9", "*/*"),
    ] {
        let reply = get(query).await;
        assert_eq!(
            (reply.status, reply.header("content-range")),
            (200, Some(range)),
            "{query}"
        );
    }
    assert_eq!(get("limit=-1").await.status, 416);
    // Before the first row there is none to leave out.
    assert_eq!(get("offset=-1").await.header("content-range"), Some("0-2/*"));
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_its_body() {
    let street = street().await;
    for path in ["/api/mylist", "/api/mylist?limit=1", "/", "/beforeidie", "/api/absent"] {
        let get = street.get(CLIENTE, path).await;
        let head = street.send("HEAD", CLIENTE, path, &[], "").await;
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}: {head:?}");
        for name in ["content-type", "content-range"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
        // Left out or that of the GET, and nothing else (RFC 9110, section 8.6).
        if let Some(length) = head.header("content-length") {
            assert_eq!(Some(length), get.header("content-length"), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_of_an_object_and_of_an_array() {
    let street = Street::example().await;
    let post = async |path: &str, body: &str| street.write_as("POST", "cliente", CLIENTE, path, body).await;
    let one = post(
        "/api/mylist",
        r#"{"text":"um","tags":["a","b c"],"details":{"n":1},"due":null}"#,
    )
    .await;
    assert_eq!(one.status, 201, "{one:?}");
    let row = &one.json()[0];
    assert_eq!((&row["id"], &row["checkbox"]), (&json!(1), &json!(false)));
    assert_eq!(
        (&row["tags"], &row["details"]),
        (&json!(["a", "b c"]), &json!({"n": 1}))
    );
    assert_eq!(one.header("preference-applied"), Some("return=representation"));
    assert_eq!(one.header("content-range"), Some("*/*"));

    let many = post("/api/mylist", r#"[{"text":"dois"},{"text":"três ☕"}]"#).await;
    assert_eq!(
        (many.status, texts(&many)),
        (201, vec!["dois".to_owned(), "três ☕".to_owned()])
    );
    let selected = post("/api/mylist?select=text", r#"{"text":"quatro"}"#).await;
    assert_eq!(selected.body, r#"[{"text":"quatro"}]"#);
    let chosen = post(
        "/api/mylist?columns=text",
        r#"[{"text":"cinco","x":1},{"text":"seis"}]"#,
    )
    .await;
    assert_eq!(chosen.status, 201, "{chosen:?}");
    let none = post("/api/mylist", "[]").await;
    assert_eq!((none.status, none.body.as_str()), (201, "[]"));
    // All rows of a body or none.
    let half = post("/api/mylist", r#"[{"text":"sete"},{"text":""}]"#).await;
    assert_eq!(half.status, 400, "{half:?}");
    assert_eq!(
        texts(&street.get(CLIENTE, "/api/mylist?order=id").await),
        ["um", "dois", "três ☕", "quatro", "cinco", "seis"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prefer_says_what_a_write_answers_with() {
    let street = street().await;
    let authorization = format!("Bearer {}", token("cliente"));
    let send = async |method: &str, path: &str, prefer: Option<&str>, body: &str| {
        let mut headers = vec![("Authorization", authorization.as_str())];
        headers.extend(prefer.map(|prefer| ("Prefer", prefer)));
        street.send(method, CLIENTE, path, &headers, body).await
    };
    for (prefer, applied) in [
        (None, None),
        (Some("return=minimal"), Some("return=minimal")),
        (Some("return=all"), None),
    ] {
        let posted = send("POST", "/api/mylist", prefer, r#"{"text":"x"}"#).await;
        assert_eq!((posted.status, posted.body.as_str()), (201, ""), "{posted:?}");
        assert_eq!(posted.header("preference-applied"), applied);
        let patched = send("PATCH", "/api/mylist?text=eq.x", prefer, r#"{"text":"y"}"#).await;
        assert_eq!((patched.status, patched.body.as_str()), (204, ""), "{patched:?}");
        assert_eq!(patched.header("preference-applied"), applied);
        let deleted = send("DELETE", "/api/mylist?text=eq.y", prefer, "").await;
        assert_eq!((deleted.status, deleted.body.as_str()), (204, ""), "{deleted:?}");
        assert_eq!(deleted.header("preference-applied"), applied);
        assert_eq!(texts(&street.get(CLIENTE, "/api/mylist").await), ["pão", "café"]);
    }
    let rows = Some("return=representation");
    let patched = send("PATCH", "/api/mylist?order=id", rows, r#"{"checkbox":true}"#).await;
    assert_eq!((patched.status, patched.header("content-range")), (200, Some("0-1/*")));
    assert_eq!(patched.header("preference-applied"), rows);
    let untouched = send("PATCH", "/api/mylist?id=eq.99", rows, r#"{"checkbox":true}"#).await;
    assert_eq!((untouched.status, untouched.body.as_str()), (200, "[]"));
    let deleted = send("DELETE", "/api/mylist?id=eq.1&select=id", rows, "").await;
    assert_eq!((deleted.status, deleted.body.as_str()), (200, r#"[{"id":1}]"#));
    assert_eq!(texts(&street.get(CLIENTE, "/api/mylist").await), ["café"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_decoded_once_and_never_nested() {
    let street = street().await;
    for path in ["/api/mylist", "/api/mylist/", "/api/%6dylist", "/%61pi/mylist"] {
        assert_eq!(texts(&street.get(CLIENTE, path).await), ["pão", "café"], "{path}");
    }
    for path in [
        "/api/mylist/1",
        "/api//mylist",
        "/api/mylist//",
        "/api/cliente2.mylist",
        "/api/cliente2%2Fmylist",
        "/api/MyList",
        "/api/%256dylist",
        "/api/pg_roles",
        "/api/pg_catalog.pg_roles",
        "/api/rowhouse_migrations",
        "/api/mylist%00",
        "/api/%ff",
    ] {
        let reply = street.get(CLIENTE, path).await;
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_makes_or_replaces_the_one_row_that_its_filters_name() {
    let street = street().await;
    let put = async |path: &str, body: &str, prefer: &str| {
        street
            .write_preferring(prefer, "PUT", "cliente", CLIENTE, path, body)
            .await
    };
    let replaced = put(
        "/api/mylist?id=eq.2",
        r#"{"id":2,"text":"chá"}"#,
        "return=representation",
    )
    .await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_eq!((ids(&replaced), texts(&replaced)), (vec![2], vec!["chá".to_owned()]));
    assert_eq!(replaced.json()[0].as_object().unwrap().len(), 7, "{replaced:?}");
    let made = put(
        "/api/mylist?id=eq.70",
        r#"[{"id":70,"text":"novo"}]"#,
        "return=representation",
    )
    .await;
    assert_eq!((made.status, texts(&made)), (201, vec!["novo".to_owned()]), "{made:?}");
    let again = put("/api/mylist/?id=eq.70", r#"{"id":70,"text":"velho"}"#, "return=minimal").await;
    assert_eq!((again.status, again.body.as_str()), (204, ""), "{again:?}");
    assert_eq!(again.header("preference-applied"), Some("return=minimal"));
    let made = put("/api/mylist?id=eq.71", r#"{"id":71,"text":"a"}"#, "").await;
    assert_eq!((made.status, made.body.as_str()), (204, ""), "{made:?}");

    for (path, body, status, code) in [
        ("/api/mylist?id=eq.1", r#"{"id":2,"text":"x"}"#, 400, "PGRST115"),
        ("/api/mylist?id=eq.1", r#"{"id":null,"text":"x"}"#, 400, "PGRST115"),
        ("/api/mylist?id=eq.1", r#"[{"id":1},{"id":1}]"#, 400, "PGRST115"),
        ("/api/mylist?id=eq.1", "[]", 400, "PGRST115"),
        ("/api/mylist", r#"{"id":1,"text":"x"}"#, 405, "PGRST105"),
        ("/api/mylist?id=gt.1", r#"{"id":1,"text":"x"}"#, 405, "PGRST105"),
        (
            "/api/mylist?id=eq.1&text=eq.x",
            r#"{"id":1,"text":"x"}"#,
            405,
            "PGRST105",
        ),
        ("/api/mylist?id=eq.1&id=eq.1", r#"{"id":1,"text":"x"}"#, 405, "PGRST105"),
        (
            "/api/mylist?id=eq.1&offset=0",
            r#"{"id":1,"text":"x"}"#,
            400,
            "PGRST114",
        ),
        ("/api/mylist?id=eq.1", r#"{"id":1,"text":null}"#, 400, "23502"),
        ("/api/mylist?id=eq.x", r#"{"id":1,"text":"x"}"#, 400, "22P02"),
    ] {
        let reply = put(path, body, "return=representation").await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{path} {body}: {reply:?}"
        );
    }
    let all = street.get(CLIENTE, "/api/mylist?order=id").await;
    assert_eq!(texts(&all), ["pão", "chá", "velho", "a"]);
    assert_eq!(texts(&street.get(CLIENTE2, "/api/mylist").await), ["paper", "ink"]);

    // A key of two columns, in any order.
    street
        .superuser()
        .await
        .batch_execute(
            "CREATE TABLE cliente.pairs (a int, b text, note text, PRIMARY KEY (a, b));
             GRANT SELECT, INSERT, UPDATE ON cliente.pairs TO rowhouse_cliente_user",
        )
        .await
        .unwrap();
    street.edge().reload();
    until(Duration::from_secs(3), "the table", async || {
        street.get(CLIENTE, "/api/pairs").await.status != 404
    })
    .await;
    let path = "/api/pairs?b=eq.x&a=eq.1";
    assert_eq!(put(path, r#"{"a":1,"b":"x","note":"n"}"#, "").await.status, 204);
    assert_eq!(put(path, r#"{"a":1,"b":"x","note":"m"}"#, "").await.status, 204);
    // A body without anything to change: the row is found, and stays as it is.
    let same = put(path, r#"{"a":1,"b":"x"}"#, "return=representation").await;
    assert_eq!(
        (same.status, same.body.as_str()),
        (200, r#"[{"a":1,"b":"x","note":"m"}]"#),
        "{same:?}"
    );
    assert_eq!(put("/api/pairs?a=eq.1", r#"{"a":1,"b":"x"}"#, "").await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_join_and_search() {
    let street = Street::example().await;
    street
        .superuser()
        .await
        .batch_execute(
            "INSERT INTO cliente.mylist (text, checkbox, due, tags, details) VALUES
                 ('Buy bread', true, '2026-01-01', '{home,shop}', '{\"a\":1}'),
                 ('Bake a cake', false, NULL, '{home}', '{\"a\":1,\"b\":2}'),
                 ('Call (mum), 50%', false, '2026-03-01', '{}', '{}'),
                 ('Os gatos dormem', true, NULL, '{cat}', '{}')",
        )
        .await
        .unwrap();
    for (query, expected) in [
        ("or=(id.eq.1,id.eq.3)", &[1, 3][..]),
        ("or=(checkbox.is.true,and(due.is.null,id.lt.3))", &[1, 2, 4]),
        ("not.or=(id.eq.1,id.eq.3)", &[2, 4]),
        ("and=(id.gt.1,not.and(checkbox.is.true,due.is.null))", &[2, 3]),
        ("or=( id.in.( 1, 2 ) , text.eq.\"Call (mum), 50%25\" )", &[1, 2, 3]),
        ("or=(tags.cs.{home,shop},tags.ov.{cat,dog})", &[1, 4]),
        ("or=(id.eq.1,id.eq.2)&or=(id.eq.2,id.eq.3)", &[2]),
        ("or=(id.eq.1,id.neq.1))", &[1, 2, 3, 4]),
        ("tags=cs.{home}", &[1, 2]),
        ("tags=cd.{home,cat}", &[2, 3, 4]),
        ("tags=not.ov.{home}", &[3, 4]),
        ("details=cs.{\"a\":1}", &[1, 2]),
        ("text=like(any).{B*,*mum*}", &[1, 2, 3]),
        ("text=ilike(all).{b*,*CAKE}", &[2]),
        ("id=eq(any).{1,4}", &[1, 4]),
        ("id=gt(all).{1,2}", &[3, 4]),
        ("text=fts.bread|cake", &[1, 2]),
        ("text=fts(portuguese).gato", &[4]),
        ("text=plfts(english).cakes", &[2]),
        ("text=phfts.Buy+bread", &[1]),
        ("text=wfts.bake+-bread", &[2]),
        ("text=not.fts.bread", &[2, 3, 4]),
        ("id=isdistinct.1", &[2, 3, 4]),
    ] {
        let query = query
            .replace(' ', "%20")
            .replace('"', "%22")
            .replace('{', "%7B")
            .replace('}', "%7D");
        let query = query.replace('|', "%7C");
        let reply = street.get(CLIENTE, &format!("/api/mylist?order=id&{query}")).await;
        assert_eq!(ids(&reply), expected, "{query}");
    }
    for (query, status, code) in [
        ("or=(id.eq.1,nothing.eq.2)", 400, "42703"),
        ("or=(id.eq.1", 400, "PGRST100"),
        ("or=(id.like(some).1)", 400, "PGRST100"),
        ("text=fts(klingon).x", 400, "42704"),
        ("id=cs.%7B1%7D", 404, "42883"),
        ("id=eq(any).1", 400, "22P02"),
    ] {
        let reply = street.get(CLIENTE, &format!("/api/mylist?{query}")).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{query}: {reply:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_merges_or_ignores_what_is_there() {
    let street = street().await;
    street
        .superuser()
        .await
        .batch_execute("CREATE UNIQUE INDEX ON cliente.mylist (text)")
        .await
        .unwrap();
    let post = async |path: &str, body: &str, prefer: &str| {
        street
            .write_preferring(prefer, "POST", "cliente", CLIENTE, path, body)
            .await
    };
    let list = "/api/mylist?select=id,text,checkbox";
    let merge = "resolution=merge-duplicates,return=representation";
    let ignore = "resolution=ignore-duplicates,return=representation";
    // One is there, one is not: something was created.
    let body = r#"[{"id":1,"text":"bolo","checkbox":true},{"id":80,"text":"suco","checkbox":false}]"#;
    let reply = post(list, body, merge).await;
    assert_eq!(
        (reply.status, texts(&reply)),
        (201, vec!["bolo".into(), "suco".into()]),
        "{reply:?}"
    );
    let applied = Some("resolution=merge-duplicates, return=representation");
    assert_eq!(reply.header("preference-applied"), applied);
    // All are there.
    let reply = post(list, body, merge).await;
    assert_eq!((reply.status, ids(&reply)), (200, vec![1, 80]), "{reply:?}");
    let reply = post(list, body, "resolution=merge-duplicates").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{reply:?}");
    // Ignored ones do not come back.
    let body = r#"[{"id":1,"text":"x"},{"id":81,"text":"y"}]"#;
    let reply = post(list, body, ignore).await;
    assert_eq!((reply.status, ids(&reply)), (201, vec![81]), "{reply:?}");
    let reply = post(list, body, ignore).await;
    assert_eq!((reply.status, reply.body.as_str()), (201, "[]"), "{reply:?}");
    // By another unique index.
    let path = "/api/mylist?select=id,text,checkbox&on_conflict=text";
    let reply = post(path, r#"{"text":"suco","checkbox":true}"#, merge).await;
    assert_eq!((reply.status, ids(&reply)), (200, vec![80]), "{reply:?}");
    assert_eq!(reply.json()[0]["checkbox"], true);
    for (path, prefer, body, status, code) in [
        // No resolution, no upsert.
        (list, "", r#"{"text":"suco"}"#, 409, "23505"),
        (
            "/api/mylist?on_conflict=checkbox",
            merge,
            r#"{"text":"q","checkbox":true}"#,
            400,
            "42P10",
        ),
        (
            "/api/mylist?on_conflict=nothing",
            merge,
            r#"{"text":"q"}"#,
            400,
            "42703",
        ),
        ("/api/mylist?on_conflict=(", merge, r#"{"text":"q"}"#, 400, "PGRST100"),
        (
            list,
            merge,
            r#"[{"id":1,"text":"p"},{"id":1,"text":"q"}]"#,
            400,
            "21000",
        ),
    ] {
        let reply = post(path, body, prefer).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (status, code),
            "{path}: {reply:?}"
        );
    }
    assert_eq!(texts(&street.get(CLIENTE2, "/api/mylist").await), ["paper", "ink"]);
}
