//! What the client may have meant: names that are close to one that is not there, and what to choose from where several
//! are meant.
//!
//! Only names of the tenant's catalog are ever suggested, and only to a name that is close to them.

use crate::catalog::{Catalog, Function, Link, Relation, Relationship};

use super::error::{Candidate, Error};

/// How alike a table's or function's name must be to be suggested. Less would give names away to whoever guesses.
const ALIKE: f64 = 0.75;

/// How alike the name of something that the client has named the neighbour of must be.
const RELATED_ALIKE: f64 = 0.33;

/// The relation whose name is like `name`.
pub(super) fn relation<'c>(catalog: &'c Catalog, name: &str) -> Option<&'c str> {
    let names = catalog.relations().iter().map(|relation| &*relation.name);
    closest(names, name, ALIKE).map(|(name, _)| name)
}

/// The function whose name is like `name`, or, if there is one of that name, its arguments.
pub(super) fn function(catalog: &Catalog, name: &str, arguments: &[String]) -> Option<String> {
    let overloads = catalog.functions_named(name);
    if overloads.is_empty() {
        let names = catalog.functions().iter().map(|function| &*function.name);
        return closest(names, name, ALIKE).map(|(name, _)| name.to_owned());
    }
    let listed = |names: &mut dyn Iterator<Item = &str>| {
        let mut names: Vec<&str> = names.collect();
        names.sort_unstable();
        format!("({})", names.join(", "))
    };
    let of_function = |function: &Function| listed(&mut function.arguments.iter().map(|argument| &*argument.name));
    let wanted = listed(&mut arguments.iter().map(String::as_str));
    let lists: Vec<String> = overloads.iter().map(of_function).collect();
    closest(lists.iter().map(String::as_str), &wanted, RELATED_ALIKE).map(|(list, _)| format!("{name}{list}"))
}

/// What `child` may have been meant for among those that can be embedded in `parent`.
pub(super) fn relationship(catalog: &Catalog, parent: &Relation, child: &str) -> Option<String> {
    let names = parent
        .relationships
        .iter()
        .map(|relationship| &*catalog.relations()[relationship.target].name);
    match closest(names, child, RELATED_ALIKE) {
        Some((name, alike)) if alike < 1.0 => Some(format!("Perhaps you meant '{name}' instead of '{child}'.")),
        _ => None,
    }
}

/// The error for an embed that may mean any of `found`.
pub(super) fn ambiguous(
    catalog: &Catalog,
    parent: &Relation,
    called: &str,
    child: &str,
    found: &[&Relationship],
) -> Error {
    let name = |at: usize| &*catalog.relations()[at].name;
    let mut candidates = Vec::new();
    let mut hints = Vec::new();
    for relationship in found {
        let target = name(relationship.target);
        let listed = |columns: &[(Box<str>, Box<str>)], own: bool| {
            let names: Vec<&str> = columns.iter().map(|(a, b)| if own { &**a } else { &**b }).collect();
            format!("({})", names.join(", "))
        };
        let (cardinality, key, hint) = match &relationship.link {
            Link::ManyToOne(key) => ("many-to-one", key, &*key.constraint),
            Link::OneToMany(key) => ("one-to-many", key, &*key.constraint),
            Link::OneToOne(key) => ("one-to-one", key, &*key.constraint),
            Link::ManyToMany(junction) => ("many-to-many", &junction.source, name(junction.relation)),
            Link::Computed { .. } => continue,
        };
        let text = match &relationship.link {
            Link::ManyToMany(junction) => format!(
                "{hint} using {}{} and {}{}",
                junction.source.constraint,
                listed(&junction.source.columns, false),
                junction.target.constraint,
                listed(&junction.target.columns, false),
            ),
            _ => format!(
                "{hint} using {}{} and {target}{}",
                parent.name,
                listed(&key.columns, true),
                listed(&key.columns, false),
            ),
        };
        candidates.push(Candidate {
            cardinality,
            embedding: format!("{} with {target}", parent.name),
            relationship: text,
        });
        hints.push(format!("'{target}!{hint}'"));
    }
    Error::AmbiguousRelationship {
        parent: called.to_owned(),
        child: child.to_owned(),
        candidates,
        hint: format!(
            "Try changing '{child}' to one of the following: {}. Find the desired relationship in the 'details' key.",
            hints.join(", ")
        ),
    }
}

/// The name that is most like `wanted`, and how much, from 0 to 1.
fn closest<'n>(names: impl Iterator<Item = &'n str>, wanted: &str, at_least: f64) -> Option<(&'n str, f64)> {
    let wanted = normal(wanted);
    names
        .map(|name| (name, alike(&normal(name), &wanted)))
        .filter(|(_, alike)| *alike >= at_least)
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

/// Names are compared without regard to case.
fn normal(name: &str) -> String {
    name.to_lowercase()
}

/// How alike two texts are: 1 less their edit distance over the longer one's length; nothing if they have no two characters
/// in a row in common, the ends counted.
fn alike(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let longer = a.len().max(b.len());
    if longer == 0 || longer > 256 || !have_common_pair(&a, &b) {
        return 0.0;
    }
    let distance = u32::try_from(distance(&a, &b)).unwrap_or(u32::MAX);
    let longer = u32::try_from(longer).unwrap_or(u32::MAX);
    1.0 - f64::from(distance) / f64::from(longer)
}

fn have_common_pair(a: &[char], b: &[char]) -> bool {
    let ended = |text: &[char]| -> Vec<char> {
        std::iter::once('-')
            .chain(text.iter().copied())
            .chain(std::iter::once('-'))
            .collect()
    };
    let (a, b) = (ended(a), ended(b));
    a.windows(2).any(|pair| b.windows(2).any(|other| pair == other))
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_names_are_found_and_far_ones_are_not() {
        let names = ["projects", "clients", "tasks"];
        let found = |wanted| closest(names.into_iter(), wanted, ALIKE).map(|(name, _)| name);
        assert_eq!(found("project"), Some("projects"));
        assert_eq!(found("PROJECTS"), Some("projects"));
        assert_eq!(found("proj"), None);
        assert_eq!(found(""), None);
    }

    #[test]
    fn distance_is_levenshteins() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(distance(&[], &chars("abc")), 3);
    }
}
