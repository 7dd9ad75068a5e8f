//! The JSON Schemas of both kinds of file, for editors and for the check for unknown keys.

use std::fmt::Write as _;
use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::field::Report;
use super::file;

/// The JSON Schema (draft 7, which editors know) of `rowhouse.toml`.
#[must_use]
pub fn rowhouse() -> Value {
    ROWHOUSE.clone()
}

/// The JSON Schema (draft 7) of a file in `tenants/`.
#[must_use]
pub fn tenants() -> Value {
    TENANTS.clone()
}

/// A schema as it is committed: indented, with a final newline.
#[must_use]
pub fn pretty(schema: &Value) -> String {
    format!("{schema:#}\n")
}

pub(super) static ROWHOUSE: LazyLock<Value> = LazyLock::new(generate::<file::Rowhouse>);
pub(super) static TENANTS: LazyLock<Value> = LazyLock::new(generate::<file::Tenants>);

fn generate<T: JsonSchema>() -> Value {
    // In place, so that a walk down the schema meets no references.
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    join_lines(&mut schema);
    schema
}

/// Doc comments are wrapped for the source; an editor wraps a description by itself.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "description" => {
                        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
                        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
                    }
                    _ => join_lines(member),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(join_lines),
        _ => {}
    }
}

/// Reports every key of `table`, however deep, that `schema` does not know.
pub(super) fn check_keys(table: &DeTable<'_>, schema: &Value, report: &mut Report<'_>) {
    let known = schema.get("properties").and_then(Value::as_object);
    let any = schema.get("additionalProperties").filter(|schema| schema.is_object());
    for (key, value) in table {
        let name: &str = key.get_ref();
        match known.and_then(|known| known.get(name)).or(any) {
            Some(schema) => check_value(value, schema, report),
            None => {
                let known = known.into_iter().flatten().map(|(name, _)| name.as_str());
                report.error(
                    key.span().start,
                    format!("unknown key `{}`: {}", name.escape_debug(), advice(name, known)),
                );
            }
        }
    }
}

fn check_value(value: &Spanned<DeValue<'_>>, schema: &Value, report: &mut Report<'_>) {
    match value.get_ref() {
        // A table where none may stand is reported by its field.
        DeValue::Table(table) if schema.get("type").is_some_and(|kind| kind == "object") => {
            check_keys(table, schema, report);
        }
        DeValue::Array(elements) => {
            for element in elements.iter() {
                check_value(element, schema.get("items").unwrap_or(&Value::Null), report);
            }
        }
        _ => {}
    }
}

/// "did you mean `a`?", or the whole list if nothing known is similar.
pub(super) fn advice<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    // Longer texts are no slips of the pen, and the distance takes the product of both lengths.
    let distances = known
        .clone()
        .filter(|_| name.len() <= 64)
        .map(|known| (distance(name, known), known));
    // A third of the letters wrong, but never all of them, still counts as a slip.
    let similar = distances.filter(|&(distance, known)| distance <= (known.len() / 3).clamp(1, 3));
    if let Some((_, nearest)) = similar.min() {
        return format!("did you mean `{nearest}`?");
    }
    let mut list = String::from("write one of ");
    for (index, known) in known.enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(list, "{separator}`{known}`");
    }
    list
}

/// How many letters must be added, removed, replaced or swapped with their neighbour to make `a` of `b` (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            current[j] = replaced.min(previous[j] + 1).min(current[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                current[j] = current[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_find_their_key() {
        let keys = ["pool_max", "checkout_timeout", "hosts", "home", "url"];
        for (written, meant) in [
            ("pol_max", "pool_max"),
            ("pool-max", "pool_max"),
            ("host", "hosts"),
            ("hsots", "hosts"),
            ("uri", "url"),
        ] {
            assert_eq!(advice(written, keys.into_iter()), format!("did you mean `{meant}`?"));
        }
        assert_eq!(advice("zebra", ["a", "b"].into_iter()), "write one of `a`, `b`");
    }

    #[test]
    fn distances_are_those_of_optimal_string_alignment() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_tenant_may_override_every_default() {
        let defaults = ROWHOUSE["properties"]["defaults"]["properties"].as_object().unwrap();
        let tenant = TENANTS["properties"]["tenants"]["additionalProperties"]["properties"]
            .as_object()
            .unwrap();
        for key in defaults.keys() {
            assert!(tenant.contains_key(key), "{key}");
        }
    }

    #[test]
    fn every_key_is_described() {
        fn check(schema: &Value, path: &str) {
            for (name, member) in schema["properties"].as_object().into_iter().flatten() {
                assert!(member["description"].is_string(), "{path}.{name}");
                check(member, &format!("{path}.{name}"));
                check(&member["additionalProperties"], &format!("{path}.{name}.*"));
                check(&member["items"], &format!("{path}.{name}[]"));
            }
        }
        check(&ROWHOUSE, "rowhouse");
        check(&TENANTS, "tenants");
    }
}
