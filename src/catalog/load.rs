//! The statement that reads a catalog.

use super::{Catalog, Error, build, raw};

/// Reads the catalog of the schema `$1` with the shared schema `$2` (none if NULL), whose functions count if `$3` is true, and
/// the settings of the roles that the login `$4` is a member of; `$3` is `bool`, the others are `text`. One row of nine `text`
/// columns, which [`Loaded::from_row`] takes.
///
/// Run it under the search_path that requests for the schema run under: names of types come out as they are seen then. It may be
/// planned under any.
///
/// Every comparison is of types that Postgres has an operator of its own for, so that none of the tenant's is ever a better match,
/// whoever runs it.
///
/// Everything is found by way of indexes: of `pg_depend` by schema, by row type and by view. Other catalogs have none for
/// that, and the tables of ten thousand tenants are in them. `LIMIT 1` stands where the planner would go through all of one.
pub const LOAD_SQL: &str = r"
WITH RECURSIVE searched AS (
    SELECT n.oid, n.nspname = $1::pg_catalog.text AS of_tenant FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN ($1::pg_catalog.text, $2::pg_catalog.text)
), relation AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relrowsecurity, c.reltype, n.of_tenant
    FROM searched AS n
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid AND d.refobjid = n.oid
        AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AND d.deptype = 'n'
    JOIN pg_catalog.pg_class AS c ON c.oid = d.objid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND NOT c.relispartition
        AND c.relname <> 'rowhouse_migrations'
        -- An unqualified name means the first relation of that name, whatever it is: Postgres searches pg_catalog first,
        -- and a tenant's index or partition hides a shared table as well.
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_class AS hiding
            WHERE hiding.relname = c.relname AND hiding.relnamespace = 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid
        )
        AND (n.of_tenant OR NOT EXISTS (
            SELECT FROM pg_catalog.pg_class AS hiding
            WHERE hiding.relname = c.relname
                AND hiding.relnamespace = (SELECT tenant.oid FROM searched AS tenant WHERE tenant.of_tenant)
        ))
), below AS MATERIALIZED (
    -- The relations, and all that their views are made of.
    SELECT r.oid FROM relation AS r
    UNION
    SELECT d.refobjid
    FROM below AS b
    JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = b.oid AND w.rulename = '_RETURN'
    JOIN pg_catalog.pg_depend AS d
        ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid AND d.objid = w.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
), attribute AS MATERIALIZED (
    SELECT a.*, NULL::pg_catalog.oid AS func FROM pg_catalog.pg_attribute AS a
    JOIN relation AS r ON r.oid = a.attrelid
    WHERE a.attnum > 0 AND NOT a.attisdropped
), function AS MATERIALIZED (
    SELECT p.*, n.of_tenant
    FROM searched AS n
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid AND d.refobjid = n.oid
        AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid AND d.deptype = 'n'
    JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
    WHERE p.prokind = 'f'
        AND (n.of_tenant OR $3::pg_catalog.bool)
        AND p.prorettype NOT IN ('pg_catalog.trigger'::pg_catalog.regtype::pg_catalog.oid, 'pg_catalog.event_trigger'::pg_catalog.regtype::pg_catalog.oid)
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend AS e
            WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid AND e.objid = p.oid AND e.deptype = 'e'
        )
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_proc AS hiding
            WHERE hiding.proname = p.proname AND hiding.proargtypes = p.proargtypes
                AND hiding.pronamespace = 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid
        )
), argument AS (
    SELECT f.oid AS func, a.position, a.name, a.type, COALESCE(a.mode, 'i') AS mode
    FROM function AS f
    CROSS JOIN LATERAL ROWS FROM (
        pg_catalog.unnest(COALESCE(f.proallargtypes, f.proargtypes::pg_catalog.oid[])),
        pg_catalog.unnest(f.proargnames),
        pg_catalog.unnest(f.proargmodes)
    ) WITH ORDINALITY AS a(type, name, mode, position)
    WHERE a.type IS NOT NULL
), of_row AS (
    -- Functions of one row of a relation, or of anything.
    SELECT p.oid, r.oid AS relation
    FROM relation AS r
    JOIN pg_catalog.pg_depend AS d
        ON d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid AND d.refobjid = r.reltype
        AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
    JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
    WHERE p.pronargs = 1 AND p.proargtypes[0] = r.reltype AND p.prokind = 'f'
    UNION
    SELECT f.oid, NULL FROM function AS f
    WHERE f.pronargs = 1
        AND f.proargtypes[0] IN ('pg_catalog.record'::pg_catalog.regtype::pg_catalog.oid, 'pg_catalog.anyelement'::pg_catalog.regtype::pg_catalog.oid)
), used_type AS (
    SELECT a.atttypid AS oid FROM attribute AS a
    UNION
    SELECT g.type FROM argument AS g WHERE g.mode IN ('o', 'b', 't')
    UNION
    SELECT f.prorettype FROM function AS f
    UNION
    SELECT p.prorettype FROM of_row AS o JOIN pg_catalog.pg_proc AS p ON p.oid = o.oid
    UNION
    SELECT a.atttypid FROM function AS f
    JOIN pg_catalog.pg_type AS t ON t.oid = f.prorettype AND t.typtype = 'c'
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
), step AS (
    SELECT u.oid AS type, u.oid AS oid FROM used_type AS u
    UNION ALL
    SELECT s.type, t.typbasetype
    FROM step AS s
    CROSS JOIN LATERAL (
        SELECT d.typbasetype FROM pg_catalog.pg_type AS d WHERE d.oid = s.oid AND d.typtype = 'd' LIMIT 1
    ) AS t
), base AS MATERIALIZED (
    SELECT s.type, t.oid, t.typname, t.typtype, t.typrelid, t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid AS built_in
    FROM step AS s
    CROSS JOIN LATERAL (
        SELECT b.oid, b.typname, b.typtype, b.typrelid, b.typnamespace FROM pg_catalog.pg_type AS b
        WHERE b.oid = s.oid AND b.typtype <> 'd' LIMIT 1
    ) AS t
)
SELECT
    (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
        SELECT r.oid::pg_catalog.int8, r.relname AS name, r.of_tenant AS own, r.relkind AS kind, r.relrowsecurity AS security,
            pg_catalog.obj_description(r.oid, 'pg_class') AS comment,
            CASE WHEN r.relkind IN ('v', 'f') THEN pg_catalog.pg_relation_is_updatable(r.oid, true) END AS changes
        FROM relation AS r
    ) AS x)::pg_catalog.text,
    (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
        SELECT a.attrelid::pg_catalog.int8 AS relation, a.attnum AS number, a.attname AS name,
            pg_catalog.format_type(a.atttypid, a.atttypmod) AS type,
            CASE WHEN b.built_in THEN pg_catalog.format_type(b.oid, NULL) ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END AS base,
            b.oid::pg_catalog.int8 AS type_oid,
            a.attnotnull OR t.typtype = 'd' AND t.typnotnull AS not_null,
            a.attidentity AS identity,
            a.attgenerated <> '' AS computed,
            a.attgenerated = 'v'
                OR NOT b.built_in AND b.typtype <> 'e'
                OR (NOT b.built_in OR t.typtype = 'd') AND EXISTS (
                    SELECT FROM pg_catalog.pg_depend AS c
                    WHERE c.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid AND c.refobjid IN (t.oid, b.oid)
                        AND c.classid IN ('pg_catalog.pg_cast'::pg_catalog.regclass::pg_catalog.oid, 'pg_catalog.pg_operator'::pg_catalog.regclass::pg_catalog.oid)
                ) AS code,
            CASE
                WHEN a.attidentity = 'd' THEN (
                    SELECT pg_catalog.format('nextval(%L)', s.objid::pg_catalog.regclass)
                    FROM pg_catalog.pg_depend AS s
                    WHERE s.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AND s.refobjid = a.attrelid
                        AND s.refobjsubid = a.attnum AND s.deptype = 'i'
                        AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid
                )
                WHEN a.attidentity <> '' OR a.attgenerated <> '' THEN NULL
                WHEN e.adbin IS NOT NULL THEN pg_catalog.pg_get_expr(e.adbin, e.adrelid)
                WHEN t.typtype = 'd' THEN pg_catalog.pg_get_expr(t.typdefaultbin, 0)
            END AS default,
            pg_catalog.col_description(a.attrelid, a.attnum) AS comment,
            m.modifier - CASE WHEN b.oid IN (1042::pg_catalog.oid, 1043::pg_catalog.oid) THEN 4 ELSE 0 END AS max_length,
            CASE WHEN b.typtype = 'e' THEN (
                SELECT pg_catalog.json_agg(l.enumlabel ORDER BY l.enumsortorder)
                FROM pg_catalog.pg_enum AS l WHERE l.enumtypid = b.oid
            ) END AS labels
        FROM attribute AS a
        JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        JOIN base AS b ON b.type = a.atttypid
        LEFT JOIN pg_catalog.pg_attrdef AS e ON e.adrelid = a.attrelid AND e.adnum = a.attnum AND a.atthasdef
        LEFT JOIN LATERAL (
            SELECT CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier
        ) AS m ON m.modifier > 0 AND b.oid IN (1042::pg_catalog.oid, 1043::pg_catalog.oid, 1560::pg_catalog.oid, 1562::pg_catalog.oid)
        ORDER BY a.attrelid, a.attnum
    ) AS x)::pg_catalog.text,
    (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
        SELECT k.conname AS name, k.contype AS kind, k.conrelid::pg_catalog.int8 AS relation, k.conkey AS columns,
            k.confrelid::pg_catalog.int8 AS target, COALESCE(k.confkey, '{}') AS target_columns
        FROM below AS b
        JOIN pg_catalog.pg_constraint AS k ON k.conrelid = b.oid
        WHERE k.contype IN ('p', 'u') OR k.contype = 'f' AND k.conparentid = 0::pg_catalog.oid
        ORDER BY k.conrelid, k.conname
    ) AS x)::pg_catalog.text,
    (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
        SELECT w.ev_class::pg_catalog.int8 AS relation, w.ev_action::pg_catalog.text AS action
        FROM below AS b
        CROSS JOIN LATERAL (
            SELECT v.ev_class, v.ev_action FROM pg_catalog.pg_rewrite AS v
            WHERE v.ev_class = b.oid AND v.rulename = '_RETURN' AND v.ev_type = '1' LIMIT 1
        ) AS w
    ) AS x)::pg_catalog.text,
    (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
        SELECT f.proname AS name, f.of_tenant AS own,
            pg_catalog.obj_description(f.oid, 'pg_proc') AS comment,
            f.provolatile AS volatility, f.proretset AS set,
            (SELECT COALESCE(pg_catalog.json_agg(y ORDER BY y.position), '[]') FROM (
                SELECT g.position, COALESCE(g.name, '') AS name, pg_catalog.format_type(g.type, NULL) AS type,
                    pg_catalog.row_number() OVER (ORDER BY g.position) <= f.pronargs - f.pronargdefaults AS required,
                    g.mode = 'v' AS variadic
                FROM argument AS g WHERE g.func = f.oid AND g.mode IN ('i', 'b', 'v')
            ) AS y) AS arguments,
            pg_catalog.format_type(f.prorettype, NULL) AS type,
            CASE WHEN b.built_in THEN pg_catalog.format_type(b.oid, NULL) ELSE pg_catalog.format_type(f.prorettype, NULL) END AS base,
            b.oid::pg_catalog.int8 AS type_oid,
            CASE WHEN b.typtype = 'c' THEN b.typrelid::pg_catalog.int8 ELSE 0 END AS relation,
            (SELECT pg_catalog.json_agg(y ORDER BY y.position) FROM (
                SELECT g.position, COALESCE(g.name, '') AS name, pg_catalog.format_type(g.type, NULL) AS type,
                    CASE WHEN u.built_in THEN pg_catalog.format_type(u.oid, NULL) ELSE pg_catalog.format_type(g.type, NULL) END AS base,
                    u.oid::pg_catalog.int8 AS type_oid
                FROM argument AS g JOIN base AS u ON u.type = g.type
                WHERE g.func = f.oid AND g.mode IN ('o', 'b', 't')
                UNION ALL
                SELECT a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
                    CASE WHEN u.built_in THEN pg_catalog.format_type(u.oid, NULL) ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END,
                    u.oid::pg_catalog.int8
                FROM pg_catalog.pg_attribute AS a JOIN base AS u ON u.type = a.atttypid
                WHERE b.typtype = 'c' AND a.attrelid = b.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            ) AS y) AS columns,
            (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(
                    pg_catalog.substr(s, 1, pg_catalog.strpos(s, '=') - 1), pg_catalog.substr(s, pg_catalog.strpos(s, '=') + 1)))
                FROM pg_catalog.unnest(f.proconfig) AS s) AS settings
        FROM function AS f
        JOIN base AS b ON b.type = f.prorettype
    ) AS x)::pg_catalog.text,
    (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
        SELECT o.relation::pg_catalog.int8, p.proname AS name,
            COALESCE(n.of_tenant, false) AS own,
            pg_catalog.pg_function_is_visible(p.oid) AS visible,
            p.proretset AS set, p.prorows = 1::pg_catalog.float4 AS one_row,
            pg_catalog.format_type(p.prorettype, NULL) AS type,
            CASE WHEN b.built_in THEN pg_catalog.format_type(b.oid, NULL) ELSE pg_catalog.format_type(p.prorettype, NULL) END AS base,
            b.oid::pg_catalog.int8 AS type_oid,
            CASE WHEN b.typtype = 'c' THEN b.typrelid::pg_catalog.int8 ELSE 0 END AS target
        FROM of_row AS o
        JOIN pg_catalog.pg_proc AS p ON p.oid = o.oid
        JOIN base AS b ON b.type = p.prorettype
        LEFT JOIN searched AS n ON n.oid = p.pronamespace
        ORDER BY p.proname
    ) AS x)::pg_catalog.text,
    (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
        SELECT pg_catalog.format_type(c.castsource, NULL) AS source, pg_catalog.format_type(c.casttarget, NULL) AS target,
            -- With its schema it would name the tenant, and regproc adds that to whatever is overloaded.
            CASE WHEN pg_catalog.pg_function_is_visible(p.oid) THEN pg_catalog.quote_ident(p.proname)
                ELSE p.oid::pg_catalog.regproc::pg_catalog.text END AS function
        FROM used_type AS u
        JOIN pg_catalog.pg_type AS d ON d.oid = u.oid AND d.typtype = 'd'
        CROSS JOIN LATERAL (
            SELECT f.* FROM pg_catalog.pg_cast AS f WHERE f.castsource = d.oid AND f.casttarget IN (25::pg_catalog.oid, 114::pg_catalog.oid)
            UNION ALL
            SELECT f.* FROM pg_catalog.pg_cast AS f WHERE f.castsource IN (25::pg_catalog.oid, 114::pg_catalog.oid) AND f.casttarget = d.oid
        ) AS c
        JOIN pg_catalog.pg_proc AS p ON p.oid = c.castfunc
        WHERE c.castcontext = 'i' AND c.castmethod = 'f'
    ) AS x)::pg_catalog.text,
    (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
        SELECT pg_catalog.lower(m.typname) AS media_type,
            CASE WHEN pg_catalog.pg_function_is_visible(p.oid) THEN pg_catalog.quote_ident(p.proname)
                ELSE p.oid::pg_catalog.regproc::pg_catalog.text END AS function,
            CASE WHEN p.proargtypes[0] = 'pg_catalog.anyelement'::pg_catalog.regtype::pg_catalog.oid THEN NULL ELSE a.typname END AS relation,
            NULL AS call
        FROM searched AS n
        JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid AND d.refobjid = n.oid
            AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid AND d.deptype = 'n'
        JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
        JOIN pg_catalog.pg_type AS m ON m.oid = p.prorettype AND m.typtype = 'd' AND m.typname LIKE '%/%'
        JOIN pg_catalog.pg_type AS a ON a.oid = p.proargtypes[0]
        WHERE p.prokind = 'a' AND p.pronargs = 1
            AND (a.typrelid <> 0::pg_catalog.oid OR p.proargtypes[0] = 'pg_catalog.anyelement'::pg_catalog.regtype::pg_catalog.oid)
        UNION
        SELECT pg_catalog.lower(m.typname), m.oid::pg_catalog.regtype::pg_catalog.text, NULL, f.proname
        FROM function AS f
        JOIN pg_catalog.pg_type AS m ON m.oid = f.prorettype AND m.typtype = 'd' AND m.typname LIKE '%/%'
        WHERE NOT f.proretset
    ) AS x)::pg_catalog.text,
    (SELECT pg_catalog.json_build_object(
        'comment', (SELECT pg_catalog.obj_description(n.oid, 'pg_namespace') FROM searched AS n WHERE n.of_tenant),
        'roles', (SELECT COALESCE(pg_catalog.json_agg(x), '[]') FROM (
            SELECT r.rolname AS role, pg_catalog.substr(c, 1, pg_catalog.strpos(c, '=') - 1) AS name,
                pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1) AS value
            FROM pg_catalog.pg_db_role_setting AS s
            JOIN pg_catalog.pg_roles AS r ON r.oid = s.setrole
            CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS c
            LEFT JOIN pg_catalog.pg_settings AS g ON pg_catalog.lower(g.name) = pg_catalog.lower(pg_catalog.split_part(c, '=', 1))
            WHERE s.setdatabase = 0::pg_catalog.oid AND pg_catalog.pg_has_role(
                    (SELECT l.oid FROM pg_catalog.pg_roles AS l WHERE l.rolname = $4::pg_catalog.text), r.oid, 'MEMBER'
                ) AND r.rolname <> $4::pg_catalog.text
                AND COALESCE(g.context, 'user') = 'user'
                -- These are what a tenant is, and not for a role to change.
                AND pg_catalog.lower(pg_catalog.split_part(c, '=', 1)) NOT IN ('search_path', 'role', 'session_authorization')
        ) AS x)
    ))::pg_catalog.text";

/// Which of the relations `$2` and functions `$3` of the schemas `$1` the current role may use. All are `text[]`; of a
/// function the place in `$4` has the names of its arguments, with commas between. Two `text` columns come out, JSON arrays of places from 1.
pub const PRIVILEGES_SQL: &str = "
WITH searched AS (
    SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = ANY($1::pg_catalog.text[])
)
SELECT
    (SELECT COALESCE(pg_catalog.json_agg(r.place ORDER BY r.place), '[]')
        FROM pg_catalog.unnest($2::pg_catalog.text[]) WITH ORDINALITY AS r(name, place)
        WHERE EXISTS (
            SELECT FROM pg_catalog.pg_class AS c JOIN searched AS n ON n.oid = c.relnamespace
            WHERE c.relname = r.name
                AND (pg_catalog.has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE')
                    OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE'))
        ))::pg_catalog.text,
    (SELECT COALESCE(pg_catalog.json_agg(f.place ORDER BY f.place), '[]')
        FROM ROWS FROM (
            pg_catalog.unnest($3::pg_catalog.text[]), pg_catalog.unnest($4::pg_catalog.text[])
        ) WITH ORDINALITY AS f(name, arguments, place)
        WHERE EXISTS (
            SELECT FROM pg_catalog.pg_proc AS p JOIN searched AS n ON n.oid = p.pronamespace
            WHERE p.proname = f.name
                AND COALESCE(pg_catalog.array_to_string(p.proargnames[1:p.pronargs], ','), '') = f.arguments
                AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
        ))::pg_catalog.text";

/// What the current role may do with each of the relations `$2` of the schemas `$1`, whose first counts: one row of one
/// column, a JSON array that holds for each `[SELECT, INSERT, UPDATE, DELETE]`, null where there is no such relation.
/// Rights on some of the columns count.
pub const RIGHTS_SQL: &str = "
SELECT COALESCE(pg_catalog.json_agg(pg_catalog.json_build_array(
        pg_catalog.has_table_privilege(c.oid, 'SELECT') OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT'),
        pg_catalog.has_table_privilege(c.oid, 'INSERT') OR pg_catalog.has_any_column_privilege(c.oid, 'INSERT'),
        pg_catalog.has_table_privilege(c.oid, 'UPDATE') OR pg_catalog.has_any_column_privilege(c.oid, 'UPDATE'),
        pg_catalog.has_table_privilege(c.oid, 'DELETE')
    ) ORDER BY r.place), '[]')::pg_catalog.text
FROM pg_catalog.unnest($2::pg_catalog.text[]) WITH ORDINALITY AS r(name, place)
LEFT JOIN LATERAL (
    SELECT c.oid FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS s(name, place)
    JOIN pg_catalog.pg_namespace AS n ON n.nspname = s.name
    JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = r.name
    ORDER BY s.place LIMIT 1
) AS c ON true";

/// What [`LOAD_SQL`] found.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The structure, which alike tenants share.
    pub catalog: Catalog,
    /// What `ALTER ROLE … SET` says of the roles that requests may run as. It names roles, so it is the tenant's own.
    pub roles: Box<[RoleSetting]>,
}

/// `ALTER ROLE role SET name = value`.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize)]
pub struct RoleSetting {
    /// The role.
    pub role: Box<str>,
    /// The setting.
    pub name: Box<str>,
    /// Its value.
    pub value: Box<str>,
}

impl Loaded {
    /// Takes the one row of [`LOAD_SQL`]. With `qualifier`, a quoted schema, the tenant's own names are written with it.
    ///
    /// # Errors
    ///
    /// When the row is not of that form.
    pub fn from_row(values: &[Option<&str>], qualifier: Option<&str>) -> Result<Self, Error> {
        let mut raw = raw::Raw::parse(values)?;
        let roles = std::mem::take(&mut raw.schema.roles);
        Ok(Self {
            catalog: build::catalog(raw, qualifier),
            roles,
        })
    }
}
