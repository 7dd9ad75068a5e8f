//! SQL for the rights on the tables of one schema. All of it runs as their owner.

use crate::types::SchemaName;

/// The rights of a role on the tables and sequences of a schema; empty means none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    tables: &'static str,
    sequences: &'static str,
}

/// None.
pub(super) const NONE: Rights = Rights {
    tables: "",
    sequences: "",
};
/// Reading.
pub(super) const READ: Rights = Rights {
    tables: "SELECT",
    sequences: "",
};
/// Reading and writing. Not `TRUNCATE`, `REFERENCES` or `TRIGGER`. A `serial` column takes `USAGE` of its sequence.
pub(super) const WRITE: Rights = Rights {
    tables: "SELECT, INSERT, UPDATE, DELETE",
    sequences: "USAGE",
};

/// The table of applied migrations.
pub(super) const HISTORY: &str = "rowhouse_migrations";

/// The history table, as refinery would create it; here, so that nobody holds rights on it even for a moment.
pub(super) fn history_sql(schema: &str, reader: &str, writer: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {schema}.{HISTORY} (version int4 PRIMARY KEY, name varchar(255), \
         applied_on varchar(255), checksum varchar(255));
         REVOKE ALL ON {schema}.{HISTORY} FROM PUBLIC, \"{reader}\", \"{writer}\";\n"
    )
}

/// Gives `grantee` exactly `rights` on all tables of `owner` in the schema, present and future, but for the history.
///
/// Tables of others, who may have made them by hand, are left alone: a `GRANT … ON ALL TABLES` would fail on them.
/// Roles are those of `roles.rs`: no name holds a quote.
pub(super) fn tables_sql(schema: &SchemaName, owner: &str, grantee: &str, rights: Rights) -> String {
    let quoted = schema.quoted();
    let mut sql = String::new();
    for (what, kinds, given) in [
        ("TABLE", "'r', 'p', 'v', 'm', 'f'", rights.tables),
        ("SEQUENCE", "'S'", rights.sequences),
    ] {
        let defaults = format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {quoted}");
        let mut now = format!("EXECUTE 'REVOKE ALL ON {what} ' || names || ' FROM \"{grantee}\"';");
        sql.push_str(&format!("{defaults} REVOKE ALL ON {what}S FROM \"{grantee}\";\n"));
        if !given.is_empty() {
            sql.push_str(&format!("{defaults} GRANT {given} ON {what}S TO \"{grantee}\";\n"));
            now.push_str(&format!(
                " EXECUTE 'GRANT {given} ON {what} ' || names || ' TO \"{grantee}\"';"
            ));
        }
        sql.push_str(&format!(
            "DO $$ DECLARE names text; BEGIN
                SELECT string_agg(format('%I.%I', nspname, relname), ', ') INTO names
                FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
                WHERE nspname = '{schema}' AND relowner = '\"{owner}\"'::regrole AND relkind IN ({kinds})
                    AND relname <> '{HISTORY}';
                IF names IS NOT NULL THEN {now} END IF;
            END $$;\n"
        ));
    }
    sql
}
