//! Who the connections of tenants log in as.

use std::fs;
use std::time::Duration;

use rowhouse::edge::Edge;
use rowhouse::embedded;
use rowhouse::embedded::Postgres;
use rowhouse::migrate;
use tokio::time::sleep;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::support::{Reply, Street, TempDir, connect, make_edge_login, over_url, raw, token};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_embedded_cluster_each_tenant_logs_in_as_itself() {
    let street = Street::example().await;
    for host in ["adm.localhost", "cliente.localhost", "cliente2.localhost"] {
        let reply = street.get(host, "/api/beforeidie").await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let superuser = street.superuser().await;
    let tenants = ["adm", "cliente", "cliente2"].map(|id| format!("rowhouse/{id} as rowhouse_{id}_login"));
    assert_eq!(logins(&superuser).await, with_catalogs(tenants));
    // So no connection could become a neighbour's role, whatever SQL it were given.
    let login = connect(&street.socket_dir(), "rowhouse_cliente_login", "rowhouse").await;
    let error = login
        .batch_execute("SET ROLE rowhouse_cliente2_anon")
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{error}");
}

/// A server that asks everybody but the superuser for a password; the edge's login has one.
struct Guarded {
    postgres: Postgres,
    dir: TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let dir = TempDir::new();
        let mut options = embedded::Options::new(dir.path().join("pg"));
        options.durable = false;
        let postgres = Postgres::start(options).unwrap();
        make_edge_login(&postgres).await;
        let guarded = Self { postgres, dir };
        let rules = "local all postgres trust\nlocal all all scram-sha-256\n";
        fs::write(guarded.dir.path().join("pg/pg_hba.conf"), rules).unwrap();
        guarded.run("SELECT pg_reload_conf()").await;
        guarded.set_password("first").await;
        guarded
    }

    async fn run(&self, sql: &str) {
        let superuser = connect(self.postgres.socket_dir(), "postgres", "rowhouse").await;
        superuser.batch_execute(sql).await.unwrap();
    }

    async fn set_password(&self, password: &str) {
        self.run(&format!("ALTER ROLE rowhouse_edge PASSWORD '{password}'"))
            .await;
    }

    async fn edge(&self, password: &str, credentials: &str) -> Edge {
        let user = format!("{}:{password}", migrate::EDGE_LOGIN);
        let more = format!("credentials = \"{credentials}\"");
        Edge::start(over_url(self.dir.path(), &self.postgres, &user, &more))
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_of_tenants_come_from_the_edges_own_and_change_with_it() {
    let guarded = Guarded::start().await;
    let superuser = connect(guarded.postgres.socket_dir(), "postgres", "rowhouse").await;
    let own = ["cliente", "cliente2"].map(|id| format!("rowhouse/{id} as rowhouse_{id}_login"));
    let shared = ["cliente", "cliente2"].map(|name| format!("rowhouse/{name} as rowhouse_edge"));
    let (own, shared) = (with_catalogs(own), with_catalogs(shared));
    for (password, credentials, expected) in [
        ("first", "per_tenant", &own),
        ("second", "per_tenant", &own),
        ("second", "shared", &shared),
        ("second", "per_tenant", &own),
    ] {
        guarded.set_password(password).await;
        let edge = guarded.edge(password, credentials).await;
        for tenant in ["cliente", "cliente2"] {
            let reply = request(&edge, "GET", tenant, "/api/mylist", "").await;
            assert_eq!(reply.status, 200, "{password} {credentials}: {reply:?}");
            let reply = request(&edge, "POST", tenant, "/api/mylist", r#"{"text":"x"}"#).await;
            assert_eq!(reply.status, 201, "{password} {credentials}: {reply:?}");
        }
        assert_eq!(&logins(&superuser).await, expected);
        assert!(edge.stop(Duration::from_secs(5)).await);
    }
    // Neither without a password nor with the edge's does anybody get in as a tenant.
    for password in ["", "second"] {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(guarded.postgres.socket_dir())
            .port(guarded.postgres.port());
        config
            .user("rowhouse_cliente_login")
            .dbname("rowhouse")
            .password(password);
        let error = config.connect(NoTls).await.err().unwrap();
        assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD), "{error}");
    }
}

/// What both tenants have: names of every kind that are written with their schema where it is not searched.
const NAMES: &str = "
CREATE TYPE mood AS ENUM ('well', 'ill');
CREATE DOMAIN code AS text CHECK (value <> '') DEFAULT 'none';
CREATE TABLE thing (id serial PRIMARY KEY, mood mood DEFAULT 'well', moods mood[], code code, item int REFERENCES mylist);
CREATE FUNCTION feels(thing) RETURNS mood LANGUAGE sql STABLE AS 'SELECT $1.mood';
CREATE FUNCTION worse(mood DEFAULT 'ill') RETURNS SETOF thing LANGUAGE sql STABLE AS 'SELECT * FROM thing';
CREATE VIEW seen AS SELECT id, mood FROM thing;
GRANT SELECT ON thing, seen TO PUBLIC;
INSERT INTO thing (moods) VALUES ('{ill}');
";

/// Operators that fit better than Postgres' own where a comparison is of types that it has none for.
fn traps() -> String {
    let types = [
        ("oid", "regclass"),
        ("oid", "regtype"),
        ("oid", "regnamespace"),
        ("oid", "int4"),
        ("float4", "int4"),
    ];
    let trap = |(left, right): (&str, &str)| {
        format!(
            "CREATE FUNCTION trap({left}, {right}) RETURNS bool LANGUAGE plpgsql AS \
             $$ BEGIN RAISE 'run as %', session_user; END $$;
             CREATE OPERATOR = (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = trap);
             CREATE OPERATOR <> (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = trap);\n"
        )
    };
    types.into_iter().map(trap).collect()
}

/// A private Postgres and an edge over it, where two tenants have logins of their own.
async fn two_with_logins(dir: &TempDir, more: &str, files: Option<&str>) -> (Postgres, tokio_postgres::Client, Edge) {
    let mut options = embedded::Options::new(dir.path().join("pg"));
    options.durable = false;
    let postgres = Postgres::start(options).unwrap();
    make_edge_login(&postgres).await;
    let superuser = connect(postgres.socket_dir(), "postgres", "rowhouse").await;
    let more = format!("credentials = \"per_tenant\"\n{more}");
    let options = over_url(dir.path(), &postgres, migrate::EDGE_LOGIN, &more);
    if let Some(files) = files {
        fs::write(options.config_dir.join("tenants/both.toml"), files).unwrap();
    }
    let edge = Edge::start(options).await.unwrap();
    (postgres, superuser, edge)
}

/// 1. A view of `cliente`'s is locked when its catalog is to be read. 2. The one connection for catalogs is there for `cliente2`.
/// 3. `cliente` is answered when the lock is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_table_keeps_no_other_tenant_from_its_catalog() {
    let dir = TempDir::new();
    let limits = "[defaults]\nlock_timeout = \"20s\"\nstatement_timeout = \"30s\"";
    let (_postgres, mut superuser, edge) = two_with_logins(&dir, limits, None).await;
    let view = "CREATE VIEW cliente.seen AS SELECT 1 AS id";
    superuser.batch_execute(view).await.unwrap();
    let lock = superuser.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE cliente.seen").await.unwrap();
    let locked_out = request(&edge, "GET", "cliente", "/api/mylist", "");
    let others = async {
        sleep(Duration::from_millis(200)).await;
        let reply = request(&edge, "GET", "cliente2", "/api/mylist", "").await;
        assert_eq!(reply.status, 200, "{reply:?}");
        lock.commit().await.unwrap();
    };
    let (reply, ()) = tokio::join!(locked_out, others);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(edge.stop(Duration::from_secs(5)).await);
}

/// 1. `cliente`'s catalog is read as the edge's login, and that of `cliente2`, which searches a schema more, as its own. 2. They are the same.
/// 3. Nothing of a tenant's has run meanwhile, as whomever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_is_the_same_whoever_reads_it() {
    let dir = TempDir::new();
    let files = "[tenants.cliente]\nhosts = [\"cliente.localhost\"]\n\
                 [tenants.cliente2]\nhosts = [\"cliente2.localhost\"]\nextra_search_path = [\"nowhere\"]\n";
    let (_postgres, superuser, edge) = two_with_logins(&dir, "", Some(files)).await;
    for tenant in ["cliente", "cliente2"] {
        let sql = format!("SET search_path = {tenant}, public; {NAMES} {}", traps());
        superuser.batch_execute(&sql).await.unwrap();
    }
    let [first, second] = ["cliente", "cliente2"].map(async |tenant| {
        let rows = request(&edge, "GET", tenant, "/api/thing?select=*,feels,mylist(text)", "").await;
        let expected =
            r#"[{"id":1,"mood":"well","moods":["ill"],"code":"none","item":null,"feels":"well","mylist":null}]"#;
        assert_eq!((rows.status, &*rows.body), (200, expected), "{rows:?}");
        let document = request(&edge, "GET", tenant, "/api/", "").await;
        assert_eq!(document.status, 200, "{document:?}");
        document.body.replace(&format!("{tenant}."), "tenant.")
    });
    let (first, second) = (first.await, second.await);
    assert!(
        first == second,
        "not the same document: {} and {} bytes",
        first.len(),
        second.len()
    );
    assert_eq!(edge.service().catalogs.len(), 1, "one structure");
    let expected = with_catalogs(["cliente", "cliente2"].map(|id| format!("rowhouse/{id} as rowhouse_{id}_login")));
    assert_eq!(logins(&superuser).await, expected);
    assert!(edge.stop(Duration::from_secs(5)).await);
}

/// With the connection that catalogs are read on, as the edge's own login.
fn with_catalogs<const N: usize>(tenants: [String; N]) -> Vec<String> {
    let mut all = Vec::from(tenants);
    all.push("rowhouse/catalogs as rowhouse_edge".to_owned());
    all.sort();
    all
}

/// What `pg_stat_activity` shows of the edge's connections: application and login, sorted.
async fn logins(superuser: &tokio_postgres::Client) -> Vec<String> {
    const ASK: &str = "SELECT DISTINCT application_name || ' as ' || usename FROM pg_stat_activity \
        WHERE application_name LIKE 'rowhouse/%' AND application_name <> 'rowhouse/notices' ORDER BY 1";
    let rows = superuser.query(ASK, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn request(edge: &Edge, method: &str, tenant: &str, path: &str, body: &str) -> Reply {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {tenant}.localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        token(tenant),
        body.len()
    );
    raw(edge, request.as_bytes()).await
}
