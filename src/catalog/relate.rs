//! Which relations belong together: foreign keys, followed through views, turned round, and joined over junctions.

use std::collections::{HashMap, HashSet};

use super::raw::{Key, View};
use super::view_columns::view_columns;
use super::{ForeignKey, Junction, Link, Relationship};

/// Columns of the relations that requests can name, and the places of those relations.
pub(super) struct Exposed {
    /// OID to index into the catalog's relations.
    pub(super) index: HashMap<u32, usize>,
    /// OID and column number to column name.
    pub(super) columns: HashMap<(u32, i16), Box<str>>,
}

/// What the keys of tables say of relations.
#[derive(Debug, Default)]
pub(super) struct Related {
    /// OID of a relation to the numbers of its key's columns.
    pub(super) primary_keys: HashMap<u32, Vec<i16>>,
    /// From a relation's OID, all that can be embedded in it.
    pub(super) relationships: HashMap<u32, Vec<Relationship>>,
}

/// A foreign key between two relations, each a table or a view of it.
struct Edge<'r> {
    name: &'r str,
    from: u32,
    from_columns: Vec<i16>,
    to: u32,
    to_columns: Vec<i16>,
    /// Whether there is one row at most at either end.
    unique: bool,
    /// Whether both ends are the same relation: not if one is a view of the other.
    is_self: bool,
}

/// Which columns of a view show which columns of tables: view to (table, its column) to the view's columns.
type Shown = HashMap<u32, HashMap<(u32, i16), Vec<i16>>>;

/// What `keys` and the definitions of `views` say of the relations in `exposed`.
pub(super) fn relate(keys: &[Key], views: &[View], exposed: &Exposed) -> Related {
    let shown = shown(views);
    let mut related = Related::default();
    let mut unique = HashSet::new();
    for key in keys {
        if matches!(key.kind, 'p' | 'u') {
            unique.insert((key.relation, sorted(&key.columns)));
        }
        if key.kind == 'p' {
            related.primary_keys.insert(key.relation, key.columns.clone());
        }
    }
    // A view has the key of a table of which it shows all key columns; several such tables' keys together are its key.
    for key in keys.iter().filter(|key| key.kind == 'p') {
        for (&view, columns) in &shown {
            let first = |&number: &i16| columns.get(&(key.relation, number))?.first().copied();
            if let Some(mut found) = key.columns.iter().map(first).collect::<Option<Vec<_>>>() {
                related.primary_keys.entry(view).or_default().append(&mut found);
            }
        }
    }

    let edges = edges(keys, &shown, &unique);
    let mut links: Vec<(u32, Relationship)> = Vec::new();
    for edge in &edges {
        add_direct(edge, exposed, &mut links);
    }
    add_junctions(&edges, &related.primary_keys, exposed, &mut links);
    for (from, relationship) in links {
        related.relationships.entry(from).or_default().push(relationship);
    }
    related
}

fn sorted(columns: &[i16]) -> Vec<i16> {
    let mut columns = columns.to_vec();
    columns.sort_unstable();
    columns
}

/// Follows every view's columns down to tables, through views of views.
fn shown(views: &[View]) -> Shown {
    let entries: HashMap<u32, _> = views
        .iter()
        .map(|view| (view.relation, view_columns(&view.action)))
        .collect();
    let mut shown = Shown::new();
    for (&view, columns) in &entries {
        for column in columns {
            let (mut relation, mut number) = (column.relation, column.column);
            // A view can, by way of functions, never be below itself; the bound holds all the same.
            for _ in 0..=entries.len() {
                let sources = shown.entry(view).or_default().entry((relation, number)).or_default();
                if !sources.contains(&column.number) {
                    sources.push(column.number);
                }
                let next = entries
                    .get(&relation)
                    .and_then(|below| below.iter().find(|entry| entry.number == number));
                match next {
                    Some(entry) => (relation, number) = (entry.relation, entry.column),
                    None => break,
                }
            }
        }
    }
    shown
}

/// Every foreign key, and the same key from and to each view that shows all of its columns; of one key, tables come first,
/// then views in the order of their OIDs.
fn edges<'r>(keys: &'r [Key], shown: &Shown, unique: &HashSet<(u32, Vec<i16>)>) -> Vec<Edge<'r>> {
    // For a view that shows the column several times, each of them is a way of its own.
    let through = |relation: u32, columns: &[i16]| {
        let mut ways: Vec<(u32, Vec<i16>)> = vec![(relation, columns.to_vec())];
        let mut views: Vec<_> = shown.iter().collect();
        views.sort_unstable_by_key(|(view, _)| **view);
        for (&view, shows) in views {
            let choices: Option<Vec<&Vec<i16>>> =
                columns.iter().map(|&number| shows.get(&(relation, number))).collect();
            for choice in choices.map(|choices| combinations(&choices)).unwrap_or_default() {
                ways.push((view, choice));
            }
        }
        ways
    };
    let mut edges = Vec::new();
    for key in keys.iter().filter(|key| key.kind == 'f') {
        let unique = unique.contains(&(key.relation, sorted(&key.columns)));
        let targets = through(key.target, &key.target_columns);
        for (from, from_columns) in through(key.relation, &key.columns) {
            for (to, to_columns) in &targets {
                edges.push(Edge {
                    name: &key.name,
                    from,
                    from_columns: from_columns.clone(),
                    to: *to,
                    to_columns: to_columns.clone(),
                    unique,
                    is_self: from == *to,
                });
            }
        }
    }
    edges
}

/// One of each of `choices`, in every way. No more than `MOST` of them: a view that shows every column of a wide key
/// several times would have more than anybody asks for.
fn combinations(choices: &[&Vec<i16>]) -> Vec<Vec<i16>> {
    const MOST: usize = 64;
    let mut all = vec![Vec::new()];
    for choice in choices {
        all = all
            .iter()
            .flat_map(|chosen| {
                choice.iter().map(|&one| {
                    let mut chosen = chosen.clone();
                    chosen.push(one);
                    chosen
                })
            })
            .take(MOST)
            .collect();
    }
    all
}

impl Exposed {
    /// The columns' names; none if one of them cannot be named.
    fn names(&self, relation: u32, columns: &[i16]) -> Option<Vec<Box<str>>> {
        columns
            .iter()
            .map(|&number| self.columns.get(&(relation, number)).cloned())
            .collect()
    }

    /// The columns at either end that are equal; none if one of them cannot be named.
    fn pairs(&self, edge: &Edge<'_>) -> Option<Vec<(Box<str>, Box<str>)>> {
        let from = self.names(edge.from, &edge.from_columns)?;
        let to = self.names(edge.to, &edge.to_columns)?;
        Some(from.into_iter().zip(to).collect())
    }
}

/// The same pairs, seen from the other end.
fn turned(columns: &[(Box<str>, Box<str>)]) -> Box<[(Box<str>, Box<str>)]> {
    columns.iter().map(|(a, b)| (b.clone(), a.clone())).collect()
}

/// The relationship of a key, seen from both of its ends.
fn add_direct(edge: &Edge<'_>, exposed: &Exposed, links: &mut Vec<(u32, Relationship)>) {
    let (Some(&from), Some(&to)) = (exposed.index.get(&edge.from), exposed.index.get(&edge.to)) else {
        return;
    };
    let Some(columns) = exposed.pairs(edge) else { return };
    let key = |columns: Box<[_]>, own| ForeignKey {
        constraint: edge.name.into(),
        own,
        columns,
    };
    let (there, back) = (key(columns.clone().into(), true), key(turned(&columns), false));
    let (there, back) = if edge.unique {
        (Link::OneToOne(there), Link::OneToOne(back))
    } else {
        (Link::ManyToOne(there), Link::OneToMany(back))
    };
    for (from, target, link) in [(edge.from, to, there), (edge.to, from, back)] {
        links.push((
            from,
            Relationship {
                target,
                link,
                is_self: edge.is_self,
            },
        ));
    }
}

/// A relation with two foreign keys whose columns all belong to its primary key joins their targets, in both directions. A
/// key that is unique by itself joins nothing: there would be one row at most.
fn add_junctions(
    edges: &[Edge<'_>],
    primary_keys: &HashMap<u32, Vec<i16>>,
    exposed: &Exposed,
    links: &mut Vec<(u32, Relationship)>,
) {
    let mut of_junction: HashMap<u32, Vec<&Edge<'_>>> = HashMap::new();
    for edge in edges.iter().filter(|edge| !edge.unique) {
        let in_key = primary_keys
            .get(&edge.from)
            .is_some_and(|key| edge.from_columns.iter().all(|column| key.contains(column)));
        let exposed = exposed.index.contains_key(&edge.from) && exposed.index.contains_key(&edge.to);
        if in_key && exposed {
            of_junction.entry(edge.from).or_default().push(edge);
        }
    }
    for (junction, edges) in of_junction {
        let Some(&relation) = exposed.index.get(&junction) else {
            continue;
        };
        for source in &edges {
            for target in edges.iter().filter(|target| target.name != source.name) {
                let (Some(here), Some(there)) = (exposed.pairs(source), exposed.pairs(target)) else {
                    continue;
                };
                let Some(&index) = exposed.index.get(&target.to) else {
                    continue;
                };
                let key = |edge: &Edge<'_>, columns: &[_]| ForeignKey {
                    constraint: edge.name.into(),
                    own: false,
                    columns: turned(columns),
                };
                links.push((
                    source.to,
                    Relationship {
                        target: index,
                        link: Link::ManyToMany(Junction {
                            relation,
                            source: key(source, &here),
                            target: key(target, &there),
                        }),
                        is_self: source.to == target.to,
                    },
                ));
            }
        }
    }
}
