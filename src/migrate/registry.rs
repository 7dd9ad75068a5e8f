//! What was brought to which state: the table `rowhouse.onboarded`, which only the edge's login can read.

use std::collections::HashMap;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Error;
use crate::types::{SchemaName, TenantId};

/// The key of the shared schema's row: no tenant id is empty.
pub(super) const SHARED_KEY: &str = "";

/// SQL: the schema and the table. Their owner is the login, and nobody else gets any right.
pub(super) const CREATE_SQL: &str = "CREATE SCHEMA IF NOT EXISTS rowhouse;
    CREATE TABLE IF NOT EXISTS rowhouse.onboarded (
        tenant text PRIMARY KEY,
        schema text NOT NULL,
        digest text NOT NULL,
        at timestamptz NOT NULL DEFAULT now()
    );";

/// The digest of every tenant's last successful [`tenant`](super::tenant), all in one query. Those whose digest is still
/// [`Migrations::digest`](super::Migrations::digest) have nothing to do. A tenant whose schema is gone is not in it.
///
/// # Errors
///
/// [`Error::Database`]. No error is a cluster that was never set up: then there are none.
pub async fn onboarded(client: &Client) -> Result<HashMap<TenantId, String>, Error> {
    let rows = read(client).await?;
    // The shared row's key is no id, so it falls out here.
    let known = rows
        .into_iter()
        .filter_map(|(id, digest)| Some((id.parse().ok()?, digest)));
    Ok(known.collect())
}

/// The digest of the shared schema.
pub(super) async fn shared(client: &Client) -> Result<Option<String>, Error> {
    let rows = read(client).await?;
    Ok(rows
        .into_iter()
        .find_map(|(id, digest)| (id == SHARED_KEY).then_some(digest)))
}

async fn read(client: &Client) -> Result<Vec<(String, String)>, Error> {
    let failed = Error::at("read rowhouse.onboarded");
    let result = client
        .query(
            "SELECT o.tenant, o.digest FROM rowhouse.onboarded o JOIN pg_catalog.pg_namespace n \
             ON n.nspname OPERATOR(pg_catalog.=) o.schema",
            &[],
        )
        .await;
    match result {
        Ok(rows) => {
            let pairs = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            pairs.collect::<Result<_, _>>().map_err(failed)
        }
        Err(error)
            if matches!(
                error.code(),
                Some(&SqlState::UNDEFINED_TABLE | &SqlState::INVALID_SCHEMA_NAME)
            ) =>
        {
            Ok(Vec::new())
        }
        Err(source) => Err(failed(source)),
    }
}

/// SQL: notes that `key` has reached `digest`. No key, schema or digest can hold a quote.
pub(super) fn record_sql(key: &str, schema: &SchemaName, digest: &str) -> String {
    format!(
        "INSERT INTO rowhouse.onboarded (tenant, schema, digest) VALUES ('{key}', '{schema}', '{digest}') \
         ON CONFLICT (tenant) DO UPDATE SET schema = excluded.schema, digest = excluded.digest, at = now();\n"
    )
}
