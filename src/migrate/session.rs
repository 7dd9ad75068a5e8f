//! One call's use of a connection: the lock, the role and the search path, all undone at its end.

use aws_lc_rs::digest::{SHA256, digest};
use refinery::Runner;
use refinery::error::Kind;
use tokio_postgres::{Client, Error as PgError};

use super::files::Set;
use super::{Error, grants, roles};
use crate::types::{SchemaName, TenantId};

/// What two calls must not change at once, on any edge.
pub(super) enum Lock<'a> {
    /// The roles and the shared schema of a cluster.
    Cluster,
    /// One tenant.
    Tenant(&'a TenantId),
}

impl Lock<'_> {
    /// The two keys of the advisory lock. Tenants whose keys collide wait for each other, which does no harm.
    fn keys(&self) -> (i32, i32) {
        match self {
            Self::Cluster => (LOCK_CLASS, 0),
            Self::Tenant(id) => {
                let hash = digest(&SHA256, id.as_str().as_bytes());
                let key = hash
                    .as_ref()
                    .iter()
                    .take(4)
                    .fold(0, |key, &byte| key << 8 | i32::from(byte));
                (LOCK_CLASS + 1, key)
            }
        }
    }
}

/// "RowH" in ASCII: other programs in the database may use advisory locks as well.
const LOCK_CLASS: i32 = 0x526f_7748;

/// A connection that holds the lock.
pub(super) struct Session<'a> {
    client: &'a mut Client,
}

impl<'a> Session<'a> {
    /// Waits for the lock. First undoes what a former call may have left that was dropped half-way.
    pub(super) async fn enter(client: &'a mut Client, lock: Lock<'_>) -> Result<Self, Error> {
        let (class, key) = lock.keys();
        let sql =
            format!("{RESET} SET client_min_messages = warning; SELECT pg_catalog.pg_advisory_lock({class}, {key});");
        client
            .batch_execute(&sql)
            .await
            .map_err(Error::at("take the lock of the migrations"))?;
        Ok(Self { client })
    }

    /// Undoes everything that belongs to the connection. An error in `result` is more telling than one from here.
    pub(super) async fn leave<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        let left = self.client.batch_execute(RESET).await;
        let done = result?;
        left.map_err(Error::at("release the lock of the migrations"))?;
        Ok(done)
    }

    pub(super) fn client(&self) -> &Client {
        self.client
    }

    /// Runs `sql` in one transaction, as the login.
    pub(super) async fn run(&self, step: &'static str, sql: &str) -> Result<(), Error> {
        self.execute(sql).await.map_err(Error::at(step))
    }

    /// As [`run`](Self::run), for callers who look at the error.
    pub(super) async fn execute(&self, sql: &str) -> Result<(), PgError> {
        // Several statements in one message are one transaction, so `SET LOCAL` ends with them.
        self.client.batch_execute(sql).await
    }

    /// Applies what is new of `set` as `owner`, each file in a transaction of its own.
    pub(super) async fn migrate(
        &mut self,
        set: Option<&Set>,
        schema: &SchemaName,
        owner: &str,
        search_path: &str,
    ) -> Result<(), Error> {
        let Some(set) = set else { return Ok(()) };
        let assume = format!(
            "{} SET ROLE \"{owner}\"; SET search_path = {search_path};",
            roles::enter_sql(owner)
        );
        self.run("become the owner of the schema", &assume).await?;
        // Always asked, even if all seem applied: it also finds files that were changed afterwards.
        let mut runner = Runner::new(&set.migrations);
        runner.set_migration_table_name(format!("{}.{}", schema.quoted(), grants::HISTORY));
        let result = runner.run_async(self.client).await;
        let resign = format!("RESET ROLE; RESET search_path; {}", roles::leave_sql(owner));
        let left = self.run("become the login again", &resign).await;
        // A migration that failed is more telling than a connection that ended with it.
        result.map_err(|error| explain(set, schema, error))?;
        left
    }
}

/// refinery's error in our words, with the file. Its own message names a migration, not where it lies.
fn explain(set: &Set, schema: &SchemaName, error: refinery::Error) -> Error {
    let history = |reason: String| Error::History {
        dir: set.dir.clone(),
        schema: schema.clone(),
        reason,
    };
    match error.kind() {
        Kind::Connection(step, _) => {
            let file = step
                .strip_prefix("error applying migration ")
                .and_then(|name| set.file(name));
            Error::Migration {
                // Without a file it was the history table that could not be read.
                file: file.unwrap_or(&set.dir).to_owned(),
                source: error,
            }
        }
        Kind::DivergentVersion(applied, _) => history(format!(
            "{applied} was changed after it was applied; restore the file, and put the change into a new one"
        )),
        Kind::MissingVersion(missing) if missing.applied_on().is_some() => {
            history(format!("{missing} was applied, but its file is gone; restore it"))
        }
        Kind::MissingVersion(late) => history(format!(
            "{late} is new, but a later version is already applied; give it the next free number"
        )),
        _ => history(error.to_string()),
    }
}

const RESET: &str =
    "RESET ROLE; RESET search_path; RESET client_min_messages; SELECT pg_catalog.pg_advisory_unlock_all();";
