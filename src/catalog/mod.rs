//! What one tenant can reach: tables, columns, keys, relationships and functions, and what is to be asked for it.
//!
//! Two tenants that ran the same migrations have equal catalogs, and [`Store`] makes them share one: memory then grows
//! with the number of different structures, not with the number of tenants. A [`Catalog`] therefore says what holds
//! everywhere: of a type its name as seen from the search_path, and its OID only where Postgres fixes it. It names nothing
//! of the tenant, but for the schema where a request has chosen another than the search_path's ([`Catalog::qualifier`]);
//! settings of roles, which do, stand beside it in [`Loaded`].
//!
//! `load.rs` holds the statement, `raw.rs` is its row, `build.rs` makes the catalog of it; `relate.rs` and
//! `view_columns.rs` find out what belongs together. Whoever has a connection runs the statement: nothing here does, and
//! nothing but the store keeps anything.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use foldhash::fast::RandomState;

mod build;
mod load;
mod raw;
mod relate;
mod view_columns;

pub use load::{LOAD_SQL, Loaded, PRIVILEGES_SQL, RIGHTS_SQL, RoleSetting};
pub use raw::Error;

/// What one tenant can reach: its own relations and the shared ones that they do not hide, and its functions.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Catalog {
    /// Sorted by name; names are unique.
    relations: Box<[Relation]>,
    /// Sorted by name; functions of one name stand beside each other, those with fewer arguments first.
    functions: Box<[Function]>,
    representations: Box<[Representation]>,
    handlers: Box<[Handler]>,
    /// The comment of the tenant's schema.
    comment: Option<Box<str>>,
    /// The schema that names of [`Scope::Tenant`] are qualified with, quoted; none where the search_path finds them.
    qualifier: Option<Box<str>>,
}

impl Catalog {
    /// The relation of this exact name.
    #[must_use]
    pub fn relation(&self, name: &str) -> Option<&Relation> {
        let at = self.relations.binary_search_by(|relation| (*relation.name).cmp(name));
        self.relations.get(at.ok()?)
    }

    /// All relations, sorted by name (by bytes, whatever the database's collation).
    #[must_use]
    pub fn relations(&self) -> &[Relation] {
        &self.relations
    }

    /// The functions of this exact name: none, one, or its overloads.
    #[must_use]
    pub fn functions_named(&self, name: &str) -> &[Function] {
        let start = self.functions.partition_point(|function| *function.name < *name);
        let len = self.functions[start..].partition_point(|function| *function.name == *name);
        &self.functions[start..start + len]
    }

    /// All functions, sorted by name.
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The function that makes a value of type `source` one of type `target`, as SQL, if there is such a cast to or from a
    /// domain (PostgREST, "Domain Representations").
    #[must_use]
    pub fn representation(&self, source: &str, target: &str) -> Option<&str> {
        self.representations
            .iter()
            .find(|cast| *cast.source == *source && *cast.target == *target)
            .map(|cast| &*cast.function)
    }

    /// What makes other media types than the built-in ones.
    #[must_use]
    pub fn handlers(&self) -> &[Handler] {
        &self.handlers
    }

    /// `COMMENT ON SCHEMA`, if there is one.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// What stands before the names of the tenant's own relations and functions: a quoted schema, or nothing.
    #[must_use]
    pub fn qualifier(&self) -> Option<&str> {
        self.qualifier.as_deref()
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
    /// Whether rows can be inserted, as far as its definition goes.
    pub insertable: bool,
    /// Whether rows can be updated.
    pub updatable: bool,
    /// Whether rows can be deleted.
    pub deletable: bool,
    /// `COMMENT ON TABLE`, if there is one.
    pub comment: Option<Box<str>>,
    /// The columns, in the table's order.
    pub columns: Box<[Column]>,
    /// Indexes into `columns`, in the key's order; for a view the columns that show its tables' keys. May be empty.
    pub primary_key: Box<[usize]>,
    /// Functions of its row that can be named like columns.
    pub computed: Box<[Column]>,
    /// What can be embedded in its rows.
    pub relationships: Box<[Relationship]>,
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

    /// The column or computed field of this exact name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Column> {
        let mut fields = self.columns.iter().chain(&self.computed);
        fields.find(|field| *field.name == *name)
    }

    /// Whether it is a view of any kind.
    #[must_use]
    pub fn is_view(&self) -> bool {
        matches!(self.kind, RelationKind::View | RelationKind::MaterializedView)
    }

    /// The columns of the primary key.
    pub fn key(&self) -> impl Iterator<Item = &Column> {
        self.primary_key.iter().filter_map(|&at| self.columns.get(at))
    }
}

/// One column, of a table or of a function's result.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Column {
    /// The name, unquoted.
    pub name: Box<str>,
    /// The type with its modifiers, as SQL in the tenant's session: `character varying(255)`, a domain's own name.
    pub type_name: Box<str>,
    /// What [`type_name`](Self::type_name) is at bottom, without modifiers: a domain's base type.
    pub base_type: Box<str>,
    /// The OID of the type, or for a domain of the type below it, when Postgres fixes it (below 16384); otherwise 0.
    pub type_oid: u32,
    /// Whether NULL is refused.
    pub not_null: bool,
    /// Whether the column may be left out of an INSERT without becoming NULL: it has a DEFAULT or is an identity.
    pub has_default: bool,
    /// Whether Postgres refuses a value for it: `GENERATED ALWAYS`, as an expression or as an identity.
    pub generated: bool,
    /// What it is when left out, as SQL in the tenant's session.
    pub default: Option<Box<str>>,
    /// `COMMENT ON COLUMN`, if there is one.
    pub comment: Option<Box<str>>,
    /// The most characters, for `varchar(n)` and the like.
    pub max_length: Option<u32>,
    /// The labels of an enum, in its order.
    pub labels: Box<[Box<str>]>,
    /// Whether to read it may run functions of the tenant's own: a type with casts or operators that are not built in, a
    /// virtual generated column.
    pub runs_code: bool,
}

/// A way from one relation's rows to another's.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Relationship {
    /// Index into [`Catalog::relations`].
    pub target: usize,
    /// How many rows there may be at either end, and how they are found.
    pub link: Link,
    /// Whether both ends are the same relation.
    pub is_self: bool,
}

/// How the rows at the other end are found.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Link {
    /// By a foreign key of the relation, or of the table behind the view.
    ManyToOne(ForeignKey),
    /// By a foreign key of the target.
    OneToMany(ForeignKey),
    /// By a foreign key of either whose columns are unique.
    OneToOne(ForeignKey),
    /// By two foreign keys of a table between.
    ManyToMany(Junction),
    /// By a function of the row.
    Computed {
        /// Its name, unquoted.
        function: Box<str>,
        /// Whether it is the tenant's own.
        scope: Scope,
        /// Whether it gives one row at most.
        single: bool,
    },
}

/// A foreign key as seen from one of its ends.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct ForeignKey {
    /// The constraint's name.
    pub constraint: Box<str>,
    /// Whether it is the relation's own, and not the target's.
    pub own: bool,
    /// Columns of the relation and of the target that are equal.
    pub columns: Box<[(Box<str>, Box<str>)]>,
}

/// A table between two others.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Junction {
    /// Index into [`Catalog::relations`].
    pub relation: usize,
    /// Its foreign key to the relation: (the relation's column, the junction's).
    pub source: ForeignKey,
    /// Its foreign key to the target: (the target's column, the junction's).
    pub target: ForeignKey,
}

impl Link {
    /// Whether there is one row at most.
    #[must_use]
    pub fn is_to_one(&self) -> bool {
        match self {
            Self::ManyToOne(_) | Self::OneToOne(_) => true,
            Self::OneToMany(_) | Self::ManyToMany(_) => false,
            Self::Computed { single, .. } => *single,
        }
    }
}

/// A function that can be called.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Function {
    /// The name, unquoted.
    pub name: Box<str>,
    /// Whose it is.
    pub scope: Scope,
    /// `COMMENT ON FUNCTION`, if there is one.
    pub comment: Option<Box<str>>,
    /// What goes in.
    pub arguments: Box<[Argument]>,
    /// What comes out.
    pub returns: Returns,
    /// Whether it returns a set.
    pub returns_set: bool,
    /// What it promises not to do.
    pub volatility: Volatility,
    /// Its `SET name = value` that a caller's transaction takes over.
    pub settings: Box<[(Box<str>, Box<str>)]>,
}

/// An argument of a function.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Argument {
    /// The name; empty if it has none.
    pub name: Box<str>,
    /// The type as SQL in the tenant's session.
    pub type_name: Box<str>,
    /// Whether there is no default.
    pub required: bool,
    /// Whether it takes all that are left.
    pub variadic: bool,
}

/// What a function returns, or each row of the set that it returns.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Returns {
    /// Nothing.
    Void,
    /// A value: the one column of a relation that has the function's name, as has the column.
    Scalar(Box<Relation>),
    /// A row of a relation: index into [`Catalog::relations`].
    Relation(usize),
    /// A row of columns that are no relation's: `TABLE`, `OUT` or a composite type.
    Columns(Box<Relation>),
}

impl Function {
    /// Whether a call gives one value or many values, not rows.
    #[must_use]
    pub fn returns_scalar(&self) -> bool {
        matches!(self.returns, Returns::Scalar(_) | Returns::Void)
    }
}

/// What a function promises not to do (manual, 38.7).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Volatility {
    /// Its result depends on its arguments alone.
    Immutable,
    /// It changes nothing.
    Stable,
    /// It may do anything.
    Volatile,
}

/// A cast to or from a domain by a function.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Representation {
    source: Box<str>,
    target: Box<str>,
    /// As SQL.
    function: Box<str>,
}

/// What makes a media type of rows (PostgREST, "Media Type Handlers").
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Handler {
    /// The media type asked for, lower case; `*/*` for any.
    pub media_type: Box<str>,
    /// The media type that comes out.
    pub gives: Box<str>,
    /// An aggregate, or the domain that a function returns, as SQL.
    pub function: Box<str>,
    /// What it takes.
    pub takes: Takes,
}

/// What a [`Handler`] takes.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Takes {
    /// Rows of anything.
    Anything,
    /// Rows of the relation of this name.
    Relation(Box<str>),
    /// The value of the function of this name, which is of the media type by itself.
    Function(Box<str>),
}

/// Whose a relation or function is.
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
    /// What a function returns.
    Result,
}

/// Makes equal catalogs one.
///
/// It keeps no catalog alive: one that no tenant holds any more is gone, and its entry goes with the next `intern`.
#[derive(Default, Debug)]
pub struct Store {
    hasher: RandomState,
    /// By hash, each with its number; several only when two different structures collide.
    catalogs: Mutex<Known>,
    /// How many catalogs there have been.
    count: AtomicU64,
}

type Known = HashMap<u64, Vec<(Weak<Catalog>, u64)>>;

impl Store {
    /// A store without catalogs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The one `Arc` for this structure: an existing one if any tenant holds an equal catalog, otherwise a new one. With it
    /// comes its number, which no other catalog has had or will have.
    #[must_use]
    pub fn intern(&self, catalog: Catalog) -> (Arc<Catalog>, u64) {
        let hash = self.hasher.hash_one(&catalog);
        let mut catalogs = self.lock();
        // Over all entries, because nothing else would ever visit a structure that no tenant has any more. Catalogs
        // are loaded at start and after migrations, so the walk is not on the request path.
        catalogs.retain(|_, same_hash| {
            same_hash.retain(|(catalog, _)| catalog.strong_count() > 0);
            !same_hash.is_empty()
        });
        let same_hash = catalogs.entry(hash).or_default();
        if let Some(known) = same_hash
            .iter()
            .filter_map(|(known, number)| Some((known.upgrade()?, *number)))
            .find(|(known, _)| **known == catalog)
        {
            return known;
        }
        let catalog = Arc::new(catalog);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        same_hash.push((Arc::downgrade(&catalog), number));
        (catalog, number)
    }

    /// How many different structures are in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock()
            .values()
            .flatten()
            .filter(|(catalog, _)| catalog.strong_count() > 0)
            .count()
    }

    /// Whether no catalog is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A panic while the lock was held leaves at worst a dead entry, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.catalogs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(column: &str) -> Catalog {
        let column = Column {
            name: column.into(),
            ..Column::default()
        };
        Catalog {
            comment: Some(column.name),
            ..Catalog::default()
        }
    }

    #[test]
    fn equal_structures_share_one_arc_and_different_ones_do_not() {
        let store = Store::new();
        let (first, number) = store.intern(catalog("id"));
        let (again, same_number) = store.intern(catalog("id"));
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(number, same_number);
        let (other, other_number) = store.intern(catalog("key"));
        assert!(!Arc::ptr_eq(&first, &other));
        assert_ne!(number, other_number);
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
