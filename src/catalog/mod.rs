//! The tables, columns and keys that one tenant can reach, without anything that names the tenant.
//!
//! Two tenants that ran the same migrations have equal catalogs, and [`Store`] makes them share one: memory then grows
//! with the number of different structures, not with the number of tenants. What the catalog says about a type is
//! therefore what holds everywhere: its name as seen from the search_path, and its OID only where Postgres fixes it.
//!
//! Pure: `load.rs` holds the statement and reads its rows, whoever has a connection runs it.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::fast::RandomState;

mod load;

pub use load::{Builder, Error, LOAD_SQL};

/// What one tenant can reach: its own relations and the shared ones that they do not hide.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Catalog {
    /// Sorted by name; names are unique.
    relations: Box<[Relation]>,
}

impl Catalog {
    /// The relation of this exact name.
    #[must_use]
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        let at = self
            .relations
            .binary_search_by(|relation| (*relation.name).cmp(name))
            .ok()?;
        self.relations.get(at)
    }

    /// All relations, sorted by name (by bytes, whatever the database's collation).
    #[must_use]
    pub fn relations(&self) -> &[Relation] {
        &self.relations
    }
}

/// A table, or what reads like one.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Relation {
    /// The name, unquoted.
    pub name: Box<str>,
    /// Whose it is.
    pub scope: Scope,
    /// What it is.
    pub kind: RelationKind,
    /// Whether reading it runs functions of its owner's choice: it is a view, or has row-level policies.
    pub runs_code: bool,
    /// `COMMENT ON TABLE`, if there is one.
    pub comment: Option<Box<str>>,
    /// The columns, in the table's order.
    pub columns: Box<[Column]>,
    /// Indexes into `columns`, in the key's order. Empty without a primary key, as for every view.
    pub primary_key: Box<[usize]>,
}

impl Relation {
    /// The column of this exact name, and its place in `columns`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<(usize, &Column)> {
        self.columns
            .iter()
            .enumerate()
            .find(|(_, column)| *column.name == *name)
    }
}

/// One column.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Column {
    /// The name, unquoted.
    pub name: Box<str>,
    /// The type as SQL, from `format_type`: `numeric(10,2)`, `text[]`, or a domain's name.
    pub type_name: Box<str>,
    /// The OID of the type, or for a domain of the type below it, when Postgres fixes it (below 16384); otherwise 0.
    pub type_oid: u32,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether the column may be left out of an INSERT without becoming NULL: it has a DEFAULT or is an identity.
    pub has_default: bool,
    /// Whether Postgres refuses a value for it: `GENERATED ALWAYS`, as an expression or as an identity.
    pub generated: bool,
}

/// Whose a relation is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scope {
    /// In the tenant's own schema.
    Tenant,
    /// In the schema that all tenants read.
    Shared,
}

/// The kinds of relation that can be read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RelationKind {
    /// An ordinary table.
    Table,
    /// The parent of partitions; the partitions themselves are not in the catalog.
    PartitionedTable,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A foreign table.
    ForeignTable,
}

/// Makes equal catalogs one.
///
/// It keeps no catalog alive: one that no tenant holds any more is gone, and its entry goes with the next `intern`.
#[derive(Default, Debug)]
pub struct Store {
    hasher: RandomState,
    /// By hash; several only when two different structures collide.
    catalogs: Mutex<HashMap<u64, Vec<Weak<Catalog>>>>,
}

impl Store {
    /// A store without catalogs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The one `Arc` for this structure: an existing one if any tenant holds an equal catalog, otherwise a new one.
    #[must_use]
    pub fn intern(&self, catalog: Catalog) -> Arc<Catalog> {
        let hash = self.hasher.hash_one(&catalog);
        let mut catalogs = self.lock();
        // Over all entries, because nothing else would ever visit a structure that no tenant has any more. Catalogs
        // are loaded at start and after migrations, so the walk is not on the request path.
        catalogs.retain(|_, same_hash| {
            same_hash.retain(|catalog| catalog.strong_count() > 0);
            !same_hash.is_empty()
        });
        let same_hash = catalogs.entry(hash).or_default();
        if let Some(known) = same_hash
            .iter()
            .filter_map(Weak::upgrade)
            .find(|known| **known == catalog)
        {
            return known;
        }
        let catalog = Arc::new(catalog);
        same_hash.push(Arc::downgrade(&catalog));
        catalog
    }

    /// How many different structures are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock()
            .values()
            .flatten()
            .filter(|catalog| catalog.strong_count() > 0)
            .count()
    }

    /// Whether no catalog is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A panic while the lock was held leaves at worst a dead entry, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Weak<Catalog>>>> {
        self.catalogs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(column: &str) -> Catalog {
        let mut builder = Builder::default();
        let values = [
            "t", "tenant", "r", "false", "", column, "bigint", "20", "true", "false", "false", "0",
        ];
        builder.row(&values.map(Some)).unwrap();
        builder.finish()
    }

    #[test]
    fn equal_structures_share_one_arc_and_different_ones_do_not() {
        let store = Store::new();
        let first = store.intern(catalog("id"));
        assert!(Arc::ptr_eq(&first, &store.intern(catalog("id"))));
        let other = store.intern(catalog("key"));
        assert!(!Arc::ptr_eq(&first, &other));
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn a_structure_that_nobody_holds_is_dropped() {
        let store = Store::new();
        drop(store.intern(catalog("id")));
        assert!(store.is_empty());
        let _held = store.intern(catalog("key"));
        assert_eq!(store.lock().len(), 1);
    }
}
