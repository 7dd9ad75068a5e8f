//! From rows by OID to a catalog by name.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::raw::{self, Raw};
use super::relate::{Exposed, relate};
use super::{
    Argument, Catalog, Column, Function, Handler, Link, Relation, RelationKind, Relationship, Representation, Returns,
    Scope, Takes, Volatility,
};

/// Settings of a function that its caller's whole transaction takes over, because they mean nothing once the
/// transaction has begun its work, or should hold for it (PostgREST, `db-hoisted-tx-settings`).
const HOISTED: [&str; 3] = [
    "default_transaction_isolation",
    "plan_filter.statement_cost_limit",
    "statement_timeout",
];

/// OIDs below are the server's own and the same everywhere (manual, 74.2.2).
const FIRST_NORMAL_OID: u32 = 16384;

const VOID: u32 = 2278;

pub(super) fn catalog(mut raw: Raw, qualifier: Option<&str>) -> Catalog {
    raw.relations.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let index: HashMap<u32, usize> = raw
        .relations
        .iter()
        .zip(0..)
        .map(|(relation, at)| (relation.oid, at))
        .collect();
    let names = raw
        .columns
        .iter()
        .map(|column| ((column.relation, column.number), column.name.clone()))
        .collect();
    let exposed = Exposed { index, columns: names };
    let mut related = relate(&raw.keys, &raw.views, &exposed);

    let mut columns: HashMap<u32, Vec<(i16, Column)>> = HashMap::new();
    for column in raw.columns {
        columns
            .entry(column.relation)
            .or_default()
            .push((column.number, from_raw(column)));
    }
    let mut relationships: Vec<Vec<Relationship>> = raw
        .relations
        .iter()
        .map(|relation| related.relationships.remove(&relation.oid).unwrap_or_default())
        .collect();
    let mut relations: Vec<Relation> = raw
        .relations
        .into_iter()
        .map(|relation| {
            let columns = columns.remove(&relation.oid).unwrap_or_default();
            let key = related.primary_keys.get(&relation.oid).map_or(&[][..], Vec::as_slice);
            let place = |number: &i16| columns.iter().position(|(other, _)| other == number);
            let primary_key = key.iter().filter_map(place).collect();
            let kind = kind(relation.kind);
            let (insertable, updatable, deletable) = changes(kind, relation.changes);
            Relation {
                name: relation.name,
                scope: scope(relation.own),
                kind,
                runs_code: relation.security || kind == RelationKind::View,
                insertable,
                updatable,
                deletable,
                comment: relation.comment,
                primary_key,
                columns: columns.into_iter().map(|(_, column)| column).collect(),
                computed: Box::default(),
                relationships: Box::default(),
            }
        })
        .collect();
    add_functions_of_rows(&mut relations, &mut relationships, raw.of_row, &exposed);
    for list in &mut relationships {
        list.sort_by(|a, b| order(a, &relations).cmp(&order(b, &relations)));
        list.dedup();
    }
    for (relation, list) in relations.iter_mut().zip(relationships) {
        relation.relationships = list.into();
    }

    let mut functions: Vec<Function> = raw
        .functions
        .into_iter()
        .filter_map(|function| function_from_raw(function, &exposed))
        .collect();
    functions.sort_by(by_signature);
    let mut representations: Vec<Representation> = raw
        .casts
        .into_iter()
        .map(|cast| Representation {
            source: cast.source,
            target: cast.target,
            function: cast.function,
        })
        .collect();
    representations.sort_by(|a, b| (&a.source, &a.target).cmp(&(&b.source, &b.target)));
    let mut handlers: Vec<Handler> = raw.handlers.into_iter().map(handler).collect();
    handlers.sort_by(|a, b| (&a.media_type, &a.function).cmp(&(&b.media_type, &b.function)));
    Catalog {
        relations: relations.into(),
        functions: functions.into(),
        representations: representations.into(),
        handlers: handlers.into(),
        comment: raw.schema.comment,
        qualifier: qualifier.map(Into::into),
    }
}

/// By name, then by how many arguments there are, then by their types.
fn by_signature(a: &Function, b: &Function) -> Ordering {
    let (own, other) = (&a.arguments, &b.arguments);
    let types = || {
        let other = other.iter().map(|argument| &argument.type_name);
        own.iter().map(|argument| &argument.type_name).cmp(other)
    };
    a.name.cmp(&b.name).then(own.len().cmp(&other.len())).then_with(types)
}

fn scope(own: bool) -> Scope {
    if own { Scope::Tenant } else { Scope::Shared }
}

fn kind(relkind: char) -> RelationKind {
    match relkind {
        'p' => RelationKind::PartitionedTable,
        'v' => RelationKind::View,
        'm' => RelationKind::MaterializedView,
        'f' => RelationKind::ForeignTable,
        _ => RelationKind::Table,
    }
}

/// Whether rows can be inserted, updated and deleted. The bits are those of `CmdType` (manual, 9.26.3).
fn changes(kind: RelationKind, bits: Option<u32>) -> (bool, bool, bool) {
    match kind {
        RelationKind::Table | RelationKind::PartitionedTable => (true, true, true),
        RelationKind::MaterializedView | RelationKind::Result => (false, false, false),
        RelationKind::View | RelationKind::ForeignTable => {
            let bits = bits.unwrap_or(0);
            (bits & 8 != 0, bits & 4 != 0, bits & 16 != 0)
        }
    }
}

fn known_oid(oid: u32) -> u32 {
    if oid < FIRST_NORMAL_OID { oid } else { 0 }
}

fn from_raw(column: raw::Column) -> Column {
    let identity = !column.identity.is_empty();
    Column {
        name: column.name,
        type_name: column.type_name,
        base_type: column.base,
        type_oid: known_oid(column.type_oid),
        not_null: column.not_null,
        has_default: identity || column.default.is_some(),
        generated: column.computed || &*column.identity == "a",
        default: column.default,
        comment: column.comment,
        max_length: column.max_length,
        labels: column.labels.unwrap_or_default(),
        runs_code: column.code,
    }
}

/// Functions of one row: to a value, which is a field; or to rows of another relation, which can be embedded in place of
/// what the foreign keys say.
fn add_functions_of_rows(
    relations: &mut [Relation],
    relationships: &mut [Vec<Relationship>],
    of_row: Vec<raw::OfRow>,
    exposed: &Exposed,
) {
    for function in of_row {
        let target = exposed.index.get(&function.target).copied();
        let relation = function.relation.and_then(|oid| exposed.index.get(&oid).copied());
        if let (Some(at), Some(target)) = (relation, target)
            && (function.own || function.visible)
        {
            // It stands for every way to a relation of its own name.
            relationships[at].retain(|other| {
                matches!(other.link, Link::Computed { .. }) || relations[other.target].name != function.name
            });
            relationships[at].push(Relationship {
                target,
                link: Link::Computed {
                    function: function.name,
                    scope: scope(function.own),
                    single: !function.set || function.one_row,
                },
                is_self: at == target,
            });
        } else if function.visible {
            let field = Column {
                name: function.name,
                type_name: function.type_name,
                base_type: function.base,
                type_oid: if function.set { 0 } else { known_oid(function.type_oid) },
                ..Column::default()
            };
            let takers = match function.relation {
                Some(_) => relation.map_or(0..0, |at| at..at + 1),
                None => 0..relations.len(),
            };
            for relation in &mut relations[takers] {
                if relation.field(&field.name).is_none() {
                    let mut computed = std::mem::take(&mut relation.computed).into_vec();
                    computed.push(field.clone());
                    relation.computed = computed.into();
                }
            }
        }
    }
}

/// Relationships stand in the order of their targets' names, those to many before those to one.
fn order<'r>(relationship: &'r Relationship, relations: &'r [Relation]) -> (&'r str, u8, &'r str) {
    let name = |at: usize| relations.get(at).map_or("", |relation| &*relation.name);
    let target = name(relationship.target);
    match &relationship.link {
        Link::OneToMany(key) => (target, 0, &key.constraint),
        Link::ManyToOne(key) => (target, 1, &key.constraint),
        Link::OneToOne(key) => (target, 2, &key.constraint),
        Link::ManyToMany(junction) => (target, 3, name(junction.relation)),
        Link::Computed { function, .. } => (target, 4, function),
    }
}

/// None for a function that cannot be called by name: arguments without one, but for the one body that a request has.
fn function_from_raw(function: raw::Function, exposed: &Exposed) -> Option<Function> {
    const BODIES: [&str; 5] = ["json", "jsonb", "text", "xml", "bytea"];
    match function.arguments.as_slice() {
        [only] if only.name.is_empty() && BODIES.contains(&&*only.type_name) => {}
        arguments if arguments.iter().all(|argument| !argument.name.is_empty()) => {}
        _ => return None,
    }
    let columns = function.columns.unwrap_or_default();
    let result = |columns: Vec<Column>| {
        Box::new(Relation {
            name: function.name.clone(),
            scope: scope(function.own),
            kind: RelationKind::Result,
            runs_code: true,
            insertable: false,
            updatable: false,
            deletable: false,
            comment: None,
            columns: columns.into(),
            primary_key: Box::default(),
            computed: Box::default(),
            relationships: Box::default(),
        })
    };
    let returns = if let Some(&relation) = exposed.index.get(&function.relation) {
        Returns::Relation(relation)
    } else if !columns.is_empty() {
        Returns::Columns(result(columns.into_iter().map(result_column).collect()))
    } else if function.type_oid == VOID {
        Returns::Void
    } else {
        Returns::Scalar(result(vec![Column {
            name: function.name.clone(),
            type_name: function.type_name,
            base_type: function.base,
            type_oid: known_oid(function.type_oid),
            ..Column::default()
        }]))
    };
    let settings = function.settings.unwrap_or_default().into_iter();
    Some(Function {
        name: function.name,
        scope: scope(function.own),
        comment: function.comment,
        arguments: function
            .arguments
            .into_iter()
            .map(|argument| Argument {
                name: argument.name,
                type_name: argument.type_name,
                required: argument.required,
                variadic: argument.variadic,
            })
            .collect(),
        returns,
        returns_set: function.set,
        volatility: match function.volatility {
            'i' => Volatility::Immutable,
            's' => Volatility::Stable,
            _ => Volatility::Volatile,
        },
        settings: settings.filter(|(name, _)| HOISTED.contains(&&**name)).collect(),
    })
}

fn result_column(column: raw::ResultColumn) -> Column {
    Column {
        name: column.name,
        type_name: column.type_name,
        base_type: column.base,
        type_oid: known_oid(column.type_oid),
        ..Column::default()
    }
}

fn handler(handler: raw::Handler) -> Handler {
    let gives = match &*handler.media_type {
        "*/*" => "application/octet-stream".into(),
        name => name.into(),
    };
    Handler {
        gives,
        media_type: handler.media_type,
        function: handler.function,
        takes: match (handler.relation, handler.call) {
            (_, Some(function)) => Takes::Function(function),
            (Some(relation), None) => Takes::Relation(relation),
            (None, None) => Takes::Anything,
        },
    }
}
