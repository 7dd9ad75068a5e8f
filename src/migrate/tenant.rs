//! One tenant's roles, schema and tables.

use tokio_postgres::error::DbError;
use tokio_postgres::{Client, Error as PgError};

use super::roles::{self, SHARED_READ, SHARED_WRITE};
use super::session::{Lock, Session};
use super::{Error, Migrations, grants, registry};
use crate::config::{AnonymousAccess, RESERVED_ID, RESERVED_SCHEMA, Shared, SharedWrite, Tenant};
use crate::pool::Credentials;
use crate::types::RoleName;

/// Brings one tenant to the state its configuration asks for, and notes its digest. Idempotent; what the configuration no
/// longer gives is taken back. Does nothing for a tenant that is not managed.
///
/// Any number may run at once, on connections of their own, after [`shared`](super::shared()) of the same cluster.
/// `client` is the edge's login. After a call that was dropped half-way, close it or use it for another call here.
///
/// # Errors
///
/// Every [`Error`]. The other tenants are not concerned.
pub async fn tenant(
    client: &mut Client,
    tenant: &Tenant,
    shared: &Shared,
    migrations: &Migrations,
    credentials: &Credentials,
) -> Result<(), Error> {
    if !tenant.managed {
        return Ok(());
    }
    if tenant.id.as_str() == RESERVED_ID {
        return Err(Error::ReservedId(tenant.id.clone()));
    }
    if tenant.schema.as_str() == RESERVED_SCHEMA {
        return Err(Error::ReservedSchema(tenant.schema.clone()));
    }
    let mut session = Session::enter(client, Lock::Tenant(&tenant.id)).await?;
    let result = bring(&mut session, tenant, shared, migrations, credentials).await;
    session.leave(result).await
}

async fn bring(
    session: &mut Session<'_>,
    tenant: &Tenant,
    shared: &Shared,
    migrations: &Migrations,
    credentials: &Credentials,
) -> Result<(), Error> {
    let owner = roles::owner_role(&tenant.id);
    let anonymous = roles::anonymous_role(&tenant.id);
    let user = roles::user_role(&tenant.id);

    let mut sql = roles::create_sql(&[owner.as_str(), anonymous.as_str(), user.as_str()]);
    if !tenant.is_operator() {
        sql.push_str(&roles::enter_sql(owner.as_str()));
        sql.push_str(&schema_sql(tenant, &owner, &anonymous, &user));
        sql.push_str("RESET ROLE;\n");
        sql.push_str(&roles::leave_sql(owner.as_str()));
    }
    session.execute(&sql).await.map_err(|error| explain(tenant, error))?;

    let mut sql = String::new();
    // The operator's schema is the shared one, whose tables are not the operator's to create or to grant.
    if !tenant.is_operator() {
        let search_path = format!("{}, {}, pg_temp", tenant.schema.quoted(), shared.schema.quoted());
        let set = migrations.tenant.as_ref();
        session
            .migrate(set, &tenant.schema, owner.as_str(), &search_path)
            .await?;

        let without_token = match tenant.limits.anonymous {
            AnonymousAccess::None => grants::NONE,
            AnonymousAccess::Read => grants::READ,
            AnonymousAccess::Write => grants::WRITE,
        };
        let rights = [(&anonymous, without_token), (&user, grants::WRITE)];
        let rights = rights
            .map(|(grantee, rights)| grants::tables_sql(&tenant.schema, owner.as_str(), grantee.as_str(), rights));
        sql.push_str(&roles::as_owner(owner.as_str(), &rights.concat()));
    }
    let reads = tenant.limits.anonymous != AnonymousAccess::None;
    let writes = tenant.is_operator() || shared.write == SharedWrite::Tenants;
    sql.push_str(&roles::login_sql(&tenant.id, credentials));
    sql.push_str(&registry::record_sql(
        tenant.id.as_str(),
        &tenant.schema,
        &migrations.digest(tenant, shared, credentials),
    ));
    // Always in this order, so that no two tenants wait for each other in a circle; last, so that none waits long.
    sql.push_str(&roles::membership_sql(SHARED_READ, &anonymous, reads));
    sql.push_str(&roles::membership_sql(SHARED_READ, &user, true));
    sql.push_str(&roles::membership_sql(SHARED_WRITE, &user, writes));
    session.run("grant the tenant's tables", &sql).await
}

/// SQL: the schema, who may use it, and the history table.
fn schema_sql(tenant: &Tenant, owner: &RoleName, anonymous: &RoleName, user: &RoleName) -> String {
    let schema = tenant.schema.quoted();
    let mut sql = format!(
        "DO $$ DECLARE holder text; BEGIN
            SELECT pg_catalog.pg_get_userbyid(nspowner) INTO holder
            FROM pg_catalog.pg_namespace WHERE nspname = '{name}';
            IF holder IS NULL THEN
                CREATE SCHEMA {schema} AUTHORIZATION {owner};
            ELSIF holder <> '{owner_name}' THEN
                RAISE EXCEPTION USING ERRCODE = '{TAKEN}', MESSAGE = 'the schema has another owner', DETAIL = holder;
            END IF;
        END $$;
        SET LOCAL ROLE {owner};
        -- The login reads the catalog: it has to find the schema, and may read no row.
        GRANT USAGE ON SCHEMA {schema} TO SESSION_USER, {anonymous}, {user};\n",
        name = tenant.schema,
        owner_name = owner,
        owner = owner.quoted(),
        anonymous = anonymous.quoted(),
        user = user.quoted(),
    );
    sql.push_str(&grants::history_sql(&schema, anonymous.as_str(), user.as_str()));
    sql
}

/// The SQLSTATE of [`schema_sql`] for a schema of somebody else, whose name is the detail.
const TAKEN: &str = "RH001";

fn explain(tenant: &Tenant, error: PgError) -> Error {
    let taken = error.as_db_error().filter(|error| error.code().code() == TAKEN);
    match taken.and_then(DbError::detail) {
        Some(holder) => Error::SchemaTaken {
            schema: tenant.schema.clone(),
            holder: holder.to_owned(),
        },
        None => Error::at("set up the tenant's roles and schema")(error),
    }
}
