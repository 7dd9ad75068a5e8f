//! The tenants' tables, and the statements on them: the texts that the edge makes of the requests, so that everything
//! it is compared with has Postgres do the same.

use rowhouse::encode::{Column, Encoding};

/// Rows of a tenant's `item`; only the first tenants have [`MANY_ROWS`].
pub(crate) const ROWS: usize = 50;
pub(crate) const MANY_ROWS: usize = 1000;

/// What a tenant's schema holds: `item` is read, `visit` is written, `letter` is for who has a token (the soak sees to
/// that), `wait` takes its time, `whoami` tells as whom it runs.
pub(crate) const MIGRATION: &str = "\
CREATE TABLE item (
    id bigint PRIMARY KEY,
    text text NOT NULL,
    done boolean NOT NULL,
    quantity integer NOT NULL,
    price numeric(10,2) NOT NULL,
    due date NOT NULL,
    created timestamptz NOT NULL,
    note text
);
CREATE TABLE visit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE letter (
    id bigint PRIMARY KEY,
    text text NOT NULL
);
CREATE FUNCTION wait(ms double precision) RETURNS void LANGUAGE sql STABLE AS 'SELECT pg_sleep(ms / 1000)';
CREATE FUNCTION whoami() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(' ', current_schema(), current_user, current_setting('request.jwt.claims', true)::json ->> 'aud') $$;
";

/// Fills the `item` of one tenant. Its name is in every row, so that another tenant's rows are seen to be another's.
pub(crate) fn fill(tenant: &str, rows: usize) -> String {
    format!(
        "INSERT INTO {tenant}.item SELECT n, '{tenant} item ' || n, n % 3 = 0, n % 90, n * 1.25, date '2026-01-01' + n, \
         timestamptz '2026-01-01 00:00:00Z' + n * interval '61.5 s', \
         'She said \"no\", ' || repeat('and so on ', n % 10) FROM generate_series(1, {rows}) AS n;\n\
         INSERT INTO {tenant}.letter VALUES (1, '{tenant} letter');\n"
    )
}

/// How the answer to a read begins whose first row is `key`.
pub(crate) fn start_of_answer(tenant: &str, key: usize) -> String {
    format!(r#"[{{"id":{key},"text":"{tenant} item {key}","#)
}

/// One row. The limit is the edge's own `max_rows`.
pub(crate) const BY_KEY: &str = concat!(
    r#"SELECT t."id", t."text", t."done", t."quantity", t."price", t."due", t."created", t."note" "#,
    r#"FROM "item" AS t WHERE t."id" = $1 LIMIT $2::bigint"#
);

/// As many rows as `$1` says.
pub(crate) const LIST: &str = concat!(
    r#"SELECT t."id", t."text", t."done", t."quantity", t."price", t."due", t."created", t."note" "#,
    r#"FROM "item" AS t LIMIT $1::bigint"#
);

/// The same rows as one document of Postgres' making.
pub(crate) const LIST_AS_JSON: &str = concat!(
    r#"SELECT json_agg(r)::text FROM (SELECT t."id", t."text", t."done", t."quantity", t."price", t."due", "#,
    r#"t."created", t."note" FROM "item" AS t LIMIT $1::bigint) AS r"#
);

/// A write.
pub(crate) const INSERT: &str = r#"INSERT INTO "visit" ("text") VALUES ($1)"#;

/// The columns of [`BY_KEY`] and [`LIST`].
pub(crate) fn columns() -> [Column; 8] {
    [
        Column::new("id", Encoding::Int8),
        Column::new("text", Encoding::Text),
        Column::new("done", Encoding::Bool),
        Column::new("quantity", Encoding::Int4),
        Column::new("price", Encoding::Numeric),
        Column::new("due", Encoding::Date),
        Column::new("created", Encoding::TimestampTz),
        Column::new("note", Encoding::Text),
    ]
}
