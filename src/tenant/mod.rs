//! A tenant at run time, the table that requests are routed by, and how a config file becomes a serving tenant.

mod onboard;
mod registry;

pub use onboard::{Error as OnboardError, Onboarder};
pub use registry::Registry;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, ArcSwapOption, ArcSwapWeak};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::catalog;
use crate::catalog::Catalog;
use crate::config;
use crate::migrate;
use crate::pool;
use crate::pool::{Access, Call, Cluster, Credentials, Pools, Spec, Startup, TenantPool};
use crate::types::{RoleName, SchemaName};

/// Whether a tenant answers, and why not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum State {
    /// Its schema is being made or migrated.
    Onboarding,
    /// Requests are answered.
    Live,
    /// Onboarding failed: for the operator, with the reason.
    Failed {
        /// What went wrong, with file and line of the tenant.
        reason: String,
    },
    /// Its file is gone; what still runs may finish.
    Draining,
}

impl State {
    /// The state as one word of the operator's status.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Onboarding => "onboarding",
            Self::Live => "live",
            Self::Failed { .. } => "failed",
            Self::Draining => "draining",
        }
    }
}

/// Why a tenant's catalog could not be loaded.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// No connection, or no answer.
    #[error(transparent)]
    Pool(#[from] pool::Error),
    /// An answer that makes no sense.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
}

/// One tenant as it is served. A changed file makes a new one with the next generation.
#[derive(Debug)]
pub struct Tenant {
    config: Arc<config::Tenant>,
    cluster: Arc<Cluster>,
    shared_schema: SchemaName,
    generation: u64,
    state: ArcSwap<State>,
    /// Where [`Pools`] keeps its pool, so that a request need not look it up. Weak: a pool nobody needs is dropped there.
    pool: ArcSwapWeak<TenantPool>,
    catalog: ArcSwapOption<Catalog>,
    /// Held while the catalog is loaded, so that a hundred first requests load it once.
    loading: Mutex<()>,
    /// How often the catalog was to be forgotten: what was loaded before the last time is not kept.
    forgotten: AtomicU64,
}

impl Tenant {
    /// A tenant that is not served yet.
    #[must_use]
    pub fn new(
        config: Arc<config::Tenant>,
        cluster: Arc<Cluster>,
        shared_schema: SchemaName,
        generation: u64,
        state: State,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            cluster,
            shared_schema,
            generation,
            state: ArcSwap::from_pointee(state),
            pool: ArcSwapWeak::new(Weak::new()),
            catalog: ArcSwapOption::empty(),
            loading: Mutex::new(()),
            forgotten: AtomicU64::new(0),
        })
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Arc<config::Tenant> {
        &self.config
    }

    /// The id as a metric's label.
    #[must_use]
    pub fn label(&self) -> &str {
        self.config.id.as_str()
    }

    /// Its state now.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(crate) fn is_live(&self) -> bool {
        matches!(**self.state.load(), State::Live)
    }

    pub(crate) fn set_state(&self, state: State) {
        self.state.store(Arc::new(state));
    }

    /// Its pool, made on first use.
    pub fn pool(&self, pools: &Pools) -> Arc<TenantPool> {
        if let Some(pool) = self.pool.load().upgrade().filter(|pool| !pool.is_closed()) {
            return pool;
        }
        let pool = pools.of(&self.config.id, self.generation, || self.spec());
        self.pool.store(Arc::downgrade(&pool));
        pool
    }

    /// The role of a request without a token, which its connections are opened with.
    fn connection_role(&self) -> Option<RoleName> {
        if self.config.managed {
            return Some(migrate::anonymous_role(&self.config.id));
        }
        self.config.anonymous_role.clone()
    }

    fn spec(&self) -> Spec {
        let config = &self.config;
        let limits = &config.limits;
        let millis = |duration: std::time::Duration| duration.as_millis().to_string();
        let own_and_shared = std::iter::once(&config.schema)
            .chain((config.schema != self.shared_schema).then_some(&self.shared_schema))
            .chain(config.extra_search_path.iter());
        let mut startup = Startup::new(config.id.as_str())
            .search_path(own_and_shared)
            .setting("statement_timeout", &millis(limits.statement_timeout))
            .setting("lock_timeout", &millis(limits.lock_timeout))
            .setting("idle_in_transaction_session_timeout", &millis(limits.statement_timeout))
            // What runs by itself only reads; whatever writes says so in its own transaction.
            .setting("default_transaction_read_only", "on")
            // The formats that `encode` prints (its module page): the server's own settings must not change them.
            .setting("TimeZone", "UTC")
            .setting("DateStyle", "ISO")
            .setting("IntervalStyle", "postgres")
            .setting("bytea_output", "hex")
            .setting("client_encoding", "UTF8");
        let role = self.connection_role();
        if let Some(role) = &role {
            startup = startup.role(role);
        }
        // Without a token the claims are the role alone, as PostgREST's are: what reads them as JSON meets no empty text.
        let claimed = role.as_ref().map_or_else(|| self.cluster.login(), RoleName::as_str);
        let claims = serde_json::json!({ "role": claimed }).to_string();
        startup = startup.setting("request.jwt.claims", &claims);
        if let (true, Credentials::PerTenant(passwords)) = (config.managed, self.cluster.credentials()) {
            let login = migrate::login_role(&config.id);
            let password = passwords.of(&login);
            startup = startup.login(login, password);
        }
        Spec {
            tenant: config.id.clone(),
            cluster: Arc::clone(&self.cluster),
            schema: config.schema.clone(),
            role,
            startup,
            pool_max: limits.pool_max.get(),
            checkout_timeout: limits.checkout_timeout,
            statement_timeout: limits.statement_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }

    /// Whether a token of this tenant may name `role`.
    #[must_use]
    pub fn permits_role(&self, role: &str) -> bool {
        // To Postgres that is no role but the way back to the login's own rights.
        if role == "none" {
            return false;
        }
        let own = self.config.managed
            && (role == migrate::user_role(&self.config.id).as_str()
                || role == migrate::anonymous_role(&self.config.id).as_str());
        own || self
            .config
            .anonymous_role
            .as_ref()
            .is_some_and(|anonymous| anonymous.as_str() == role)
            || self
                .config
                .roles
                .iter()
                .any(|allowed| allowed.as_str() == role || allowed.as_str() == "*")
    }

    /// What its schema holds: from memory, or loaded through its own pool on first use.
    ///
    /// # Errors
    ///
    /// Those of a checkout and of a statement; nothing is remembered then, and the next request tries again.
    pub async fn catalog(&self, pools: &Pools, store: &catalog::Store) -> Result<Arc<Catalog>, CatalogError> {
        if let Some(catalog) = self.catalog.load_full() {
            return Ok(catalog);
        }
        let _loading = self.loading.lock().await;
        if let Some(catalog) = self.catalog.load_full() {
            return Ok(catalog);
        }
        let forgotten = self.forgotten.load(Ordering::Acquire);
        let mut lease = self.pool(pools).checkout(pools).await?;
        let sql: Arc<str> = catalog::LOAD_SQL.into();
        let schemas = [
            Some(self.config.schema.to_string()),
            Some(self.shared_schema.to_string()),
        ];
        let call = Call {
            sql: &sql,
            params: &schemas,
            access: Access::Read,
        };
        let mut builder = catalog::Builder::default();
        let mut broken = None;
        lease
            .run(&call, |row| {
                let values: Vec<_> = row
                    .values()
                    .map(|value| value.and_then(|v| std::str::from_utf8(v).ok()))
                    .collect();
                match builder.row(&values) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        broken = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })
            .await?;
        lease.finish();
        if let Some(error) = broken {
            return Err(error.into());
        }
        let catalog = store.intern(builder.finish());
        self.catalog.store(Some(Arc::clone(&catalog)));
        // Compared after it was stored: whoever forgets counts first, so that one of both sees the other.
        if self.forgotten.load(Ordering::Acquire) != forgotten {
            self.catalog.store(None);
        }
        Ok(catalog)
    }

    /// Forgets the catalog; the next request loads it again.
    pub(crate) fn forget_catalog(&self) {
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        self.catalog.store(None);
    }
}
