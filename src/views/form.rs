//! A row and the form it is filled in with: from JSON of the data API to fields, from fields to JSON, and from what Postgres
//! says to the field that it concerns.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use serde::de::IgnoredAny;
use serde_json::value::{RawValue, to_raw_value};

use crate::catalog::{Catalog, Column, ForeignKey, Link, Relation, Relationship};
use crate::pages::console::{Choice, Field, Input, Pick};
use crate::pages::words::{Words, fill};
use crate::pages::{Kind, quoted};
use crate::percent::encode;

use super::grid::text;
use super::kind;
use super::sent::{Sent, lines_as_postgres};

/// Text longer than this, or of several lines, gets several lines.
const LINE: usize = 120;

/// A row as the data API gives it.
pub type Values = HashMap<String, Box<RawValue>>;

/// A row as the data API takes it.
pub type Object = BTreeMap<String, Box<RawValue>>;

/// What a field shows in a few digits: whoever sends the same has not touched it, whatever the row has become meanwhile.
fn mark(value: &str, null: bool) -> String {
    let digest = digest(&SHA256, lines_as_postgres(value).as_bytes());
    let mut mark = String::from(if null { "n" } else { "v" });
    for byte in digest.as_ref().iter().take(8) {
        // Writing to a `String` cannot fail.
        let _ = write!(mark, "{byte:02x}");
    }
    mark
}

/// What a column's value is as text; nothing if it is NULL.
#[must_use]
pub fn text_of(raw: &RawValue) -> Option<String> {
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'n') => None,
        Some(b'"') => serde_json::from_str(json).ok(),
        _ => Some(json.to_owned()),
    }
}

/// How a column is filled in.
#[must_use]
pub fn input(column: &Column, refers: bool) -> Input {
    if column.generated {
        return Input::Nothing;
    }
    match kind(column) {
        _ if refers => Input::Key,
        _ if !column.labels.is_empty() => Input::Select,
        Kind::Boolean if column.not_null => Input::Box,
        Kind::Boolean => Input::Select,
        Kind::Number => Input::Number,
        Kind::Json => Input::Json,
        Kind::Array => Input::Lines,
        Kind::Date => Input::Date,
        Kind::Timestamp => Input::Timestamp,
        Kind::Text => Input::Line,
        Kind::Other if &*column.base_type == "bytea" => Input::Bytes,
        Kind::Other => Input::Line,
    }
}

/// A foreign key of one column, and what it refers to.
pub struct Reference<'c> {
    /// The relation it refers to.
    pub target: &'c Relation,
    /// The key.
    pub key: &'c ForeignKey,
    /// Whether that is the relation itself.
    pub is_self: bool,
}

/// The foreign key whose only column this is.
pub fn reference<'c>(catalog: &'c Catalog, relation: &'c Relation, column: &str) -> Option<Reference<'c>> {
    relation.relationships.iter().find_map(|relationship| {
        let (Link::ManyToOne(key) | Link::OneToOne(key)) = &relationship.link else {
            return None;
        };
        let [(own, _)] = &*key.columns else {
            return None;
        };
        let target = catalog.relations().get(relationship.target)?;
        let is_meant = key.own && **own == *column && is_beside(relation, target);
        is_meant.then_some(Reference {
            target,
            key,
            is_self: relationship.is_self,
        })
    })
}

/// The relations whose rows refer to those of `relation`, each with the columns that are equal: (ours, theirs).
pub fn referring<'c>(
    catalog: &'c Catalog,
    relation: &'c Relation,
) -> impl Iterator<Item = (&'c Relation, &'c ForeignKey)> {
    let links = relation
        .relationships
        .iter()
        .filter_map(|Relationship { target, link, .. }| match link {
            Link::OneToMany(key) => Some((catalog.relations().get(*target)?, key)),
            Link::OneToOne(key) if !key.own => Some((catalog.relations().get(*target)?, key)),
            _ => None,
        });
    links.filter(|(target, _)| is_beside(relation, target))
}

/// A table refers to tables: the views that show them stand in the catalog as well.
fn is_beside(relation: &Relation, target: &Relation) -> bool {
    relation.is_view() || !target.is_view()
}

/// The column that a reader knows the rows of a relation by.
#[must_use]
pub fn label_column(relation: &Relation) -> Option<&Column> {
    let is_text = |column: &&Column| kind(column) == Kind::Text && column.labels.is_empty();
    let is_key = |column: &Column| relation.key().any(|key| key.name == column.name);
    let mut texts = relation.columns.iter().filter(is_text);
    texts.clone().find(|column| is_key(column)).or_else(|| texts.next())
}

/// What a reader knows a row by: its text, or else its key.
#[must_use]
pub fn label(relation: &Relation, row: &Values) -> String {
    let of = |column: &Column| row.get(&*column.name).and_then(|raw| text_of(raw));
    let found = label_column(relation)
        // Of several columns of a key, one alone says little.
        .filter(|_| relation.primary_key.len() < 2)
        .and_then(of)
        .filter(|text| !text.trim().is_empty());
    let found = found.unwrap_or_else(|| {
        let key: Vec<String> = relation.key().filter_map(of).collect();
        key.join(", ")
    });
    match found.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &found[..end]),
        None => found,
    }
}

/// What finds a row, as a query string of the data API: `id=eq.5`. None where there is no key, or it is not all there.
#[must_use]
pub fn key_of(relation: &Relation, row: &Values) -> Option<String> {
    if relation.primary_key.is_empty() {
        return None;
    }
    let mut key = String::new();
    for column in relation.key() {
        let value = text_of(row.get(&*column.name)?)?;
        if !key.is_empty() {
            key.push('&');
        }
        encode(&column.name, &mut key);
        key.push_str("=eq.");
        encode(&value, &mut key);
    }
    Some(key)
}

/// The condition that [`key_of`] stands for; none if it is not the key of this relation.
#[must_use]
pub fn key_condition(relation: &Relation, key: &str) -> Option<String> {
    let mut conditions = Vec::new();
    let mut pairs = key.split('&');
    for column in relation.key() {
        let (name, value) = pairs.next()?.split_once('=')?;
        let (name, value) = (super::grid::decoded(name), super::grid::decoded(value));
        if *name != *column.name {
            return None;
        }
        conditions.push(format!(
            "{}.eq.{}",
            quoted(&column.name),
            text(value.strip_prefix("eq.")?)
        ));
    }
    (pairs.next().is_none() && !conditions.is_empty()).then(|| format!("and({})", conditions.join(",")))
}

/// The fields of a row that there is, or of a new one with what is given of it.
#[must_use]
pub fn fields<'c>(catalog: &'c Catalog, relation: &'c Relation, row: Option<&Values>, words: &Words) -> Vec<Field<'c>> {
    let fields = relation.columns.iter().enumerate().map(|(at, column)| {
        let refers = reference(catalog, relation, &column.name);
        let raw = row.and_then(|row| row.get(&*column.name));
        let value = raw.map(|raw| text_of(raw));
        let mut input = input(column, refers.is_some());
        let (mut shown, is_null) = match value {
            Some(Some(value)) => (value, false),
            Some(None) => (String::new(), true),
            None => (String::new(), !column.has_default),
        };
        let mut bytes = None;
        match input {
            Input::Line if shown.len() > LINE || shown.contains(['\n', '\r']) => input = Input::Text,
            // What a calendar cannot show, it would lose: `infinity`, a year before Christ.
            Input::Date if !shown.is_empty() && !is_day(&shown) => input = Input::Line,
            Input::Json => {
                shown = raw
                    .filter(|_| !is_null)
                    .map(|raw| raw.get().to_owned())
                    .unwrap_or_default()
            }
            Input::Lines => shown = lines(&shown).unwrap_or(shown),
            Input::Box if raw.is_none() => shown = column.default.as_deref().unwrap_or("false").to_owned(),
            Input::Bytes if raw.is_some() && !is_null => {
                bytes = Some(shown.len().saturating_sub(2) / 2);
                shown.clear();
            }
            Input::Timestamp => shown = shown.replacen('T', " ", 1),
            _ => {}
        }
        let choices: Vec<(String, String)> = match input {
            Input::Select if !column.labels.is_empty() => column
                .labels
                .iter()
                .map(|label| (label.to_string(), label.to_string()))
                .collect(),
            Input::Select => [("true", words.yes), ("false", words.no)]
                .map(|(value, label)| (value.to_owned(), label.to_owned()))
                .into(),
            _ => Vec::new(),
        };
        let choices = choices.into_iter().map(|(value, label)| Choice {
            selected: value == shown,
            value,
            label,
        });
        Field {
            name: &column.name,
            at,
            type_name: &column.type_name,
            comment: column.comment.as_deref(),
            input,
            null: (!column.not_null && has_null_box(column, input)).then_some(is_null),
            // What may be empty text, or is what it becomes when left empty, need not be filled in.
            required: column.not_null
                && !column.has_default
                && bytes.is_none()
                && input != Input::Box
                && !has_empty(column, input),
            mark: mark(&shown, is_null && !column.not_null && has_null_box(column, input)),
            key: relation.key().any(|key| key.name == column.name),
            default: column.default.as_deref(),
            choices: choices.collect(),
            pick: refers.and_then(|Reference { target, key, .. }| {
                let (_, theirs) = key.columns.first()?;
                Some(Pick {
                    target: &target.name,
                    column: theirs,
                    label: None,
                    href: None,
                })
            }),
            max_length: column.max_length,
            bytes,
            value: shown,
            problem: None,
        }
    });
    fields.collect()
}

/// Puts what was sent into the fields again, so that nothing is lost when it is refused.
pub fn refill(fields: &mut [Field<'_>], sent: &Sent) {
    for field in fields {
        if let Some((value, null)) = sent.written(field.name) {
            for choice in &mut field.choices {
                choice.selected = choice.value == value;
            }
            field.null = field.null.map(|_| null);
            field.value = value;
        }
        if let Some(shown) = sent.shown(field.name) {
            shown.clone_into(&mut field.mark);
        }
    }
}

/// What was sent, as a JSON object for the data API. Of a row that there is, only what differs from what was shown; of a new
/// one all, and what is left empty gets its default.
///
/// # Errors
///
/// What is wrong with which columns.
pub fn object(
    relation: &Relation,
    sent: &Sent,
    before: Option<&[Field<'_>]>,
    words: &Words,
) -> Result<Object, Vec<(String, String)>> {
    let mut object = BTreeMap::new();
    let mut problems = Vec::new();
    for column in relation.columns.iter().filter(|column| !column.generated) {
        let Some((value, null)) = sent.written(&column.name) else {
            continue;
        };
        let was = before.and_then(|fields| fields.iter().find(|field| *field.name == *column.name));
        if let Some(was) = was {
            // A form that says nothing of what it showed is compared with the row as it is now.
            let shown = sent.shown(&column.name).unwrap_or(&was.mark);
            let is_left = was.input == Input::Bytes && value.is_empty() && !null;
            if is_left || shown == mark(&value, null) {
                continue;
            }
        }
        match json_of(column, &value, null, before.is_none(), words) {
            Ok(Some(json)) => _ = object.insert(column.name.to_string(), json),
            Ok(None) => {}
            Err(problem) => problems.push((column.name.to_string(), problem)),
        }
    }
    if problems.is_empty() { Ok(object) } else { Err(problems) }
}

/// What was written for a column as JSON; nothing if its default shall be taken.
fn json_of(
    column: &Column,
    value: &str,
    null: bool,
    new: bool,
    words: &Words,
) -> Result<Option<Box<RawValue>>, String> {
    let raw = |json: String| RawValue::from_string(json).map(Some).map_err(|error| error.to_string());
    let string = || to_raw_value(value).map(Some).map_err(|error| error.to_string());
    let nothing = || raw("null".to_owned());
    let input = input(column, false);
    if value.is_empty() {
        return match input {
            _ if null => nothing(),
            _ if new && column.has_default && input != Input::Box => Ok(None),
            Input::Lines => raw("[]".to_owned()),
            Input::Line | Input::Text if has_empty(column, input) => string(),
            _ if new && !column.not_null => Ok(None),
            _ => nothing(),
        };
    }
    match input {
        Input::Box => raw((value == "true").to_string()),
        Input::Json => match serde_json::from_str::<IgnoredAny>(value) {
            Ok(_) => raw(value.trim().to_owned()),
            Err(error) => Err(fill(words.no_json, &[&error.to_string()])),
        },
        Input::Lines if value.trim_start().starts_with('[') => match serde_json::from_str::<Vec<IgnoredAny>>(value) {
            Ok(_) => raw(value.trim().to_owned()),
            Err(error) => Err(fill(words.no_json, &[&error.to_string()])),
        },
        // As Postgres writes arrays.
        Input::Lines if value.trim_start().starts_with('{') => string(),
        Input::Lines => {
            let items: Vec<&str> = value.lines().filter(|line| !line.is_empty()).collect();
            to_raw_value(&items).map(Some).map_err(|error| error.to_string())
        }
        _ => string(),
    }
}

/// One value for many rows, as it was written in a line.
///
/// # Errors
///
/// What is wrong with it.
pub fn one_value(column: &Column, value: &str, words: &Words) -> Result<Box<RawValue>, String> {
    if input(column, false) == Input::Box {
        // What Postgres takes for a boolean, and what this page calls one.
        let value = match value.to_lowercase() {
            yes if yes == words.yes => "true",
            no if no == words.no => "false",
            _ => value,
        };
        return to_raw_value(value).map_err(|error| error.to_string());
    }
    let null = value.is_empty() && !column.not_null;
    match json_of(column, value, null, false, words)? {
        Some(json) => Ok(json),
        None => to_raw_value(&()).map_err(|error| error.to_string()),
    }
}

/// Whether a box has to say NULL, as nothing written says something else.
fn has_null_box(column: &Column, input: Input) -> bool {
    has_empty(column, input) || input == Input::Bytes
}

/// Whether `text` is `YYYY-MM-DD`.
fn is_day(text: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| {
        if at == 4 || at == 7 {
            byte == b'-'
        } else {
            byte.is_ascii_digit()
        }
    };
    text.len() == 10 && text.bytes().enumerate().all(shape)
}

/// Whether an empty text is a value of the column, so that it has to be told from NULL.
fn has_empty(column: &Column, input: Input) -> bool {
    match input {
        Input::Line | Input::Text => kind(column) == Kind::Text,
        Input::Lines => true,
        _ => false,
    }
}

/// A JSON array of texts and numbers, an item a line; nothing if it is not so simple.
fn lines(json: &str) -> Option<String> {
    let items: Vec<Box<RawValue>> = serde_json::from_str(json).ok()?;
    let mut lines = Vec::with_capacity(items.len());
    for item in &items {
        let item = text_of(item)?;
        if item.is_empty() || item.contains(['\n', '\r']) || item.starts_with(['[', '{']) {
            return None;
        }
        lines.push(item);
    }
    Some(lines.join("\n"))
}

/// The text of an error of the data API.
#[derive(Debug, Default, serde::Deserialize)]
pub struct Said {
    /// Its code.
    #[serde(default)]
    pub code: String,
    /// What happened.
    #[serde(default)]
    pub message: String,
    /// More of it.
    #[serde(default)]
    pub details: Option<serde_json::Value>,
    /// What can be done.
    #[serde(default)]
    pub hint: Option<String>,
}

impl Said {
    /// All of it in one line.
    #[must_use]
    pub fn text(&self) -> String {
        let details = match &self.details {
            Some(serde_json::Value::String(details)) => Some(details.as_str()),
            _ => None,
        };
        // The row as it would have been says nothing that the form does not show.
        let details = details.filter(|details| !details.starts_with("Failing row contains"));
        let mut text = self.message.clone();
        for more in [details, self.hint.as_deref()].into_iter().flatten() {
            text.push_str(" — ");
            text.push_str(more);
        }
        text
    }

    /// The column that it is about, as far as that can be told: Postgres names it, or names the key, the constraint or the
    /// value.
    #[must_use]
    pub fn column(&self, relation: &Relation, sent: &Sent) -> Option<String> {
        let details = match &self.details {
            Some(serde_json::Value::String(details)) => details.as_str(),
            _ => "",
        };
        let columns = || relation.columns.iter();
        let named = |name: &str| {
            columns()
                .find(|column| *column.name == *name)
                .map(|column| column.name.to_string())
        };
        let in_quotes = |text: &str| text.split('"').nth(1).map(str::to_owned);
        match &*self.code {
            // null value in column "text" of relation …
            "23502" | "428C9" | "42703" => in_quotes(&self.message).and_then(|name| named(&name)),
            // Key (text)=(x) already exists. The first column that can be filled in.
            "23505" | "23503" => {
                let key = details.split_once("Key (")?.1.split_once(")=")?.0;
                key.split(", ").find_map(|name| named(name.trim_matches('"')))
            }
            // A constraint is named after its table and columns, unless somebody has named it.
            "23514" => {
                let constraint = self.message.rsplit("constraint \"").next()?.split('"').next()?;
                let stem = constraint
                    .strip_prefix(&format!("{}_", relation.name))
                    .unwrap_or(constraint);
                columns()
                    .filter(|column| stem == &*column.name || stem.starts_with(&format!("{}_", column.name)))
                    .max_by_key(|column| column.name.len())
                    .map(|column| column.name.to_string())
            }
            // value too long for type character varying(255)
            "22001" => columns()
                .find(|column| {
                    let most = column.max_length.map_or(usize::MAX, |most| most as usize);
                    self.message.contains(&*column.type_name)
                        && sent
                            .written(&column.name)
                            .is_some_and(|(value, _)| value.chars().count() > most)
                })
                .map(|column| column.name.to_string()),
            // invalid input syntax for type integer: "abc"; value "9" is out of range for type smallint
            code if code.starts_with("22") => {
                let value = self
                    .message
                    .split_once('"')
                    .and_then(|(_, rest)| rest.rsplit_once('"'))
                    .map(|(value, _)| value);
                let holds = |column: &&Column| {
                    let written = sent.written(&column.name);
                    written.is_some_and(|(written, _)| {
                        value.is_some_and(|value| written == value || written.lines().any(|line| line == value))
                    })
                };
                let of_type = |column: &&Column| self.message.contains(&*column.base_type);
                let mut found = columns().filter(holds);
                found
                    .clone()
                    .find(of_type)
                    .or_else(|| found.next())
                    .or_else(|| {
                        columns().find(|column| {
                            of_type(column) && sent.written(&column.name).is_some_and(|(value, _)| !value.is_empty())
                        })
                    })
                    .map(|column| column.name.to_string())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{RelationKind, Scope};
    use crate::pages::words::ENGLISH;

    fn column(name: &str, type_name: &str) -> Column {
        Column {
            name: name.into(),
            type_name: type_name.into(),
            base_type: type_name.split('(').next().unwrap_or_default().into(),
            ..Column::default()
        }
    }

    fn relation() -> Relation {
        let not_null = |mut column: Column| {
            column.not_null = true;
            column
        };
        let with_default = |mut column: Column, default: &str| {
            column.has_default = true;
            column.default = Some(default.into());
            column
        };
        let mut id = not_null(column("id", "bigint"));
        id.generated = true;
        let mut text = not_null(column("text", "character varying(5)"));
        text.max_length = Some(5);
        let columns = [
            id,
            text,
            column("note", "text"),
            with_default(not_null(column("done", "boolean")), "true"),
            column("due", "date"),
            with_default(not_null(column("tags", "text[]")), "'{}'::text[]"),
            column("details", "jsonb"),
            column("rank", "integer"),
        ];
        Relation {
            name: "mylist".into(),
            scope: Scope::Tenant,
            kind: RelationKind::Table,
            runs_code: false,
            insertable: true,
            updatable: true,
            deletable: true,
            comment: None,
            columns: columns.into(),
            primary_key: [0].into(),
            computed: Box::default(),
            relationships: Box::default(),
        }
    }

    fn row(json: &str) -> Values {
        serde_json::from_str(json).unwrap()
    }

    const ROW: &str = r#"{"id":7,"text":"milk","note":null,"done":false,"due":"2026-01-02","tags":["a","b"],"details":{"n":1.10},"rank":null}"#;

    /// What a form sends that shows `fields`.
    fn untouched(fields: &[Field<'_>]) -> Sent {
        let mut pairs = Vec::new();
        for field in fields {
            if field.input == Input::Box {
                if field.value == "true" {
                    pairs.push((format!("={}", field.name), "true".to_owned()));
                }
                pairs.push((format!("?{}", field.name), "false".to_owned()));
            } else if field.input != Input::Nothing {
                pairs.push((
                    format!("={}", field.name),
                    lines_as_postgres(&field.value).replace('\n', "\r\n"),
                ));
            }
            if field.null == Some(true) {
                pairs.push((format!("!{}", field.name), "null".to_owned()));
            }
            pairs.push((format!("~{}", field.name), field.mark.clone()));
        }
        Sent::of(pairs)
    }

    fn change(sent: &Sent, name: &str, value: &str) -> Sent {
        let mut pairs: Vec<_> = sent
            .pairs()
            .filter(|(given, _)| &given[1..] != name || given.starts_with('~'))
            .map(|(given, value)| (given.to_owned(), value.to_owned()))
            .collect();
        pairs.push((format!("={name}"), value.to_owned()));
        Sent::of(pairs)
    }

    fn json(object: &Object) -> String {
        serde_json::to_string(object).unwrap()
    }

    #[test]
    fn a_form_that_nobody_touched_changes_nothing() {
        let (relation, catalog) = (relation(), Catalog::default());
        let fields = fields(&catalog, &relation, Some(&row(ROW)), &ENGLISH);
        let sent = untouched(&fields);
        assert_eq!(json(&object(&relation, &sent, Some(&fields), &ENGLISH).unwrap()), "{}");
        for (name, value, expected) in [
            ("text", "eggs", r#"{"text":"eggs"}"#),
            ("text", "", r#"{"text":""}"#),
            ("note", "", r#"{"note":""}"#),
            ("done", "true", r#"{"done":true}"#),
            ("due", "", r#"{"due":null}"#),
            ("tags", "a\r\n\r\nc d", r#"{"tags":["a","c d"]}"#),
            ("tags", "[null, \"x\"]", r#"{"tags":[null, "x"]}"#),
            ("tags", "{x,y}", r#"{"tags":"{x,y}"}"#),
            ("tags", "", r#"{"tags":[]}"#),
            ("details", " {\"n\": 1.10}\n", r#"{"details":{"n": 1.10}}"#),
            ("details", "", r#"{"details":null}"#),
            ("rank", "12", r#"{"rank":"12"}"#),
        ] {
            let sent = change(&sent, name, value);
            assert_eq!(
                json(&object(&relation, &sent, Some(&fields), &ENGLISH).unwrap()),
                expected,
                "{name}"
            );
        }
        let wrong = object(&relation, &change(&sent, "details", "{"), Some(&fields), &ENGLISH).unwrap_err();
        assert_eq!(wrong[0].0, "details");
        assert!(wrong[0].1.starts_with("This is no JSON"), "{wrong:?}");
    }

    #[test]
    fn what_somebody_else_has_changed_meanwhile_is_not_set_back() {
        let (relation, catalog) = (relation(), Catalog::default());
        let shown = fields(&catalog, &relation, Some(&row(ROW)), &ENGLISH);
        let sent = change(&untouched(&shown), "rank", "3");
        let now = row(&ROW.replace("milk", "eggs").replace("\"note\":null", "\"note\":\"new\""));
        let now = fields(&catalog, &relation, Some(&now), &ENGLISH);
        assert_eq!(
            json(&object(&relation, &sent, Some(&now), &ENGLISH).unwrap()),
            r#"{"rank":"3"}"#
        );
    }

    #[test]
    fn odd_values_survive_a_form_that_nobody_touched() {
        let (relation, catalog) = (relation(), Catalog::default());
        let odd = row(
            r#"{"id":7,"text":"a\rb","note":"c\r\nd","done":true,"due":"infinity","tags":["x\ry",""],"details":"5","rank":-1}"#,
        );
        let shown = fields(&catalog, &relation, Some(&odd), &ENGLISH);
        let of = |name: &str| shown.iter().find(|field| field.name == name).unwrap();
        assert_eq!((of("due").input, of("text").input), (Input::Line, Input::Text));
        assert_eq!(of("details").value, "\"5\"", "a text of JSON keeps its quotes");
        assert_eq!(of("tags").value, r#"["x\ry",""]"#);
        let sent = untouched(&shown);
        assert_eq!(json(&object(&relation, &sent, Some(&shown), &ENGLISH).unwrap()), "{}");
    }

    #[test]
    fn a_value_for_many_rows_is_what_postgres_takes_it_for() {
        let relation = relation();
        let of = |name: &str, value: &str, words| {
            let (_, column) = relation.column(name).unwrap();
            one_value(column, value, words).unwrap().get().to_owned()
        };
        assert_eq!(of("done", "Yes", &ENGLISH), "\"true\"");
        assert_eq!(of("done", "on", &ENGLISH), "\"on\"");
        assert_eq!(of("done", "N\u{e3}o", &crate::pages::words::PORTUGUESE), "\"false\"");
        assert_eq!(
            (of("note", "", &ENGLISH), of("text", "", &ENGLISH)),
            ("null".to_owned(), "\"\"".to_owned())
        );
    }

    #[test]
    fn a_new_row_leaves_out_what_has_a_default() {
        let (relation, catalog) = (relation(), Catalog::default());
        let fields = fields(&catalog, &relation, None, &ENGLISH);
        let of = |name: &str| fields.iter().find(|field| field.name == name).unwrap();
        assert_eq!((of("done").input, of("done").value.as_str()), (Input::Box, "true"));
        assert_eq!(of("note").null, Some(true));
        assert_eq!(of("id").input, Input::Nothing);
        let sent = change(&untouched(&fields), "text", "milk");
        let made = object(&relation, &sent, None, &ENGLISH).unwrap();
        assert_eq!(json(&made), r#"{"done":true,"note":null,"text":"milk"}"#);
    }

    #[test]
    fn keys_find_rows_and_nothing_else() {
        let relation = relation();
        let key = key_of(&relation, &row(ROW)).unwrap();
        assert_eq!(key, "id=eq.7");
        assert_eq!(key_condition(&relation, &key).unwrap(), r#"and(id.eq."7")"#);
        assert_eq!(
            key_condition(&relation, "id=eq.7%22),or(id.gt.0").unwrap(),
            r#"and(id.eq."7\"),or(id.gt.0")"#
        );
        for other in ["", "id=7", "id=gt.7", "text=eq.milk", "id=eq.7&text=eq.milk", "id"] {
            assert_eq!(key_condition(&relation, other), None, "{other}");
        }
        assert_eq!(label(&relation, &row(ROW)), "milk");
        assert_eq!(label(&relation, &row(r#"{"id":7,"text":" "}"#)), "7");
    }

    #[test]
    fn errors_find_their_field() {
        let relation = relation();
        let sent = Sent::parse("%3Dtext=too+long&%3Drank=abc&%3Ddue=2026-13-01&%3Ddetails=x");
        for (code, message, details, column) in [
            (
                "23502",
                r#"null value in column "text" of relation "mylist" violates not-null constraint"#,
                "",
                Some("text"),
            ),
            (
                "23505",
                "duplicate key …",
                "Key (rank, text)=(1, a) already exists.",
                Some("rank"),
            ),
            (
                "23503",
                "insert or update …",
                r#"Key (rank)=(1) is not present in table "ranks"."#,
                Some("rank"),
            ),
            (
                "23514",
                r#"new row for relation "mylist" violates check constraint "mylist_text_check""#,
                "",
                Some("text"),
            ),
            (
                "23514",
                r#"new row for relation "mylist" violates check constraint "sane""#,
                "",
                None,
            ),
            (
                "22001",
                "value too long for type character varying(5)",
                "",
                Some("text"),
            ),
            (
                "22P02",
                r#"invalid input syntax for type integer: "abc""#,
                "",
                Some("rank"),
            ),
            (
                "22008",
                r#"date/time field value out of range: "2026-13-01""#,
                "",
                Some("due"),
            ),
            ("42501", "permission denied for table mylist", "", None),
        ] {
            let said = Said {
                code: code.to_owned(),
                message: message.to_owned(),
                details: Some(details.into()),
                hint: None,
            };
            assert_eq!(said.column(&relation, &sent).as_deref(), column, "{message}");
        }
    }
}
