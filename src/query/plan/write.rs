//! Writes: the rows of a body inserted or put into others, rows deleted, and what comes back of them.

use crate::catalog::{Catalog, Column, Link, Relation};
use crate::query::filter::Test;
use crate::query::preferences::Resolution;
use crate::query::shape::Shape;
use crate::query::sql::{Conflict, Page, Source, Sql, Written};
use crate::query::tree::{Grower, Known, Node, Order, Out, Value};
use crate::query::{Body, Error, Query, values};

use super::{Context, Delivery, Plan};

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

/// A write to a relation.
///
/// # Errors
///
/// As [`read`](super::read); [`Error::BodyColumn`] for an unknown key, [`Error::Keys`] when keys differ and `columns` is not given;
/// [`Error::PutFilters`], [`Error::PutRange`], [`Error::PutPayload`].
pub fn write(
    context: &Context<'_>,
    query: &Query,
    relation: &Relation,
    write: Write,
    body: Option<&Body>,
    returning: Returning<'_>,
) -> Result<Plan, Error> {
    let shape = query.shape()?;
    let mut grower = Grower::new(context);
    let node = grower.grow(&shape, relation, true)?;
    let key: Vec<&Column> = relation.key().collect();
    if write == Write::Put {
        check_put(&shape, &key)?;
    }
    let filters = grower.filters(&shape, relation)?;
    let writer = Writer {
        catalog: context.catalog,
        query,
        shape: &shape,
        relation,
        key: &key,
        filters: &filters,
        body,
    };
    let returned = match returning {
        Returning::Nothing => Vec::new(),
        Returning::Key => key.clone(),
        Returning::Rows(_) => needed(&node),
    };

    let mut sql = Sql::default();
    let wrapped = returning != Returning::Nothing;
    if wrapped {
        sql.begin_source();
    }
    let effect = match write {
        Write::Insert { resolution, defaults } => writer.insert(resolution, defaults, &mut sql)?,
        Write::Put => writer.put(&mut sql)?,
        Write::Update { defaults } => writer.update(defaults, &mut sql)?,
        Write::Delete => writer.delete(&mut sql),
    };
    let created = effect == Effect::Creates;
    if effect == Effect::None {
        sql.no_rows(context.catalog, relation, &returned);
    } else if wrapped || created {
        sql.returning(&returned, relation, created);
    }
    let mut plan = match returning {
        Returning::Nothing => Plan {
            statement: sql.text.into(),
            params: sql.params.into(),
            tells_created: created,
            ..Plan::default()
        },
        Returning::Key => read_back(context, &keys(relation, &key), Delivery::Text, created, sql),
        Returning::Rows(delivery) => read_back(context, &node, delivery, created, sql),
    };
    plan.writes = true;
    plan.runs_code = true;
    plan.scope = Some(relation.scope);
    if wrapped {
        plan.legacy_names = grower.legacy_used.into();
    }
    Ok(plan)
}

/// What the one statement of a write is made of.
struct Writer<'a, 'c> {
    catalog: &'c Catalog,
    query: &'a Query,
    shape: &'a Shape<'a>,
    relation: &'c Relation,
    key: &'a [&'c Column],
    filters: &'a [Known<'a>],
    body: Option<&'a Body>,
}

/// What a write does to rows.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Effect {
    /// Nothing: no statement was written.
    None,
    /// It does to all of them the same.
    Changes,
    /// It changes those that are there and creates the others.
    Creates,
}

impl Writer<'_, '_> {
    fn insert(&self, resolution: Option<Resolution>, defaults: bool, sql: &mut Sql) -> Result<Effect, Error> {
        let columns = self.columns()?;
        let conflict = self.conflict(resolution)?;
        if self.body.is_none_or(|body| body.rows() == 0) {
            return Ok(Effect::None);
        }
        if columns.is_empty() {
            sql.insert_defaults(self.catalog, self.relation);
            return Ok(Effect::Changes);
        }
        sql.insert(&self.written(&columns, defaults), conflict.as_ref(), &[]);
        Ok(match conflict {
            Some(Conflict { merge: true, .. }) => Effect::Creates,
            _ => Effect::Changes,
        })
    }

    /// What an insert does about rows that are there: by the columns of `on_conflict`, or else of the key.
    fn conflict(&self, resolution: Option<Resolution>) -> Result<Option<Conflict<'_>>, Error> {
        let columns = match &self.shape.on_conflict {
            Some(names) => {
                let columns = names.iter().map(|name| known_column(self.relation, name));
                columns.collect::<Result<_, _>>()?
            }
            None => self.key.to_vec(),
        };
        // Without a key nothing can be there already.
        let resolution = resolution.filter(|_| !columns.is_empty());
        Ok(resolution.map(|resolution| Conflict {
            columns,
            merge: resolution == Resolution::MergeDuplicates,
        }))
    }

    fn put(&self, sql: &mut Sql) -> Result<Effect, Error> {
        if self.query.is_ranged() {
            return Err(Error::PutRange);
        }
        let key = put_key(self.key, self.filters)?;
        let columns = self.columns()?;
        let in_body = |(column, _): &(&Column, _)| columns.iter().any(|written| written.name == column.name);
        if self.body.is_none_or(|body| body.rows() != 1) || !key.iter().all(in_body) {
            return Err(Error::PutPayload);
        }
        let conflict = Conflict {
            columns: key.iter().map(|(column, _)| *column).collect(),
            merge: true,
        };
        sql.insert(&self.written(&columns, false), Some(&conflict), &key);
        Ok(Effect::Creates)
    }

    fn update(&self, defaults: bool, sql: &mut Sql) -> Result<Effect, Error> {
        let columns = self.columns()?;
        if columns.is_empty() || self.body.is_none_or(|body| body.rows() == 0) {
            return Ok(Effect::None);
        }
        sql.update(&self.written(&columns, defaults), self.filters);
        Ok(Effect::Changes)
    }

    fn delete(&self, sql: &mut Sql) -> Effect {
        sql.delete(self.catalog, self.relation, self.filters);
        Effect::Changes
    }

    fn columns(&self) -> Result<Vec<&Column>, Error> {
        written(self.shape, self.body, self.relation)
    }

    fn written<'w>(&'w self, columns: &'w [&'w Column], defaults: bool) -> Written<'w> {
        Written {
            catalog: self.catalog,
            relation: self.relation,
            columns,
            defaults,
        }
    }
}

/// The rows that `sql` returns, read as `node` says.
fn read_back(context: &Context<'_>, node: &Node<'_>, delivery: Delivery<'_>, created: bool, mut sql: Sql) -> Plan {
    sql.end_source();
    let page = Page {
        context,
        node,
        source: Source::Rows,
        delivery,
        limit: None,
        count: None,
        created,
    };
    page.plan(sql)
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
        if let Order::Field { node: 0, column, .. } = order {
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
        outputs: outputs.collect(),
        ..Node::of(relation)
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
fn put_key<'c>(key: &[&'c Column], filters: &[Known<'_>]) -> Result<Vec<(&'c Column, values::Value)>, Error> {
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
