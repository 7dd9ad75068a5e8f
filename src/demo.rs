//! `rowhouse demo`: the example of the configuration directory on a private Postgres, with rows to look at.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use aws_lc_rs::hmac;
use thiserror::Error;
use tracing::debug;

use crate::config::{Config, Endpoint, Live, Secret};
use crate::edge::Edge;
use crate::identity;
use crate::identity::Key;
use crate::migrate;
use crate::pool;
use crate::pool::{Cluster, Pools, Startup};
use crate::types::{RoleName, SchemaName, TenantId};
use crate::users;

/// How long the tokens that the demo prints are good for.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the demo has no rows or no key.
#[derive(Debug, Error)]
pub enum Error {
    /// A file of the demo cannot be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("no random bytes for a key")]
    Random,
    /// No connection.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// A seed file failed.
    #[error("{}: {}", .path.display(), .source.as_db_error().map_or_else(|| .source.to_string(), ToString::to_string))]
    Seed {
        /// The file.
        path: PathBuf,
        /// What Postgres said.
        source: tokio_postgres::Error,
    },
    /// A user cannot be added.
    #[error(transparent)]
    Users(#[from] users::Error),
    /// A token cannot be signed.
    #[error(transparent)]
    Token(#[from] identity::Error),
}

/// The key that the demo signs its tokens with: made once, kept beside the data, readable by its owner alone.
///
/// # Errors
///
/// [`Error::File`], [`Error::Random`].
pub fn key(data: &Path) -> Result<Secret, Error> {
    let path = data.with_extension("jwt");
    let at = |source| Error::File {
        path: path.clone(),
        source,
    };
    match fs::read(&path) {
        Ok(key) if key.len() >= 32 => return Ok(Secret::new(key)),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(error)),
    }
    let mut random = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Error::Random)?;
    let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .map_err(at)?;
    file.write_all(key.as_bytes()).map_err(at)?;
    Ok(Secret::new(key.into_bytes()))
}

/// The token of a tenant's user role, good for a day.
///
/// # Errors
///
/// [`Error::Token`].
pub fn token(key: &Secret, tenant: &TenantId, now: u64) -> Result<String, Error> {
    let role = migrate::user_role(tenant);
    Ok(identity::sign(
        &Key::Server(key.clone()),
        tenant,
        role.as_str(),
        TOKEN_TTL,
        now,
    )?)
}

/// Who may sign in to a console of the demo.
#[derive(Clone, Debug)]
pub struct Login {
    /// The tenant.
    pub tenant: TenantId,
    /// The user's name.
    pub name: &'static str,
    /// Its password: the same at every start, as it comes from the demo's key.
    pub password: String,
}

/// Adds a user to each managed tenant of the embedded clusters.
///
/// # Errors
///
/// [`Error::Pool`], [`Error::Users`].
pub async fn logins(config: &Config, edge: &Edge, key: &Secret) -> Result<Vec<Login>, Error> {
    let mut logins = Vec::new();
    for (id, cluster) in edge.clusters() {
        let embedded = config
            .clusters
            .get(id)
            .is_some_and(|cluster| matches!(cluster.endpoint, Endpoint::Embedded { .. }));
        if !embedded {
            continue;
        }
        let startup = Startup::new("demo").search_path(std::iter::empty::<&SchemaName>());
        let client = edge
            .service()
            .pools
            .admin(cluster, &startup, Duration::from_secs(5))
            .await?;
        users::create_tables(&client).await?;
        for tenant in config
            .tenants
            .values()
            .filter(|tenant| tenant.managed && tenant.cluster == *id)
        {
            let login = Login {
                tenant: tenant.id.clone(),
                name: "demo",
                password: password(key, &tenant.id),
            };
            users::add_if_missing(&client, &tenant.id, login.name, &login.password).await?;
            logins.push(login);
        }
    }
    Ok(logins)
}

/// Twelve letters and digits that follow from the key: nothing has to be kept.
fn password(key: &Secret, tenant: &TenantId) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
    let tag = hmac::sign(&key, format!("console of {tenant}").as_bytes());
    users::spell(&tag.as_ref()[..12])
}

/// Fills the tables from `migrations/seed/{shared,TENANT}.sql`, each file once in the life of a database.
///
/// # Errors
///
/// [`enum@Error`]; a file is applied whole or not at all.
pub async fn seed(config: &Config, pools: &Pools, cluster: &Arc<Cluster>) -> Result<(), Error> {
    let Some(seeds) = config
        .migrations
        .tenant
        .as_deref()
        .and_then(Path::parent)
        .map(|parent| parent.join("seed"))
    else {
        return Ok(());
    };
    let startup = Startup::new("seed").search_path(std::iter::empty::<&SchemaName>());
    let mut client = pools.admin(cluster, &startup, Duration::from_secs(5)).await?;
    let shared = (
        seeds.join("shared.sql"),
        migrate::shared_owner_role(),
        config.shared.schema.clone(),
    );
    let own = |tenant: &crate::config::Tenant| {
        let file = seeds.join(format!("{}.sql", tenant.id));
        (file, migrate::owner_role(&tenant.id), tenant.schema.clone())
    };
    let tenants: &Live = &config.tenants;
    let tenants = tenants
        .values()
        .filter(|tenant| tenant.managed && !tenant.is_operator());
    for (path, role, schema) in std::iter::once(shared).chain(tenants.map(|tenant| own(tenant))) {
        match fs::read_to_string(&path) {
            Ok(sql) => apply(&mut client, &sql, &role, &schema)
                .await
                .map_err(|source| Error::Seed { path, source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => debug!(file = %path.display(), "no seed"),
            Err(source) => return Err(Error::File { path, source }),
        }
    }
    Ok(())
}

async fn apply(
    client: &mut tokio_postgres::Client,
    sql: &str,
    role: &RoleName,
    schema: &SchemaName,
) -> Result<(), tokio_postgres::Error> {
    let transaction = client.transaction().await?;
    transaction
        .batch_execute("CREATE TABLE IF NOT EXISTS rowhouse.seeded (schema text PRIMARY KEY)")
        .await?;
    const MARK: &str = "INSERT INTO rowhouse.seeded VALUES ($1) ON CONFLICT DO NOTHING";
    if transaction.execute(MARK, &[&schema.as_str()]).await? == 0 {
        return transaction.rollback().await;
    }
    let sql = format!("SET LOCAL search_path = {}, pg_temp;\n{sql}\n", schema.quoted());
    transaction
        .batch_execute(&migrate::as_owner(role.as_str(), &sql))
        .await?;
    transaction.commit().await
}
