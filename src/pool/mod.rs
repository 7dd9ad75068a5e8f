//! One bb8 pool per tenant, all of a cluster's pools together under one hard budget of connections.
//!
//! ```text
//! run ─ 1 a short read: a place on a lane, behind others' batches (`lane.rs`): the tenant's own, or one that tenants
//!         share (`shared.rs`)
//!     ─ 2 else admission: at most `pool_max` connections of a tenant in use, who needs one more waits in line → tenant_queue_full
//!     ─ 3 an idle connection of the tenant's own pool, if there is one: no I/O
//!     ─ 4 else a slot of the cluster's budget, when it is the tenant's turn (`budget.rs`)                     → cluster_saturated
//!     ─ 5 connect with the tenant's search_path and role, if that is not known to fail (`breaker.rs`); verify both once → cluster_down
//! ```
//!
//! Nothing ever waits inside bb8: step 2 makes sure that whoever passes finds an idle connection or may open one. A
//! connection belongs to one pool for life. Its slot is owned by the task that drives the socket and comes back when
//! the server has closed its side, so the number of backends never exceeds the budget, but for those of a server that does not
//! answer, which are given up.

mod breaker;
mod budget;
mod call;
mod cluster;
mod connect;
mod credentials;
mod error;
mod lane;
mod lease;
mod session;
mod shared;
#[cfg(test)]
mod simulation;
mod socket;
mod stream;
mod tenant_pool;
mod tls;

pub use call::{Access, Call, Done, End, Fold, Isolation, Row, Rows, Step, Transaction, Types, Wish};
pub use cluster::{Cluster, ClusterState, Notice};
pub use connect::Startup;
pub use credentials::{Credentials, Passwords};
pub use error::Error;
pub use lease::Lease;
pub use shared::Identity;
pub use stream::{Begun, Running};
pub use tenant_pool::{PoolState, Spec, TenantPool};
pub use tls::{Tls, TlsError};

use std::num::NonZero;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use dashmap::{DashMap, Entry};
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::types::{ClusterId, TenantId};

use budget::Holder;

/// How often idle connections and empty pools are looked at. Nothing depends on it but memory.
const JANITOR_PERIOD: Duration = Duration::from_secs(1);

/// Who waits for a slot looks this often whether a tenant has gone idle.
const LOOK_AROUND: Duration = Duration::from_millis(10);

/// Seeded per process: ids come from the configuration only.
#[cfg(not(test))]
type Hasher = foldhash::fast::RandomState;
/// A simulation goes the same way each time.
#[cfg(test)]
type Hasher = foldhash::fast::FixedState;

/// The pools of all tenants, each made when its tenant is first asked for, and those that they share.
#[derive(Debug, Default)]
pub struct Pools {
    pools: DashMap<TenantId, Arc<TenantPool>, Hasher>,
    shared: DashMap<ClusterId, Arc<TenantPool>, Hasher>,
}

impl Pools {
    /// No pool yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The pool of `tenant`, made by `spec` if there is none or if it was made for an earlier generation of its
    /// configuration. A request that began with an earlier one than the pool gets a pool of its own, which ends with it.
    /// Does not connect.
    pub fn of(&self, tenant: &TenantId, generation: u64, spec: impl FnOnce() -> Spec) -> Arc<TenantPool> {
        let fits = |pool: &Arc<TenantPool>| pool.generation() == generation && !pool.is_closed();
        if let Some(pool) = self.existing(tenant).filter(fits) {
            return pool;
        }
        match self.pools.entry(tenant.clone()) {
            Entry::Occupied(entry) if fits(entry.get()) => Arc::clone(entry.get()), // made in the meantime
            Entry::Occupied(entry) if entry.get().generation() > generation => TenantPool::new(generation, spec()),
            Entry::Occupied(mut entry) => {
                let pool = TenantPool::new(generation, spec());
                entry.insert(Arc::clone(&pool)).close();
                pool
            }
            Entry::Vacant(entry) => Arc::clone(&entry.insert(TenantPool::new(generation, spec()))),
        }
    }

    /// The one accessor: clones the `Arc` and drops the map's guard in the same statement.
    fn existing(&self, tenant: &TenantId) -> Option<Arc<TenantPool>> {
        self.pools.get(tenant).map(|pool| Arc::clone(&pool))
    }

    /// Whether slots are held back for `tenant`.
    pub(crate) fn keeps(&self, tenant: &TenantId) -> bool {
        self.existing(tenant).is_some_and(|pool| pool.is_kept())
    }

    /// The pool that all tenants of `cluster` share, unless it has none.
    fn shared(&self, cluster: &Arc<Cluster>) -> Option<Arc<TenantPool>> {
        let most = cluster.shared()?;
        if let Some(pool) = self.shared.get(cluster.id()).map(|pool| Arc::clone(&pool)) {
            return Some(pool);
        }
        let entry = self.shared.entry(cluster.id().clone());
        Some(Arc::clone(
            &entry.or_insert_with(|| TenantPool::new(0, shared::spec(cluster, most))),
        ))
    }

    /// The figures of the shared connections of `cluster`, if there are any.
    pub fn shared_state(&self, cluster: &ClusterId) -> Option<PoolState> {
        self.shared.get(cluster).map(|pool| pool.state())
    }

    fn all(&self) -> impl Iterator<Item = Arc<TenantPool>> {
        let tenants = self.pools.iter().map(|entry| Arc::clone(entry.value()));
        tenants.chain(self.shared.iter().map(|entry| Arc::clone(entry.value())))
    }

    /// Forgets the pool of `tenant`: idle connections close now, leased ones when they come back.
    pub fn remove(&self, tenant: &TenantId) {
        if let Some((_, pool)) = self.pools.remove(tenant) {
            pool.close();
        }
    }

    /// A connection for onboarding and the like: it takes a slot of the budget like any other, for at most as long as
    /// the client lives, and an idle connection of a tenant makes room for it.
    ///
    /// # Errors
    ///
    /// [`Error::ClusterSaturated`] after `wait`; the errors of connecting.
    pub async fn admin(&self, cluster: &Arc<Cluster>, startup: &Startup, wait: Duration) -> Result<Client, Error> {
        let holder = Arc::<Holder>::default();
        let evicting = async {
            loop {
                self.evict_idle(cluster, &holder);
                sleep(LOOK_AROUND).await;
            }
        };
        let slot = tokio::select! {
            biased; // nothing is evicted while there is a free slot
            slot = cluster.slots().slot(&holder) => slot,
            () = evicting => None, // it never ends
            () = sleep(wait) => None,
        };
        let slot = slot.ok_or_else(|| cluster.saturated())?;
        cluster.connect_admin(startup, slot).await
    }

    /// Closes one idle connection on `cluster` for those who wait there, unless enough are closing: that of the tenant that
    /// holds most, and among equals that has needed none for longest.
    fn evict_idle(&self, cluster: &Cluster, asks: &Holder) {
        let slots = cluster.slots();
        if !slots.wants_more() {
            return;
        }
        let victim = self
            .all()
            .filter_map(|pool| Some((pool.evictable(cluster, asks)?, pool)))
            .max_by_key(|(rank, _)| *rank);
        if let Some((_, pool)) = victim
            && slots.expects_another()
            && !pool.evict_one()
        {
            slots.expects_one_less();
        }
    }

    /// Closes the connections of a tenant that nobody uses, and says how many.
    pub fn close_idle(&self, tenant: &TenantId) -> usize {
        let pool = self.pools.get(tenant).map(|pool| Arc::clone(&pool));
        pool.map_or(0, |pool| {
            std::iter::repeat_with(|| pool.evict_one())
                .take_while(|closed| *closed)
                .count()
        })
    }

    /// The state of every pool that exists, for the operator.
    pub fn states(&self) -> Vec<(TenantId, PoolState)> {
        self.pools
            .iter()
            .map(|entry| (entry.key().clone(), entry.value().state()))
            .collect()
    }

    /// Closes what has been idle for too long and drops empty pools, once a second until `stop`. One task for all
    /// tenants: a cold tenant costs no task, no timer and no connection.
    pub async fn janitor(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(sleep(JANITOR_PERIOD)).await.is_some() {
            for pool in self.all().collect::<Vec<_>>() {
                pool.close_stale();
            }
            self.pools.retain(|_, pool| !pool.is_dispensable());
        }
    }

    /// Closes every pool: idle connections now, leased ones when they come back.
    pub fn close(&self) {
        self.pools.retain(|_, pool| {
            pool.close();
            false
        });
        self.shared.retain(|_, pool| {
            pool.close();
            false
        });
    }
}

/// The cores there are to work with: this machine's, whose like Postgres is taken to have. Two at least, so that one always works
/// while another waits.
fn cores() -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));
    (*CORES).max(2)
}

/// What is left behind by a panic is not worse than what any error leaves.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that cannot be guessed.
fn secret() -> u64 {
    let mut bytes = [0; 8];
    // There is nothing to do without: then it is one that can be.
    let _filled = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// A number from 0 to 1, for delays that should not meet. Nothing depends on it being hard to guess.
fn chance() -> f64 {
    #[cfg(test)]
    if let Some(chance) = simulation::chance() {
        return chance;
    }
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
