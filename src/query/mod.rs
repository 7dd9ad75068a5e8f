//! The dialect: a request's query string, preferences and body, checked against the catalog and turned into SQL.
//!
//! Pure: no tokio, no sockets, no clock. [`Query::parse`], [`Preferences::parse`] and [`Body::parse`] read what the
//! client sent; the functions of [`plan`] look every name up and return a [`plan::Plan`]. `sql/` writes the SQL. Values are
//! parameters; the only text of the client's there is in the SQL are names that it gives to columns where Postgres makes the
//! JSON, as quoted identifiers. `tests/fixtures/query` shows requests and their statements.
//!
//! `tree.rs` is the request with its names known, `types.rs` the types that values are cast to, `hint.rs` what a client may
//! have meant by a name that is not there. What is not of the dialect is refused with the part that was not understood.

mod body;
mod cache;
mod error;
mod filter;
mod hint;
mod media;
mod percent;
pub mod plan;
mod preferences;
mod request;
mod shape;
mod sql;
mod text;
mod tree;
mod types;
mod values;

pub use body::{Body, BodyFormat};
pub use cache::Plans;
pub use error::{Candidate, Error};
pub use media::MediaType;
pub use percent::{encoded, key_filter, location};
pub use plan::{OutputColumn, Plan};
pub use preferences::{Count, Handling, Honoured, Missing, Preferences, Resolution, Return, TransactionEnd};
pub use request::{Purpose, Query};
pub use sql::{RESPONSE_SETTINGS, call_without_arguments};
pub use values::array;

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;
    use std::{env, fs};

    use proptest::prelude::*;
    use serde_json::json;

    use crate::catalog::{Catalog, Loaded};

    use super::plan::{Context, Delivery, Plan, Returning, Write};
    use super::*;

    /// The to-do list, with places for its entries, people who share them, and a function of each.
    pub(super) fn catalog() -> Catalog {
        let relation = |oid: u32, name: &str, kind: &str| json!({ "oid": oid, "name": name, "own": true, "kind": kind, "security": false, "comment": null, "changes": 0 });
        let column = |relation: u32, number: i16, name: &str, type_name: &str, oid: u32| {
            let base = type_name.split('(').next().unwrap();
            json!({
                "relation": relation, "number": number, "name": name, "type": type_name, "base": base, "type_oid": oid,
                "not_null": number == 1, "identity": if number == 1 { "d" } else { "" }, "computed": false, "code": false,
                "default": (number == 1).then(|| format!("nextval('{relation}_seq')")), "comment": null,
                "max_length": null, "labels": null,
            })
        };
        let key = |name: &str, kind: &str, relation: u32, columns: &[i16], target: u32, target_columns: &[i16]| {
            json!({
                "name": name, "kind": kind, "relation": relation, "columns": columns, "target": target,
                "target_columns": target_columns,
            })
        };
        let function = |name: &str, arguments: serde_json::Value, set: bool, relation: u32| {
            json!({
                "name": name, "own": true, "comment": null, "volatility": "s", "set": set, "arguments": arguments,
                "type": "bigint", "base": "bigint", "type_oid": 20, "relation": relation, "columns": null,
                "settings": [["statement_timeout", "1s"], ["work_mem", "1MB"]],
            })
        };
        let argument = |name: &str, type_name: &str, required: bool| json!({ "name": name, "type": type_name, "required": required, "variadic": false });
        let parts = [
            json!([
                relation(1, "mylist", "r"),
                relation(2, "place", "r"),
                relation(3, "person", "r"),
                relation(4, "shared_with", "r"),
                relation(5, "open_list", "v"),
            ]),
            json!([
                column(1, 1, "id", "bigint", 20),
                column(1, 2, "text", "character varying(255)", 1043),
                column(1, 3, "checkbox", "boolean", 16),
                column(1, 4, "due", "date", 1082),
                column(1, 5, "tags", "text[]", 1009),
                column(1, 6, "mood", "mood", 20_000),
                column(1, 7, "odd \"name\"", "numeric(10,2)", 1700),
                column(1, 8, "details", "jsonb", 3802),
                column(1, 9, "place_id", "bigint", 20),
                column(2, 1, "id", "bigint", 20),
                column(2, 2, "name", "text", 25),
                column(3, 1, "id", "bigint", 20),
                column(3, 2, "name", "text", 25),
                column(4, 1, "entry", "bigint", 20),
                column(4, 2, "person", "bigint", 20),
                column(5, 1, "id", "bigint", 20),
                column(5, 2, "place_id", "bigint", 20),
            ]),
            json!([
                key("mylist_pkey", "p", 1, &[1], 0, &[]),
                key("place_pkey", "p", 2, &[1], 0, &[]),
                key("person_pkey", "p", 3, &[1], 0, &[]),
                key("shared_with_pkey", "p", 4, &[1, 2], 0, &[]),
                key("mylist_place_id_fkey", "f", 1, &[9], 2, &[1]),
                key("shared_with_entry_fkey", "f", 4, &[1], 1, &[1]),
                key("shared_with_person_fkey", "f", 4, &[2], 3, &[1]),
            ]),
            json!([{ "relation": 5, "action": "({QUERY :targetList ({TARGETENTRY :resno 1 :resorigtbl 1 :resorigcol 1} \
                      {TARGETENTRY :resno 2 :resorigtbl 1 :resorigcol 9}) :override 0})" }]),
            json!([
                function(
                    "open_count",
                    json!([argument("since", "date", true), argument("mood", "mood", false)]),
                    false,
                    0
                ),
                function("next", json!([]), true, 1),
                function("import", json!([argument("", "jsonb", true)]), false, 0),
            ]),
            json!([
                { "relation": 1, "name": "overdue", "own": true, "visible": true, "set": false, "one_row": false,
                  "type": "boolean", "base": "boolean", "type_oid": 16, "target": 0 },
                { "relation": 1, "name": "helpers", "own": true, "visible": true, "set": true, "one_row": false,
                  "type": "person", "base": "person", "type_oid": 20_001, "target": 3 },
            ]),
            json!([]),
            json!([]),
            json!({ "comment": null, "roles": [] }),
        ];
        let texts = parts.map(|part| part.to_string());
        let row: Vec<_> = texts.iter().map(|text| Some(&**text)).collect();
        Loaded::from_row(&row, None).unwrap().catalog
    }

    /// A request as in a fixture: request line, headers, an empty line, the body.
    fn plan(request: &str) -> Result<(Plan, Query, Option<String>), Error> {
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut lines = head.lines();
        let (method, target) = lines.next().unwrap().split_once(" /").unwrap();
        let (relation, query_string) = target.split_once('?').unwrap_or((target, ""));
        let headers: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
        let values = |name| {
            headers
                .iter()
                .filter(move |header| header.0 == name)
                .map(|header| header.1)
        };
        let preferences = Preferences::parse(values("Prefer"), false);
        let text = values("Accept").any(|accept| accept == "text/html");
        let delivery = if text { Delivery::Text } else { Delivery::Json };
        let returning = match preferences.returning {
            Some(Return::Representation) => Returning::Rows(delivery),
            Some(Return::HeadersOnly) => Returning::Key,
            _ => Returning::Nothing,
        };
        let resolution = preferences.resolution;
        let defaults = preferences.missing == Some(Missing::Default);
        let catalog = catalog();
        let context = Context {
            catalog: &catalog,
            schema: "acme",
            max_rows: Some(1000),
            aggregates: true,
            legacy_names: true,
            zoned: false,
        };
        if let Some(name) = relation.strip_prefix("rpc/") {
            let query = Query::parse(query_string, Purpose::Call)?;
            let function = plan::function(&context, &query, name, plan::Arguments::Named)?;
            let plan = plan::call(
                &context,
                &query,
                function,
                plan::Arguments::Named,
                delivery,
                preferences.count,
            )?;
            return Ok((plan, query, None));
        }
        let query = Query::parse(query_string, Purpose::Relation)?;
        let relation = plan::relation(&context, relation)?;
        let write = match method {
            "GET" => {
                let plan = plan::read(&context, &query, relation, delivery, preferences.count)?;
                return Ok((plan, query, None));
            }
            "POST" => Write::Insert { resolution, defaults },
            "PUT" => Write::Put,
            "PATCH" => Write::Update { defaults },
            "DELETE" => Write::Delete,
            _ => unreachable!("method {method}"),
        };
        let body = (method != "DELETE").then(|| Body::parse(body.as_bytes())).transpose()?;
        let plan = plan::write(&context, &query, relation, write, body.as_ref(), returning)?;
        let text = body.map(|body| body.text().to_owned());
        Ok((plan, query, text))
    }

    fn outcome(request: &str) -> String {
        let mut text = String::new();
        match plan(request) {
            Ok((plan, query, body)) => {
                writeln!(text, "{}", plan.statement).unwrap();
                for (at, param) in plan.params(&query, body.as_deref()).iter().enumerate() {
                    writeln!(text, "${} = {}", at + 1, param.as_deref().unwrap_or("NULL")).unwrap();
                }
                if let Some((statement, _)) = plan.planned(&query, None) {
                    writeln!(text, "{statement}").unwrap();
                }
                for column in plan.output_columns {
                    let key = if column.is_key { " key" } else { "" };
                    writeln!(text, "-> {}: {}{key}", column.name, column.type_name).unwrap();
                }
            }
            Err(error) => {
                writeln!(text, "{} {}", error.code(), error.message()).unwrap();
                for more in [error.details(), error.hint()].into_iter().flatten() {
                    writeln!(text, "{more}").unwrap();
                }
            }
        }
        text
    }

    /// `UPDATE_FIXTURES=1` writes the outcomes of today into the files, to be read as a diff.
    #[test]
    fn fixtures() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/query");
        let mut cases = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let case = fs::read_to_string(&path).unwrap();
            let (request, expected) = case.split_once("\n---\n").unwrap_or_else(|| (case.trim_end(), ""));
            let actual = outcome(request);
            if env::var_os("UPDATE_FIXTURES").is_some() {
                fs::write(&path, format!("{request}\n---\n{actual}")).unwrap();
            } else {
                assert_eq!(actual, expected, "{}", path.display());
            }
            cases += 1;
        }
        assert!(cases > 0);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(
            text in ".*",
            dialect in r#"((select|order|limit|columns|id|a\.b|or|"a)=?[a-z0-9.,:()"\\*%+>! &-]{0,30}&?){0,5}"#,
            select in r#"([a-z]{1,3}|\*|"|\.\.\.|->>?|::|!inner|\(|\)|,|:|\.sum\(\)){0,20}"#,
        ) {
            for purpose in [Purpose::Relation, Purpose::Call] {
                for query in [
                    text.clone(),
                    dialect.clone(),
                    format!("select={select}"),
                    format!("select={text}&order={text}&id=in.({text}"),
                ] {
                    if let Ok(query) = Query::parse(&query, purpose) {
                        let _ = query.shape();
                    }
                }
            }
            let _ = Body::parse(text.as_bytes());
            let _ = Body::read(text.as_bytes(), BodyFormat::Csv);
            let _ = Body::read(text.as_bytes(), BodyFormat::Form);
        }

        #[test]
        fn no_value_of_a_filter_is_in_the_sql(
            operator in "(not\\.)?(eq|neq|gt|gte|lt|lte|like|ilike|match|imatch|isdistinct|cs|cd|ov|sl|fts|wfts|like\\(any\\)|gt\\(all\\))",
            value in "zq[ -~é']{0,20}",
        ) {
            let encode = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
            let encoded = encode(&value);
            let item = value.replace(['\\', '"'], "");
            let list = encode(&format!("in.(\"{item}\")"));
            let tree = encode(&format!("(text.eq.\"{item}\",not.and(id.gt.1,text.is.null))"));
            let request = format!("GET /mylist?text={operator}.{encoded}&text={list}&select=*,place(*)&place.name=eq.{encoded}&or={tree}");
            let (plan, query, _) = plan(&request).ok().unwrap();
            prop_assert!(!plan.statement.contains("zq"));
            let params = plan.params(&query, None);
            let array = format!("{{\"{item}\"}}");
            prop_assert!(params.contains(&Some(array.into())));
            prop_assert!(params.contains(&Some(item.into())));
        }

        /// What a client calls things stays within its quotes.
        #[test]
        fn no_name_of_the_client_leaves_its_quotes(alias in "[ -~é]{1,20}") {
            let quoted = alias.replace('\\', "\\\\").replace('"', "\\\"");
            let encoded: String = format!("\"{quoted}\"").bytes().map(|byte| format!("%{byte:02X}")).collect();
            let (plan, _, _) = plan(&format!("GET /mylist?select=place(*),place(a:name,{encoded}:id)")).ok().unwrap();
            let inside = format!("AS \"{}\"", alias.replace('"', "\"\""));
            prop_assert!(plan.statement.contains(&inside));
            let rest = plan.statement.replace(&inside, "");
            prop_assert_eq!(rest.matches('"').count() % 2, 0);
        }
    }
}
