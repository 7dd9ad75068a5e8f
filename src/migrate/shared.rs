//! The shared schema of one cluster, and a cluster of our own.

use tokio_postgres::Client;

use super::roles::{self, EDGE_LOGIN, SHARED_LOGIN, SHARED_OWNER, SHARED_READ, SHARED_WRITE};
use super::session::{Lock, Session};
use super::{Error, Migrations, grants, registry};
use crate::config::{RESERVED_SCHEMA, Shared};

/// The database of an embedded cluster.
pub const EMBEDDED_DATABASE: &str = "rowhouse";

/// Creates the login [`EDGE_LOGIN`] and its database [`EMBEDDED_DATABASE`] on a fresh embedded cluster. Idempotent.
/// `superuser` is connected to any other database.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn bootstrap_embedded(superuser: &Client) -> Result<(), Error> {
    let role = format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{EDGE_LOGIN}') THEN \
         CREATE ROLE {EDGE_LOGIN}; END IF; END $$; ALTER ROLE {EDGE_LOGIN} LOGIN NOINHERIT CREATEROLE;"
    );
    let step = Error::at("create the edge's login");
    superuser.batch_execute(&role).await.map_err(step)?;
    let step = Error::at("create the edge's database");
    let existing = superuser
        .query_opt("SELECT FROM pg_catalog.pg_database WHERE datname = 'rowhouse'", &[])
        .await
        .map_err(&step)?;
    if existing.is_none() {
        // Alone, because it cannot run inside a transaction.
        let create = format!("CREATE DATABASE {EMBEDDED_DATABASE} OWNER {EDGE_LOGIN}");
        superuser.batch_execute(&create).await.map_err(step)?;
    }
    Ok(())
}

/// Closes [`EMBEDDED_DATABASE`] to all but the edge's login. Idempotent. `superuser` is connected to that database.
///
/// # Errors
///
/// [`Error::Database`].
pub async fn bootstrap_embedded_database(superuser: &Client) -> Result<(), Error> {
    // A tenant's role never connects by itself: it is what the login becomes after connecting.
    let sql = format!(
        "REVOKE CONNECT, TEMPORARY ON DATABASE {EMBEDDED_DATABASE} FROM PUBLIC;
         GRANT CONNECT, CREATE ON DATABASE {EMBEDDED_DATABASE} TO {EDGE_LOGIN};
         REVOKE CREATE ON SCHEMA public FROM PUBLIC;
         GRANT CREATE, USAGE ON SCHEMA public TO {EDGE_LOGIN} WITH GRANT OPTION;"
    );
    let step = Error::at("set the rights on the edge's database");
    superuser.batch_execute(&sql).await.map_err(step)
}

/// Brings the shared schema of a cluster to its state: group roles, `rowhouse.onboarded`, migrations, rights. Does
/// nothing when it is there already; `true` if it did anything. Must have succeeded before any
/// [`tenant`](super::tenant) of the cluster.
///
/// `client` is the edge's login. After a call that was dropped half-way, close it or use it for another call here.
///
/// # Errors
///
/// Every [`Error`] but those of one tenant.
pub async fn shared(client: &mut Client, shared: &Shared, migrations: &Migrations) -> Result<bool, Error> {
    if shared.schema.as_str() == RESERVED_SCHEMA {
        return Err(Error::ReservedSchema(shared.schema.clone()));
    }
    let mut session = Session::enter(client, Lock::Cluster).await?;
    let result = bring(&mut session, shared, migrations).await;
    session.leave(result).await
}

async fn bring(session: &mut Session<'_>, shared: &Shared, migrations: &Migrations) -> Result<bool, Error> {
    let digest = migrations.shared_digest(shared);
    // Under the lock, so that a second edge waits for the first one and then finds nothing to do.
    if registry::shared(session.client()).await?.as_ref() == Some(&digest) {
        return Ok(false);
    }
    let schema = shared.schema.quoted();
    let mut sql = roles::create_sql(&[SHARED_OWNER, SHARED_READ, SHARED_WRITE, SHARED_LOGIN]);
    sql.push_str(registry::CREATE_SQL);
    // Where everybody may connect, this adds nothing; a login that may not pass it on gets a warning, no error.
    sql.push_str(&roles::quietly(&format!(
        "DO $$ BEGIN EXECUTE pg_catalog.format('GRANT CONNECT ON DATABASE %I TO {SHARED_LOGIN}', \
         pg_catalog.current_database()); END $$;"
    )));
    sql.push_str(&roles::enter_sql(SHARED_OWNER));
    // `public` is not ours: the login has its rights there with the option to pass them on.
    sql.push_str(&format!(
        "DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = '{name}') THEN
                CREATE SCHEMA {schema} AUTHORIZATION {SHARED_OWNER};
            END IF;
            IF EXISTS (SELECT FROM pg_catalog.pg_namespace
                    WHERE nspname = '{name}' AND nspowner = '{SHARED_OWNER}'::regrole) THEN
                SET LOCAL ROLE {SHARED_OWNER};
            ELSE
                GRANT CREATE, USAGE ON SCHEMA {schema} TO {SHARED_OWNER};
            END IF;
            GRANT USAGE ON SCHEMA {schema} TO SESSION_USER, {SHARED_READ}, {SHARED_WRITE};
        END $$;
        SET LOCAL ROLE {SHARED_OWNER};\n",
        name = shared.schema,
    ));
    sql.push_str(&grants::history_sql(&schema, SHARED_READ, SHARED_WRITE));
    sql.push_str("RESET ROLE;\n");
    sql.push_str(&roles::leave_sql(SHARED_OWNER));
    session.run("set up the shared schema", &sql).await?;

    let search_path = format!("{schema}, pg_temp");
    let migrated = migrations.shared.as_ref();
    session
        .migrate(migrated, &shared.schema, SHARED_OWNER, &search_path)
        .await?;

    let rights = [(SHARED_READ, grants::READ), (SHARED_WRITE, grants::WRITE)];
    let rights = rights.map(|(group, rights)| grants::tables_sql(&shared.schema, SHARED_OWNER, group, rights));
    let mut sql = roles::as_owner(SHARED_OWNER, &rights.concat());
    sql.push_str(&registry::record_sql(registry::SHARED_KEY, &shared.schema, &digest));
    session.run("grant the shared tables", &sql).await?;
    Ok(true)
}
