//! SQL text: the only place that writes any.
//!
//! The text holds keywords, names and types of the catalog, and the cast types of a fixed list. What the client sent
//! travels as a parameter, in text format, whose type the server infers from the other side of the operator. Every
//! column is written `t."column"`: in `ORDER BY` a bare name would mean the output column (`to_json(…)`, `…::text`)
//! and not the table's, and in `UPDATE … FROM` it would be ambiguous.

use std::fmt::Write as _;

use crate::catalog::{Column, Relation, RelationKind};

use super::filter::{Condition, Filter, Group};
use super::parse::{Cast, Sort};

/// A statement and its parameters.
#[derive(Default)]
pub(super) struct Sql {
    pub(super) text: String,
    pub(super) params: Vec<Option<String>>,
}

/// A filter whose column is one of the catalog, or several joined.
pub(super) enum Known<'c> {
    One(&'c Column, &'c Filter),
    Group(&'c Group, Vec<Self>),
}

/// One output column.
pub(super) struct Expression<'c> {
    pub(super) column: &'c Column,
    pub(super) cast: Option<&'static Cast>,
    pub(super) form: Form,
}

/// What a value is made before it is sent.
#[derive(Clone, Copy)]
pub(super) enum Form {
    AsIs,
    ToJson,
    Text,
}

/// `SELECT`. The order's columns stand in the catalog, like all others.
pub(super) fn select(
    relation: &Relation,
    outputs: &[Expression<'_>],
    filters: &[Known<'_>],
    order: &[(&Column, &Sort)],
    limit: u64,
    offset: u64,
) -> Sql {
    let mut sql = Sql::default();
    sql.text.push_str("SELECT ");
    sql.outputs(outputs);
    sql.text.push_str(" FROM ");
    sql.target(relation);
    sql.filters(filters);
    for (at, (column, sort)) in order.iter().enumerate() {
        sql.text.push_str(if at == 0 { " ORDER BY " } else { ", " });
        sql.column(column);
        sql.text.push_str(if sort.descending { " DESC" } else { "" });
        sql.text.push_str(match sort.nulls_first {
            Some(true) => " NULLS FIRST",
            Some(false) => " NULLS LAST",
            None => "",
        });
    }
    sql.text.push_str(" LIMIT ");
    sql.param(limit.to_string());
    sql.text.push_str("::bigint");
    if offset > 0 {
        sql.text.push_str(" OFFSET ");
        sql.param(offset.to_string());
        sql.text.push_str("::bigint");
    }
    sql
}

/// `INSERT` of the objects in `body`, a JSON array, with the values of `columns`.
pub(super) fn insert(relation: &Relation, columns: &[&Column], body: &str, returning: &[Expression<'_>]) -> Sql {
    let mut sql = Sql::default();
    sql.insert_body(relation, columns, body, "");
    sql.returning(returning);
    sql
}

/// `INSERT` of rows that are all defaults. `DEFAULT VALUES` makes one row only; a `SELECT` without columns, any number.
pub(super) fn insert_defaults(relation: &Relation, rows: usize, returning: &[Expression<'_>]) -> Sql {
    let mut sql = Sql::default();
    sql.text.push_str("INSERT INTO ");
    sql.target(relation);
    sql.text.push_str(" SELECT FROM generate_series(1, ");
    sql.param(rows.to_string());
    sql.text.push_str("::bigint)");
    sql.returning(returning);
    sql
}

/// What becomes of rows that are there already.
pub(super) struct Conflict<'c> {
    /// The columns of a unique index or constraint.
    pub(super) columns: Vec<&'c Column>,
    /// Whether they are updated, or left as they are.
    pub(super) merge: bool,
}

impl Conflict<'_> {
    /// What has to be said so that a key that Postgres generates can be named at all, if only to update its row.
    fn overriding(&self, columns: &[&Column]) -> &'static str {
        let named = |key: &&Column| key.generated && columns.iter().any(|column| column.name == key.name);
        if self.columns.iter().any(named) {
            " OVERRIDING SYSTEM VALUE"
        } else {
            ""
        }
    }
}

/// `INSERT … ON CONFLICT` of the objects in `body`, a JSON array. Returns whether a row was created behind its outputs.
pub(super) fn upsert(
    relation: &Relation,
    columns: &[&Column],
    body: &str,
    conflict: &Conflict<'_>,
    returning: &[Expression<'_>],
) -> Sql {
    let mut sql = Sql::default();
    sql.insert_body(relation, columns, body, conflict.overriding(columns));
    sql.on_conflict(relation, columns, conflict);
    sql.returning_created(relation, returning);
    sql
}

/// The same of the one object in `body`, if its key is `key`.
pub(super) fn put(
    relation: &Relation,
    columns: &[&Column],
    body: &str,
    key: &[(&Column, &str)],
    returning: &[Expression<'_>],
) -> Sql {
    let conflict = Conflict {
        columns: key.iter().map(|(column, _)| *column).collect(),
        merge: true,
    };
    let mut sql = Sql::default();
    sql.insert_body(relation, columns, body, conflict.overriding(columns));
    for (at, (column, value)) in key.iter().enumerate() {
        sql.text.push_str(if at == 0 { " WHERE body." } else { " AND body." });
        sql.name(&column.name);
        sql.text.push_str(" = ");
        sql.param((*value).to_owned());
    }
    sql.on_conflict(relation, columns, &conflict);
    sql.returning_created(relation, returning);
    sql
}

/// `UPDATE` with the values of `columns` in the first object of `body`, a JSON array.
pub(super) fn update(
    relation: &Relation,
    columns: &[&Column],
    body: &str,
    filters: &[Known<'_>],
    returning: &[Expression<'_>],
) -> Sql {
    let mut sql = Sql::default();
    sql.text.push_str("UPDATE ");
    sql.target(relation);
    for (at, column) in columns.iter().enumerate() {
        sql.text.push_str(if at == 0 { " SET " } else { ", " });
        sql.name(&column.name);
        sql.text.push_str(" = body.");
        sql.name(&column.name);
    }
    sql.text.push_str(" FROM (SELECT * FROM ");
    sql.recordset(columns, body);
    sql.text.push_str(" LIMIT 1) AS body");
    sql.filters(filters);
    sql.returning(returning);
    sql
}

/// `DELETE`.
pub(super) fn delete(relation: &Relation, filters: &[Known<'_>], returning: &[Expression<'_>]) -> Sql {
    let mut sql = Sql::default();
    sql.text.push_str("DELETE FROM ");
    sql.target(relation);
    sql.filters(filters);
    sql.returning(returning);
    sql
}

/// A write that touches nothing, but has the columns of one that does.
pub(super) fn nothing(relation: &Relation, returning: &[Expression<'_>]) -> Sql {
    let mut sql = Sql::default();
    if returning.is_empty() {
        // Without the relation: a role may be allowed to write it and not to read it.
        sql.text.push_str("SELECT WHERE false");
    } else {
        sql.text.push_str("SELECT ");
        sql.outputs(returning);
        sql.text.push_str(" FROM ");
        sql.target(relation);
        sql.text.push_str(" WHERE false");
    }
    sql
}

impl Sql {
    /// Without a schema: the connection's search_path resolves it, to the tenant's relation or the shared one.
    fn target(&mut self, relation: &Relation) {
        self.name(&relation.name);
        self.text.push_str(" AS t");
    }

    /// A quoted identifier (manual, 4.1.1).
    fn name(&mut self, name: &str) {
        self.text.push('"');
        for c in name.chars() {
            if c == '"' {
                self.text.push('"');
            }
            self.text.push(c);
        }
        self.text.push('"');
    }

    fn column(&mut self, column: &Column) {
        self.text.push_str("t.");
        self.name(&column.name);
    }

    fn list(&mut self, columns: &[&Column], prefix: &str) {
        for (at, column) in columns.iter().enumerate() {
            self.text.push_str(if at == 0 { "" } else { ", " });
            self.text.push_str(prefix);
            self.name(&column.name);
        }
    }

    /// Adds a parameter and writes its placeholder.
    fn param(&mut self, value: String) {
        self.params.push(Some(value));
        // Writing to a `String` does not fail.
        let _ = write!(self.text, "${}", self.params.len());
    }

    /// No aliases: output names are the client's text, and travel beside the statement.
    fn outputs(&mut self, outputs: &[Expression<'_>]) {
        for (at, output) in outputs.iter().enumerate() {
            self.text.push_str(if at == 0 { "" } else { ", " });
            if matches!(output.form, Form::ToJson) {
                self.text.push_str("to_json(");
            }
            self.column(output.column);
            if let Some(cast) = output.cast {
                self.text.push_str("::");
                self.text.push_str(cast.name);
            }
            self.text.push_str(match output.form {
                Form::AsIs => "",
                Form::ToJson => ")",
                Form::Text => "::text",
            });
        }
    }

    fn returning(&mut self, outputs: &[Expression<'_>]) {
        if !outputs.is_empty() {
            self.text.push_str(" RETURNING ");
            self.outputs(outputs);
        }
    }

    /// `INSERT` of the objects in `body`, up to the end of `FROM`.
    fn insert_body(&mut self, relation: &Relation, columns: &[&Column], body: &str, overriding: &str) {
        self.text.push_str("INSERT INTO ");
        self.target(relation);
        self.text.push_str(" (");
        self.list(columns, "");
        self.text.push(')');
        self.text.push_str(overriding);
        self.text.push_str(" SELECT ");
        self.list(columns, "body.");
        self.text.push_str(" FROM ");
        self.recordset(columns, body);
    }

    fn on_conflict(&mut self, relation: &Relation, columns: &[&Column], conflict: &Conflict<'_>) {
        self.text.push_str(" ON CONFLICT (");
        self.list(&conflict.columns, "");
        if !conflict.merge {
            self.text.push_str(") DO NOTHING");
            return;
        }
        self.text.push_str(") DO UPDATE SET ");
        // Without those that conflict, which are equal: setting them is refused where they are generated.
        let others = columns
            .iter()
            .filter(|column| conflict.columns.iter().all(|key| key.name != column.name));
        let mut none = true;
        for column in others {
            self.text.push_str(if none { "" } else { ", " });
            self.name(&column.name);
            self.text.push_str(" = EXCLUDED.");
            self.name(&column.name);
            none = false;
        }
        if none {
            // Something has to be set, to itself, for the row to be returned.
            let settable = relation.columns.iter().find(|column| !column.generated);
            if let Some(column) = settable.or_else(|| relation.columns.first()) {
                self.name(&column.name);
                self.text.push_str(" = ");
                self.column(column);
            }
        }
    }

    /// `RETURNING`, and behind the outputs whether the row is new.
    fn returning_created(&mut self, relation: &Relation, outputs: &[Expression<'_>]) {
        self.text.push_str(" RETURNING ");
        self.outputs(outputs);
        if !outputs.is_empty() {
            self.text.push_str(", ");
        }
        // A row that was there has been locked or updated by this transaction, which its old version's `xmax` says.
        self.text.push_str(match relation.kind {
            RelationKind::Table => "t.xmax = 0",
            // They have no system columns, or none in this place: they are never said to be new.
            RelationKind::PartitionedTable
            | RelationKind::View
            | RelationKind::MaterializedView
            | RelationKind::ForeignTable => "false",
        });
    }

    /// The body as rows. Type names come from `format_type`, which quotes them as SQL needs it.
    fn recordset(&mut self, columns: &[&Column], body: &str) {
        self.text.push_str("json_to_recordset(");
        self.param(body.to_owned());
        self.text.push_str("::json) AS body(");
        for (at, column) in columns.iter().enumerate() {
            self.text.push_str(if at == 0 { "" } else { ", " });
            self.name(&column.name);
            self.text.push(' ');
            self.text.push_str(&column.type_name);
        }
        self.text.push(')');
    }

    fn filters(&mut self, filters: &[Known<'_>]) {
        if !filters.is_empty() {
            self.text.push_str(" WHERE ");
            self.joined(filters, " AND ");
        }
    }

    fn joined(&mut self, tests: &[Known<'_>], by: &str) {
        for (at, test) in tests.iter().enumerate() {
            self.text.push_str(if at == 0 { "" } else { by });
            match test {
                Known::One(column, filter) => self.filter(column, filter),
                Known::Group(group, tests) => {
                    self.text.push_str(if group.negated { "NOT (" } else { "(" });
                    self.joined(tests, if group.any { " OR " } else { " AND " });
                    self.text.push(')');
                }
            }
        }
    }

    fn filter(&mut self, column: &Column, filter: &Filter) {
        // NOT binds less tightly than any of the operators (manual, 4.1.6), and more than AND.
        self.text.push_str(if filter.negated { "NOT " } else { "" });
        match &filter.condition {
            Condition::Compare(operator, value) => {
                self.column(column);
                self.spaced(operator);
                self.param(value.clone());
            }
            Condition::CompareEach(operator, which, values) => {
                self.column(column);
                self.spaced(operator);
                self.text.push_str(which);
                self.text.push('(');
                self.param(values.clone());
                self.text.push(')');
            }
            // One parameter however long the list, so the statement stays the same; and `= ANY('{}')` is false
            // even for NULL, which `in.()` and `not.in.()` ask for.
            Condition::In(values) => {
                self.column(column);
                self.text.push_str(" = ANY(");
                self.param(array(values));
                self.text.push(')');
            }
            Condition::Is(what) => {
                self.column(column);
                self.spaced("IS");
                self.text.push_str(what);
            }
            Condition::Search {
                function,
                language,
                query,
            } => {
                let language = language.as_deref();
                if &*column.type_name == "tsvector" {
                    self.column(column);
                } else {
                    self.text.push_str("to_tsvector(");
                    self.language(language);
                    self.column(column);
                    self.text.push(')');
                }
                self.spaced("@@");
                self.text.push_str(function);
                self.text.push('(');
                self.language(language);
                self.param(query.clone());
                self.text.push(')');
            }
        }
    }

    /// The first argument of a function of text search, if there is one.
    fn language(&mut self, language: Option<&str>) {
        if let Some(language) = language {
            self.param(language.to_owned());
            self.text.push_str("::regconfig, ");
        }
    }

    fn spaced(&mut self, operator: &str) {
        self.text.push(' ');
        self.text.push_str(operator);
        self.text.push(' ');
    }
}

/// An array literal (manual, 8.15.6). Every element is quoted, so an empty one and `NULL` are texts like any other.
fn array(values: &[String]) -> String {
    let mut literal = String::from("{");
    for (at, value) in values.iter().enumerate() {
        literal.push_str(if at == 0 { "\"" } else { ",\"" });
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(c);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}
