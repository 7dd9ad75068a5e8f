//! A query checked against the catalog: every name is looked up, and a statement written that delivers what is asked for.

use std::borrow::Cow;
use std::sync::Arc;

use crate::catalog::{Argument, Catalog, Column, Function, Handler, Link, Relation, Returns, Scope};
use crate::encode;

use super::filter::Test;
use super::preferences::{Count, Resolution};
use super::shape::Shape;
use super::sql::{Call, Conflict, Given, Page, Param, Source, Sql, Written};
use super::tree::{Child, Grower, Known, Node, Out, Value};
use super::types::Cast;
use super::values::array;
use super::{Body, Error, Query, hint};

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
    /// Nothing.
    Nothing,
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

/// A write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Write {
    /// The body's objects become rows. Those that are there already update theirs, or are left out.
    Insert {
        /// What becomes of those that are there.
        resolution: Option<Resolution>,
        /// What the body leaves out gets the column's default, not NULL.
        defaults: bool,
    },
    /// The row that the filters name by its whole primary key becomes the body's one object, or is made of it.
    Put,
    /// The rows that pass the filters get the values of the body's first object.
    Update {
        /// What the body leaves out gets the column's default, not NULL.
        defaults: bool,
    },
    /// The rows that pass the filters go.
    Delete,
}

/// What a write returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Returning<'c> {
    /// Nothing.
    Nothing,
    /// The primary key, as text.
    Key,
    /// The rows.
    Rows(Delivery<'c>),
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

/// A write to a relation.
///
/// # Errors
///
/// As [`read`]; [`Error::BodyColumn`] for an unknown key, [`Error::Keys`] when keys differ and `columns` is not given;
/// [`Error::PutFilters`], [`Error::PutRange`], [`Error::PutPayload`].
pub fn write(
    context: &Context<'_>,
    query: &Query,
    relation: &Relation,
    write: Write,
    body: Option<&Body>,
    returning: Returning<'_>,
) -> Result<Plan, Error> {
    let catalog = context.catalog;
    let shape = query.shape()?;
    let mut grower = Grower::new(context);
    let node = grower.grow(&shape, relation, true)?;
    let key: Vec<&Column> = relation.key().collect();
    if write == Write::Put {
        check_put(&shape, &key)?;
    }
    let filters = grower.filters(&shape, relation)?;
    let returned = match returning {
        Returning::Nothing => Vec::new(),
        Returning::Key => key.clone(),
        Returning::Rows(_) => needed(&node),
    };
    let mut sql = Sql::default();
    let wrapped = !matches!(returning, Returning::Nothing);
    if wrapped {
        sql.begin_source();
    }
    let mut created = false;
    let mut nothing = false;
    match write {
        Write::Delete => sql.delete(catalog, relation, &filters),
        Write::Update { defaults } => {
            let columns = written(&shape, body, relation)?;
            let target = Written {
                catalog,
                relation,
                columns: &columns,
                defaults,
            };
            nothing = columns.is_empty() || body.is_none_or(|body| body.rows() == 0);
            if !nothing {
                sql.update(&target, &filters);
            }
        }
        Write::Insert { resolution, defaults } => {
            let columns = written(&shape, body, relation)?;
            let target = Written {
                catalog,
                relation,
                columns: &columns,
                defaults,
            };
            let named = match &shape.on_conflict {
                Some(names) => names
                    .iter()
                    .map(|name| known_column(relation, name))
                    .collect::<Result<_, _>>()?,
                None => key.clone(),
            };
            // Without a key nothing can be there already.
            let conflict = resolution.filter(|_| !named.is_empty()).map(|resolution| Conflict {
                columns: named,
                merge: resolution == Resolution::MergeDuplicates,
            });
            nothing = body.is_none_or(|body| body.rows() == 0);
            if nothing {
            } else if columns.is_empty() {
                sql.insert_defaults(catalog, relation);
            } else {
                created = conflict.as_ref().is_some_and(|conflict| conflict.merge);
                sql.insert(&target, conflict.as_ref(), &[]);
            }
        }
        Write::Put => {
            if query.is_ranged() {
                return Err(Error::PutRange);
            }
            let key = put_key(&key, &filters)?;
            let columns = written(&shape, body, relation)?;
            let in_body = |(column, _): &(&Column, _)| columns.iter().any(|written| written.name == column.name);
            if body.is_none_or(|body| body.rows() != 1) || !key.iter().all(in_body) {
                return Err(Error::PutPayload);
            }
            let target = Written {
                catalog,
                relation,
                columns: &columns,
                defaults: false,
            };
            let conflict = Conflict {
                columns: key.iter().map(|(column, _)| *column).collect(),
                merge: true,
            };
            created = true;
            sql.insert(&target, Some(&conflict), &key);
        }
    }
    if nothing {
        sql.no_rows(catalog, relation, &returned);
    } else if wrapped || created {
        sql.returning(&returned, relation, created);
    }
    let delivery = match returning {
        Returning::Nothing => {
            return Ok(Plan {
                statement: sql.text.into(),
                params: sql.params.into(),
                tells_created: created,
                scope: Some(relation.scope),
                runs_code: true,
                writes: true,
                ..Plan::default()
            });
        }
        Returning::Key => Delivery::Text,
        Returning::Rows(delivery) => delivery,
    };
    sql.end_source();
    let key_node;
    let node = if returning == Returning::Key {
        key_node = keys(relation, &key);
        &key_node
    } else {
        &node
    };
    let page = Page {
        context,
        node,
        source: Source::Rows,
        delivery,
        limit: None,
        count: None,
        created,
    };
    let mut plan = page.plan(sql);
    plan.writes = true;
    plan.runs_code = true;
    plan.scope = Some(relation.scope);
    plan.legacy_names = grower.legacy_used.into();
    Ok(plan)
}

/// What a function is called with.
#[derive(Clone, Copy)]
pub enum Arguments<'a> {
    /// The query string, or a form.
    Named,
    /// A JSON body and the names in it.
    Json {
        /// Its keys, or those of `columns`.
        keys: &'a [String],
    },
    /// A body of rows, the first of which counts, and the names in it.
    Rows {
        /// Its columns.
        keys: &'a [String],
    },
    /// A body of another type: the type that the function's one argument must have.
    Raw {
        /// `text`, `xml` or `bytea`.
        type_name: &'static str,
    },
}

/// The function that a call means: by its name, and the names of the arguments given.
///
/// # Errors
///
/// [`Error::Function`] if there is none, [`Error::AmbiguousFunction`] if there are several.
pub fn function<'c>(
    context: &Context<'c>,
    query: &Query,
    name: &str,
    arguments: Arguments<'_>,
) -> Result<&'c Function, Error> {
    let mut names: Vec<String> = match arguments {
        Arguments::Named => query.arguments.iter().map(|(name, _)| name.clone()).collect(),
        Arguments::Json { keys } | Arguments::Rows { keys } => keys.to_vec(),
        Arguments::Raw { .. } => Vec::new(),
    };
    names.sort_unstable();
    names.dedup();
    let overloads = context.catalog.functions_named(name);
    let fits = |function: &&Function| {
        let known = |name: &String| function.arguments.iter().any(|argument| *argument.name == **name);
        let given = |argument: &&Argument| names.iter().any(|name| **name == *argument.name);
        if function.arguments.is_empty() {
            return names.is_empty() && !matches!(arguments, Arguments::Raw { .. });
        }
        let required = |argument: &&Argument| argument.required;
        names.iter().all(known)
            && function
                .arguments
                .iter()
                .filter(required)
                .all(|argument| given(&argument))
    };
    let takes_body = |function: &&Function| match (arguments, &*function.arguments) {
        (Arguments::Json { .. }, [only]) => only.name.is_empty() && matches!(&*only.type_name, "json" | "jsonb"),
        (Arguments::Raw { type_name }, [only]) => only.name.is_empty() && *only.type_name == *type_name,
        _ => false,
    };
    let named: Vec<&Function> = overloads.iter().filter(fits).collect();
    let found = if named.is_empty() {
        overloads.iter().filter(takes_body).collect()
    } else {
        named
    };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Error::Function {
            schema: context.schema.to_owned(),
            name: name.to_owned(),
            body: match arguments {
                Arguments::Named | Arguments::Rows { .. } => None,
                Arguments::Json { .. } => Some("json"),
                Arguments::Raw { type_name } => Some(type_name),
            },
            similar: hint::function(context.catalog, name, &names),
            arguments: names,
        }),
        several => Err(Error::AmbiguousFunction {
            candidates: several
                .iter()
                .map(|function| {
                    let arguments = function.arguments.iter();
                    let listed: Vec<String> = arguments
                        .map(|argument| format!("{} => {}", argument.name, argument.type_name))
                        .collect();
                    format!("{}.{name}({})", context.schema, listed.join(", "))
                })
                .collect(),
        }),
    }
}

/// The relation whose rows, or whose kind of rows, a function returns; none if it returns nothing.
#[must_use]
pub fn result<'c>(catalog: &'c Catalog, function: &'c Function) -> Option<&'c Relation> {
    match &function.returns {
        Returns::Void => None,
        Returns::Relation(at) => catalog.relations().get(*at),
        Returns::Scalar(relation) | Returns::Columns(relation) => Some(relation),
    }
}

/// A call of a function.
///
/// # Errors
///
/// As [`read`].
pub fn call(
    context: &Context<'_>,
    query: &Query,
    function: &Function,
    arguments: Arguments<'_>,
    delivery: Delivery<'_>,
    count: Option<Count>,
) -> Result<Plan, Error> {
    let given_names = |name: &str| match arguments {
        Arguments::Named => query.arguments.iter().any(|(other, _)| *other == *name),
        Arguments::Json { keys } | Arguments::Rows { keys } => keys.iter().any(|other| *other == *name),
        Arguments::Raw { .. } => false,
    };
    let unnamed = matches!(&*function.arguments, [only] if only.name.is_empty());
    let specified: Vec<&Argument> = function
        .arguments
        .iter()
        .filter(|argument| unnamed || given_names(&argument.name))
        .collect();
    let call = Call {
        function,
        arguments: &specified,
        given: match arguments {
            _ if unnamed => Given::Body,
            Arguments::Named => Given::Named,
            Arguments::Json { .. } | Arguments::Rows { .. } | Arguments::Raw { .. } => Given::Json,
        },
    };
    let settled = |mut plan: Plan| {
        plan.settings = function.settings.clone();
        plan.scope = Some(function.scope);
        plan.runs_code = true;
        plan
    };
    let Some(relation) = result(context.catalog, function) else {
        let mut sql = Sql::default();
        sql.call_rows(context.catalog, call);
        return Ok(settled(Plan {
            statement: sql.text.into(),
            params: sql.params.into(),
            ..Plan::default()
        }));
    };
    let shape = query.shape()?;
    let mut grower = Grower::new(context);
    let node = grower.grow(&shape, relation, false)?;
    let mut sql = Sql::default();
    let exact = matches!(count, Some(Count::Exact | Count::Estimated));
    let source = if exact {
        // It runs once, and both its rows and their number come of that.
        sql.begin_source();
        sql.call_rows(context.catalog, call);
        sql.end_source();
        Source::Rows
    } else {
        Source::Call(call)
    };
    let page = Page {
        context,
        node: &node,
        source,
        delivery,
        limit: context.max_rows,
        count,
        created: false,
    };
    let mut plan = settled(page.plan(sql));
    plan.single = !function.returns_set;
    if function.returns_scalar() && plan.rows == Rows::Objects {
        plan.rows = Rows::Values;
    }
    plan.legacy_names = grower.legacy_used.into();
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
    let ordered = |order: &super::tree::Order<'_>| match order {
        super::tree::Order::Field { column, .. } => own(column),
        // What it shows is looked at among its own outputs.
        super::tree::Order::Related { .. } => false,
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

/// The columns that a write must return for the rows of `node` to be made of them.
fn needed<'c>(node: &Node<'c>) -> Vec<&'c Column> {
    let relation = node.relation;
    let mut columns: Vec<&Column> = Vec::new();
    let mut need = |column: &'c Column| {
        if !columns.iter().any(|other| other.name == column.name) {
            columns.push(column);
        }
    };
    for out in &node.outputs {
        if let Value::Field { node: 0, column, .. } = out.value {
            need(column);
        }
    }
    for order in &node.order {
        if let super::tree::Order::Field { node: 0, column, .. } = order {
            need(column);
        }
    }
    for child in &node.children {
        let key = match &child.relationship.link {
            Link::ManyToOne(key) | Link::OneToMany(key) | Link::OneToOne(key) => key,
            Link::ManyToMany(junction) => &junction.source,
            Link::Computed { .. } => {
                relation.columns.iter().for_each(&mut need);
                continue;
            }
        };
        for (own, _) in &key.columns {
            if let Some(column) = relation.field(own) {
                need(column);
            }
        }
    }
    columns
}

/// A node that delivers the primary key.
fn keys<'c>(relation: &'c Relation, key: &[&'c Column]) -> Node<'c> {
    // In the relation's order, as people know it.
    let key = relation
        .columns
        .iter()
        .filter(|column| key.iter().any(|other| other.name == column.name));
    let outputs = key.map(|column| Out {
        name: &column.name,
        value: Value::Field {
            node: 0,
            column,
            path: &[],
            represented: None,
            cast: None,
        },
        aggregate: None,
        shows: Some(column),
    });
    Node {
        id: 0,
        relation,
        outputs: outputs.collect(),
        filters: Vec::new(),
        order: Vec::new(),
        range: super::request::Range::default(),
        children: Vec::new(),
    }
}

fn known_column<'c>(relation: &'c Relation, name: &str) -> Result<&'c Column, Error> {
    relation
        .column(name)
        .map(|(_, column)| column)
        .ok_or_else(|| Error::Column {
            relation: relation.name.clone(),
            column: name.to_owned(),
        })
}

/// The columns that a write sets: those of `columns` if it was sent, otherwise those of the body; each once.
fn written<'c>(shape: &Shape<'_>, body: Option<&Body>, relation: &'c Relation) -> Result<Vec<&'c Column>, Error> {
    let names: Vec<&str> = match (&shape.columns, body) {
        (Some(names), _) => names.iter().map(|name| &**name).collect(),
        (None, Some(body)) => body.keys()?.iter().map(|name| &**name).collect(),
        (None, None) => Vec::new(),
    };
    let mut taken = vec![false; relation.columns.len()];
    let mut columns = Vec::new();
    for name in names {
        let Some((at, column)) = relation.column(name) else {
            return Err(Error::BodyColumn {
                relation: relation.name.clone(),
                column: name.to_owned(),
            });
        };
        if !std::mem::replace(&mut taken[at], true) {
            columns.push(column);
        }
    }
    Ok(columns)
}

/// The filters of a `PUT` name the key's columns, and nothing else.
fn check_put(shape: &Shape<'_>, key: &[&Column]) -> Result<(), Error> {
    let mut own = shape.filters.iter().filter(|(path, _)| path.is_empty());
    let of_key = |test: &Test<'_>| match test {
        Test::One(filter) => key.iter().any(|column| *column.name == *filter.field.name) && filter.equal_to().is_some(),
        Test::Group(_) => false,
    };
    if own.all(|(_, test)| of_key(test)) {
        Ok(())
    } else {
        Err(Error::PutFilters)
    }
}

/// The value that the filters of a `PUT` give to each column of the key, and to nothing else.
fn put_key<'c>(key: &[&'c Column], filters: &[Known<'_>]) -> Result<Vec<(&'c Column, super::values::Value)>, Error> {
    let mut values = Vec::new();
    for column in key {
        let mut named = filters.iter().filter_map(|test| match test {
            Known::One {
                column: filtered,
                filter,
                ..
            } if filtered.name == column.name => Some(filter.equal_to()),
            _ => None,
        });
        match (named.next(), named.next()) {
            (Some(Some(value)), None) => values.push((*column, value)),
            _ => return Err(Error::PutFilters),
        }
    }
    if values.is_empty() || values.len() != filters.len() {
        return Err(Error::PutFilters);
    }
    Ok(values)
}
