//! The document at `/api/` that describes a tenant's data API: OpenAPI 2.0 as PostgREST gives it, and 3.1.

use serde_json::{Value, json};

use crate::support::{KEY, Reply, Street, token_for};

const TENANTS: &str = r#"
[tenants.shop]
hosts = ["shop.localhost"]
managed = false
anonymous_role = "shop_anon"
roles = ["shop_clerk"]
[tenants.annexe]
hosts = ["annexe.localhost"]
managed = false
anonymous_role = "shop_anon"
openapi = "ignore-privileges"
openapi_security = true
openapi_url = "https://api.example.com/v1"
[tenants.front]
hosts = ["front.localhost"]
managed = false
anonymous_role = "shop_anon"
root_function = "welcome"
[tenants.shut]
hosts = ["shut.localhost"]
managed = false
anonymous_role = "shop_anon"
openapi = "disabled"
"#;

const SQL: &str = r#"
CREATE ROLE shop_anon;
CREATE ROLE shop_clerk;
GRANT shop_anon, shop_clerk TO rowhouse_edge;
CREATE SCHEMA shop;
CREATE SCHEMA annexe;
CREATE SCHEMA front;
CREATE SCHEMA shut;
GRANT USAGE ON SCHEMA shop, annexe, front, shut TO shop_anon, shop_clerk;
COMMENT ON SCHEMA shop IS E'The shop\n\nAll that is\nfor sale';

CREATE TYPE shop.size AS ENUM ('s', 'm', 'l');
CREATE TABLE shop.makers (id int PRIMARY KEY, name varchar(40) NOT NULL);
COMMENT ON TABLE shop.makers IS E'Who makes things\n\nSince 1950\nor so';
COMMENT ON COLUMN shop.makers.name IS 'as on the door';
CREATE TABLE shop.things (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    maker_id int NOT NULL REFERENCES shop.makers,
    kind shop.size,
    price numeric(8, 2) DEFAULT 1.5,
    ready boolean NOT NULL DEFAULT false,
    tags text[],
    extra jsonb,
    made timestamptz DEFAULT now(),
    note text DEFAULT 'none'
);
COMMENT ON COLUMN shop.things.maker_id IS 'who made it';
CREATE TABLE shop.ledger (id int PRIMARY KEY, sum int);
CREATE TABLE shop.log (line text);
CREATE VIEW shop.kinds AS SELECT DISTINCT kind FROM shop.things;
CREATE VIEW shop.cheap AS SELECT id, maker_id FROM shop.things WHERE price < 2;
CREATE TABLE shop."odd name" ("a column" int PRIMARY KEY);

CREATE FUNCTION shop.add(a int, b bigint DEFAULT 0) RETURNS bigint IMMUTABLE LANGUAGE sql RETURN a + b;
COMMENT ON FUNCTION shop.add IS E'Adds\n\ntwo numbers';
CREATE FUNCTION shop.restock(thing bigint, names text[] DEFAULT '{}') RETURNS void VOLATILE LANGUAGE sql AS '';
CREATE FUNCTION shop.longest(VARIADIC words text[]) RETURNS int IMMUTABLE LANGUAGE sql RETURN 1;
CREATE FUNCTION shop.audit() RETURNS int STABLE LANGUAGE sql RETURN 1;
REVOKE EXECUTE ON FUNCTION shop.restock, shop.audit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION shop.restock, shop.audit TO shop_clerk;
GRANT SELECT ON shop.makers, shop.things, shop.kinds, shop.cheap, shop."odd name" TO shop_anon;
GRANT INSERT (line) ON shop.log TO shop_anon;
GRANT ALL ON ALL TABLES IN SCHEMA shop TO shop_clerk;

CREATE TABLE annexe.hidden (id int PRIMARY KEY);
CREATE FUNCTION annexe.secret() RETURNS int IMMUTABLE LANGUAGE sql RETURN 1;
REVOKE EXECUTE ON FUNCTION annexe.secret FROM PUBLIC;
CREATE FUNCTION front.welcome() RETURNS json STABLE LANGUAGE sql
    AS $$ SELECT json_build_object('hello', current_user, 'path', current_setting('request.path', true)) $$;
"#;

const V3: &str = "application/vnd.oai.openapi+json;version=3.1";

async fn street() -> Street {
    let street = Street::start("", TENANTS).await;
    street.superuser().await.batch_execute(SQL).await.unwrap();
    street
}

async fn root(street: &Street, tenant: &str, headers: &[(&str, &str)]) -> Reply {
    street
        .send("GET", &format!("{tenant}.localhost"), "/api/", headers, "")
        .await
}

/// The document of the shop, for whoever has no token or for its clerk.
async fn described(street: &Street, accept: &str, is_clerk: bool) -> Value {
    let authorization = format!("Bearer {}", token_for("shop", "shop_clerk", KEY));
    let mut headers = vec![("Accept", accept)];
    if is_clerk {
        headers.push(("Authorization", &authorization));
    }
    let reply = root(street, "shop", &headers).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// All references of a document, wherever they stand.
fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// That every reference leads to something in the same document (RFC 6901), and that there are some.
#[track_caller]
fn resolves(document: &Value) {
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(!found.is_empty(), "{document}");
    for reference in found {
        let target = reference
            .strip_prefix('#')
            .and_then(|pointer| document.pointer(pointer));
        assert!(target.is_some(), "{reference} leads nowhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_shown_what_it_may_use() {
    let street = street().await;
    let everybody = [
        "/",
        "/cheap",
        "/kinds",
        "/log",
        "/makers",
        "/odd name",
        "/rpc/add",
        "/rpc/longest",
        "/things",
    ];
    let clerk = [
        "/",
        "/cheap",
        "/kinds",
        "/ledger",
        "/log",
        "/makers",
        "/odd name",
        "/rpc/add",
        "/rpc/audit",
        "/rpc/longest",
        "/rpc/restock",
        "/things",
    ];
    for accept in ["application/openapi+json", V3] {
        for (is_clerk, expected) in [(false, &everybody[..]), (true, &clerk[..])] {
            let document = described(&street, accept, is_clerk).await;
            assert_eq!(keys(&document["paths"]), expected, "{accept} {is_clerk}");
            let schemas = if accept == V3 {
                &document["components"]["schemas"]
            } else {
                &document["definitions"]
            };
            let relations: Vec<&str> = expected
                .iter()
                .map(|path| path.trim_start_matches('/'))
                .filter(|name| !name.is_empty() && !name.starts_with("rpc/"))
                .collect();
            let keys: Vec<String> = keys(schemas).iter().map(|key| key.replace("_x0020_", " ")).collect();
            assert_eq!(keys, relations, "{accept} {is_clerk}");
            assert_eq!(document.to_string().contains("ledger"), is_clerk, "{accept}");
            assert_eq!(document.to_string().contains("restock"), is_clerk, "{accept}");
        }
    }
    // A tenant may show everything to everybody.
    let annexe = root(&street, "annexe", &[]).await.json();
    assert_eq!(keys(&annexe["paths"]), ["/", "/hidden", "/rpc/secret"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_2_describes_tables_and_functions() {
    let document = described(&street().await, "application/openapi+json", true).await;
    assert_eq!(document["swagger"], "2.0");
    assert_eq!(
        document["info"],
        json!({ "title": "The shop", "description": "All that is\nfor sale", "version": env!("CARGO_PKG_VERSION") })
    );
    assert_eq!(
        (&document["host"], &document["basePath"], &document["schemes"]),
        (&json!("shop.localhost"), &json!("/api/"), &json!(["http"]))
    );
    for types in ["consumes", "produces"] {
        let known = document[types].as_array().unwrap();
        assert!(
            known.contains(&json!("application/json")) && known.contains(&json!("text/csv")),
            "{known:?}"
        );
    }
    assert_eq!(
        (&document["security"], &document["securityDefinitions"]),
        (&Value::Null, &Value::Null)
    );

    // Types, keys, comments, defaults.
    let definitions = &document["definitions"];
    let key = "Note:\nThis is a Primary Key.<pk/>";
    let maker = "Note:\nThis is a Foreign Key to `makers.id`.<fk table='makers' column='id'/>";
    assert_eq!(
        definitions["makers"],
        json!({
            "type": "object",
            "description": "Who makes things\n\nSince 1950\nor so",
            "required": ["id", "name"],
            "properties": {
                "id": { "type": "integer", "format": "int32", "description": key },
                "name": {
                    "type": "string", "format": "character varying", "maxLength": 40, "description": "as on the door",
                },
            },
        })
    );
    assert_eq!(definitions["things"]["required"], json!(["id", "maker_id", "ready"]));
    let properties = &definitions["things"]["properties"];
    for (column, expected) in [
        (
            "id",
            json!({ "type": "integer", "format": "int64", "description": key }),
        ),
        (
            "maker_id",
            json!({ "type": "integer", "format": "int32", "description": format!("who made it\n\n{maker}") }),
        ),
        (
            "price",
            json!({ "type": "number", "format": "numeric", "default": 1.5 }),
        ),
        (
            "ready",
            json!({ "type": "boolean", "format": "boolean", "default": false }),
        ),
        (
            "tags",
            json!({ "type": "array", "format": "text[]", "items": { "type": "string" } }),
        ),
        ("extra", json!({ "format": "jsonb" })),
        (
            "made",
            json!({ "type": "string", "format": "timestamp with time zone", "default": "now()" }),
        ),
        ("note", json!({ "type": "string", "format": "text", "default": "none" })),
    ] {
        assert_eq!(properties[column], expected, "{column}");
    }
    assert_eq!(
        (&properties["kind"]["type"], &properties["kind"]["enum"]),
        (&json!("string"), &json!(["s", "m", "l"]))
    );
    // A view has the keys of its table.
    assert_eq!(definitions["cheap"]["properties"]["id"]["description"], key);
    assert_eq!(definitions["cheap"]["properties"]["maker_id"]["description"], maker);

    let makers = &document["paths"]["/makers"];
    assert_eq!(keys(makers), ["delete", "get", "patch", "post"]);
    for operation in makers.as_object().unwrap().values() {
        assert_eq!(
            (&operation["summary"], &operation["description"], &operation["tags"]),
            (
                &json!("Who makes things"),
                &json!("Since 1950\nor so"),
                &json!(["makers"])
            )
        );
    }
    assert_eq!(
        makers["get"]["responses"]["200"]["schema"],
        json!({ "type": "array", "items": { "$ref": "#/definitions/makers" } })
    );
    for (method, status) in [("get", "206"), ("post", "201"), ("patch", "204"), ("delete", "204")] {
        assert!(makers[method]["responses"][status].is_object(), "{method}");
    }
    let listed = |operation: &Value| -> Vec<String> {
        let refs = operation["parameters"].as_array().unwrap().iter();
        refs.map(|one| one["$ref"].as_str().unwrap().replace("#/parameters/", ""))
            .collect()
    };
    assert_eq!(
        listed(&makers["get"]),
        [
            "rowFilter.makers.id",
            "rowFilter.makers.name",
            "select",
            "order",
            "range",
            "rangeUnit",
            "offset",
            "limit",
            "preferCount"
        ]
    );
    assert_eq!(listed(&makers["post"]), ["body.makers", "select", "preferPost"]);
    assert_eq!(
        listed(&makers["patch"]),
        [
            "rowFilter.makers.id",
            "rowFilter.makers.name",
            "body.makers",
            "preferReturn"
        ]
    );
    assert_eq!(
        listed(&makers["delete"]),
        ["rowFilter.makers.id", "rowFilter.makers.name", "preferReturn"]
    );
    // What cannot be written is only read.
    assert_eq!(keys(&document["paths"]["/kinds"]), ["get"]);
    let parameters = &document["parameters"];
    assert_eq!(
        parameters["rowFilter.makers.name"],
        json!({ "name": "name", "description": "as on the door", "required": false, "in": "query", "type": "string" })
    );
    assert_eq!(
        parameters["body.makers"]["schema"],
        json!({ "$ref": "#/definitions/makers" })
    );
    assert_eq!(
        (&parameters["rangeUnit"]["in"], &parameters["rangeUnit"]["default"]),
        (&json!("header"), &json!("items"))
    );

    let add = &document["paths"]["/rpc/add"];
    assert_eq!(
        (&add["get"]["summary"], &add["get"]["description"]),
        (&json!("Adds"), &json!("two numbers"))
    );
    assert_eq!(add["post"]["tags"], json!(["(rpc) add"]));
    assert_eq!(
        add["get"]["parameters"],
        json!([
            { "name": "a", "in": "query", "required": true, "type": "integer", "format": "int32" },
            { "name": "b", "in": "query", "required": false, "type": "integer", "format": "int64" },
        ])
    );
    assert_eq!(
        add["post"]["parameters"][0]["schema"],
        json!({
            "type": "object",
            "description": "Adds\n\ntwo numbers",
            "required": ["a"],
            "properties": {
                "a": { "type": "integer", "format": "int32" },
                "b": { "type": "integer", "format": "int64" },
            },
        })
    );
    assert_eq!(
        add["post"]["parameters"][1],
        json!({ "$ref": "#/parameters/preferParams" })
    );
    // What writes is not for GET; a list of any length is one parameter, given more than once.
    assert_eq!(keys(&document["paths"]["/rpc/restock"]), ["post"]);
    let words = &document["paths"]["/rpc/longest"]["get"]["parameters"][0];
    assert_eq!(
        (&words["type"], &words["collectionFormat"], &words["items"]["type"]),
        (&json!("array"), &json!("multi"), &json!("string"))
    );
    resolves(&document);
}

#[tokio::test(flavor = "multi_thread")]
async fn version_3_says_the_same_in_its_own_way() {
    let street = street().await;
    let document = described(&street, V3, true).await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "The shop");
    assert_eq!(document["servers"], json!([{ "url": "http://shop.localhost/api/" }]));
    resolves(&document);
    // Nothing of the older version is left.
    for old in [
        "swagger",
        "host",
        "basePath",
        "schemes",
        "consumes",
        "produces",
        "definitions",
        "parameters",
    ] {
        assert_eq!(document[old], Value::Null, "{old}");
    }
    let text = document.to_string();
    for old in [
        "#/definitions/",
        "#/parameters/",
        "\"body\"",
        "\"produces\"",
        "collectionFormat",
    ] {
        assert!(!text.contains(old), "{old}");
    }
    let second = described(&street, "application/openapi+json", true).await;
    let mut schemas = second["definitions"].clone();
    schemas["odd_x0020_name"] = schemas.as_object_mut().unwrap().remove("odd name").unwrap();
    assert_eq!(document["components"]["schemas"], schemas);
    assert_eq!(keys(&document["paths"]), keys(&second["paths"]));

    let makers = &document["paths"]["/makers"];
    assert_eq!(
        makers["get"]["responses"]["200"]["content"]["application/json"]["schema"],
        json!({ "type": "array", "items": { "$ref": "#/components/schemas/makers" } })
    );
    for method in ["post", "patch"] {
        assert_eq!(
            makers[method]["requestBody"]["content"]["application/json"]["schema"],
            json!({ "$ref": "#/components/schemas/makers" }),
            "{method}"
        );
    }
    assert_eq!(makers["get"]["requestBody"], Value::Null);
    let add = &document["paths"]["/rpc/add"];
    assert_eq!(
        add["get"]["parameters"][0],
        json!({ "name": "a", "in": "query", "required": true, "schema": { "type": "integer", "format": "int32" } })
    );
    assert_eq!(
        add["post"]["requestBody"]["content"]["application/json"]["schema"]["required"],
        json!(["a"])
    );

    let parameters = document["components"]["parameters"].as_object().unwrap();
    for (name, parameter) in parameters {
        // OpenAPI 3.1, 4.8.7: what keys of components may be made of.
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        assert!(name.chars().all(allowed), "{name}");
        assert_eq!(parameter["schema"]["type"], "string", "{name}");
        assert_eq!(parameter["type"], Value::Null, "{name}");
    }
    assert_eq!(parameters["rangeUnit"]["schema"]["default"], "items");
    assert!(document["components"]["schemas"]["odd_x0020_name"].is_object());
    assert_eq!(
        document["paths"]["/rpc/longest"]["get"]["parameters"][0]["schema"]["items"]["type"],
        "string"
    );
    assert_eq!(
        parameters["rowFilter.odd_x0020_name.a_x0020_column"]["name"], "a column",
        "its name is what stands in the query"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn accept_chooses_the_version() {
    let street = street().await;
    let v2 = "application/openapi+json; charset=utf-8";
    let v3 = "application/vnd.oai.openapi+json;version=3.1; charset=utf-8";
    for (accept, content_type) in [
        ("application/openapi+json", v2),
        ("application/json", v2),
        ("*/*", v2),
        ("text/csv, application/json;q=0.5", v2),
        (V3, v3),
        ("application/vnd.oai.openapi+json; version=\"3.1\"", v3),
        (
            "application/json;q=0.5, application/vnd.oai.openapi+json;version=3.1",
            v3,
        ),
    ] {
        let reply = root(&street, "shop", &[("Accept", accept)]).await;
        assert_eq!(reply.status, 200, "{accept}: {reply:?}");
        assert_eq!(reply.header("content-type"), Some(content_type), "{accept}");
        let version = if content_type == v3 { "openapi" } else { "swagger" };
        assert!(reply.json()[version].is_string(), "{accept}");
    }
    let reply = root(&street, "shop", &[]).await;
    assert_eq!(reply.header("content-type"), Some(v2));
    for accept in [
        "text/csv",
        "text/html",
        "application/geo+json",
        "application/vnd.pgrst.object+json",
        "application/openapi+json;q=0",
    ] {
        let reply = root(&street, "shop", &[("Accept", accept)]).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (406, "PGRST107"),
            "{accept}: {reply:?}"
        );
    }
    let reply = root(&street, "shop", &[("Accept", "text/csv")]).await;
    assert_eq!(
        reply.json()["message"],
        "None of these media types are available: text/csv"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_is_for_reading() {
    let street = street().await;
    for accept in ["application/openapi+json", V3] {
        let headers = [("Accept", accept)];
        let head = street.send("HEAD", "shop.localhost", "/api/", &headers, "").await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
        let expected = format!("{accept}; charset=utf-8");
        assert_eq!(head.header("content-type"), Some(expected.as_str()));
    }
    let unavailable = street
        .send("HEAD", "shop.localhost", "/api/", &[("Accept", "text/csv")], "")
        .await;
    assert_eq!(unavailable.status, 406, "{unavailable:?}");
    let options = street.send("OPTIONS", "shop.localhost", "/api/", &[], "").await;
    assert_eq!(
        (options.status, options.header("allow")),
        (200, Some("OPTIONS,GET,HEAD"))
    );
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let reply = street.send(method, "shop.localhost", "/api/", &[], "").await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (405, "PGRST117"),
            "{method}: {reply:?}"
        );
        assert_eq!(reply.header("allow"), Some("OPTIONS, GET, HEAD"), "{method}");
    }
    // The same place without its slash, and with parameters that it has no use for.
    for path in ["/api", "/api/?select=id&x=y"] {
        let reply = street.get("shop.localhost", path).await;
        assert_eq!((reply.status, &reply.json()["swagger"]), (200, &json!("2.0")), "{path}");
    }
    // Whoever shows a bad token is shown nothing.
    let reply = root(&street, "shop", &[("Authorization", "Bearer a.b.c")]).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "PGRST301"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_may_be_no_document() {
    let street = street().await;
    for accept in ["*/*", "application/openapi+json", V3, "text/csv"] {
        let reply = root(&street, "shut", &[("Accept", accept)]).await;
        assert_eq!(reply.status, 404, "{accept}: {reply:?}");
        assert_eq!(
            reply.json(),
            json!({
                "code": "PGRST126", "message": "Root endpoint metadata is disabled", "details": null, "hint": null,
            }),
            "{accept}"
        );
    }
    let head = street.send("HEAD", "shut.localhost", "/api/", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (404, ""), "{head:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_may_answer_for_the_root() {
    let street = street().await;
    let reply = root(&street, "front", &[]).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json(), json!({ "hello": "shop_anon", "path": "/" }));
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    // Under its own name it is a function like any other.
    let called = street.get("front.localhost", "/api/rpc/welcome").await;
    assert_eq!(called.json(), json!({ "hello": "shop_anon", "path": "/rpc/welcome" }));
    let head = street.send("HEAD", "front.localhost", "/api/", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_and_the_token_are_the_tenants_to_tell() {
    let street = street().await;
    let second = root(&street, "annexe", &[]).await.json();
    assert_eq!(
        (&second["host"], &second["basePath"], &second["schemes"]),
        (&json!("api.example.com:443"), &json!("/v1"), &json!(["https"]))
    );
    // Without a comment on the schema there is a title all the same.
    assert_eq!(second["info"]["title"], "Rowhouse API");
    assert_eq!(second["security"], json!([{ "JWT": [] }]));
    let scheme = &second["securityDefinitions"]["JWT"];
    assert_eq!(
        (&scheme["type"], &scheme["in"], &scheme["name"]),
        (&json!("apiKey"), &json!("header"), &json!("Authorization"))
    );
    let third = root(&street, "annexe", &[("Accept", V3)]).await.json();
    assert_eq!(third["servers"], json!([{ "url": "https://api.example.com:443/v1" }]));
    assert_eq!(third["security"], json!([{ "JWT": [] }]));
    assert_eq!(
        third["components"]["securitySchemes"],
        json!({ "JWT": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } })
    );
    resolves(&second);
    resolves(&third);
    // What is shown is not what may be done.
    let hidden = street.get("annexe.localhost", "/api/hidden").await;
    assert_eq!((hidden.status, hidden.code().as_str()), (401, "42501"), "{hidden:?}");
}
