//! A query checked against the catalog: every name is looked up, and a statement written that delivers what is asked for.
//!
//! Here are reads, and what all plans are; `write.rs` and `call.rs` are the other two ways to one.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::catalog::{Catalog, Column, Handler, Link, Relation, Scope};
use crate::encode;

use super::preferences::Count;
use super::sql::{Page, Param, Source, Sql};
use super::tree::{Child, Grower, Known, Node, Order, Out, Value};
use super::types::Cast;
use super::values::array;
use super::{Error, Query, hint};

mod call;
mod write;

pub use self::call::{Arguments, call, function, result};
pub use self::write::{Returning, Write, write};

/// A statement ready to run, but for its values. Not `Debug`: parameters are never logged.
#[derive(Clone, Default)]
pub struct Plan {
    /// The SQL. Equal for all requests of the same shape, so it can be the key of a prepared statement.
    pub statement: Arc<str>,
    pub(super) params: Box<[Param]>,
    /// How each result column becomes JSON, of [`Rows::Objects`] and [`Rows::Values`].
    pub columns: Arc<[encode::Column]>,
    /// The same columns for people.
    pub output_columns: Box<[OutputColumn]>,
    /// What the statement's rows are.
    pub rows: Rows,
    /// Whether there is one row, and the answer is it and not a list.
    pub single: bool,
    /// Whose relation or function it is.
    pub scope: Option<Scope>,
    /// Whether each row has, behind its columns, whether it was created.
    pub tells_created: bool,
    /// Whether each row has, behind its columns, whether it is one at all, and how many there are in all.
    pub tells_total: bool,
    /// Estimates how many rows there are in all: `EXPLAIN (FORMAT JSON)`.
    pub(super) planned: Option<(Arc<str>, Box<[Param]>)>,
    /// Whether running it runs functions of the tenant's own.
    pub runs_code: bool,
    /// Whether it must run in a transaction that may write.
    pub writes: bool,
    /// Settings for the transaction that it runs in.
    pub settings: Box<[(Box<str>, Box<str>)]>,
    /// Embedded relations that were named by their own name although they have an alias: name and alias.
    pub legacy_names: Box<[(String, String)]>,
    /// How much room its answers take.
    pub room: Room,
}

/// How long the answers to a plan have been: the next one has room from the start, and does not grow step by step.
#[derive(Debug, Default)]
pub struct Room(AtomicUsize);

impl Room {
    /// No more is made ready than this: of what is longer, growing is a small part.
    const MOST: usize = 64 << 10;

    /// Bytes for the next answer.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Learns that an answer had so many bytes. A shorter one after long ones takes a little away.
    pub fn learn(&self, bytes: usize) {
        let known = self.bytes();
        let next = bytes.min(Self::MOST).max(known - known / 8);
        if next != known {
            self.0.store(next, Ordering::Relaxed);
        }
    }
}

impl Clone for Room {
    fn clone(&self) -> Self {
        Self(self.bytes().into())
    }
}

/// What a statement's rows are.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Rows {
    /// Rows of columns.
    Objects,
    /// Values: the one column of each row.
    Values,
    /// Rows of columns as text.
    Text,
    /// JSON, ready: the one column of each row.
    Whole,
    /// One row: a document, and how many rows it is made of; then, if totals are told, how many there are in all.
    Document,
    /// One row: how many rows there are; then, if totals are told, how many there are in all.
    Number,
    /// Lines of an `EXPLAIN`.
    Lines,
    /// Nothing to deliver.
    #[default]
    Nothing,
}

/// One result column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutputColumn {
    /// Its name in the result: the alias, if there is one.
    pub name: Box<str>,
    /// Its type, after a cast if there is one.
    pub type_name: Box<str>,
    /// Whether it belongs to the primary key.
    pub is_key: bool,
}

/// What the tenant allows, and what is the same for all statements of a request.
#[derive(Clone, Copy)]
pub struct Context<'c> {
    /// What there is.
    pub catalog: &'c Catalog,
    /// The schema's name, for messages.
    pub schema: &'c str,
    /// The most rows of a relation, embedded ones as well.
    pub max_rows: Option<u64>,
    /// Whether aggregates may be asked for.
    pub aggregates: bool,
    /// Whether embedded relations with an alias may be named by their own name as well.
    pub legacy_names: bool,
    /// Whether times are shown in another zone than UTC.
    pub zoned: bool,
}

/// What rows are delivered as.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery<'c> {
    /// JSON.
    Json,
    /// JSON without the fields that are null.
    Stripped,
    /// Values as Postgres prints them, for CSV and for pages.
    Text,
    /// GeoJSON, which PostGIS makes.
    GeoJson,
    /// What a function or aggregate of the tenant's own makes of them.
    Custom(&'c Handler),
    /// How many they are.
    Number,
    /// The way that Postgres would go, and these options of `EXPLAIN`.
    Explained(Explain),
}

/// Options of `EXPLAIN`, and whether its text is JSON.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Explain {
    /// `FORMAT JSON`.
    pub json: bool,
    /// `ANALYZE`.
    pub analyze: bool,
    /// `VERBOSE`.
    pub verbose: bool,
    /// `SETTINGS`.
    pub settings: bool,
    /// `BUFFERS`.
    pub buffers: bool,
    /// `WAL`.
    pub wal: bool,
}

/// Parameters of a statement in Postgres' text format, none for NULL.
pub type Params<'v> = Vec<Option<Cow<'v, str>>>;

impl Plan {
    /// The statement's parameters for this request, in Postgres' text format; their types are for the server to infer.
    #[must_use]
    pub fn params<'v>(&'v self, query: &'v Query, body: Option<&'v str>) -> Params<'v> {
        bind(&self.params, query, body)
    }

    /// The statement that estimates how many rows there are, and its parameters.
    #[must_use]
    pub fn planned<'v>(&'v self, query: &'v Query, body: Option<&'v str>) -> Option<(&'v Arc<str>, Params<'v>)> {
        let (statement, params) = self.planned.as_ref()?;
        Some((statement, bind(params, query, body)))
    }
}

fn bind<'v>(params: &'v [Param], query: &'v Query, body: Option<&'v str>) -> Params<'v> {
    let bound = params.iter().map(|param| match param {
        Param::Value(value) => query.values.get(*value).map(Cow::Borrowed),
        Param::AtMost { asked, most, text } => {
            let asked = asked.and_then(|value| query.values.get(value));
            let fewer = asked.filter(|text| text.parse().is_ok_and(|asked: u64| asked < *most));
            Some(Cow::Borrowed(fewer.unwrap_or(text)))
        }
        Param::Body => body.map(Cow::Borrowed),
        Param::Argument { name, variadic } => {
            let mut sent = query.arguments.iter().filter(|(other, _)| **other == **name);
            if *variadic {
                let all: Vec<&str> = sent.map(|(_, value)| &**value).collect();
                Some(Cow::Owned(array(&all)))
            } else {
                // The last of several counts, as in PostgREST.
                sent.next_back().map(|(_, value)| Cow::Borrowed(&**value))
            }
        }
        Param::Fixed(text) => Some(Cow::Borrowed(&**text)),
    });
    bound.collect()
}

/// The relation of this name.
///
/// # Errors
///
/// [`Error::Relation`].
pub fn relation<'c>(context: &Context<'c>, name: &str) -> Result<&'c Relation, Error> {
    context.catalog.relation(name).ok_or_else(|| Error::Relation {
        schema: context.schema.to_owned(),
        name: name.to_owned(),
        similar: hint::relation(context.catalog, name).map(str::to_owned),
    })
}

/// A read of a relation.
///
/// # Errors
///
/// Those of names that are not in the catalog, and of what the tenant does not allow.
pub fn read(
    context: &Context<'_>,
    query: &Query,
    relation: &Relation,
    delivery: Delivery<'_>,
    count: Option<Count>,
) -> Result<Plan, Error> {
    let shape = query.shape()?;
    let mut grower = Grower::new(context);
    let node = grower.grow(&shape, relation, false)?;
    let page = Page {
        context,
        node: &node,
        source: Source::Relation(relation),
        delivery,
        limit: context.max_rows,
        count,
        created: false,
    };
    let mut plan = page.plan(Sql::default());
    plan.legacy_names = grower.legacy_used.into();
    plan.scope = Some(relation.scope);
    Ok(plan)
}

/// Whether reading it may run functions of the tenant's own: views, policies, computed fields and relationships, casts and
/// operators.
pub(super) fn runs_code(node: &Node<'_>) -> bool {
    let relation = node.relation;
    let own = |column: &Column| column.runs_code || relation.column(&column.name).is_none();
    fn tested(tests: &[Known<'_>], own: &dyn Fn(&Column) -> bool) -> bool {
        tests.iter().any(|test| match test {
            Known::One {
                column, represented, ..
            } => represented.is_some() || own(column),
            Known::Embedded { .. } => false,
            Known::Group(_, tests) => tested(tests, own),
        })
    }
    let computed = |out: &Out<'_>| {
        let cast = out.aggregate.as_ref().and_then(|(_, cast)| cast.as_ref());
        match &out.value {
            Value::Field {
                column,
                represented,
                cast: before,
                ..
            } => {
                represented.is_some() || own(column) || [before.as_ref(), cast].into_iter().flatten().any(Cast::is_own)
            }
            _ => cast.is_some_and(Cast::is_own),
        }
    };
    let ordered = |order: &Order<'_>| match order {
        Order::Field { column, .. } => own(column),
        // What it shows is looked at among its own outputs.
        Order::Related { .. } => false,
    };
    let tied = |child: &Child<'_>| match &child.relationship.link {
        Link::ManyToOne(key) | Link::OneToMany(key) | Link::OneToOne(key) => key.columns.iter().any(|(here, there)| {
            relation.field(here).is_none_or(own) || child.node.relation.field(there).is_none_or(own)
        }),
        Link::ManyToMany(junction) => {
            let ends = [(&junction.source, relation), (&junction.target, child.node.relation)];
            ends.iter()
                .any(|(key, end)| key.columns.iter().any(|(here, _)| end.field(here).is_none_or(own)))
        }
        Link::Computed { .. } => true,
    };
    relation.runs_code
        || node.outputs.iter().any(computed)
        || node.order.iter().any(ordered)
        || tested(&node.filters, &own)
        || node.children.iter().any(|child| tied(child) || runs_code(&child.node))
}
