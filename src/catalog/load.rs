//! The statement that reads a catalog, and its rows.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Catalog, Column, Relation, RelationKind, Scope};

/// Reads the catalog of the tenant schema `$1` with the shared schema `$2`, both `text`, one row per column.
///
/// Run it in a session with the tenant's search_path: type names come out as that session sees them. All result
/// columns are `text`; [`Builder::row`] takes them in their order.
pub const LOAD_SQL: &str = r"
WITH RECURSIVE searched AS (
    SELECT n.oid, n.nspname = $1::pg_catalog.text AS of_tenant FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN ($1::pg_catalog.text, $2::pg_catalog.text)
), relation AS (
    -- By way of pg_depend, which has an index by schema. pg_class has none, and ten thousand tenants' tables are in it.
    SELECT c.oid, c.relname, c.relkind, c.relrowsecurity, n.of_tenant
    FROM searched AS n
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND d.refobjid = n.oid
        AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'n'
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND NOT c.relispartition
        AND c.relname <> 'rowhouse_migrations'
        -- An unqualified name means the first relation of that name, whatever it is: Postgres searches pg_catalog first,
        -- and a tenant's index or partition hides a shared table as well.
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_class AS hiding
            WHERE hiding.relname = c.relname AND hiding.relnamespace = 'pg_catalog'::pg_catalog.regnamespace
        )
        AND (n.of_tenant OR NOT EXISTS (
            SELECT FROM pg_catalog.pg_class AS hiding
            WHERE hiding.relname = c.relname
                AND hiding.relnamespace = (SELECT tenant.oid FROM searched AS tenant WHERE tenant.of_tenant)
        ))
), attribute AS (
    SELECT a.* FROM pg_catalog.pg_attribute AS a
    JOIN relation AS r ON r.oid = a.attrelid
    WHERE a.attnum > 0 AND NOT a.attisdropped
), base AS (
    SELECT DISTINCT a.atttypid AS domain, a.atttypid AS oid FROM attribute AS a
    UNION ALL
    SELECT b.domain, t.typbasetype
    FROM base AS b
    JOIN pg_catalog.pg_type AS t ON t.oid = b.oid
    WHERE t.typtype = 'd'
), type AS (
    SELECT b.domain, b.oid FROM base AS b
    JOIN pg_catalog.pg_type AS t ON t.oid = b.oid
    WHERE t.typtype <> 'd'
)
SELECT
    r.relname::pg_catalog.text,
    CASE WHEN r.of_tenant THEN 'tenant' ELSE 'shared' END::pg_catalog.text,
    r.relkind::pg_catalog.text,
    r.relrowsecurity::pg_catalog.text,
    pg_catalog.obj_description(r.oid, 'pg_class')::pg_catalog.text,
    a.attname::pg_catalog.text,
    pg_catalog.format_type(a.atttypid, a.atttypmod)::pg_catalog.text,
    CASE WHEN t.oid < 16384 THEN t.oid ELSE 0 END::pg_catalog.text,
    a.attnotnull::pg_catalog.text,
    (a.attidentity <> '' OR a.atthasdef AND a.attgenerated = '')::pg_catalog.text,
    (a.attidentity = 'a' OR a.attgenerated <> '')::pg_catalog.text,
    k.position::pg_catalog.text
FROM relation AS r
LEFT JOIN attribute AS a ON a.attrelid = r.oid
LEFT JOIN type AS t ON t.domain = a.atttypid
LEFT JOIN LATERAL (
    -- indkey counts from 0, and behind the key stand the columns of INCLUDE.
    SELECT p.position
    FROM pg_catalog.pg_index AS i
    CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) AS p(position)
    WHERE i.indrelid = r.oid AND i.indisprimary AND i.indkey[p.position] = a.attnum
) AS k ON true
ORDER BY r.relname, a.attnum";

/// Why a row is not one of [`LOAD_SQL`].
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum Error {
    /// Another number of values.
    #[error("a catalog row of {0} values instead of {WIDTH}")]
    Width(usize),
    /// NULL where a value must be.
    #[error("no {0} in a catalog row")]
    Missing(&'static str),
    /// A value that means nothing.
    #[error("{value:?} is no {what}")]
    Value {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: Box<str>,
    },
}

/// Makes a [`Catalog`] of the rows of [`LOAD_SQL`].
#[derive(Debug, Default)]
pub struct Builder {
    relations: BTreeMap<Box<str>, Draft>,
}

impl Builder {
    /// Takes one row: relation name, scope (`tenant` or `shared`), kind (`pg_class.relkind`), whether it has
    /// row-level security, relation comment, column name, type name, type OID, whether it is not null, has a default, is
    /// generated (`true` or `false`), and its position in the primary key.
    ///
    /// The comment and the last may be NULL, and everything from the column name on for a relation without columns.
    ///
    /// # Errors
    ///
    /// When the row is not of that form. It has not been taken then.
    pub fn row(&mut self, values: &[Option<&str>]) -> Result<(), Error> {
        let &[
            name,
            scope,
            kind,
            row_security,
            comment,
            column,
            type_name,
            type_oid,
            not_null,
            has_default,
            generated,
            position,
        ] = values
        else {
            return Err(Error::Width(values.len()));
        };
        let name = required(name, "relation name")?;
        let scope = match required(scope, "scope")? {
            "tenant" => Scope::Tenant,
            "shared" => Scope::Shared,
            other => return Err(invalid("scope", other)),
        };
        let kind = match required(kind, "relation kind")? {
            "r" => RelationKind::Table,
            "p" => RelationKind::PartitionedTable,
            "v" => RelationKind::View,
            "m" => RelationKind::MaterializedView,
            "f" => RelationKind::ForeignTable,
            other => return Err(invalid("relation kind", other)),
        };
        let runs_code = boolean(row_security)? || kind == RelationKind::View;
        let column = match column {
            None => None,
            Some(column) => Some(Column {
                name: column.into(),
                type_name: required(type_name, "type name")?.into(),
                type_oid: number(required(type_oid, "type OID")?, "type OID")?,
                not_null: boolean(not_null)?,
                has_default: boolean(has_default)?,
                generated: boolean(generated)?,
            }),
        };
        let position = position.map(|position| number(position, "key position")).transpose()?;

        let draft = self.relations.entry(name.into()).or_insert_with(|| Draft {
            scope,
            kind,
            runs_code,
            comment: comment.map(Into::into),
            columns: Vec::new(),
            key: Vec::new(),
        });
        if let Some(column) = column {
            if let Some(position) = position {
                draft.key.push((position, draft.columns.len()));
            }
            draft.columns.push(column);
        }
        Ok(())
    }

    /// The catalog of the rows so far.
    #[must_use]
    pub fn finish(self) -> Catalog {
        let relations = self.relations.into_iter().map(|(name, mut draft)| {
            draft.key.sort_unstable();
            Relation {
                name,
                scope: draft.scope,
                kind: draft.kind,
                runs_code: draft.runs_code,
                comment: draft.comment,
                columns: draft.columns.into(),
                primary_key: draft.key.into_iter().map(|(_, column)| column).collect(),
            }
        });
        Catalog {
            relations: relations.collect(),
        }
    }
}

/// A relation whose rows are still coming.
#[derive(Debug)]
struct Draft {
    scope: Scope,
    kind: RelationKind,
    runs_code: bool,
    comment: Option<Box<str>>,
    columns: Vec<Column>,
    /// Position in the key, index into `columns`.
    key: Vec<(u32, usize)>,
}

fn required<'v>(value: Option<&'v str>, what: &'static str) -> Result<&'v str, Error> {
    value.ok_or(Error::Missing(what))
}

fn number(value: &str, what: &'static str) -> Result<u32, Error> {
    value.parse().map_err(|_| invalid(what, value))
}

fn boolean(value: Option<&str>) -> Result<bool, Error> {
    let value = required(value, "boolean")?;
    value.parse().map_err(|_| invalid("boolean", value))
}

fn invalid(what: &'static str, value: &str) -> Error {
    Error::Value {
        what,
        value: value.into(),
    }
}

/// Columns of [`LOAD_SQL`].
const WIDTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(
        relation: &'static str,
        column: &'static str,
        position: Option<&'static str>,
    ) -> [Option<&'static str>; WIDTH] {
        let [yes, no] = [Some("true"), Some("false")];
        [
            Some(relation),
            Some("shared"),
            Some("v"),
            no,
            None,
            Some(column),
            Some("text"),
            Some("25"),
            yes,
            no,
            no,
            position,
        ]
    }

    #[test]
    fn rows_become_relations_with_keys_in_key_order() {
        let mut builder = Builder::default();
        builder.row(&row("b", "x", Some("1"))).unwrap();
        builder.row(&row("b", "y", None)).unwrap();
        builder.row(&row("b", "z", Some("0"))).unwrap();
        let mut empty = [None; WIDTH];
        let table = [Some("a"), Some("tenant"), Some("r"), Some("false"), Some("No columns.")];
        empty[..table.len()].copy_from_slice(&table);
        builder.row(&empty).unwrap();

        let catalog = builder.finish();
        let names: Vec<_> = catalog.relations().iter().map(|relation| &*relation.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(catalog.relation("a").unwrap().comment.as_deref(), Some("No columns."));
        let b = catalog.relation("b").unwrap();
        assert_eq!(*b.primary_key, [2, 0]);
        assert_eq!(
            (b.scope, b.kind, b.runs_code),
            (Scope::Shared, RelationKind::View, true)
        );
        assert!(!catalog.relation("a").unwrap().runs_code);
        assert_eq!(b.column("y").map(|(at, column)| (at, column.type_oid)), Some((1, 25)));
        assert_eq!(b.column("Y"), None);
        assert_eq!(catalog.relation("c"), None);
    }

    #[test]
    fn rows_of_another_form_are_refused() {
        let mut builder = Builder::default();
        assert_eq!(builder.row(&[None; 3]), Err(Error::Width(3)));
        assert_eq!(builder.row(&[None; WIDTH]), Err(Error::Missing("relation name")));
        let mut values = row("t", "a", None);
        values[2] = Some("i");
        assert_eq!(builder.row(&values), Err(invalid("relation kind", "i")));
        assert_eq!(builder.finish().relations(), []);
    }
}
