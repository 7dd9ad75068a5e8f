//! One running edge: clusters, pools, tenants and listeners, put together from a configuration and kept up to date.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::Host;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::admin::Operator;
use crate::catalog;
use crate::config;
use crate::config::{Config, Encryption, Endpoint, Live};
use crate::embedded;
use crate::embedded::Postgres;
use crate::metrics::Metrics;
use crate::pool::{Cluster, Credentials, Pools, Startup, Tls, TlsError};
use crate::query::Plans;
use crate::router::Ports;
use crate::server::tls::CertificateStore;
use crate::server::{Limits, Listener, ListenerError, Shutdown, Signals, tls};
use crate::service::{Control, Service, Streams};
use crate::tenant::{Onboarder, Registry};
use crate::traffic::History;
use crate::types::ClusterId;
use crate::users;

mod aside;
mod notices;
mod sampler;
mod server;

pub use self::aside::Aside;

use self::server::Server;

/// Editors write a file in several steps: the last change within this time counts.
const SETTLE: Duration = Duration::from_millis(100);

/// Connections to a cluster that are not ours to spend: superusers' and other programs'.
const RESERVE: u32 = 10;

/// How long the first connection to a cluster may take to tell its limits.
const FIRST_CONTACT: Duration = Duration::from_secs(5);

/// What the command line says over the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration directory.
    pub config_dir: PathBuf,
    /// Instead of `[server] listen`.
    pub listen: Option<SocketAddr>,
    /// Instead of `[server] operator_listen`.
    pub operator_listen: Option<SocketAddr>,
    /// Instead of the data directory of every embedded cluster.
    pub data: Option<PathBuf>,
    /// A further TLS listener with these certificates: `demo --tls`.
    pub tls: Option<(SocketAddr, Vec<config::Certificate>)>,
    /// Key for tokens where the configuration has none.
    pub jwt_secret: Option<config::Secret>,
    /// Whether embedded clusters may lose data in a crash, for speed: tests and benches.
    pub volatile: bool,
    /// A stopped data directory that embedded clusters begin as a copy of, instead of an empty one.
    pub template: Option<PathBuf>,
}

/// Why an edge does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration has mistakes.
    #[error("{0}")]
    Config(config::Errors),
    /// An embedded Postgres does not start.
    #[error(transparent)]
    Embedded(#[from] embedded::Error),
    /// An embedded Postgres cannot be set up.
    #[error("cannot set up the embedded cluster {cluster}: {reason}")]
    Bootstrap {
        /// The cluster.
        cluster: ClusterId,
        /// Why.
        reason: String,
    },
    /// The budget does not fit the server.
    #[error(
        "cluster {cluster}: budget = {budget} does not fit max_connections = {max_connections} of the server: write at \
         most {most}, or raise max_connections"
    )]
    Budget {
        /// The cluster.
        cluster: ClusterId,
        /// What is configured.
        budget: u32,
        /// What the server allows.
        max_connections: u32,
        /// What would fit.
        most: u32,
    },
    /// The certificates that the cluster's url names cannot be used.
    #[error("cluster {cluster}: {source}")]
    Encryption {
        /// The cluster.
        cluster: ClusterId,
        /// Why.
        source: TlsError,
    },
    /// An address cannot be listened on.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// A certificate cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Certificates(Vec<tls::Error>),
    /// The configuration directory cannot be watched.
    #[error("cannot watch the configuration directory: {0}")]
    Watch(#[from] notify::Error),
}

/// One running edge. Dropping it stops its Postgres, but does not wait for requests: [`Edge::stop`] does.
pub struct Edge {
    /// Everything that requests go through.
    service: Arc<Service>,
    clusters: BTreeMap<ClusterId, Arc<Cluster>>,
    embedded: Vec<Arc<Server>>,
    shutdown: Shutdown,
    background: TaskTracker,
    connections: TaskTracker,
    stop: CancellationToken,
    grace: Duration,
    address: SocketAddr,
    operator_address: SocketAddr,
    tls_address: Option<SocketAddr>,
    _watcher: notify::RecommendedWatcher,
}

impl Edge {
    /// Starts an edge and brings its tenants up. Returns when each is live or has failed, or its cluster is down and
    /// being tried again; requests are answered from shortly before that.
    ///
    /// # Errors
    ///
    /// [`StartError`]. Nothing is left running then.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let config = load(&options.config_dir, &Live::new())
            .await
            .map_err(StartError::Config)?;
        for warning in &config.warnings {
            warn!("{warning}");
        }
        for failed in &config.failed {
            error!(file = %failed.path.display(), "tenant file not used:\n{}", failed.errors);
        }
        // From here on no change of the files is missed.
        let changed = Arc::new(Notify::new());
        let watcher = watch(&options.config_dir, Arc::clone(&changed))?;
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let mut running = Vec::new();
        let mut clusters = BTreeMap::new();
        for (id, cluster) in &config.clusters {
            let (endpoint, tls) = match &cluster.endpoint {
                Endpoint::Url { postgres, encryption } => {
                    ((**postgres).clone(), encryption_to(id, postgres, encryption.as_ref())?)
                }
                Endpoint::Embedded { data } => {
                    let data = options.data.clone().unwrap_or_else(|| data.clone());
                    let (server, endpoint) = Server::start(id, data, cluster.budget.get(), &options).await?;
                    running.push(server);
                    (endpoint, None)
                }
            };
            check_budget(id, &endpoint, tls.clone(), cluster.budget.get()).await?;
            let budget = cluster.budget.get();
            let credentials = Credentials::new(cluster.credentials, &endpoint);
            clusters.insert(
                id.clone(),
                Cluster::new(
                    id.clone(),
                    endpoint,
                    tls,
                    credentials,
                    budget,
                    cluster.shared_reads,
                    connections.clone(),
                ),
            );
        }

        let limits = Limits {
            connections: config.server.max_connections.get() as usize,
            ..Limits::default()
        };
        let listener = Listener::bind(options.listen.unwrap_or(config.server.listen), limits.clone()).await?;
        let operator_limits = Limits {
            connections: 100,
            ..Limits::default()
        };
        let operator_address = options.operator_listen.unwrap_or(config.server.operator_listen);
        let operator_listener = Listener::bind(operator_address, operator_limits).await?;
        let mut tls_listener = None;
        if let Some((address, store)) = certificates(&options, &config)? {
            tls_listener = Some(Listener::bind(address, limits).await?.with_tls(Arc::new(store)));
        }
        let address = listener.local();
        let operator_address = operator_listener.local();
        let tls_address = tls_listener.as_ref().map(Listener::local);

        let own_ports = [Some(address.port()), tls_address.map(|address| address.port())];
        let public_ports = config.server.public_ports.iter().map(|port| port.get());
        let registry = Arc::new(Registry::new());
        let pools = Arc::new(Pools::new());
        let metrics = Arc::new(Metrics::new());
        let shutdown = Shutdown::new();
        let users = Arc::new(users::Store::default());
        let service = Arc::new(Service {
            registry: Arc::clone(&registry),
            pools: Arc::clone(&pools),
            catalogs: catalog::Store::new(),
            plans: Plans::new(),
            metrics: Arc::clone(&metrics),
            history: History::new(),
            ports: Ports::new(own_ports.into_iter().flatten().chain(public_ports)),
            trusted_proxies: config.server.trusted_proxies.clone(),
            server_key: config.server.jwt_secret.clone().or(options.jwt_secret),
            max_body: config.server.max_body.get(),
            users: Arc::clone(&users),
            control: Control::new(clusters.values().cloned().collect(), shutdown.clone()),
            streams: Streams::new(connections.clone()),
            next_request: AtomicU64::new(1),
        });
        let operator = Arc::new(Operator::new(Arc::clone(&service)));
        shutdown
            .tasks()
            .spawn(listener.serve(Arc::clone(&service), shutdown.clone()));
        shutdown
            .tasks()
            .spawn(operator_listener.serve(operator, shutdown.clone()));
        if let Some(listener) = tls_listener {
            shutdown
                .tasks()
                .spawn(listener.serve(Arc::clone(&service), shutdown.clone()));
        }

        let onboarder = Onboarder::new(
            Arc::clone(&registry),
            Arc::clone(&pools),
            clusters.clone(),
            &config,
            stop.clone(),
        );
        let onboarder = Arc::new(onboarder);
        let background = TaskTracker::new();
        let janitor = Arc::clone(&pools);
        let janitor_stop = stop.clone();
        background.spawn(async move { janitor.janitor(janitor_stop).await });
        let users_stop = stop.clone();
        background.spawn(async move { users.janitor(users_stop).await });
        background.spawn(sampler::run(Arc::clone(&service), stop.clone()));
        for server in &running {
            background.spawn(Server::keep(Arc::downgrade(server), stop.clone()));
        }
        let reloader = Reloader {
            dir: options.config_dir.clone(),
            onboarder,
            metrics,
            service: Arc::clone(&service),
        };
        for cluster in clusters.values() {
            background.spawn(notices::listen(
                Arc::clone(cluster),
                Arc::clone(&registry),
                stop.clone(),
            ));
        }
        let grace = config.server.grace;
        let first = Arc::new(Notify::new());
        background.spawn(reloader.run(config, changed, shutdown.clone(), stop.clone(), Arc::clone(&first)));
        // Tenants of a cluster that is down are tried for as long as it takes, which is nothing to wait for here.
        if timeout(FIRST_CONTACT, first.notified()).await.is_err() {
            info!("still bringing tenants up");
        }
        Ok(Self {
            service,
            clusters,
            embedded: running,
            shutdown,
            background,
            connections,
            stop,
            grace,
            address,
            operator_address,
            tls_address,
            _watcher: watcher,
        })
    }

    /// Where plain HTTP is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the operator's endpoints are.
    #[must_use]
    pub fn operator_address(&self) -> SocketAddr {
        self.operator_address
    }

    /// Where HTTPS is served.
    #[must_use]
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// The request path, for what asks it from inside: benches and tests.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// The clusters.
    #[must_use]
    pub fn clusters(&self) -> &BTreeMap<ClusterId, Arc<Cluster>> {
        &self.clusters
    }

    /// The embedded servers, each locked for as long as it is looked at: until then it is not started again.
    pub fn embedded(&self) -> impl Iterator<Item = MutexGuard<'_, Postgres>> {
        self.embedded.iter().map(|server| server.lock())
    }

    /// Reads the configuration again, as SIGHUP does.
    pub fn reload(&self) {
        self.shutdown.reload().notify_one();
    }

    /// Serves until a signal says stop, then drains. `true` if every request finished in time.
    pub async fn run(self, mut signals: Signals) -> bool {
        let clean = self.shutdown.run(async || signals.next().await, self.grace).await;
        self.close().await;
        clean
    }

    /// Drains and stops. `true` if every request finished within `grace`.
    pub async fn stop(self, grace: Duration) -> bool {
        let clean = self.shutdown.drain(grace).await;
        self.close().await;
        clean
    }

    /// What is left when no request runs any more: tasks, pools, connections, Postgres.
    async fn close(mut self) {
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        self.service.pools.close();
        self.connections.close();
        if timeout(Duration::from_secs(5), self.connections.wait()).await.is_err() {
            warn!(open = self.connections.len(), "connections to Postgres left open");
        }
        let embedded = std::mem::take(&mut self.embedded);
        // Stopping waits for the server, which must not hold up this thread's other tasks.
        let stopped = tokio::task::spawn_blocking(move || embedded.iter().for_each(|server| server.stop())).await;
        if stopped.is_err() {
            warn!("an embedded Postgres did not stop in order");
        }
    }
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Keeps the tenants as the configuration says.
struct Reloader {
    dir: PathBuf,
    onboarder: Arc<Onboarder>,
    metrics: Arc<Metrics>,
    service: Arc<Service>,
}

impl Reloader {
    /// Applies `config`, tells `first`, and then whatever the files become, until `stop`.
    ///
    /// A change that arrives while another is being applied does not wait for it, because a cluster that is down must not
    /// delay the news of others: the running application is dropped, and the next one goes on from what there is. An event
    /// that changes nothing drops nothing.
    async fn run(
        self,
        config: Config,
        changed: Arc<Notify>,
        shutdown: Shutdown,
        stop: CancellationToken,
        first: Arc<Notify>,
    ) {
        let mut live = config.tenants.clone();
        let started_with = Ground::of(&config);
        let mut last = config.clone();
        let mut applying = Box::pin(self.apply(config, false));
        let mut applied = false;
        // Until a whole application has looked at every tenant.
        let mut recheck = false;
        loop {
            let sighup = tokio::select! {
                () = stop.cancelled() => return,
                () = &mut applying, if !applied => {
                    applied = true;
                    recheck = false;
                    first.notify_one();
                    continue;
                }
                () = changed.notified() => false,
                () = shutdown.reload().notified() => true,
            };
            sleep(SETTLE).await;
            if sighup {
                self.onboarder.forget_catalogs();
            }
            match load(&self.dir, &live).await {
                Ok(config) => {
                    self.metrics.reload(config.failed.is_empty());
                    // One save is several events: what is still wrong in the same way has been told.
                    for file in config.failed.iter().filter(|file| !last.failed.contains(file)) {
                        error!(file = %file.path.display(), "tenant file not used, the last good state serves on:\n{}", file.errors);
                    }
                    for warning in config
                        .warnings
                        .iter()
                        .filter(|warning| !last.warnings.contains(warning))
                    {
                        warn!("{warning}");
                    }
                    // What tenants mean depends on it, and it is what the running edge stands on.
                    if Ground::of(&config) != started_with {
                        let message = "rowhouse.toml: [shared], the ids or the addresses of [clusters] changed: no change of \
                            the configuration takes effect before the next start";
                        error!("{message}");
                        self.service.control.set_config_error(Some(message.to_owned()));
                        continue;
                    }
                    self.service.control.set_config_error(None);
                    if needs_restart(&config, &last) {
                        warn!("rowhouse.toml changed: all but [defaults] takes effect at the next start");
                    }
                    recheck |= sighup;
                    // A tenant that failed is tried again even if nothing changed, but not while it is being tried.
                    if applied || sighup || config != last {
                        live = config.tenants.clone();
                        last = config.clone();
                        applying = Box::pin(self.apply(config, recheck));
                        applied = false;
                    }
                }
                Err(errors) => {
                    self.metrics.reload(false);
                    error!("configuration not used, the last good state serves on:\n{errors}");
                    self.service.control.set_config_error(Some(errors.to_string()));
                }
            }
        }
    }

    async fn apply(&self, config: Config, recheck: bool) {
        self.onboarder.apply(&config, recheck).await;
        self.service.control.set_ready();
        info!(tenants = self.service.registry.tenants().len(), "configuration applied");
    }
}

/// What all tenants of a configuration stand on.
#[derive(PartialEq)]
struct Ground {
    shared: config::Shared,
    clusters: BTreeMap<ClusterId, Endpoint>,
}

impl Ground {
    fn of(config: &Config) -> Self {
        let clusters = config.clusters.iter();
        Self {
            shared: config.shared.clone(),
            clusters: clusters
                .map(|(id, cluster)| (id.clone(), cluster.endpoint.clone()))
                .collect(),
        }
    }
}

/// Whether `new` differs from `old` in what a running edge does not change.
fn needs_restart(new: &Config, old: &Config) -> bool {
    new.server != old.server || new.tls != old.tls || new.clusters != old.clusters || new.migrations != old.migrations
}

/// Reads the configuration on a thread where reading may block.
async fn load(dir: &Path, live: &Live) -> Result<Config, config::Errors> {
    let (dir, live) = (dir.to_owned(), live.clone());
    let loading = tokio::task::spawn_blocking(move || Config::load(&dir, &|name| std::env::var(name).ok(), &live));
    loading
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Tells `changed` of every change below the configuration directory.
fn watch(dir: &Path, changed: Arc<Notify>) -> Result<notify::RecommendedWatcher, notify::Error> {
    let mut watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| match event {
        // Reading the files is an event as well, and would go round for ever.
        Ok(event) if event.kind.is_access() => {}
        Ok(_) => changed.notify_one(),
        Err(error) => warn!(%error, "watching the configuration failed"),
    })?;
    watcher.watch(dir, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// A connection before there is a budget: closed when it is dropped.
async fn admin(
    id: &ClusterId,
    endpoint: &tokio_postgres::Config,
    tls: Option<Tls>,
) -> Result<tokio_postgres::Client, String> {
    let cluster = Cluster::new(
        id.clone(),
        endpoint.clone(),
        tls,
        Credentials::Shared,
        1,
        false,
        TaskTracker::new(),
    );
    Pools::new()
        .admin(&cluster, &Startup::new("start"), FIRST_CONTACT)
        .await
        .map_err(|error| {
            let cause = std::error::Error::source(&error)
                .map(|cause| format!(": {cause}"))
                .unwrap_or_default();
            format!("{error}{cause}")
        })
}

/// What encrypts the connections to a server that others run, with a warning if nothing need and it would be wise.
fn encryption_to(
    id: &ClusterId,
    endpoint: &tokio_postgres::Config,
    encryption: Option<&Encryption>,
) -> Result<Option<Tls>, StartError> {
    let remote = |host: &Host| match host {
        Host::Tcp(name) => name != "localhost" && !name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        Host::Unix(_) => false,
    };
    if !encryption.is_some_and(|encryption| encryption.required) && endpoint.get_hosts().iter().any(remote) {
        warn!(cluster = %id, "the connection to Postgres need not be encrypted: add sslmode=verify-full and sslrootcert to its url, or use a private network or a Unix socket");
    }
    encryption
        .map(Tls::new)
        .transpose()
        .map_err(|source| StartError::Encryption {
            cluster: id.clone(),
            source,
        })
}

/// Whether the server takes as many connections as the budget says. A server that is down is asked no more: it may be
/// back later, and then refuses by itself what is too much.
async fn check_budget(
    id: &ClusterId,
    endpoint: &tokio_postgres::Config,
    tls: Option<Tls>,
    budget: u32,
) -> Result<(), StartError> {
    const ASK: &str = "SELECT sum(setting::int) FILTER (WHERE name = 'max_connections')::int, \
        coalesce(sum(setting::int) FILTER (WHERE name <> 'max_connections'), 0)::int FROM pg_catalog.pg_settings \
        WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')";
    let client = match admin(id, endpoint, tls).await {
        Ok(client) => client,
        Err(reason) => {
            warn!(cluster = %id, %reason, "cluster not reachable at start, it will be tried again");
            return Ok(());
        }
    };
    let Ok(Ok(row)) = timeout(FIRST_CONTACT, client.query_one(ASK, &[])).await else {
        return Ok(());
    };
    let (Ok(max_connections), Ok(reserved)) = (row.try_get::<_, i32>(0), row.try_get::<_, i32>(1)) else {
        return Ok(());
    };
    let [max_connections, reserved] = [max_connections, reserved].map(|number| u32::try_from(number).unwrap_or(0));
    let most = max_connections.saturating_sub(reserved);
    if budget > most {
        return Err(StartError::Budget {
            cluster: id.clone(),
            budget,
            max_connections,
            most,
        });
    }
    Ok(())
}

/// The TLS listener's address and certificates, if there is to be one.
fn certificates(options: &Options, config: &Config) -> Result<Option<(SocketAddr, CertificateStore)>, StartError> {
    let own = config.tenants.values().filter_map(|tenant| tenant.tls.as_deref());
    let (address, certificates): (_, Vec<&config::Certificate>) = match (&options.tls, &config.tls) {
        (Some((address, given)), _) => (*address, given.iter().collect()),
        (None, Some(tls)) => (tls.listen, tls.certificates.iter().chain(own).collect()),
        (None, None) => return Ok(None),
    };
    let pairs = certificates
        .into_iter()
        .map(|certificate| (certificate.cert.clone(), certificate.key.clone()));
    let store = CertificateStore::load(pairs).map_err(StartError::Certificates)?;
    Ok(Some((address, store)))
}
