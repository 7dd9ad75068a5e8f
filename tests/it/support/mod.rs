//! What the tests stand on: a private Postgres, an edge over it, and an HTTP client that sends what it is told.

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rowhouse::config::Secret;
use rowhouse::edge::{Edge, Options};
use rowhouse::embedded;
use rowhouse::embedded::Postgres;
use rowhouse::identity;
use rowhouse::identity::Key;
use rowhouse::migrate;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{Client, NoTls};

pub mod node;

/// The key that the tests' edges verify tokens with.
pub const KEY: &[u8] = b"a key of the tests that is long enough";

/// A directory that is gone with the value. Postgres runs as another user when the tests run as root, so it is below
/// the system's directory for temporary files.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "rowhouse-street-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _gone = fs::remove_dir_all(&self.0);
    }
}

/// A stopped data directory to copy: one `initdb` per test run.
///
/// Nothing runs at the end of a test process, so each run sweeps away what earlier ones have left.
pub fn template() -> PathBuf {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    const PREFIX: &str = "rowhouse-template-";
    let make = || {
        let temporary = std::env::temp_dir();
        for entry in fs::read_dir(&temporary).unwrap().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if pid.is_some_and(|pid| Path::new("/proc").exists() && !Path::new("/proc").join(pid).exists()) {
                let _gone = fs::remove_dir_all(entry.path());
            }
        }
        let dir = temporary.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut options = embedded::Options::new(dir.join("pg"));
        options.durable = false;
        Postgres::start(options).unwrap().stop();
        dir.join("pg")
    };
    TEMPLATE.get_or_init(make).clone()
}

/// A private Postgres without an edge.
pub struct Cluster {
    postgres: Postgres,
    _dir: TempDir,
}

impl Cluster {
    pub fn start() -> Self {
        let dir = TempDir::new();
        let mut options = embedded::Options::new(dir.path().join("pg"));
        options.durable = false;
        options.template = Some(template());
        Self {
            postgres: Postgres::start(options).unwrap(),
            _dir: dir,
        }
    }

    pub async fn superuser(&self, database: &str) -> Client {
        connect(self.postgres.socket_dir(), "postgres", database).await
    }

    /// Where its superuser connects to.
    pub fn endpoint(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        let (directory, port) = (self.postgres.socket_dir(), self.postgres.port());
        config
            .host_path(directory)
            .port(port)
            .user("postgres")
            .dbname("postgres");
        config
    }
}

/// A connection to an embedded server as `user`.
pub async fn connect(socket_dir: &Path, user: &str, database: &str) -> Client {
    let mut config = tokio_postgres::Config::new();
    config.host_path(socket_dir).user(user).dbname(database);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
    tokio::spawn(connection);
    client
}

/// Makes the edge's login and database on a server that is none of the edge's.
pub async fn make_edge_login(postgres: &Postgres) {
    let superuser = connect(postgres.socket_dir(), "postgres", "postgres").await;
    migrate::bootstrap_embedded(&superuser).await.unwrap();
    let superuser = connect(postgres.socket_dir(), "postgres", migrate::EMBEDDED_DATABASE).await;
    migrate::bootstrap_embedded_database(&superuser).await.unwrap();
}

/// A server that is none of the edge's, with the edge's login and database.
pub async fn server_beside_the_edge(dir: &TempDir) -> Postgres {
    let mut options = embedded::Options::new(dir.path().join("pg"));
    options.durable = false;
    options.template = Some(template());
    let postgres = Postgres::start(options).unwrap();
    make_edge_login(&postgres).await;
    postgres
}

/// An edge that knows its server by a URL only, with `user` (or `user:password`) in it and `more` keys of the cluster.
/// It has two tenants, cliente and cliente2.
pub fn over_url(dir: &Path, postgres: &Postgres, user: &str, more: &str) -> Options {
    let socket = postgres.socket_dir().to_str().unwrap().replace('/', "%2F");
    let (port, database) = (postgres.port(), migrate::EMBEDDED_DATABASE);
    over_address(dir, &format!("{user}@{socket}:{port}/{database}"), more)
}

/// The same with all of the URL but its scheme.
pub fn over_address(dir: &Path, address: &str, more: &str) -> Options {
    let config = dir.join("config");
    fs::create_dir_all(config.join("tenants")).unwrap();
    let repository = env!("CARGO_MANIFEST_DIR");
    let toml = format!(
        "[clusters.main]\nurl = \"postgres://{address}\"\nbudget = 8\n{more}\n\
         [migrations]\nshared = \"{repository}/migrations/shared\"\ntenant = \"{repository}/migrations/tenant\"\n"
    );
    let file = config.join("rowhouse.toml");
    fs::write(&file, toml).unwrap();
    // A password may stand in it.
    fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    let tenants = ["cliente", "cliente2"].map(|id| format!("[tenants.{id}]\nhosts = [\"{id}.localhost\"]\n"));
    fs::write(config.join("tenants/both.toml"), tenants.concat()).unwrap();
    Options {
        config_dir: config,
        listen: Some("127.0.0.1:0".parse().unwrap()),
        operator_listen: Some("127.0.0.1:0".parse().unwrap()),
        jwt_secret: Some(Secret::new(KEY)),
        ..Options::default()
    }
}

/// The three tenants of the product's example.
pub const EXAMPLE: &str = r#"
[tenants.adm]
hosts = ["adm.todo.local", "adm.localhost"]
schema = "public"
home = "beforeidie"
[tenants.cliente]
hosts = ["cliente.todo.local", "cliente.localhost"]
home = "mylist"
[tenants.cliente2]
hosts = ["cliente2.todo.local", "cliente2.localhost"]
home = "mylist"
"#;

/// An edge over a private Postgres, with the example's migrations.
pub struct Street {
    edge: Option<Edge>,
    dir: TempDir,
}

impl Street {
    /// The example: adm, cliente and cliente2.
    pub async fn example() -> Self {
        Self::start("", EXAMPLE).await
    }

    /// An edge with `more` in its `rowhouse.toml` (beside `[server]`, `[clusters.main]` and `[migrations]`, which are
    /// given) and one file of tenants.
    pub async fn start(more: &str, tenants: &str) -> Self {
        Self::with_budget(20, more, tenants).await
    }

    /// The same with a budget of connections.
    pub async fn with_budget(budget: u32, more: &str, tenants: &str) -> Self {
        Self::with_cluster(&format!("budget = {budget}"), more, tenants).await
    }

    /// The same with what else there is to say of the cluster.
    pub async fn with_cluster(cluster: &str, more: &str, tenants: &str) -> Self {
        let dir = TempDir::new();
        fs::create_dir_all(dir.path().join("config/tenants")).unwrap();
        // A copy, so that a test may add to them.
        for migrations in ["migrations/shared", "migrations/tenant"] {
            let copy = dir.path().join(migrations);
            fs::create_dir_all(&copy).unwrap();
            for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(migrations)).unwrap() {
                let file = file.unwrap();
                fs::copy(file.path(), copy.join(file.file_name())).unwrap();
            }
        }
        let toml = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\noperator_listen = \"[::1]:0\"\n\
             [clusters.main]\nembedded = true\n{cluster}\n\
             [migrations]\nshared = \"migrations/shared\"\ntenant = \"migrations/tenant\"\n{more}\n"
        );
        fs::write(dir.path().join("config/rowhouse.toml"), toml).unwrap();
        let street = Self { edge: None, dir };
        street.write("example.toml", tenants);
        street.restarted().await
    }

    /// A new edge over the same configuration and data.
    pub async fn restarted(mut self) -> Self {
        self.stop().await;
        let options = Options {
            config_dir: self.dir.path().join("config"),
            operator_listen: Some("127.0.0.1:0".parse().unwrap()),
            data: Some(self.dir.path().join("pg")),
            jwt_secret: Some(Secret::new(KEY)),
            volatile: true,
            template: (!self.dir.path().join("pg").exists()).then(template),
            ..Options::default()
        };
        self.edge = Some(Edge::start(options).await.unwrap());
        self
    }

    /// Drains the edge and stops its Postgres.
    pub async fn stop(&mut self) {
        if let Some(edge) = self.edge.take() {
            edge.stop(Duration::from_secs(10)).await;
        }
    }

    pub fn edge(&self) -> &Edge {
        self.edge.as_ref().unwrap()
    }

    /// Where its configuration and its data are: `config` and `pg`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The directory of the server's socket.
    pub fn socket_dir(&self) -> PathBuf {
        self.edge().embedded().next().unwrap().socket_dir().to_owned()
    }

    /// The server's process id.
    pub fn postgres_pid(&self) -> u32 {
        self.edge().embedded().next().unwrap().pid()
    }

    /// A superuser's connection to the edge's database, outside its budget.
    pub async fn superuser(&self) -> Client {
        connect(&self.socket_dir(), "postgres", "rowhouse").await
    }

    /// Where the tenants' files are.
    pub fn tenants_dir(&self) -> PathBuf {
        self.dir.path().join("config/tenants")
    }

    /// Writes a tenant file as careful editors do: whole, by a rename.
    pub fn write(&self, name: &str, text: &str) {
        let tenants = self.tenants_dir();
        fs::write(tenants.join(format!(".{name}.part")), text).unwrap();
        fs::rename(tenants.join(format!(".{name}.part")), tenants.join(name)).unwrap();
    }

    pub fn rowhouse_toml(&self) -> String {
        fs::read_to_string(self.dir.path().join("config/rowhouse.toml")).unwrap()
    }

    pub fn write_rowhouse_toml(&self, text: &str) {
        fs::write(self.dir.path().join("config/rowhouse.toml"), text).unwrap();
    }

    /// Adds a migration: `tenant/V3__words.sql`.
    pub fn write_migration(&self, name: &str, sql: &str) {
        fs::write(self.dir.path().join("migrations").join(name), sql).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.tenants_dir().join(name)).unwrap();
    }

    pub async fn get(&self, host: &str, path: &str) -> Reply {
        self.send("GET", host, path, &[], "").await
    }

    /// One request on a connection of its own.
    pub async fn send(&self, method: &str, host: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || matches!(method, "POST" | "PATCH" | "PUT") {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.raw(format!("{head}\r\n{body}").as_bytes()).await
    }

    /// Writes bytes as they are and reads until the server closes.
    pub async fn raw(&self, request: &[u8]) -> Reply {
        raw(self.edge(), request).await
    }

    /// A write as the tenant's user.
    pub async fn write_as(&self, method: &str, tenant: &str, host: &str, path: &str, body: &str) -> Reply {
        self.write_preferring("return=representation", method, tenant, host, path, body)
            .await
    }

    /// The same with another `Prefer`.
    pub async fn write_preferring(
        &self,
        prefer: &str,
        method: &str,
        tenant: &str,
        host: &str,
        path: &str,
        body: &str,
    ) -> Reply {
        let authorization = format!("Bearer {}", token(tenant));
        let headers = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
            ("Prefer", prefer),
        ];
        self.send(method, host, path, &headers, body).await
    }

    /// `/status` of the operator.
    pub async fn status(&self) -> Value {
        self.operator("/status").await.json()
    }

    /// A request to the operator's listener.
    pub async fn operator(&self, path: &str) -> Reply {
        operator(self.edge(), path).await
    }
}

/// A request to the operator's listener of an edge.
pub async fn operator(edge: &Edge, path: &str) -> Reply {
    let mut stream = TcpStream::connect(edge.operator_address()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    Reply::read(&mut stream).await
}

/// Writes bytes as they are to an edge and reads until it closes.
pub async fn raw(edge: &Edge, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    Reply::read(&mut stream).await
}

/// A token of the tenant's user role, signed with the server's key.
pub fn token(tenant: &str) -> String {
    token_for(tenant, &format!("rowhouse_{tenant}_user"), KEY)
}

pub fn token_for(tenant: &str, role: &str, key: &[u8]) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let key = Key::Server(Secret::new(key));
    identity::sign(&key, &tenant.parse().unwrap(), role, Duration::from_secs(60), now).unwrap()
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A reset after the answer is how a server ends a connection whose body it did not read.
        let _reset = stream.read_to_end(&mut bytes).await;
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let json = serde_json::from_str(&self.body);
        assert!(json.is_ok(), "no JSON: {self:?}");
        json.unwrap()
    }

    /// The `code` of an error.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Waits until `condition` holds, at most `limit`.
pub async fn until(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + limit;
    while !condition().await {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what} did not happen within {limit:?}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
