//! From a configuration to serving tenants: what is new or changed is brought to its state, then routed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config;
use crate::config::Config;
use crate::migrate;
use crate::migrate::Migrations;
use crate::pool;
use crate::pool::{Cluster, Pools, Startup};
use crate::types::{ClusterId, SchemaName, TenantId};

use super::registry::Registry;
use super::{State, Tenant, Trouble};

/// Tenants of one cluster brought up at once: more only wait for each other in Postgres' catalogs.
const WORKERS: usize = 4;

/// A worker waits this long for a slot of the budget before it tries again.
const SLOT_WAIT: Duration = Duration::from_secs(5);

/// A cluster that cannot be reached is tried again after this.
const RETRY: Duration = Duration::from_millis(500);

/// Why a tenant, or a whole cluster, could not be brought up.
#[derive(Debug, Error)]
pub enum Error {
    /// No connection: it is tried again until there is one.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// A statement failed: somebody has to look.
    #[error(transparent)]
    Migrate(#[from] migrate::Error),
}

impl Error {
    /// Whether the same attempt may succeed a moment later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Pool(pool::Error::Refused { .. } | pool::Error::Unverified { .. }) => false,
            Self::Pool(_) => true,
            Self::Migrate(error) => error.is_passing(),
        }
    }
}

/// Brings tenants up and takes them down as the configuration changes.
#[derive(Debug)]
pub struct Onboarder {
    registry: Arc<Registry>,
    pools: Arc<Pools>,
    clusters: BTreeMap<ClusterId, Arc<Cluster>>,
    shared: config::Shared,
    migration_dirs: config::Migrations,
    /// One configuration is applied after the other.
    applying: Mutex<()>,
    stop: CancellationToken,
}

impl Onboarder {
    /// `stop` ends all retries.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        pools: Arc<Pools>,
        clusters: BTreeMap<ClusterId, Arc<Cluster>>,
        config: &Config,
        stop: CancellationToken,
    ) -> Self {
        Self {
            registry,
            pools,
            clusters,
            shared: config.shared.clone(),
            migration_dirs: config.migrations.clone(),
            applying: Mutex::new(()),
            stop,
        }
    }

    /// Takes down the tenants that `config` no longer has and brings up those that are new or changed. Returns when each
    /// of them is live or has failed; tenants that did not change are not touched.
    ///
    /// With `recheck`, those that did not change are looked at as well, and what is new among the migrations reaches them
    /// while they are served. A changed tenant is served as it was until it is ready as it shall be. Cancel safe: what was
    /// done stays done, and the next call goes on.
    pub async fn apply(&self, config: &Config, recheck: bool) {
        let _one_at_a_time = self.applying.lock().await;
        self.registry.set_failed_files(config.failed.clone());
        for tenant in self.registry.tenants() {
            let id = &tenant.config().id;
            if !config.tenants.contains_key(id) {
                info!(tenant = %id, "tenant removed: no longer routed, its data stays");
                self.registry.remove(id);
                self.pools.remove(id);
            }
        }
        let mut changed: BTreeMap<&ClusterId, Vec<Arc<Tenant>>> = BTreeMap::new();
        for (id, tenant_config) in &config.tenants {
            let served = self.registry.tenant(id);
            let served = served.filter(|tenant| tenant.is_live() || self.registry.is_paused(id));
            if let Some(tenant) = served.as_ref().filter(|tenant| tenant.config() == tenant_config) {
                // A file that says again what is served has mended what was wrong with it.
                if tenant.has_file_trouble() {
                    tenant.set_trouble(None);
                }
                if recheck {
                    changed
                        .entry(&tenant_config.cluster)
                        .or_default()
                        .push(Arc::clone(tenant));
                }
                continue;
            }
            let Some(cluster) = self.clusters.get(&tenant_config.cluster) else {
                // A cluster added to a running edge: like everything in rowhouse.toml it needs a restart.
                error!(tenant = %id, cluster = %tenant_config.cluster, "cluster unknown: restart the edge to add clusters");
                continue;
            };
            let tenant = Tenant::new(
                Arc::clone(tenant_config),
                Arc::clone(cluster),
                self.shared.schema.clone(),
                self.registry.next_generation(),
                State::Onboarding,
            );
            // A host whose tenant is on its way answers 503 and not 404; one that is being served goes on.
            if served.is_none() {
                self.registry.install(&tenant);
            }
            changed.entry(&tenant_config.cluster).or_default().push(tenant);
        }
        let mut clusters = Vec::new();
        for (id, tenants) in changed {
            if let Some(cluster) = self.clusters.get(id) {
                clusters.push(self.bring_up(cluster, tenants));
            }
        }
        join_all(clusters).await;
    }

    /// Forgets every catalog, so that each tenant's next request sees its schema as it is now.
    pub fn forget_catalogs(&self) {
        for tenant in self.registry.tenants() {
            tenant.forget_catalog();
        }
    }

    /// Brings up tenants of one cluster, and waits for it as long as it is down.
    async fn bring_up(&self, cluster: &Arc<Cluster>, tenants: Vec<Arc<Tenant>>) {
        let started = Instant::now();
        let (unmanaged, mut pending): (Vec<_>, Vec<_>) =
            tenants.into_iter().partition(|tenant| !tenant.config().managed);
        for tenant in unmanaged {
            self.go_live(&tenant, 0);
        }
        let total = pending.len();
        let mut told = false;
        while !pending.is_empty() {
            match self.attempt(cluster, &mut pending).await {
                Ok(()) => {}
                Err(error) if error.is_passing() => {
                    if !told {
                        let cause = cluster.trouble().map(tracing::field::display);
                        warn!(cluster = %cluster.id(), %error, cause, "cluster not ready, trying again");
                        told = true;
                    }
                    if self.stop.run_until_cancelled(sleep(RETRY)).await.is_none() {
                        return;
                    }
                }
                Err(error) => {
                    for tenant in pending.drain(..) {
                        self.fail(&tenant, &error);
                    }
                }
            }
        }
        if total > 0 {
            info!(cluster = %cluster.id(), tenants = total, elapsed = ?started.elapsed(), "tenants brought up");
        }
    }

    /// One attempt: the shared schema, then everybody in `pending`, who leaves it live or failed. On a passing error some
    /// may remain.
    async fn attempt(&self, cluster: &Arc<Cluster>, pending: &mut Vec<Arc<Tenant>>) -> Result<(), Error> {
        let dirs = &self.migration_dirs;
        let (shared_dir, tenant_dir) = (dirs.shared.clone(), dirs.tenant.clone());
        let migrations = spawn_blocking(move || Migrations::load(shared_dir.as_deref(), tenant_dir.as_deref()))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        self.registry.set_migrations(migrations.of_tenants());
        let mut client = self.admin(cluster).await?;
        if migrate::shared(&mut client, &self.shared, &migrations).await? {
            // Every tenant sees the shared tables, also one that has nothing to do itself.
            for tenant in self.registry.tenants() {
                if tenant.config().cluster == *cluster.id() {
                    tenant.forget_catalog();
                }
            }
        }
        // One query tells who is in the right state already: ten thousand of them cost no more.
        let onboarded: HashMap<TenantId, String> = migrate::onboarded(&client).await?;
        let (ready, todo): (Vec<_>, Vec<_>) = pending.drain(..).partition(|tenant| {
            let digest = migrations.digest(tenant.config(), &self.shared, cluster.credentials());
            onboarded.get(&tenant.config().id) == Some(&digest)
        });
        for tenant in ready {
            self.go_live(&tenant, migrations.of_tenants());
        }
        if todo.is_empty() {
            return Ok(());
        }
        let workers = WORKERS.min(cluster.budget() as usize).min(todo.len());
        let queue = std::sync::Mutex::new(todo);
        let first = self.work(cluster, client, &queue, &migrations);
        let more = (1..workers).map(async |_| match self.admin(cluster).await {
            Ok(client) => self.work(cluster, client, &queue, &migrations).await,
            Err(_) => Ok(()), // the others do its share
        });
        let (first, more) = join(first, join_all(more)).await;
        pending.append(&mut lock(&queue));
        more.into_iter().fold(first, Result::and)
    }

    /// Takes tenants from the queue until it is empty. On a passing error it puts back the one it has and ends.
    async fn work(
        &self,
        cluster: &Cluster,
        mut client: Client,
        queue: &std::sync::Mutex<Vec<Arc<Tenant>>>,
        migrations: &Migrations,
    ) -> Result<(), Error> {
        while let Some(tenant) = { lock(queue).pop() } {
            let config = tenant.config();
            match migrate::tenant(&mut client, config, &self.shared, migrations, cluster.credentials()).await {
                Ok(()) => {
                    tenant.forget_catalog();
                    self.go_live(&tenant, migrations.of_tenants());
                }
                Err(error) if error.is_passing() => {
                    lock(queue).push(tenant);
                    return Err(error.into());
                }
                Err(error) => self.fail(&tenant, &error.into()),
            }
        }
        Ok(())
    }

    /// A connection as the edge's own login, with no more set than a path that finds nothing by accident.
    async fn admin(&self, cluster: &Arc<Cluster>) -> Result<Client, pool::Error> {
        let startup = Startup::new("onboarding").search_path(std::iter::empty::<&SchemaName>());
        self.pools.admin(cluster, &startup, SLOT_WAIT).await
    }

    /// `migrated` is how many migrations it has.
    fn go_live(&self, tenant: &Arc<Tenant>, migrated: u64) {
        tenant.set_migrated(migrated);
        tenant.set_trouble(None);
        self.registry.serve(tenant);
        // From now on, and not only from its first request; and what was kept before no longer.
        let config = tenant.config();
        if config.limits.pool_min > 0 || self.pools.keeps(&config.id) {
            tenant.pool(&self.pools).keep();
        }
    }

    fn fail(&self, tenant: &Arc<Tenant>, error: &Error) {
        let config = tenant.config();
        let reason = format!("{}:{}: {error}", config.file.display(), config.line);
        error!(tenant = %config.id, %reason, "tenant not brought up");
        let served = self.registry.tenant(&config.id);
        match served.filter(|current| current.is_live() || self.registry.is_paused(&config.id)) {
            Some(served) => served.set_trouble(Some(Trouble {
                reason,
                of_file: served.config() != config,
            })),
            None => {
                tenant.set_state(State::Failed { reason });
                self.registry.install(tenant);
            }
        }
    }
}

/// A panic while it is held is impossible (a pop and an append); its data would be whole all the same.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
