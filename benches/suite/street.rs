//! A private Postgres with all tenants in it, and edges over it.
//!
//! The suite runs Postgres, not the edge: so one edge after the other, each with the tenants of its cell alone, finds the
//! same tables, and the servers beside it do too.

use std::fmt::Write as _;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use rowhouse::config::Secret;
use rowhouse::embedded::Postgres;
use rowhouse::identity::{Key, sign};
use rowhouse::{embedded, migrate};
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

use crate::Result;
use crate::options::Scale;
use crate::processes::Server;
use crate::statements;
use crate::statements::{MANY_ROWS, ROWS};

/// Connections of an edge to Postgres, all tenants together: so many that a hundred tenants find theirs open.
pub(crate) const BUDGET: u32 = 400;

/// The same with few to spare, so that tenants with two requests at once make others wait.
pub(crate) const TIGHT_BUDGET: u32 = 120;

/// How an edge is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    /// The most connections it opens.
    pub(crate) budget: u32,
    /// Whether tenants share connections for short reads, for which one login serves all. Else each has a login of its own,
    /// as the edge asks for with so many tenants.
    pub(crate) shared_reads: bool,
}

impl Setup {
    /// Tenants share nothing but the budget.
    pub(crate) const fn of(budget: u32) -> Self {
        Self {
            budget,
            shared_reads: false,
        }
    }
}

/// The most connections of all that are open at once: an edge, the baselines, and a cold edge with a budget of its own.
const MAX_CONNECTIONS: u16 = 800;

/// An edge comes up with a thousand tenants that have to be made first.
const START_LIMIT: Duration = Duration::from_secs(900);

/// Postgres, the tenants, and the directory they are configured in. Dropped, nothing of it is left.
pub(crate) struct Street {
    postgres: Postgres,
    superuser: Client,
    tenants: Vec<Tenant>,
    /// How many of them have rows.
    filled: usize,
    // The last: it is removed when nothing runs in it any more.
    dir: TempDir,
}

/// One tenant. Its schema is called as it is.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) host: String,
    /// Names its user role, and is good for an hour.
    pub(crate) token: String,
}

impl Street {
    /// Starts Postgres, and has an edge make all tenants of `scale`; then fills their tables.
    pub(crate) async fn start(scale: &Scale) -> Result<Self> {
        let dir = TempDir::new()?;
        let mut options = embedded::Options::new(dir.path().join("pg"));
        options.durable = false;
        options.max_connections = MAX_CONNECTIONS;
        let postgres = Postgres::start(options)?;
        migrate::bootstrap_embedded(&connect(&postgres, "postgres").await?).await?;
        let superuser = connect(&postgres, migrate::EMBEDDED_DATABASE).await?;
        migrate::bootstrap_embedded_database(&superuser).await?;
        let street = Self {
            postgres,
            superuser,
            tenants: tenants(scale.listed)?,
            filled: scale.many,
            dir,
        };
        fs::create_dir(street.dir.path().join("migrations"))?;
        fs::write(
            street.dir.path().join("migrations/V1__tables.sql"),
            statements::MIGRATION,
        )?;
        // Ends at once: it has made the tenants before it says where it listens.
        drop(street.edge(scale.many, Setup::of(BUDGET)).await?);
        street.fill(scale.few).await?;
        Ok(street)
    }

    /// The real program, over the first so many tenants. Ready when it returns.
    pub(crate) async fn edge(&self, tenants: usize, setup: Setup) -> Result<Server> {
        let config = self.configure(tenants, setup)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_rowhouse"));
        command.args(["serve", "--log-format", "json", "--listen", "127.0.0.1:0"]);
        command
            .args(["--operator-listen", "127.0.0.1:0", "--config"])
            .arg(config);
        Server::start(command).await?.ready(START_LIMIT).await
    }

    pub(crate) fn tenants(&self, count: usize) -> &[Tenant] {
        &self.tenants[..count]
    }

    pub(crate) fn postgres(&self) -> &Postgres {
        &self.postgres
    }

    /// The version of Postgres, in full.
    pub(crate) async fn version(&self) -> Result<String> {
        let row = self.superuser.query_one("SHOW server_version", &[]).await?;
        Ok(row.get(0))
    }

    /// A place for files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Connections of clients that call themselves so.
    pub(crate) async fn backends(&self, application: &str) -> Result<u64> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, $1)";
        let count: i64 = self.superuser.query_one(sql, &[&application]).await?.get(0);
        Ok(count.try_into()?)
    }

    /// Ends one of the edge's connections, whichever.
    pub(crate) async fn kill_one(&self) -> Result<()> {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE starts_with(application_name, 'rowhouse/') ORDER BY random() LIMIT 1";
        Ok(self.superuser.batch_execute(sql).await?)
    }

    /// Takes their letters from all who have no token. What brings tenants up gives them back: so this comes after it.
    pub(crate) async fn seal_letters(&self) -> Result<()> {
        let names = self.tenants(self.filled).iter().map(|tenant| &tenant.name);
        let sql: String = names
            .map(|name| format!("REVOKE ALL ON {name}.letter FROM rowhouse_{name}_anon;\n"))
            .collect();
        Ok(self.superuser.batch_execute(&sql).await?)
    }

    /// Changes a table of a tenant, and says so.
    pub(crate) async fn change(&self, Tenant { name, .. }: &Tenant, n: usize) -> Result<()> {
        let sql = format!(
            "ALTER TABLE {name}.item ADD COLUMN IF NOT EXISTS more{} int; NOTIFY rowhouse, '{name}'",
            n / self.tenants.len() % 8
        );
        Ok(self.superuser.batch_execute(&sql).await?)
    }

    /// Waits until connections of what has ended are gone, so that they weigh on nothing that follows.
    pub(crate) async fn wait_for_end_of(&self, application: &str) -> Result<()> {
        for _ in 0..1000 {
            if self.backends(application).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("connections of a server that has ended are still open after 10 s".into())
    }

    /// Whether every row that was written is where it belongs.
    pub(crate) async fn check_writes(&self) -> Result<()> {
        let misplaced = self.tenants(self.filled).iter().map(|Tenant { name, .. }| {
            format!("SELECT count(*) FROM {name}.visit WHERE text IS DISTINCT FROM '{name} was here'")
        });
        let sql = misplaced.collect::<Vec<_>>().join(" UNION ALL ");
        let row = self
            .superuser
            .query_one(&format!("SELECT sum(count)::bigint FROM ({sql}) AS misplaced"), &[])
            .await?;
        match row.get(0) {
            0_i64 => Ok(()),
            found => Err(format!("{found} rows were written into another tenant's table").into()),
        }
    }

    fn configure(&self, tenants: usize, setup: Setup) -> Result<PathBuf> {
        let Setup { budget, shared_reads } = setup;
        let credentials = if shared_reads { "shared" } else { "per_tenant" };
        let config = self.dir.path().join(format!("config-{tenants}-{budget}-{credentials}"));
        let migrations = self.dir.path().join("migrations");
        let secret = self.dir.path().join("secret");
        let socket = self.postgres.socket_dir().to_string_lossy().replace('/', "%2F");
        let (login, port, database) = (migrate::EDGE_LOGIN, self.postgres.port(), migrate::EMBEDDED_DATABASE);
        let rowhouse = format!(
            "[server]\njwt_secret_file = {secret:?}\n\
             [clusters.main]\nurl = \"postgres://{login}@{socket}:{port}/{database}\"\nbudget = {budget}\n\
             credentials = {credentials:?}\nshared_reads = {shared_reads}\n[migrations]\ntenant = {migrations:?}\n"
        );
        let mut files = String::new();
        for tenant in &self.tenants[..tenants] {
            writeln!(files, "[tenants.{}]\nhosts = [\"{}\"]", tenant.name, tenant.host)?;
        }
        fs::write(&secret, SECRET)?;
        fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
        fs::create_dir_all(config.join("tenants"))?;
        fs::write(config.join("rowhouse.toml"), rowhouse)?;
        fs::write(config.join("tenants/all.toml"), files)?;
        Ok(config)
    }

    /// Gives all tenants their rows, the first ones a thousand.
    async fn fill(&self, few: usize) -> Result<()> {
        let sql: String = self
            .tenants(self.filled)
            .iter()
            .enumerate()
            .map(|(n, tenant)| statements::fill(&tenant.name, if n < few { MANY_ROWS } else { ROWS }))
            .collect();
        self.superuser.batch_execute(&sql).await?;
        // So that autovacuum finds nothing to do while something is measured.
        self.superuser.batch_execute("VACUUM ANALYZE").await?;
        self.superuser.batch_execute("CHECKPOINT").await?;
        Ok(())
    }
}

/// As the superuser, whom neither a budget nor a permission check holds up.
async fn connect(postgres: &Postgres, database: &str) -> Result<Client> {
    let mut config = tokio_postgres::Config::new();
    config.host_path(postgres.socket_dir()).port(postgres.port());
    config.user("postgres").dbname(database).application_name("suite");
    let (client, connection) = config.connect(NoTls).await?;
    // It ends with the client.
    TaskTracker::new().spawn(connection);
    Ok(client)
}

fn tenants(count: usize) -> Result<Vec<Tenant>> {
    let key = Key::Server(Secret::new(SECRET.as_bytes()));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let tenant = |n| {
        let name = format!("t{n:05}");
        let id = name.parse()?;
        let role = migrate::user_role(&id);
        Ok(Tenant {
            host: format!("{name}.example.com"),
            token: sign(&key, &id, role.as_str(), Duration::from_secs(3600), now)?,
            name,
        })
    };
    (0..count).map(tenant).collect()
}

/// The key of all tokens. It protects tables that live for minutes.
const SECRET: &str = "a key of the suite that is long enough";

/// A directory that is gone with the value. As root the server runs as another user, so it is where all may look.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("rowhouse-suite-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What cannot be removed lies where the system clears up.
        _ = fs::remove_dir_all(&self.0);
    }
}
