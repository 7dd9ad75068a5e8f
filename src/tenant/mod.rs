//! A tenant at run time, the table that requests are routed by, and how a config file becomes a serving tenant.

mod onboard;
mod registry;

pub use onboard::{Error as OnboardError, Onboarder};
pub use registry::Registry;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::{ArcSwap, ArcSwapOption, ArcSwapWeak};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::catalog;
use crate::catalog::{Catalog, Loaded, RoleSetting};
use crate::config;
use crate::config::Secret;
use crate::identity::{Key, Verifier};
use crate::metrics::Metrics;
use crate::migrate;
use crate::pool;
use crate::pool::{Cluster, Credentials, Fold, Identity, Pools, Row, Spec, Startup, Step, TenantPool};
use crate::traffic::Traffic;
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

/// Whether a token of a tenant, or a user of its console, may name `role`.
#[must_use]
pub fn permits_role(tenant: &config::Tenant, role: &str) -> bool {
    // To Postgres that is no role but the way back to the login's own rights.
    if role == "none" {
        return false;
    }
    let own = tenant.managed && migrate::is_request_role(&tenant.id, role);
    let anonymous = tenant
        .anonymous_role
        .as_ref()
        .is_some_and(|anonymous| anonymous.as_str() == role);
    let named = |allowed: &RoleName| allowed.as_str() == role || allowed.as_str() == "*";
    own || anonymous || tenant.roles.iter().any(named)
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
    /// Why it is served as it was, if its file or the migrations ask for what cannot be had.
    trouble: ArcSwapOption<Trouble>,
    /// How many migrations it has.
    migrated: AtomicU64,
    /// Where [`Pools`] keeps its pool, so that a request need not look it up. Weak: a pool nobody needs is dropped there.
    pool: ArcSwapWeak<TenantPool>,
    /// What each of its schemas holds, the main one first.
    structures: Box<[Slot]>,
    /// Made when the first token comes.
    verifier: OnceLock<Verifier>,
    /// Made when the first request comes.
    anonymous_role: OnceLock<Arc<str>>,
    /// Where its requests are counted, which outlives it. Looked up when the first one comes.
    traffic: OnceLock<Arc<Traffic>>,
}

/// Why a tenant is served as it was.
#[derive(Debug)]
struct Trouble {
    /// With file and line.
    reason: String,
    /// Whether it is its file that asks for what cannot be had, and not the migrations.
    of_file: bool,
}

/// What a schema holds, once it is known.
#[derive(Debug, Default)]
struct Slot {
    known: ArcSwapOption<Structure>,
    /// Held while it is loaded, so that a hundred first requests load it once.
    loading: Mutex<()>,
    /// How often it was to be forgotten.
    forgotten: AtomicU64,
    /// The value of `forgotten` when what is known was asked for: if it is less, that is to be read again.
    known_at: AtomicU64,
}

impl Slot {
    fn is_fresh(&self) -> bool {
        self.known_at.load(Ordering::Acquire) == self.forgotten.load(Ordering::Acquire)
    }
}

/// What a schema of a tenant holds, and how its roles are set up.
#[derive(Debug)]
pub struct Structure {
    /// Relations and functions, shared by all tenants that have the same.
    pub catalog: Arc<Catalog>,
    /// The number of that catalog.
    pub number: u64,
    roles: Box<[RoleSetting]>,
}

impl Structure {
    /// What `ALTER ROLE … SET` says of `role`: name and value.
    pub fn role_settings<'a>(&'a self, role: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let of_role = self.roles.iter().filter(move |setting| *setting.role == *role);
        of_role.map(|setting| (&*setting.name, &*setting.value))
    }
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
        let structures = std::iter::repeat_with(Slot::default)
            .take(1 + config.more_schemas.len())
            .collect();
        Arc::new(Self {
            config,
            cluster,
            shared_schema,
            generation,
            state: ArcSwap::from_pointee(state),
            trouble: ArcSwapOption::empty(),
            migrated: AtomicU64::new(0),
            pool: ArcSwapWeak::new(Weak::new()),
            structures,
            verifier: OnceLock::new(),
            anonymous_role: OnceLock::new(),
            traffic: OnceLock::new(),
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

    /// Why it is served as it was, although its file or the migrations ask for something else.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.load().as_ref().map(|trouble| trouble.reason.clone())
    }

    fn has_file_trouble(&self) -> bool {
        self.trouble.load().as_ref().is_some_and(|trouble| trouble.of_file)
    }

    fn set_trouble(&self, trouble: Option<Trouble>) {
        self.trouble.store(trouble.map(Arc::new));
    }

    fn migrated(&self) -> u64 {
        self.migrated.load(Ordering::Relaxed)
    }

    fn set_migrated(&self, number: u64) {
        self.migrated.store(number, Ordering::Relaxed);
    }

    /// What its main schema holds, if a request has needed it yet.
    #[must_use]
    pub fn known_structure(&self) -> Option<Arc<Structure>> {
        self.structures.first()?.known.load_full()
    }

    /// What its tokens are checked by: its own key, or the server's.
    pub fn verifier(&self, server_key: Option<&Secret>) -> &Verifier {
        self.verifier.get_or_init(|| {
            let key = match (&self.config.jwks, &self.config.jwt_secret, server_key) {
                (Some(set), _, _) => Key::Jwks(set.clone()),
                (None, Some(own), _) => Key::Tenant(own.clone()),
                (None, None, Some(server)) => Key::Server(server.clone()),
                (None, None, None) => Key::None,
            };
            let dialect = &self.config.dialect;
            Verifier::new(
                &key,
                &self.config.id,
                dialect.jwt_audience.as_deref(),
                &dialect.jwt_role_claim,
            )
        })
    }

    /// Where its requests are counted: with those of its earlier generations.
    pub fn traffic(&self, metrics: &Metrics) -> &Arc<Traffic> {
        self.traffic.get_or_init(|| metrics.traffic(&self.config.id))
    }

    /// Where it is.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
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

    /// Who its connections log in as, if that is not the edge's own login.
    fn login(&self) -> Option<RoleName> {
        let per_tenant = matches!(self.cluster.credentials(), Credentials::PerTenant(_));
        (per_tenant && self.config.managed).then(|| migrate::login_role(&self.config.id))
    }

    fn spec(&self) -> Spec {
        let config = &self.config;
        let limits = &config.limits;
        let own_and_shared = std::iter::once(&config.schema)
            .chain((config.shared && config.schema != self.shared_schema).then_some(&self.shared_schema))
            .chain(config.extra_search_path.iter());
        let mut startup = Startup::new(config.id.as_str())
            .search_path(own_and_shared.clone())
            .timeouts(limits.statement_timeout, limits.lock_timeout)
            .only_reads()
            .formats();
        let role = self.connection_role();
        if let Some(role) = &role {
            startup = startup.role(role);
        }
        // Without a token the claims are the role alone, as PostgREST's are: what reads them as JSON meets no empty text.
        let claimed = role.as_ref().map_or_else(|| self.cluster.login(), RoleName::as_str);
        let claims = serde_json::json!({ "role": claimed }).to_string();
        startup = startup.setting("request.jwt.claims", &claims);
        let own_login = self.login();
        let identity = |role| Identity::new(own_and_shared, role, limits.statement_timeout, limits.lock_timeout);
        let shared = match (&own_login, &role) {
            // The edge's own login cannot become the tenant, but onboarding lets it see its schema and the shared one, and no
            // other: enough for catalogs.
            (Some(_), _) if config.extra_search_path.is_empty() => Some(identity(None)),
            (None, Some(role)) => Some(identity(Some(role))),
            _ => None,
        };
        if let (Some(login), Credentials::PerTenant(passwords)) = (own_login, self.cluster.credentials()) {
            let password = passwords.of(&login);
            startup = startup.logged_in_as(login, password);
        }
        Spec {
            cluster: Arc::clone(&self.cluster),
            schema: Some(config.schema.clone()),
            shared,
            role,
            startup,
            pool_max: limits.pool_max,
            weight: limits.weight,
            kept: limits.pool_min,
            checkout_timeout: limits.checkout_timeout,
            statement_timeout: limits.statement_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }

    /// Whether a token of this tenant may name `role`.
    #[must_use]
    pub fn permits_role(&self, role: &str) -> bool {
        permits_role(&self.config, role)
    }

    /// The role of requests without a token: its connections', or the login's.
    #[must_use]
    pub fn anonymous_role(&self) -> &Arc<str> {
        self.anonymous_role.get_or_init(|| match self.connection_role() {
            Some(role) => role.as_str().into(),
            None => self.cluster.login().into(),
        })
    }

    /// The schemas that can be asked for, the main one first.
    pub fn schemas(&self) -> impl Iterator<Item = &SchemaName> {
        std::iter::once(&self.config.schema).chain(&self.config.more_schemas)
    }

    /// The schemas whose relations the API shows, if number `at` was asked for: it, and the shared one.
    pub fn searched(&self, at: usize) -> impl Iterator<Item = &SchemaName> {
        let shared = (at == 0 && self.config.shared).then_some(&self.shared_schema);
        self.schemas().nth(at).into_iter().chain(shared)
    }

    /// The search path of the schema number `at`, where it is not the connections' own.
    #[must_use]
    pub fn search_path(&self, at: usize) -> Option<String> {
        let schema = self.schemas().nth(at).filter(|_| at > 0)?;
        let more = self.config.extra_search_path.iter();
        let names: Vec<String> = std::iter::once(schema)
            .chain(more)
            .map(|name| name.quoted().to_string())
            .collect();
        Some(format!("{}, pg_temp", names.join(", ")))
    }

    /// What the schema number `at` holds: from memory, or loaded on first use.
    ///
    /// # Errors
    ///
    /// Those of a checkout and of a statement; nothing is remembered then, and the next request tries again.
    pub async fn structure(
        &self,
        at: usize,
        pools: &Pools,
        store: &catalog::Store,
    ) -> Result<Arc<Structure>, CatalogError> {
        let slot = &self.structures[at];
        match slot.known.load_full() {
            Some(known) if slot.is_fresh() => Ok(known),
            known => Box::pin(self.load_structure(at, known, pools, store)).await,
        }
    }

    async fn load_structure(
        &self,
        at: usize,
        known: Option<Arc<Structure>>,
        pools: &Pools,
        store: &catalog::Store,
    ) -> Result<Arc<Structure>, CatalogError> {
        let slot = &self.structures[at];
        let _loading = match known {
            // While one request reads it again, the others are served what was known.
            Some(known) => match slot.loading.try_lock() {
                Ok(loading) => loading,
                Err(_) => return Ok(known),
            },
            None => slot.loading.lock().await,
        };
        let known = slot.known.load_full();
        match known {
            Some(known) if slot.is_fresh() => Ok(known),
            Some(known) => match self.read(at, pools, store).await {
                // It goes on with what was known, and the next one tries again.
                Err(CatalogError::Pool(error)) if error.passes() => Ok(known),
                read => read,
            },
            None => self.read(at, pools, store).await,
        }
    }

    /// What the schema number `at` holds now that the catalog with the number `outdated` was found not to be true any more:
    /// read again, unless another request has done so.
    ///
    /// # Errors
    ///
    /// As [`structure`](Self::structure).
    pub async fn renewed(
        &self,
        at: usize,
        outdated: u64,
        pools: &Pools,
        store: &catalog::Store,
    ) -> Result<Arc<Structure>, CatalogError> {
        let slot = &self.structures[at];
        let _loading = slot.loading.lock().await;
        match slot.known.load_full().filter(|known| known.number != outdated) {
            Some(known) => Ok(known),
            None => self.read(at, pools, store).await,
        }
    }

    /// Reads it, as the one who does so.
    async fn read(&self, at: usize, pools: &Pools, store: &catalog::Store) -> Result<Arc<Structure>, CatalogError> {
        let slot = &self.structures[at];
        let forgotten = slot.forgotten.load(Ordering::Acquire);
        let structure = Arc::new(self.load(at, pools, store).await?);
        slot.known.store(Some(Arc::clone(&structure)));
        slot.known_at.store(forgotten, Ordering::Release);
        Ok(structure)
    }

    async fn load(&self, at: usize, pools: &Pools, store: &catalog::Store) -> Result<Structure, CatalogError> {
        let schema = self.schemas().nth(at).unwrap_or(&self.config.schema);
        let sql: Arc<str> = catalog::LOAD_SQL.into();
        let reads_shared = at == 0 && self.config.shared && self.config.schema != self.shared_schema;
        let shared = reads_shared.then(|| self.shared_schema.to_string());
        let login = self
            .login()
            .map_or_else(|| self.cluster.login().to_owned(), |login| login.to_string());
        let managed = self.config.managed.to_string();
        let params = [Some(schema.to_string()), shared, Some(managed), Some(login)];
        let params = params.map(|text| text.map(Cow::Owned));
        let statement = Step {
            sql: &sql,
            params: &params,
        };
        let loading = || {
            let qualifier = (at > 0).then(|| schema.quoted().to_string());
            Fold::new(None, move |loaded, row: Row<'_>| {
                let values: Vec<_> = row
                    .values()
                    .map(|value| value.and_then(|v| std::str::from_utf8(v).ok()))
                    .collect();
                *loaded = Some(Loaded::from_row(&values, qualifier.as_deref()));
            })
        };
        // Types are to be named as where the names are used.
        let path = self.search_path(at);
        let path = path.as_deref().map(|path| ("search_path", path));
        let pool = self.pool(pools);
        let (_, loading) = pool.run_alike(pools, statement, path.as_slice(), loading).await?;
        let loaded = loading.state.transpose()?.unwrap_or_default();
        let (catalog, number) = store.intern(loaded.catalog);
        Ok(Structure {
            catalog,
            number,
            roles: loaded.roles,
        })
    }

    /// Has what its schemas hold read again by the next request.
    pub fn forget_catalog(&self) {
        for slot in &self.structures {
            slot.forgotten.fetch_add(1, Ordering::AcqRel);
        }
    }
}
