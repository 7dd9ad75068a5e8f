//! What the operator is told: `/status`, and the street of the console, which is made of the same.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use serde::Serialize;

use crate::pool::{Cluster, PoolState};
use crate::server::Shutdown;
use crate::tenant::{State, Tenant};
use crate::traffic::Rate;
use crate::types::TenantId;

use super::Service;

/// What of the edge as a whole the operator looks at, and what can be done to it.
#[derive(Debug)]
pub struct Control {
    /// The clusters, in the order of their ids.
    pub clusters: Vec<Arc<Cluster>>,
    /// Has the configuration read again.
    pub shutdown: Shutdown,
    /// Whether the first configuration has been applied.
    ready: AtomicBool,
    config_error: ArcSwapOption<String>,
}

impl Control {
    /// Not ready yet.
    #[must_use]
    pub fn new(clusters: Vec<Arc<Cluster>>, shutdown: Shutdown) -> Self {
        Self {
            clusters,
            shutdown,
            ready: AtomicBool::new(false),
            config_error: ArcSwapOption::empty(),
        }
    }

    /// The first configuration has been applied.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// Whether it has.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// What is wrong with the newest configuration, if it could not be used.
    pub(crate) fn set_config_error(&self, error: Option<String>) {
        self.config_error.store(error.map(Arc::new));
    }
}

/// The state of all of the edge.
#[derive(Debug, Serialize)]
pub struct Status {
    /// That of the program.
    pub version: &'static str,
    /// Whether the first configuration has been applied.
    pub ready: bool,
    /// `file:line:column: message` of every mistake in files that are not used.
    pub config_errors: Vec<String>,
    /// Different structures among the catalogs that are loaded.
    pub catalogs: usize,
    /// Of all requests, those for unknown hosts included.
    #[serde(flatten)]
    pub rate: Option<RateStatus>,
    /// By id.
    pub clusters: BTreeMap<String, ClusterStatus>,
    /// By id.
    pub tenants: BTreeMap<String, TenantStatus>,
}

/// The state of a cluster.
#[derive(Debug, Serialize)]
pub struct ClusterStatus {
    /// Connections there may be.
    pub budget: u32,
    /// Connections there are.
    pub in_use: u32,
    /// Requests that wait for one.
    pub waiting: usize,
    /// Connections that tenants share, for catalogs and short reads, of those in use.
    pub shared: u32,
    /// Why no connection can be opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The state of a tenant.
#[derive(Debug, Serialize)]
pub struct TenantStatus {
    /// `live`, `onboarding`, `failed` or `draining`.
    pub state: &'static str,
    /// Why it failed, or why it is served as it was before its file changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its hosts.
    pub hosts: Vec<String>,
    /// Its schema.
    pub schema: String,
    /// Its cluster.
    pub cluster: String,
    /// Connections there are.
    pub connections: u32,
    /// Connections that nobody uses.
    pub idle: u32,
    /// Requests that wait for one.
    pub waiting: u32,
    /// The number of its catalog, once a request has needed it: equal numbers, equal structures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<u64>,
    /// Migrations that it has not got, of those there are.
    pub migrations_pending: u64,
    /// How its requests went.
    #[serde(flatten)]
    pub rate: Option<RateStatus>,
}

/// How requests went within the last ten seconds; nothing of it if there were none.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RateStatus {
    /// All of them.
    pub requests_per_second: f64,
    /// Those that failed for a reason of ours.
    pub errors_per_second: f64,
    /// Half took no longer.
    pub p50_ms: Option<f64>,
    /// All but one in a hundred took no longer.
    pub p99_ms: Option<f64>,
}

impl From<Rate> for RateStatus {
    fn from(rate: Rate) -> Self {
        // More digits would be noise.
        let rounded = |number: f64| (number * 1e3).round() / 1e3;
        let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3);
        Self {
            requests_per_second: rounded(rate.requests_per_second),
            errors_per_second: rounded(rate.errors_per_second),
            p50_ms: rate.p50.map(ms),
            p99_ms: rate.p99.map(ms),
        }
    }
}

/// The states of all pools, by tenant.
pub(super) type PoolStates = HashMap<TenantId, PoolState, foldhash::fast::RandomState>;

impl Service {
    /// All that the operator is told at this moment.
    #[must_use]
    pub fn status(&self) -> Status {
        let pools = self.pool_states();
        let tenants = self.registry.tenants();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            ready: self.control.is_ready(),
            config_errors: self.config_errors(),
            catalogs: self.catalogs.len(),
            rate: self.history.edge_now().map(RateStatus::from),
            clusters: self.cluster_status().collect(),
            tenants: tenants
                .iter()
                .map(|tenant| (tenant.config().id.to_string(), self.tenant_status(tenant, &pools)))
                .collect(),
        }
    }

    /// What is wrong with the files of the configuration.
    pub(super) fn config_errors(&self) -> Vec<String> {
        let failed_files = self.registry.failed_files();
        let errors = failed_files
            .iter()
            .flat_map(|file| &file.errors)
            .map(ToString::to_string);
        let config_error = self.control.config_error.load_full();
        config_error
            .map(|error| error.to_string())
            .into_iter()
            .chain(errors)
            .collect()
    }

    pub(super) fn cluster_status(&self) -> impl Iterator<Item = (String, ClusterStatus)> {
        self.control.clusters.iter().map(|cluster| {
            let state = cluster.state();
            let shared = self.pools.shared_state(cluster.id());
            let status = ClusterStatus {
                budget: state.budget,
                in_use: state.in_use,
                waiting: state.waiting,
                shared: shared.map_or(0, |shared| shared.held),
                reason: cluster.trouble().map(|reason| reason.to_string()),
            };
            (cluster.id().to_string(), status)
        })
    }

    pub(super) fn pool_states(&self) -> PoolStates {
        self.pools.states().into_iter().collect()
    }

    /// Why a tenant is served as it was: what is wrong with its file, or with what that asks for.
    pub(super) fn trouble_of(&self, tenant: &Tenant) -> Option<String> {
        let of_file = || {
            let failed = self.registry.failed_files();
            let file = failed.iter().find(|failed| *failed.path == *tenant.config().file)?;
            file.errors.into_iter().next().map(ToString::to_string)
        };
        tenant.trouble().or_else(of_file)
    }

    pub(super) fn tenant_status(&self, tenant: &Tenant, pools: &PoolStates) -> TenantStatus {
        let config = tenant.config();
        let state = tenant.state();
        let pool = pools.get(&config.id);
        TenantStatus {
            state: state.as_str(),
            reason: match &*state {
                State::Failed { reason } => Some(reason.clone()),
                State::Onboarding | State::Live | State::Draining => self.trouble_of(tenant),
            },
            hosts: config.hosts.iter().map(ToString::to_string).collect(),
            schema: config.schema.to_string(),
            cluster: config.cluster.to_string(),
            connections: pool.map_or(0, |pool| pool.held),
            idle: pool.map_or(0, |pool| pool.idle),
            waiting: pool.map_or(0, |pool| pool.waiting),
            catalog: tenant.known_structure().map(|structure| structure.number),
            migrations_pending: self.registry.migrations_pending(tenant),
            rate: self.history.now(&config.id).map(RateStatus::from),
        }
    }
}
