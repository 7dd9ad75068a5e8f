//! SQL text: the only place that writes any for requests.
//!
//! The text holds keywords, names and types of the catalog, cast types of a fixed list, and, quoted, the names that a
//! client gives to columns of embedded rows and of rows that Postgres makes a document of. All else that the client sent
//! travels as a parameter, in text format, whose type the server infers from the other side of the operator. Tables are
//! called `t`, `t1`, `t2` …, and every column is written with its table: in `ORDER BY` a bare name would mean the output
//! column and not the table's.

mod page;

use std::fmt::Write as _;

use crate::catalog::{Argument, Catalog, Column, Function, Link, Relation, RelationKind, Scope};
use crate::encode::Encoding;

use super::filter::{Condition, Filter, Group};
use super::shape::{Aggregate, Sort, Step};
use super::tree::{Child, Known, Node, Order, Out, Place, Value};
use super::values;

pub(super) use page::Page;

/// A statement and what its parameters are.
#[derive(Default)]
pub(super) struct Sql {
    /// Whether times are shown in another zone than UTC, which the server has to do then.
    pub(super) zoned: bool,
    /// Whether embedded rows are `jsonb` for whoever looks at them.
    pub(super) binary_json: bool,
    /// Whether the outermost rows come of a `WITH` query, whose rows have no type of their own.
    pub(super) untyped_rows: bool,
    pub(super) text: String,
    pub(super) params: Vec<Param>,
}

/// What a parameter is; its value is known when the statement is run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Param {
    /// A value of the query string.
    Value(values::Value),
    /// The smaller of a value of the query string and a number, which is there as text as well.
    AtMost {
        asked: Option<values::Value>,
        most: u64,
        text: Box<str>,
    },
    /// The body.
    Body,
    /// An argument of a function, by name: all that were sent under it, if it takes many.
    Argument { name: Box<str>, variadic: bool },
    /// A text that belongs to the statement.
    Fixed(Box<str>),
}

impl Param {
    pub(super) fn at_most(asked: Option<values::Value>, most: u64) -> Self {
        Self::AtMost {
            asked,
            most,
            text: most.to_string().into(),
        }
    }
}

/// Where the outermost rows come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'c> {
    Relation(&'c Relation),
    /// The `WITH` query that stands before.
    Rows,
    Call(Call<'c>),
}

/// A call of a function.
#[derive(Clone, Copy)]
pub(super) struct Call<'c> {
    pub(super) function: &'c Function,
    pub(super) arguments: &'c [&'c Argument],
    pub(super) given: Given,
}

/// Where a function's arguments come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Given {
    /// From parameters by their names.
    Named,
    /// From the fields of a JSON object.
    Json,
    /// The one argument is the whole body.
    Body,
}

/// How values are delivered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    /// As they are, or as JSON where the flag says so.
    Binary,
    /// As Postgres prints them.
    Text,
    /// Under the names that the client will see.
    Named,
    /// Under `c1`, `c2` …
    Numbered,
}

/// What is written: a table's columns, the rows of a body.
#[derive(Clone, Copy)]
pub(super) struct Written<'c> {
    pub(super) catalog: &'c Catalog,
    pub(super) relation: &'c Relation,
    pub(super) columns: &'c [&'c Column],
    /// Columns that a row of the body leaves out get their default.
    pub(super) defaults: bool,
}

/// What becomes of rows that are there already.
pub(super) struct Conflict<'c> {
    /// The columns of a unique index or constraint.
    pub(super) columns: Vec<&'c Column>,
    /// Whether they are updated, or left as they are.
    pub(super) merge: bool,
}

/// The name of the column that says whether a row is new.
pub(super) const CREATED: &str = "rowhouse_created";

/// What functions of the database have said of the response.
pub const RESPONSE_SETTINGS: &str =
    "SELECT current_setting('response.headers', true), current_setting('response.status', true)";

/// `SELECT` of a function without arguments, whose result does not matter.
#[must_use]
pub fn call_without_arguments(schema: Option<&str>, name: &str) -> String {
    let mut sql = Sql::default();
    sql.push("SELECT ");
    if let Some(schema) = schema {
        sql.name(schema);
        sql.push(".");
    }
    sql.name(name);
    sql.push("()");
    sql.text
}

impl Sql {
    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
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

    /// Without a schema where the connection's search_path finds it: the tenant's relation or the shared one.
    fn in_schema(&mut self, catalog: &Catalog, scope: Scope, name: &str) {
        if let (Some(qualifier), Scope::Tenant) = (catalog.qualifier(), scope) {
            self.push(qualifier);
            self.push(".");
        }
        self.name(name);
    }

    pub(super) fn relation(&mut self, catalog: &Catalog, relation: &Relation) {
        self.in_schema(catalog, relation.scope, &relation.name);
    }

    fn table(&mut self, node: usize) {
        self.text.push('t');
        if node > 0 {
            // Writing to a `String` does not fail.
            let _ = write!(self.text, "{node}");
        }
    }

    fn numbered(&mut self, prefix: &str, number: usize) {
        let _ = write!(self.text, "{prefix}{number}");
    }

    fn column(&mut self, node: usize, column: &Column) {
        self.table(node);
        self.push(".");
        self.name(&column.name);
    }

    pub(super) fn param(&mut self, param: Param) {
        self.params.push(param);
        let _ = write!(self.text, "${}", self.params.len());
    }

    fn fixed(&mut self, text: &str) {
        self.param(Param::Fixed(text.into()));
    }

    fn separator(&mut self, at: usize, separator: &str) {
        if at > 0 {
            self.push(separator);
        }
    }

    /// The rows of `node`. `extra` stands behind its outputs.
    pub(super) fn select(
        &mut self,
        catalog: &Catalog,
        node: &Node<'_>,
        source: Source<'_>,
        form: Form,
        limit: Option<u64>,
        extra: &str,
    ) {
        self.push("SELECT ");
        self.outputs(node, form);
        if !extra.is_empty() {
            self.separator(node.outputs.len(), ", ");
            self.push(extra);
        }
        self.from(catalog, source);
        self.rest(catalog, node, &[], limit, limit);
    }

    fn outputs(&mut self, node: &Node<'_>, form: Form) {
        let grouped = node.outputs.iter().any(|out| out.aggregate.is_some());
        for (at, out) in node.outputs.iter().enumerate() {
            self.separator(at, ", ");
            match form {
                Form::Binary => {
                    let wrapped = encoding(out, grouped, self.zoned).is_none();
                    // What is grouped by has to be comparable.
                    self.push(match wrapped {
                        true if grouped && out.aggregate.is_none() => "to_jsonb(",
                        true => "to_json(",
                        false => "",
                    });
                    self.out(out, grouped);
                    self.push(if wrapped { ")" } else { "" });
                }
                Form::Text => {
                    self.push("(");
                    self.out(out, grouped);
                    self.push(")::text");
                }
                Form::Named => {
                    self.out(out, grouped);
                    self.push(" AS ");
                    self.name(out.name);
                }
                Form::Numbered => {
                    self.out(out, grouped);
                    self.push(" AS c");
                    let _ = write!(self.text, "{}", at + 1);
                }
            }
        }
    }

    fn out(&mut self, out: &Out<'_>, grouped: bool) {
        let Some((aggregate, cast)) = &out.aggregate else {
            return self.value(&out.value, grouped);
        };
        self.push(match aggregate {
            Aggregate::Avg => "avg(",
            Aggregate::Count => "count(",
            Aggregate::Max => "max(",
            Aggregate::Min => "min(",
            Aggregate::Sum => "sum(",
        });
        match out.value {
            Value::Row(_) => self.push("*"),
            ref value => self.value(value, false),
        }
        self.push(")");
        if let Some(cast) = cast {
            self.push("::");
            self.push(&cast.name);
        }
    }

    fn value(&mut self, value: &Value<'_>, grouped: bool) {
        match value {
            Value::Field {
                node,
                column,
                path,
                represented,
                cast,
            } => {
                self.push(if cast.is_some() { "(" } else { "" });
                match represented {
                    Some(function) => {
                        self.push(function);
                        self.push("(");
                        self.column(*node, column);
                        self.push(")");
                    }
                    None => self.field(*node, column, path),
                }
                if let Some(cast) = cast {
                    self.push(")::");
                    self.push(&cast.name);
                }
            }
            Value::Row(node) => self.table(*node),
            Value::Spread { child, place, .. } => {
                self.numbered("e", *child);
                self.numbered(".c", place + 1);
            }
            Value::Object(child) => {
                self.push("row_to_json(");
                self.numbered("e", *child);
                self.push(".*)");
            }
            Value::Array(child) => {
                self.push("COALESCE(");
                self.numbered("e", *child);
                self.push(".j, '[]')");
            }
        }
        let binary = (grouped || self.binary_json) && is_made_json(value);
        self.push(if binary { "::jsonb" } else { "" });
    }

    /// A column, or a part of it as JSON. What is JSON already is not made JSON again: an index on it may serve.
    fn field(&mut self, node: usize, column: &Column, path: &[Step<'_>]) {
        let json = matches!(&*column.base_type, "json" | "jsonb");
        let wrapped = !path.is_empty() && !json;
        self.push(if wrapped { "to_jsonb(" } else { "" });
        self.column(node, column);
        self.push(if wrapped { ")" } else { "" });
        for step in path {
            self.push(if step.text { "->>" } else { "->" });
            self.fixed(&step.operand);
            self.push(if step.index { "::int" } else { "" });
        }
    }

    fn from(&mut self, catalog: &Catalog, source: Source<'_>) {
        self.push(" FROM ");
        match source {
            Source::Relation(relation) => self.relation(catalog, relation),
            Source::Rows => self.push("source"),
            Source::Call(call) => return self.call(catalog, call),
        }
        self.push(" AS t");
    }

    /// What follows `FROM`: joins, `WHERE`, `GROUP BY`, `ORDER BY`, `LIMIT`. `joined` are conditions of a parent's key.
    /// What stands behind `FROM`: no more than `limit` rows, and than `embedded` of each relation to many below.
    fn rest(
        &mut self,
        catalog: &Catalog,
        node: &Node<'_>,
        joined: &[String],
        limit: Option<u64>,
        embedded: Option<u64>,
    ) {
        for child in &node.children {
            self.join(catalog, node, child, embedded);
        }
        self.conditions(joined, &node.filters, |sql, tests, by| sql.joined(tests, by));
        if node.outputs.iter().any(|out| out.aggregate.is_some()) {
            let plain = node
                .outputs
                .iter()
                .enumerate()
                .filter(|(_, out)| out.aggregate.is_none());
            for (n, (at, _)) in plain.enumerate() {
                self.push(if n == 0 { " GROUP BY " } else { ", " });
                let _ = write!(self.text, "{}", at + 1);
            }
        }
        for (at, order) in node.order.iter().enumerate() {
            self.push(if at == 0 { " ORDER BY " } else { ", " });
            self.order(order);
        }
        let most = limit.map(|most| Param::at_most(node.range.limit, most));
        let asked = node.range.limit.map(Param::Value);
        if let Some(limit) = most.or(asked) {
            self.push(" LIMIT ");
            self.param(limit);
            self.push("::bigint");
        }
        if let Some(offset) = node.range.offset {
            self.push(" OFFSET ");
            self.param(Param::Value(offset));
            self.push("::bigint");
        }
    }

    fn conditions(&mut self, joined: &[String], filters: &[Known<'_>], write: impl Fn(&mut Self, &[Known<'_>], &str)) {
        for (at, condition) in joined.iter().enumerate() {
            self.push(if at == 0 { " WHERE " } else { " AND " });
            self.push(condition);
        }
        if !filters.is_empty() {
            self.push(if joined.is_empty() { " WHERE " } else { " AND " });
            write(self, filters, " AND ");
        }
    }

    /// The rows of an embedded relation that belong to a row of `parent`, as `eN`.
    fn join(&mut self, catalog: &Catalog, parent: &Node<'_>, child: &Child<'_>, limit: Option<u64>) {
        let id = child.node.id;
        let many = !child.relationship.link.is_to_one();
        self.push(if child.inner {
            " INNER JOIN LATERAL ("
        } else {
            " LEFT JOIN LATERAL ("
        });
        if many {
            self.push("SELECT json_agg(r");
            let _ = write!(self.text, "{id}) AS j");
            if child.spread {
                for place in 1..=child.node.outputs.len() {
                    let _ = write!(self.text, ", COALESCE(json_agg(r{id}.c{place}), '[]') AS c{place}");
                }
            }
            self.push(" FROM (");
        }
        self.push("SELECT ");
        if child.node.outputs.is_empty() {
            self.push("1");
        } else if child.spread && !many {
            self.spread(&child.node);
        } else {
            let form = if child.spread { Form::Numbered } else { Form::Named };
            self.outputs(&child.node, form);
        }
        let joined = self.related(catalog, parent, child);
        self.rest_of_child(catalog, child, &joined, limit);
        self.push(")");
        if many {
            let _ = write!(self.text, " AS r{id})");
        }
        let _ = write!(self.text, " AS e{id} ON ");
        if child.inner && many {
            let _ = write!(self.text, "e{id}.j IS NOT NULL");
        } else {
            self.push("true");
        }
    }

    /// The outputs of a spread row without their aggregates, which are taken over the rows that it is spread into.
    fn spread(&mut self, node: &Node<'_>) {
        for (at, out) in node.outputs.iter().enumerate() {
            self.separator(at, ", ");
            self.value(&out.value, false);
            let _ = write!(self.text, " AS c{}", at + 1);
        }
    }

    fn rest_of_child(&mut self, catalog: &Catalog, child: &Child<'_>, joined: &[String], limit: Option<u64>) {
        let spread_one = child.spread && child.relationship.link.is_to_one();
        if !spread_one {
            // One row needs no limit, and without one the planner may join as it likes.
            let own = limit.filter(|_| !child.relationship.link.is_to_one());
            return self.rest(catalog, &child.node, joined, own, limit);
        }
        let node = &child.node;
        for grandchild in &node.children {
            self.join(catalog, node, grandchild, limit);
        }
        self.conditions(joined, &node.filters, |sql, tests, by| sql.joined(tests, by));
    }

    /// `FROM` an embedded relation; returns the conditions that tie it to its parent.
    fn related(&mut self, catalog: &Catalog, parent: &Node<'_>, child: &Child<'_>) -> Vec<String> {
        let id = child.node.id;
        self.push(" FROM ");
        let mut conditions = Vec::new();
        let pairs = |columns: &[(Box<str>, Box<str>)], left: &str, right: &str| -> Vec<String> {
            columns
                .iter()
                .map(|(own, other)| {
                    let mut sql = Self::default();
                    sql.push(right);
                    sql.push(".");
                    sql.name(other);
                    sql.push(" = ");
                    sql.push(left);
                    sql.push(".");
                    sql.name(own);
                    sql.text
                })
                .collect()
        };
        let outer = if parent.id == 0 {
            "t".to_owned()
        } else {
            format!("t{}", parent.id)
        };
        let own = format!("t{id}");
        match &child.relationship.link {
            Link::ManyToOne(key) | Link::OneToMany(key) | Link::OneToOne(key) => {
                self.relation(catalog, child.node.relation);
                conditions = pairs(&key.columns, &outer, &own);
            }
            Link::ManyToMany(junction) => {
                let between = format!("j{id}");
                self.relation(catalog, &catalog.relations()[junction.relation]);
                self.push(" AS ");
                self.push(&between);
                self.push(", ");
                self.relation(catalog, child.node.relation);
                conditions.extend(pairs(&junction.target.columns, &own, &between));
                conditions.extend(pairs(&junction.source.columns, &outer, &between));
            }
            Link::Computed { function, scope, .. } => {
                self.in_schema(catalog, *scope, function);
                self.push("(");
                if self.untyped_rows && parent.id == 0 {
                    self.push("ROW(");
                    for (at, column) in parent.relation.columns.iter().enumerate() {
                        self.separator(at, ", ");
                        self.column(0, column);
                    }
                    self.push(")");
                } else {
                    self.push(&outer);
                }
                self.push("::");
                self.relation(catalog, parent.relation);
                self.push(")");
            }
        }
        self.push(" AS ");
        self.push(&own);
        conditions
    }

    fn order(&mut self, order: &Order<'_>) {
        let sort: &Sort<'_> = match order {
            Order::Field { node, column, sort } => {
                self.field(*node, column, &sort.field.path);
                sort
            }
            Order::Related { child, place, sort } => {
                let json = sort.field.path.is_empty();
                self.push(if json { "" } else { "to_jsonb(" });
                self.numbered("e", *child);
                self.push(".");
                match place {
                    Place::Name(name) => self.name(name),
                    Place::Number(place) => self.numbered("c", place + 1),
                }
                self.push(if json { "" } else { ")" });
                for step in &sort.field.path {
                    self.push(if step.text { "->>" } else { "->" });
                    self.fixed(&step.operand);
                    self.push(if step.index { "::int" } else { "" });
                }
                sort
            }
        };
        self.push(match sort.descending {
            Some(true) => " DESC",
            Some(false) | None => "",
        });
        self.push(match sort.nulls_first {
            Some(true) => " NULLS FIRST",
            Some(false) => " NULLS LAST",
            None => "",
        });
    }

    /// `SELECT 1` of the rows that `node` would have without a limit: what must be there is asked for by `EXISTS`, so that
    /// nothing is read that is not needed to count.
    pub(super) fn counted(&mut self, catalog: &Catalog, node: &Node<'_>, source: Source<'_>) {
        self.push("SELECT 1");
        self.from(catalog, source);
        self.counted_rest(catalog, node, &[]);
    }

    fn counted_rest(&mut self, catalog: &Catalog, node: &Node<'_>, joined: &[String]) {
        let mut first = true;
        for condition in joined {
            self.push(if first { " WHERE " } else { " AND " });
            self.push(condition);
            first = false;
        }
        if !node.filters.is_empty() {
            self.push(if first { " WHERE " } else { " AND " });
            self.counted_tests(catalog, node, &node.filters, " AND ");
            first = false;
        }
        for child in node.children.iter().filter(|child| child.inner) {
            self.push(if first { " WHERE " } else { " AND " });
            self.exists(catalog, node, child);
            first = false;
        }
    }

    fn exists(&mut self, catalog: &Catalog, node: &Node<'_>, child: &Child<'_>) {
        self.push("EXISTS (SELECT 1");
        let joined = self.related(catalog, node, child);
        self.counted_rest(catalog, &child.node, &joined);
        self.push(")");
    }

    fn counted_tests(&mut self, catalog: &Catalog, node: &Node<'_>, tests: &[Known<'_>], by: &str) {
        for (at, test) in tests.iter().enumerate() {
            self.separator(at, by);
            match test {
                Known::One { .. } => self.joined(std::slice::from_ref(test), by),
                Known::Group(group, tests) => {
                    self.push(if group.negated { "NOT (" } else { "(" });
                    self.counted_tests(catalog, node, tests, if group.any { " OR " } else { " AND " });
                    self.push(")");
                }
                Known::Embedded { child, exist, .. } => {
                    self.push(if *exist { "" } else { "NOT " });
                    if let Some(child) = node.children.iter().find(|other| other.node.id == *child) {
                        self.exists(catalog, node, child);
                    }
                }
            }
        }
    }

    fn joined(&mut self, tests: &[Known<'_>], by: &str) {
        for (at, test) in tests.iter().enumerate() {
            self.separator(at, by);
            match test {
                Known::One {
                    node,
                    column,
                    filter,
                    represented,
                } => self.filter(*node, column, filter, *represented),
                Known::Embedded { child, many, exist } => {
                    self.numbered("e", *child);
                    self.push(if *many { ".j" } else { "" });
                    self.push(if *exist {
                        " IS DISTINCT FROM NULL"
                    } else {
                        " IS NOT DISTINCT FROM NULL"
                    });
                }
                Known::Group(group, tests) => self.group(group, tests),
            }
        }
    }

    fn group(&mut self, group: &Group<'_>, tests: &[Known<'_>]) {
        self.push(if group.negated { "NOT (" } else { "(" });
        self.joined(tests, if group.any { " OR " } else { " AND " });
        self.push(")");
    }

    fn filter(&mut self, node: usize, column: &Column, filter: &Filter<'_>, represented: Option<&str>) {
        // NOT binds less tightly than any of the operators (manual, 4.1.6), and more than AND.
        self.push(if filter.negated { "NOT " } else { "" });
        match filter.condition {
            Condition::Compare(operator, value) => {
                self.field(node, column, &filter.field.path);
                self.spaced(operator);
                match represented.filter(|_| !matches!(operator, "LIKE" | "ILIKE")) {
                    Some(function) => {
                        self.push(function);
                        self.push("(");
                        self.param(Param::Value(value));
                        self.push("::text)");
                    }
                    None => self.param(Param::Value(value)),
                }
            }
            Condition::CompareEach(operator, which, values) => {
                self.field(node, column, &filter.field.path);
                self.spaced(operator);
                self.push(which);
                self.push("(");
                self.list(values, represented);
                self.push(")");
            }
            // One parameter however long the list, so the statement stays the same; and `= ANY('{}')` is false
            // even for NULL, which `in.()` and `not.in.()` ask for.
            Condition::In(values) => {
                self.field(node, column, &filter.field.path);
                self.push(" = ANY(");
                self.list(values, represented);
                self.push(")");
            }
            Condition::Is(what) => {
                self.field(node, column, &filter.field.path);
                self.spaced("IS");
                self.push(what);
            }
            Condition::Search {
                function,
                language,
                query,
            } => {
                if &*column.base_type == "tsvector" && filter.field.path.is_empty() {
                    self.column(node, column);
                } else {
                    self.push("to_tsvector(");
                    self.language(language);
                    self.field(node, column, &filter.field.path);
                    self.push(")");
                }
                self.spaced("@@");
                self.push(function);
                self.push("(");
                self.language(language);
                self.param(Param::Value(query));
                self.push(")");
            }
        }
    }

    fn list(&mut self, values: values::Value, represented: Option<&str>) {
        match represented {
            Some(function) => {
                self.push("SELECT ");
                self.push(function);
                self.push("(unnest(");
                self.param(Param::Value(values));
                self.push("::text[]))");
            }
            None => self.param(Param::Value(values)),
        }
    }

    /// The first argument of a function of text search, if there is one.
    fn language(&mut self, language: Option<&str>) {
        if let Some(language) = language {
            self.fixed(language);
            self.push("::regconfig, ");
        }
    }

    fn spaced(&mut self, operator: &str) {
        self.push(" ");
        self.push(operator);
        self.push(" ");
    }

    /// Begins the query whose rows are called `source`.
    pub(super) fn begin_source(&mut self) {
        self.push("WITH source AS MATERIALIZED (");
    }

    pub(super) fn end_source(&mut self) {
        self.push(") ");
    }

    /// `SELECT` of all that a function returns.
    pub(super) fn call_rows(&mut self, catalog: &Catalog, call: Call<'_>) {
        self.push("SELECT t.* FROM ");
        self.call(catalog, call);
    }

    /// A function's rows, as `t`.
    pub(super) fn call(&mut self, catalog: &Catalog, call: Call<'_>) {
        let scalar = call.function.returns_scalar();
        if call.given == Given::Json && !call.arguments.is_empty() {
            self.push("(SELECT * FROM json_to_recordset(");
            self.param(Param::Body);
            self.push("::json) AS body(");
            for (at, argument) in call.arguments.iter().enumerate() {
                self.separator(at, ", ");
                self.name(&argument.name);
                self.push(" ");
                self.push(&any_length(&argument.type_name));
            }
            self.push(") LIMIT 1) AS body, LATERAL ");
        }
        self.push(if scalar { "(SELECT " } else { "" });
        self.in_schema(catalog, call.function.scope, &call.function.name);
        self.push("(");
        for (at, argument) in call.arguments.iter().enumerate() {
            self.separator(at, ", ");
            self.push(if argument.variadic { "VARIADIC " } else { "" });
            if !argument.name.is_empty() {
                self.name(&argument.name);
                self.push(" := ");
            }
            match call.given {
                Given::Json => {
                    self.push("body.");
                    self.name(&argument.name);
                }
                Given::Named => {
                    self.param(Param::Argument {
                        name: argument.name.clone(),
                        variadic: argument.variadic,
                    });
                    self.push("::");
                    self.push(&any_length(&argument.type_name));
                }
                Given::Body => {
                    self.param(Param::Body);
                    self.push("::");
                    self.push(&argument.type_name);
                }
            }
        }
        self.push(")");
        if scalar {
            self.push(" AS ");
            self.name(&call.function.name);
            self.push(")");
        }
        self.push(" AS t");
    }

    /// `INSERT` of the objects in the body, up to where `ON CONFLICT` or `RETURNING` may stand.
    pub(super) fn insert(
        &mut self,
        written: &Written<'_>,
        conflict: Option<&Conflict<'_>>,
        key: &[(&Column, values::Value)],
    ) {
        self.push("INSERT INTO ");
        self.relation(written.catalog, written.relation);
        self.push(" AS t (");
        self.columns(written.columns, "");
        self.push(")");
        // What has to be said so that a key that Postgres generates can be named at all, if only to update its row.
        let named = |key: &&Column| key.generated && written.columns.iter().any(|column| column.name == key.name);
        if conflict.is_some_and(|conflict| conflict.columns.iter().any(named)) {
            self.push(" OVERRIDING SYSTEM VALUE");
        }
        self.push(" SELECT ");
        for (at, column) in written.columns.iter().enumerate() {
            self.separator(at, ", ");
            self.body_value(written, column);
        }
        self.push(" FROM ");
        self.body(written);
        for (at, (column, value)) in key.iter().enumerate() {
            self.push(if at == 0 { " WHERE body." } else { " AND body." });
            self.name(&column.name);
            self.push(" = ");
            self.param(Param::Value(*value));
        }
        if let Some(conflict) = conflict {
            self.on_conflict(written, conflict);
        }
    }

    /// `INSERT` of rows that are all defaults. `DEFAULT VALUES` makes one row only; a `SELECT` without columns, any number.
    pub(super) fn insert_defaults(&mut self, catalog: &Catalog, relation: &Relation) {
        self.push("INSERT INTO ");
        self.relation(catalog, relation);
        self.push(" AS t SELECT FROM json_array_elements(");
        self.param(Param::Body);
        self.push("::json)");
    }

    fn on_conflict(&mut self, written: &Written<'_>, conflict: &Conflict<'_>) {
        self.push(" ON CONFLICT (");
        self.columns(&conflict.columns, "");
        if !conflict.merge {
            self.push(") DO NOTHING");
            return;
        }
        self.push(") DO UPDATE SET ");
        // Without those that conflict, which are equal: setting them is refused where they are generated.
        let others = written
            .columns
            .iter()
            .filter(|column| conflict.columns.iter().all(|key| key.name != column.name));
        let mut none = true;
        for column in others {
            self.separator(usize::from(!none), ", ");
            self.name(&column.name);
            self.push(" = EXCLUDED.");
            self.name(&column.name);
            none = false;
        }
        if none {
            // Something has to be set, to itself, for the row to be returned.
            let columns = &written.relation.columns;
            let settable = columns.iter().find(|column| !column.generated);
            if let Some(column) = settable.or_else(|| columns.first()) {
                self.name(&column.name);
                self.push(" = ");
                self.column(0, column);
            }
        }
    }

    /// `UPDATE` with the values of the first object of the body.
    pub(super) fn update(&mut self, written: &Written<'_>, filters: &[Known<'_>]) {
        self.push("UPDATE ");
        self.relation(written.catalog, written.relation);
        self.push(" AS t SET ");
        for (at, column) in written.columns.iter().enumerate() {
            self.separator(at, ", ");
            self.name(&column.name);
            self.push(" = ");
            self.body_value(written, column);
        }
        self.push(" FROM ");
        if written.defaults {
            self.push("(SELECT item FROM jsonb_array_elements(");
            self.param(Param::Body);
            self.push("::jsonb) AS item LIMIT 1) AS item(item), LATERAL jsonb_to_record(item.item)");
            self.body_columns(written);
        } else {
            self.push("(SELECT * FROM ");
            self.body(written);
            self.push(" LIMIT 1) AS body");
        }
        self.conditions(&[], filters, |sql, tests, by| sql.joined(tests, by));
    }

    /// `DELETE`.
    pub(super) fn delete(&mut self, catalog: &Catalog, relation: &Relation, filters: &[Known<'_>]) {
        self.push("DELETE FROM ");
        self.relation(catalog, relation);
        self.push(" AS t");
        self.conditions(&[], filters, |sql, tests, by| sql.joined(tests, by));
    }

    /// `RETURNING` these columns, and behind them whether the row is new.
    pub(super) fn returning(&mut self, columns: &[&Column], relation: &Relation, created: bool) {
        self.push(" RETURNING ");
        for (at, column) in columns.iter().enumerate() {
            self.separator(at, ", ");
            self.column(0, column);
        }
        if created {
            self.separator(columns.len(), ", ");
            // A row that was there has been locked or updated by this transaction, which its old version's `xmax` says.
            self.push(match relation.kind {
                RelationKind::Table => "t.xmax = 0",
                // They have no system columns, or none in this place: they are always said to be new.
                RelationKind::PartitionedTable
                | RelationKind::View
                | RelationKind::MaterializedView
                | RelationKind::ForeignTable
                | RelationKind::Result => "true",
            });
            self.push(" AS ");
            self.push(CREATED);
        } else if columns.is_empty() {
            self.push("1");
        }
    }

    /// A read of nothing that has these columns.
    pub(super) fn no_rows(&mut self, catalog: &Catalog, relation: &Relation, columns: &[&Column]) {
        self.push("SELECT ");
        self.columns(columns, "t.");
        if columns.is_empty() {
            // Without the relation: a role may be allowed to write it and not to read it.
            self.push("1 WHERE false");
            return;
        }
        self.push(" FROM ");
        self.relation(catalog, relation);
        self.push(" AS t WHERE false");
    }

    fn columns(&mut self, columns: &[&Column], prefix: &str) {
        for (at, column) in columns.iter().enumerate() {
            self.separator(at, ", ");
            self.push(prefix);
            self.name(&column.name);
        }
    }

    /// The value that the body has for a column, or the column's default if it has none and that is wanted.
    fn body_value(&mut self, written: &Written<'_>, column: &Column) {
        let default = column.default.as_deref().filter(|_| written.defaults);
        if default.is_some() {
            self.push("CASE WHEN item.item ? ");
            self.fixed(&column.name);
            self.push(" THEN ");
        }
        match written.catalog.representation("json", &column.type_name) {
            Some(function) => {
                self.push(function);
                self.push("(body.");
                self.name(&column.name);
                self.push(")");
            }
            None => {
                self.push("body.");
                self.name(&column.name);
            }
        }
        if let Some(default) = default {
            self.push(" ELSE ");
            self.push(default);
            self.push(" END");
        }
    }

    /// The body as rows. Type names come from `format_type`, which quotes them as SQL needs it.
    fn body(&mut self, written: &Written<'_>) {
        if written.defaults {
            self.push("jsonb_array_elements(");
            self.param(Param::Body);
            self.push("::jsonb) AS item(item), LATERAL jsonb_to_record(item.item)");
        } else {
            self.push("json_to_recordset(");
            self.param(Param::Body);
            self.push("::json)");
        }
        self.body_columns(written);
    }

    fn body_columns(&mut self, written: &Written<'_>) {
        self.push(" AS body(");
        for (at, column) in written.columns.iter().enumerate() {
            self.separator(at, ", ");
            self.name(&column.name);
            self.push(" ");
            self.push(match written.catalog.representation("json", &column.type_name) {
                Some(_) => "json",
                None => &column.type_name,
            });
        }
        self.push(")");
    }
}

/// How a value is encoded; none if it has to be made JSON first. `grouped`: among values that are grouped by.
pub(super) fn encoding(out: &Out<'_>, grouped: bool, zoned: bool) -> Option<Encoding> {
    known_encoding(out, grouped)
        .filter(|encoding| !zoned || !matches!(encoding, Encoding::TimestampTz | Encoding::TimeTz))
}

fn known_encoding(out: &Out<'_>, grouped: bool) -> Option<Encoding> {
    match &out.aggregate {
        Some((_, Some(cast))) => Encoding::of_type(cast.oid),
        Some((Aggregate::Count, None)) => Some(Encoding::Int8),
        Some((Aggregate::Max | Aggregate::Min, None)) => encoding_of(&out.value, false),
        Some((Aggregate::Avg | Aggregate::Sum, None)) => None,
        None => encoding_of(&out.value, grouped),
    }
}

fn encoding_of(value: &Value<'_>, grouped: bool) -> Option<Encoding> {
    if grouped && is_made_json(value) {
        return Some(Encoding::Jsonb);
    }
    match value {
        Value::Field { cast: Some(cast), .. } => Encoding::of_type(cast.oid),
        Value::Field {
            represented: Some(_), ..
        } => Some(Encoding::Json),
        Value::Field { column, path, .. } => match path.last() {
            None => Encoding::of_type(column.type_oid),
            Some(step) if step.text => Some(Encoding::Text),
            Some(_) if &*column.base_type == "json" => Some(Encoding::Json),
            Some(_) => Some(Encoding::Jsonb),
        },
        Value::Row(_) => None,
        Value::Object(_) | Value::Array(_) | Value::Spread { many: true, .. } => Some(Encoding::Json),
        Value::Spread { of, .. } => encoding_of(of, false),
    }
}

/// Whether the value is JSON that the statement makes, which has to be `jsonb` to be grouped by.
fn is_made_json(value: &Value<'_>) -> bool {
    match value {
        Value::Object(_) | Value::Array(_) | Value::Spread { many: true, .. } => true,
        Value::Spread { of, .. } => is_made_json(of),
        Value::Field { .. } | Value::Row(_) => false,
    }
}

/// A type without a length stands for one character or bit, which would cut what is given.
fn any_length(type_name: &str) -> String {
    match type_name {
        "character" => "character varying".to_owned(),
        "character[]" => "character varying[]".to_owned(),
        "bit" => "bit varying".to_owned(),
        "bit[]" => "bit varying[]".to_owned(),
        other => other.to_owned(),
    }
}
