//! What the benches against Postgres stand on: an edge over a private server, with tenants that have rows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rowhouse::edge::{Edge, Options};
use rowhouse::service::Service;
use rowhouse::tenant::{State, Tenant};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Config, NoTls};

/// Rows in every tenant's `mylist`; their keys count from 1.
pub(crate) const ROWS: usize = 10;

/// An edge over a private Postgres, and the runtime both benches and edge run on. Dropped, nothing of it is left.
pub(crate) struct Street {
    runtime: Runtime,
    edge: Option<Edge>,
    _dir: TempDir,
}

impl Street {
    /// `tenants` tenants t000, t001 … with [`ROWS`] rows each. The server takes twice as many connections as there are
    /// tenants (at least 20), so that a pool beside the edge's fits.
    pub(crate) fn start(tenants: usize) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let dir = TempDir::new();
        configure(dir.path(), tenants).expect("the directory for temporary files is writable");
        let options = Options {
            config_dir: dir.path().join("config"),
            data: Some(dir.path().join("pg")),
            volatile: true,
            ..Options::default()
        };
        let edge = runtime.block_on(Edge::start(options)).expect("the edge starts");
        // From here on an early end stops the server too.
        let street = Self {
            runtime,
            edge: Some(edge),
            _dir: dir,
        };
        street.runtime.block_on(street.fill(tenants));
        street
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn edge(&self) -> &Edge {
        self.edge.as_ref().expect("it is taken by drop alone")
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        self.edge().service()
    }

    /// All tenants, sorted by id.
    pub(crate) fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.service().registry.tenants()
    }

    /// How the superuser connects, whom neither a budget nor a permission check holds up.
    pub(crate) fn superuser(&self) -> Config {
        let postgres = self.edge().embedded().next().expect("the cluster is embedded");
        let mut config = Config::new();
        config.host_path(postgres.socket_dir()).port(postgres.port());
        config.user("postgres").dbname("rowhouse");
        config
    }

    /// Waits until all tenants are live and gives them their rows.
    async fn fill(&self, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let live = |tenant: &Arc<Tenant>| matches!(*tenant.state(), State::Live);
        while self.tenants().iter().filter(|tenant| live(tenant)).count() < count {
            assert!(Instant::now() < deadline, "tenants are not live: {:?}", self.tenants());
            sleep(Duration::from_millis(20)).await;
        }
        let inserts: String = self
            .tenants()
            .iter()
            .map(|tenant| {
                format!(
                    "INSERT INTO {}.mylist (text, checkbox) \
                     SELECT 'Water the plants on floor ' || n, n % 3 = 0 FROM generate_series(1, {ROWS}) n;\n",
                    tenant.config().schema.as_str()
                )
            })
            .collect();
        let (client, connection) = self.superuser().connect(NoTls).await.expect("the server is there");
        let work = async {
            client.batch_execute(&inserts).await.expect("the tables are there");
            // So that autovacuum finds nothing to do while something is measured.
            client.batch_execute("VACUUM ANALYZE").await.expect("nobody forbids it");
            drop(client);
        };
        let (_closed, ()) = tokio::join!(connection, work);
    }
}

impl Drop for Street {
    fn drop(&mut self) {
        if let Some(edge) = self.edge.take() {
            self.runtime.block_on(edge.stop(Duration::from_secs(10)));
        }
    }
}

fn configure(dir: &Path, tenants: usize) -> std::io::Result<()> {
    let repository = env!("CARGO_MANIFEST_DIR");
    let budget = (2 * tenants).max(20);
    let rowhouse = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\noperator_listen = \"127.0.0.1:0\"\n\
         [clusters.main]\nembedded = true\nbudget = {budget}\n\
         [migrations]\nshared = \"{repository}/migrations/shared\"\ntenant = \"{repository}/migrations/tenant\"\n"
    );
    let tenants: String = (0..tenants)
        .map(|n| format!("[tenants.t{n:03}]\nhosts = [\"t{n:03}.example.com\"]\n"))
        .collect();
    fs::create_dir_all(dir.join("config/tenants"))?;
    fs::write(dir.join("config/rowhouse.toml"), rowhouse)?;
    fs::write(dir.join("config/tenants/all.toml"), tenants)
}

/// A directory that is gone with the value. As root the server runs as another user, so it is where all may look.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("rowhouse-bench-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the directory for temporary files is writable");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}
