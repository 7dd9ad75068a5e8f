//! The dialect: a request's query string, preferences and body, checked against the catalog and turned into SQL.
//!
//! Pure: no tokio, no sockets, no clock. [`Query::parse`], [`Preferences::parse`] and [`Body::parse`] read what the
//! client sent; the functions of [`plan`] look every name up and return a [`plan::Plan`]. `sql.rs` writes the SQL,
//! which never holds text of the client. `tests/fixtures/query` shows requests and their statements.
//!
//! Built so far: column choice with alias and cast, filters, order, limit, offset, insert, upsert, put, update and delete. The rest
//! of the dialect is refused with the part that was not understood, never ignored.

mod body;
mod error;
mod filter;
mod parse;
pub mod plan;
mod preferences;
mod sql;

pub use body::Body;
pub use error::Error;
pub use parse::Query;
pub use plan::{Output, OutputColumn, Plan};
pub use preferences::{Preferences, Resolution, Return};

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::path::Path;
    use std::{env, fs};

    use proptest::prelude::*;

    use crate::catalog::{Builder, Catalog};

    use super::plan::{Output, Plan};
    use super::*;

    /// Columns: name, type, OID, position in the key.
    fn catalog() -> Catalog {
        let mut builder = Builder::default();
        let columns = [
            ("id", "bigint", "20", Some("0")),
            ("text", "character varying(255)", "1043", None),
            ("checkbox", "boolean", "16", None),
            ("due", "date", "1082", None),
            ("tags", "text[]", "1009", None),
            ("mood", "mood", "0", None),
            ("odd \"name\"", "numeric(10,2)", "1700", None),
        ];
        for (name, type_name, oid, position) in columns {
            let [yes, no] = [Some("true"), Some("false")];
            let column = [Some(name), Some(type_name), Some(oid), no, yes, no, position];
            let relation = [Some("mylist"), Some("tenant"), Some("r"), no, None];
            builder.row(&[&relation[..], &column].concat()).unwrap();
        }
        builder.finish()
    }

    /// A request as in a fixture: request line, headers, an empty line, the body.
    fn plan(request: &str) -> Result<Plan, Error> {
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
        let preferences = Preferences::parse(values("Prefer"));
        let returning = preferences.returning == Some(Return::Representation);
        let resolution = preferences.resolution;
        let text = values("Accept").any(|accept| accept == "text/html");
        let output = if text { Output::Text } else { Output::Json };

        let query = Query::parse(query_string)?;
        let body = || Body::parse(body.as_bytes());
        match method {
            "GET" => plan::read(&query, &catalog(), relation, 1000, output),
            "POST" => plan::insert(&query, &body()?, &catalog(), relation, resolution, returning),
            "PUT" => plan::put(&query, &body()?, &catalog(), relation, returning),
            "PATCH" => plan::update(&query, &body()?, &catalog(), relation, returning),
            "DELETE" => plan::delete(&query, &catalog(), relation, returning),
            _ => unreachable!("method {method}"),
        }
    }

    fn outcome(request: &str) -> String {
        let mut text = String::new();
        match plan(request) {
            Ok(plan) => {
                writeln!(text, "{}", plan.statement).unwrap();
                for (at, param) in plan.params.iter().enumerate() {
                    writeln!(text, "${} = {}", at + 1, param.as_deref().unwrap_or("NULL")).unwrap();
                }
                for column in plan.output_columns {
                    let key = if column.is_key { " key" } else { "" };
                    writeln!(text, "-> {}: {}{key}", column.name, column.type_name).unwrap();
                }
            }
            Err(error) => {
                writeln!(text, "{} {}", error.code(), error.message()).unwrap();
                if let Some(details) = error.details() {
                    writeln!(text, "{details}").unwrap();
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
            dialect in r#"((select|order|limit|columns|id|"a)=?[a-z0-9.,:()"\\*%+>! &-]{0,30}&?){0,5}"#,
        ) {
            let _ = Query::parse(&text);
            let _ = Query::parse(&dialect);
            let _ = Query::parse(&format!("select={text}&order={text}&id=in.({text}"));
            let _ = Body::parse(text.as_bytes());
        }

        #[test]
        fn no_value_of_a_filter_is_in_the_sql(
            operator in "(not\\.)?(eq|neq|gt|gte|lt|lte|like|ilike|match|imatch|isdistinct|cs|cd|ov|sl|fts|wfts|like\\(any\\)|gt\\(all\\))",
            value in "zq[ -~é']{0,20}",
        ) {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let item = value.replace(['\\', '"'], "");
            let list: String = format!("in.(\"{item}\")").bytes().map(|byte| format!("%{byte:02X}")).collect();
            let plan = plan(&format!("GET /mylist?text={operator}.{encoded}&text={list}")).ok().unwrap();
            prop_assert!(!plan.statement.contains("zq"));
            prop_assert_eq!(plan.params.len(), 3);
            let array = format!("{{\"{item}\"}}");
            prop_assert_eq!(plan.params[1].as_deref(), Some(&*array));
        }
    }
}
