//! Which host belongs to which tenant, and which tenants there are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use dashmap::{DashMap, DashSet};

use crate::config::FailedFile;
use crate::types::{Host, TenantId};

use super::{State, Tenant};

/// The tables that requests are routed by. A change of one tenant delays no other's requests.
#[derive(Debug, Default)]
pub struct Registry {
    hosts: DashMap<Host, Arc<Tenant>, foldhash::fast::RandomState>,
    tenants: DashMap<TenantId, Arc<Tenant>, foldhash::fast::RandomState>,
    failed_files: ArcSwap<Vec<FailedFile>>,
    generations: AtomicU64,
    /// Those that the operator has taken out of service for a while, whatever their files say.
    paused: DashSet<TenantId, foldhash::fast::RandomState>,
    /// Held while a tenant's state follows from whether it is paused.
    pausing: Mutex<()>,
    /// Migrations of tenants that there are, when last looked.
    migrations: AtomicU64,
}

impl Registry {
    /// No tenants.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The tenant of a normalised host. No allocation, no wait.
    #[must_use]
    pub fn route(&self, host: &str) -> Option<Arc<Tenant>> {
        self.hosts.get(host).map(|tenant| Arc::clone(&tenant))
    }

    /// The tenant of this id.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<Arc<Tenant>> {
        self.tenants.get(id).map(|tenant| Arc::clone(&tenant))
    }

    /// All tenants, sorted by id.
    #[must_use]
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        let mut tenants: Vec<_> = self.tenants.iter().map(|entry| Arc::clone(entry.value())).collect();
        tenants.sort_unstable_by(|a, b| a.config().id.cmp(&b.config().id));
        tenants
    }

    /// The tenant files that changed nothing because of their mistakes.
    #[must_use]
    pub fn failed_files(&self) -> Arc<Vec<FailedFile>> {
        self.failed_files.load_full()
    }

    pub(super) fn set_failed_files(&self, files: Vec<FailedFile>) {
        self.failed_files.store(Arc::new(files));
    }

    /// Takes a tenant out of service until it is [resumed](Self::resume): its requests get 503, those that run finish. This
    /// edge alone, until it is started again; a changed file does not end it. `false` if it is not in service.
    pub fn pause(&self, id: &TenantId) -> bool {
        let _one_at_a_time = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(tenant) = self.tenant(id).filter(|tenant| tenant.is_live()) else {
            return false;
        };
        self.paused.insert(id.clone());
        tenant.set_state(State::Draining);
        true
    }

    /// Puts a tenant that was paused into service again.
    pub fn resume(&self, id: &TenantId) -> bool {
        let _one_at_a_time = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        let was = self.paused.remove(id).is_some();
        if let Some(tenant) = self
            .tenant(id)
            .filter(|tenant| was && matches!(*tenant.state(), State::Draining))
        {
            tenant.set_state(State::Live);
        }
        was
    }

    /// Routes to `tenant`, which is ready to serve: live, unless the operator has taken it out of service.
    pub(super) fn serve(&self, tenant: &Arc<Tenant>) {
        let _one_at_a_time = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = self.is_paused(&tenant.config().id);
        tenant.set_state(if paused { State::Draining } else { State::Live });
        self.install(tenant);
    }

    /// Whether the operator has taken it out of service.
    #[must_use]
    pub fn is_paused(&self, tenant: &TenantId) -> bool {
        self.paused.contains(tenant)
    }

    /// How many migrations there are that a tenant has not got.
    #[must_use]
    pub fn migrations_pending(&self, tenant: &Tenant) -> u64 {
        let config = tenant.config();
        if !config.managed || config.is_operator() {
            return 0;
        }
        self.migrations
            .load(Ordering::Relaxed)
            .saturating_sub(tenant.migrated())
    }

    pub(super) fn set_migrations(&self, number: u64) {
        self.migrations.store(number, Ordering::Relaxed);
    }

    pub(super) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// Routes `tenant`'s hosts to it, in place of an earlier generation of it.
    pub fn install(&self, tenant: &Arc<Tenant>) {
        let previous = self.tenants.insert(tenant.config().id.clone(), Arc::clone(tenant));
        for host in &tenant.config().hosts {
            self.hosts.insert(host.clone(), Arc::clone(tenant));
        }
        if let Some(previous) = previous {
            self.unroute(&previous, |host| tenant.config().hosts.contains(host));
        }
    }

    /// Stops routing to the tenant. Nothing in its database changes.
    pub(super) fn remove(&self, id: &TenantId) {
        self.paused.remove(id);
        if let Some((_, tenant)) = self.tenants.remove(id) {
            self.unroute(&tenant, |_| false);
            tenant.set_state(State::Draining);
        }
    }

    /// Forgets the hosts of `tenant` but for those to `keep`, and those that are another tenant's by now.
    fn unroute(&self, tenant: &Tenant, keep: impl Fn(&Host) -> bool) {
        for host in tenant.config().hosts.iter().filter(|host| !keep(host)) {
            self.hosts
                .remove_if(host, |_, current| current.config().id == tenant.config().id);
        }
    }
}
