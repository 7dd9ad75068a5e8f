//! What is asked for, with every name looked up: the relation, its fields, and the relations embedded in it.

use crate::catalog::{Catalog, Column, Link, Relation, Relationship};

use super::filter::{Condition, Filter, Group, Test};
use super::plan::Context;
use super::request::Range;
use super::shape::{Aggregate, Embed, Field, Item, Output, Path, Shape, Sort, Step};
use super::text::{Name, syntax};
use super::types::{Cast, cast_to};
use super::{Error, hint};

/// A relation of the request with all that is asked of it.
pub(super) struct Node<'c> {
    /// Tells the relations of one request apart; 0 is the outermost.
    pub(super) id: usize,
    pub(super) relation: &'c Relation,
    /// What each row is made of, in the order asked for.
    pub(super) outputs: Vec<Out<'c>>,
    /// All of them must pass.
    pub(super) filters: Vec<Known<'c>>,
    pub(super) order: Vec<Order<'c>>,
    pub(super) range: Range,
    pub(super) children: Vec<Child<'c>>,
}

impl<'c> Node<'c> {
    /// The outermost one, of which nothing is asked yet.
    pub(super) fn of(relation: &'c Relation) -> Self {
        Self {
            id: 0,
            relation,
            outputs: Vec::new(),
            filters: Vec::new(),
            order: Vec::new(),
            range: Range::default(),
            children: Vec::new(),
        }
    }
}

/// An embedded relation.
pub(super) struct Child<'c> {
    pub(super) node: Node<'c>,
    pub(super) relationship: &'c Relationship,
    /// What it is called in the result and in filters.
    pub(super) name: &'c str,
    pub(super) inner: bool,
    pub(super) spread: bool,
    /// It is there to be filtered by, and delivers nothing.
    pub(super) empty: bool,
}

/// One value of a row.
#[derive(Clone)]
pub(super) struct Out<'c> {
    pub(super) name: &'c str,
    pub(super) value: Value<'c>,
    pub(super) aggregate: Option<(Aggregate, Option<Cast<'c>>)>,
    /// The column that it shows as it is.
    pub(super) shows: Option<&'c Column>,
}

/// Where a value comes from. Numbers are those of nodes.
#[derive(Clone)]
pub(super) enum Value<'c> {
    Field {
        node: usize,
        column: &'c Column,
        path: &'c [Step<'c>],
        /// What makes JSON of it, for a domain that has such a function.
        represented: Option<&'c str>,
        cast: Option<Cast<'c>>,
    },
    /// The whole row, to be counted.
    Row(usize),
    /// A column of a spread relation, by its place among the outputs of that.
    Spread {
        child: usize,
        place: usize,
        many: bool,
        of: Box<Self>,
    },
    /// An embedded row.
    Object(usize),
    /// Embedded rows.
    Array(usize),
}

/// A filter whose names are known.
pub(super) enum Known<'c> {
    One {
        node: usize,
        column: &'c Column,
        filter: &'c Filter<'c>,
        /// What makes the domain of the text of a filter.
        represented: Option<&'c str>,
    },
    /// Whether there are rows of an embedded relation.
    Embedded {
        child: usize,
        many: bool,
        exist: bool,
    },
    Group(&'c Group<'c>, Vec<Self>),
}

/// What rows are ordered by.
pub(super) enum Order<'c> {
    Field {
        node: usize,
        column: &'c Column,
        sort: &'c Sort<'c>,
    },
    /// An output of an embedded row: its place among them, or its name.
    Related {
        child: usize,
        place: Place<'c>,
        sort: &'c Sort<'c>,
    },
}

#[derive(Clone, Copy)]
pub(super) enum Place<'c> {
    Name(&'c str),
    Number(usize),
}

/// What a tree is grown with.
pub(super) struct Grower<'c> {
    context: Context<'c>,
    /// Embedded relations that were named by their own name although they have an alias: name and alias.
    pub(super) legacy_used: Vec<(String, String)>,
    nodes: usize,
}

/// Each embedded relation is one more join to be planned: more of them than anybody shows are an attack.
const MAX_NODES: usize = 100;

/// Parameters of the query string that are still to find their relation.
struct Pending<'c> {
    filters: Vec<(&'c [Name<'c>], &'c Test<'c>)>,
    order: Vec<(&'c [Name<'c>], &'c [Sort<'c>])>,
    ranges: Vec<(&'c [Name<'c>], Range)>,
}

impl<'c> Grower<'c> {
    pub(super) fn new(context: &Context<'c>) -> Self {
        Self {
            context: *context,
            legacy_used: Vec::new(),
            nodes: 0,
        }
    }

    /// The tree of `query` over `relation`. With `embedded_only` the filters of the relation itself are left out, as are
    /// all ranges: a write has its filters elsewhere, and returns what it has written.
    pub(super) fn grow(
        &mut self,
        shape: &'c Shape<'c>,
        relation: &'c Relation,
        embedded_only: bool,
    ) -> Result<Node<'c>, Error> {
        let Shape {
            select,
            filters,
            order,
            ranges,
            ..
        } = shape;
        let keep = |path: &Path<'_>| !embedded_only || !path.is_empty();
        let pending = Pending {
            filters: filters
                .iter()
                .filter(|(path, _)| keep(path))
                .map(|(path, test)| (path.as_slice(), test))
                .collect(),
            order: order
                .iter()
                .map(|(path, sorts)| (path.as_slice(), sorts.as_slice()))
                .collect(),
            ranges: if embedded_only {
                Vec::new()
            } else {
                ranges.iter().map(|(path, range)| (path.as_slice(), *range)).collect()
            },
        };
        self.node(relation, select, pending, &relation.name)
    }

    /// The filters of the relation itself, for a write.
    pub(super) fn filters(&self, shape: &'c Shape<'c>, relation: &'c Relation) -> Result<Vec<Known<'c>>, Error> {
        let alone = Node::of(relation);
        let own = shape.filters.iter().filter(|(path, _)| path.is_empty());
        own.map(|(_, test)| self.known(test, &alone)).collect()
    }

    fn node(
        &mut self,
        relation: &'c Relation,
        items: &'c [Item<'c>],
        pending: Pending<'c>,
        called: &str,
    ) -> Result<Node<'c>, Error> {
        let id = self.nodes;
        self.nodes += 1;
        if id == MAX_NODES {
            let details = format!("more than {MAX_NODES} relations are embedded");
            return Err(syntax("select parameter", &relation.name, 0, details));
        }
        let pending = &pending;
        let mut node = Node {
            id,
            ..Node::of(relation)
        };
        if items.is_empty() {
            node.outputs.extend(self.all(id, relation));
        }
        self.check_targets(pending, items)?;
        // Whether there is a relationship is said before whether there is a column.
        for item in items {
            if let Item::Embed(embed) = item {
                node.children.push(self.child(relation, embed, pending, called)?);
            }
        }
        let mut children = 0;
        for item in items {
            match item {
                Item::All => node.outputs.extend(self.all(id, relation)),
                Item::Field(output) => node.outputs.push(self.output(id, relation, output)?),
                Item::Embed(_) => {
                    let delivered = self.delivered(&node.children[children])?;
                    node.outputs.extend(delivered);
                    children += 1;
                }
            }
        }
        for (path, test) in &pending.filters {
            if path.is_empty() {
                let known = self.known(test, &node)?;
                node.filters.push(known);
            }
        }
        for (path, sorts) in &pending.order {
            if path.is_empty() {
                for sort in *sorts {
                    let order = self.order(sort, &node)?;
                    node.order.push(order);
                }
            }
        }
        for (path, range) in &pending.ranges {
            if path.is_empty() {
                node.range = *range;
            }
        }
        Ok(node)
    }

    fn all(&self, id: usize, relation: &'c Relation) -> impl Iterator<Item = Out<'c>> {
        let catalog = self.context.catalog;
        relation.columns.iter().map(move |column| Out {
            name: &column.name,
            value: Value::Field {
                node: id,
                column,
                path: &[],
                represented: catalog.representation(&column.type_name, "json"),
                cast: None,
            },
            aggregate: None,
            shows: Some(column),
        })
    }

    fn output(&self, id: usize, relation: &'c Relation, output: &'c Output<'c>) -> Result<Out<'c>, Error> {
        if output.aggregate.is_some() && !self.context.aggregates {
            return Err(Error::AggregatesDisabled);
        }
        let cast = |name: Option<&'c str>| name.map(|name| cast_to(name, self.context.catalog)).transpose();
        let aggregate = match output.aggregate {
            Some(aggregate) => Some((aggregate, cast(output.aggregate_cast)?)),
            None => None,
        };
        let alias = output.alias.as_deref();
        // What came before aggregates, and is written by clients still: Postgres reads `t.count` as `count(t)`.
        let counts = |field: &Field<'_>| {
            field.name == "count"
                && field.path.is_empty()
                && output.aggregate.is_none()
                && relation.field("count").is_none()
        };
        if output.field.as_ref().is_some_and(counts) {
            return Ok(Out {
                name: alias.unwrap_or("count"),
                value: Value::Row(id),
                aggregate: Some((Aggregate::Count, cast(output.cast)?)),
                shows: None,
            });
        }
        let Some(field) = &output.field else {
            return Ok(Out {
                name: alias.unwrap_or("count"),
                value: Value::Row(id),
                aggregate,
                shows: None,
            });
        };
        let column = column(relation, field, id)?;
        let name = alias.unwrap_or_else(|| match output.aggregate {
            Some(aggregate) => aggregate.name(),
            None => last_key(field),
        });
        let plain = field.path.is_empty() && output.cast.is_none();
        Ok(Out {
            name,
            value: Value::Field {
                node: id,
                column,
                path: &field.path,
                represented: if field.path.is_empty() {
                    self.context.catalog.representation(&column.type_name, "json")
                } else {
                    None
                },
                cast: cast(output.cast)?,
            },
            aggregate,
            shows: (plain && output.aggregate.is_none()).then_some(column),
        })
    }

    fn child(
        &mut self,
        parent: &'c Relation,
        embed: &'c Embed<'c>,
        pending: &Pending<'c>,
        called: &str,
    ) -> Result<Child<'c>, Error> {
        let relationship = find(self.context.catalog, self.context.schema, parent, called, embed)?;
        let relation = &self.context.catalog.relations()[relationship.target];
        let name = embed.alias.as_deref().unwrap_or(&embed.relation);
        let mut legacy = false;
        let mut under = |path: &'c [Name<'c>]| -> Option<&'c [Name<'c>]> {
            let (first, rest) = path.split_first()?;
            if first == name {
                Some(rest)
            } else if self.context.legacy_names && embed.alias.is_some() && *first == embed.relation {
                legacy = true;
                Some(rest)
            } else {
                None
            }
        };
        let inside = Pending {
            filters: pending
                .filters
                .iter()
                .filter_map(|(path, test)| Some((under(path)?, *test)))
                .collect(),
            order: pending
                .order
                .iter()
                .filter_map(|(path, sorts)| Some((under(path)?, *sorts)))
                .collect(),
            ranges: pending
                .ranges
                .iter()
                .filter_map(|(path, range)| Some((under(path)?, *range)))
                .collect(),
        };
        if legacy && let Some(alias) = &embed.alias {
            self.legacy_used.push((embed.relation.to_string(), alias.to_string()));
        }
        let mut node = self.node(relation, &embed.items, inside, &embed.relation)?;
        let embeds_only = embed.items.iter().all(|item| matches!(item, Item::Embed(_)));
        let empty = embeds_only && node.children.iter().all(|child| child.empty);
        // A single row that delivers nothing has all its columns, to be ordered by.
        if empty && !relationship.link.is_to_one() {
            node.outputs.clear();
        }
        Ok(Child {
            node,
            relationship,
            name,
            inner: embed.inner,
            spread: embed.spread,
            empty,
        })
    }

    /// What an embedded relation adds to the row.
    fn delivered(&self, child: &Child<'c>) -> Result<Vec<Out<'c>>, Error> {
        let mut outputs = Vec::new();
        let id = child.node.id;
        let many = !child.relationship.link.is_to_one();
        if child.empty {
            return Ok(outputs);
        }
        if !child.spread {
            outputs.push(Out {
                name: child.name,
                value: if many { Value::Array(id) } else { Value::Object(id) },
                aggregate: None,
                shows: None,
            });
            return Ok(outputs);
        }
        if many && child.node.outputs.iter().any(|out| out.aggregate.is_some()) {
            return Err(Error::NotImplemented(
                "Aggregates are not implemented for one-to-many or many-to-many spreads.",
            ));
        }
        for (place, out) in child.node.outputs.iter().enumerate() {
            // An aggregate over one row means nothing there: it is taken over all rows here.
            outputs.push(Out {
                name: out.name,
                value: Value::Spread {
                    child: id,
                    place,
                    many,
                    of: Box::new(out.value.clone()),
                },
                aggregate: out.aggregate.clone(),
                shows: if many { None } else { out.shows },
            });
        }
        Ok(outputs)
    }

    fn known(&self, test: &'c Test<'c>, node: &Node<'c>) -> Result<Known<'c>, Error> {
        let filter = match test {
            Test::One(filter) => filter,
            Test::Group(group) => {
                let tests = group.tests.iter().map(|test| self.known(test, node));
                return Ok(Known::Group(group, tests.collect::<Result<_, _>>()?));
            }
        };
        let named = |child: &&Child<'c>| child.name == filter.field.name && filter.field.path.is_empty();
        if let Some(child) = node.children.iter().find(named) {
            let exist = match filter.condition {
                Condition::Is("NULL") => filter.negated,
                Condition::Is("NOT NULL") => !filter.negated,
                _ if node.relation.field(&filter.field.name).is_some() => return self.one(filter, node),
                _ => return Err(Error::EmbeddedFilter(child.name.to_owned())),
            };
            return Ok(Known::Embedded {
                child: child.node.id,
                many: !child.relationship.link.is_to_one(),
                exist,
            });
        }
        self.one(filter, node)
    }

    fn one(&self, filter: &'c Filter<'c>, node: &Node<'c>) -> Result<Known<'c>, Error> {
        let column = column(node.relation, &filter.field, node.id)?;
        Ok(Known::One {
            node: node.id,
            column,
            filter,
            represented: if filter.field.path.is_empty() {
                self.context.catalog.representation("text", &column.type_name)
            } else {
                None
            },
        })
    }

    fn order(&self, sort: &'c Sort<'c>, node: &Node<'c>) -> Result<Order<'c>, Error> {
        let Some(related) = &sort.related else {
            return Ok(Order::Field {
                node: node.id,
                column: column(node.relation, &sort.field, node.id)?,
                sort,
            });
        };
        let Some(child) = node.children.iter().find(|child| child.name == *related) else {
            return Err(Error::NotEmbedded {
                name: related.to_string(),
                alias: None,
            });
        };
        if !child.relationship.link.is_to_one() {
            return Err(Error::RelatedOrder {
                relation: node.relation.name.clone(),
                target: child.name.to_owned(),
            });
        }
        let shown = |out: &Out<'c>| {
            out.shows.is_some_and(|column| *column.name == sort.field.name) || out.name == sort.field.name
        };
        let Some(place) = child.node.outputs.iter().position(shown) else {
            return Err(unknown(child.node.relation, &sort.field.name, child.node.id));
        };
        Ok(Order::Related {
            child: child.node.id,
            place: if child.spread {
                Place::Number(place)
            } else {
                Place::Name(child.node.outputs[place].name)
            },
            sort,
        })
    }

    /// Every path must begin with an embedded relation.
    fn check_targets(&self, pending: &Pending<'c>, items: &'c [Item<'c>]) -> Result<(), Error> {
        let paths = pending.filters.iter().map(|(path, _)| *path);
        let paths = paths.chain(pending.order.iter().map(|(path, _)| *path));
        let paths = paths.chain(pending.ranges.iter().map(|(path, _)| *path));
        for name in paths.filter_map(<[Name<'_>]>::first) {
            let embeds = || {
                items.iter().filter_map(|item| match item {
                    Item::Embed(embed) => Some(embed),
                    Item::All | Item::Field(_) => None,
                })
            };
            let called = |embed: &Embed<'_>| embed.alias.as_deref().unwrap_or(&embed.relation) == *name;
            let legacy = |embed: &&Embed<'_>| embed.alias.is_some() && embed.relation == *name;
            if embeds().any(called) || self.context.legacy_names && embeds().any(|embed| legacy(&embed)) {
                continue;
            }
            return Err(Error::NotEmbedded {
                name: name.to_string(),
                alias: embeds()
                    .find(legacy)
                    .and_then(|embed| embed.alias.as_ref().map(ToString::to_string)),
            });
        }
        Ok(())
    }
}

/// The field's column in the relation.
pub(super) fn column<'c>(relation: &'c Relation, field: &Field<'_>, node: usize) -> Result<&'c Column, Error> {
    relation
        .field(&field.name)
        .ok_or_else(|| unknown(relation, &field.name, node))
}

fn unknown(relation: &Relation, column: &str, node: usize) -> Error {
    Error::Column {
        relation: if node == 0 {
            relation.name.clone()
        } else {
            format!("{}_{node}", relation.name).into()
        },
        column: column.to_owned(),
    }
}

/// What a part of JSON is called: the last key of its path, or the column.
fn last_key<'t>(field: &'t Field<'_>) -> &'t str {
    let key = field.path.iter().rev().find(|step| !step.index);
    key.map_or(&field.name, |step| &step.operand)
}

/// The relationship that an embed means (PostgREST, "Resource Embedding: Foreign Key Joins on Multiple Foreign Key
/// Relationships").
fn find<'c>(
    catalog: &'c Catalog,
    schema: &str,
    parent: &'c Relation,
    called: &str,
    embed: &Embed<'_>,
) -> Result<&'c Relationship, Error> {
    let target = |relationship: &Relationship| &catalog.relations()[relationship.target];
    let junction = |link: &Link| match link {
        Link::ManyToMany(junction) => Some(&*catalog.relations()[junction.relation].name),
        _ => None,
    };
    let means = |relationship: &&Relationship| {
        let link = &relationship.link;
        if let Link::Computed { function, .. } = link {
            return **function == *embed.relation;
        }
        let key = match link {
            Link::ManyToOne(key) | Link::OneToMany(key) | Link::OneToOne(key) => Some(key),
            Link::ManyToMany(_) | Link::Computed { .. } => None,
        };
        let constraint = |name: &str| key.is_some_and(|key| *key.constraint == *name);
        let own_column = |name: &str| key.is_some_and(|key| matches!(&*key.columns, [(own, _)] if **own == *name));
        let target_column =
            |name: &str| key.is_some_and(|key| matches!(&*key.columns, [(_, other)] if **other == *name));
        let relation = target(relationship);
        let by_name = *relation.name == *embed.relation;
        match (relationship.is_self, &embed.hint) {
            (true, None) => match link {
                Link::OneToMany(_) => by_name,
                Link::ManyToOne(_) => own_column(&embed.relation),
                _ => false,
            },
            (true, Some(hint)) => matches!(link, Link::OneToMany(_)) && by_name && target_column(hint),
            (false, None) => {
                by_name || !relation.is_view() && (constraint(&embed.relation) || own_column(&embed.relation))
            }
            (false, Some(hint)) => {
                by_name
                    && (constraint(hint)
                        || own_column(hint)
                        || target_column(hint)
                        || junction(link).is_some_and(|name| *name == **hint))
            }
        }
    };
    let mut found: Vec<&Relationship> = parent.relationships.iter().filter(means).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Error::NoRelationship {
            parent: called.to_owned(),
            child: embed.relation.to_string(),
            schema: schema.to_owned(),
            hint: embed.hint.as_ref().map(ToString::to_string),
            suggestion: hint::relationship(catalog, parent, &embed.relation),
        }),
        _ => Err(hint::ambiguous(catalog, parent, called, &embed.relation, &found)),
    }
}
