use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

use super::*;
use crate::config;
use crate::config::{AnonymousAccess, Config, Live, Shared, SharedWrite, Tenant};
use crate::embedded::{Options, Postgres};
use crate::pool::Credentials;

/// A server of its own, with the edge's login and database.
struct Cluster {
    server: Postgres,
    connections: TaskTracker,
    dir: std::path::PathBuf,
}

impl Cluster {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("rowhouse-migrate-{}-{number}", std::process::id()));
        let mut options = Options::new(dir.join("pg"));
        options.durable = false;
        fs::create_dir_all(&dir).unwrap();
        let server = tokio::task::spawn_blocking(|| Postgres::start(options))
            .await
            .unwrap()
            .unwrap();
        let cluster = Self {
            server,
            connections: TaskTracker::new(),
            dir,
        };
        for _ in 0..2 {
            bootstrap_embedded(&cluster.connect("postgres", "postgres").await)
                .await
                .unwrap();
            bootstrap_embedded_database(&cluster.connect("postgres", EMBEDDED_DATABASE).await)
                .await
                .unwrap();
        }
        cluster
    }

    async fn connect(&self, user: &str, database: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(self.server.socket_dir())
            .port(self.server.port())
            .user(user)
            .dbname(database);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        self.connections.spawn(connection);
        client
    }

    async fn edge(&self) -> Client {
        self.connect(EDGE_LOGIN, EMBEDDED_DATABASE).await
    }

    /// Onboards all over `width` connections.
    async fn onboard(
        &self,
        tenants: &[Tenant],
        shared: &Shared,
        migrations: &Arc<Migrations>,
        credentials: &Credentials,
        width: usize,
    ) {
        let mut tasks = JoinSet::new();
        for chunk in tenants.chunks(tenants.len().div_ceil(width)) {
            let (chunk, shared, migrations) = (chunk.to_vec(), shared.clone(), Arc::clone(migrations));
            let credentials = credentials.clone();
            let mut client = self.edge().await;
            tasks.spawn(async move {
                for one in &chunk {
                    tenant(&mut client, one, &shared, &migrations, &credentials)
                        .await
                        .map_err(|error| error.to_string())?;
                }
                Ok::<_, String>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap().unwrap();
        }
    }

    /// The SQLSTATE of `sql` as `role`, as a pool would run it that logs in as `login`; "ok" without one.
    async fn outcome(&self, login: &str, role: &str, schema: &str, sql: &str) -> String {
        let client = self.connect(login, EMBEDDED_DATABASE).await;
        let setup = format!("SET ROLE \"{role}\"; SET search_path = {schema}, public, pg_temp");
        let done = match client.batch_execute(&setup).await {
            Ok(()) => client.batch_execute(sql).await,
            refused => refused,
        };
        match done {
            Ok(()) => "ok".to_owned(),
            Err(error) => error
                .code()
                .map_or_else(|| error.to_string(), |code| code.code().to_owned()),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.stop();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn config() -> Config {
    Config::load(&root().join("config"), &|_| None, &Live::new()).unwrap()
}

fn example() -> Arc<Migrations> {
    let dir = root().join("migrations");
    Arc::new(Migrations::load(Some(&dir.join("shared")), Some(&dir.join("tenant"))).unwrap())
}

fn numbered(config: &Config, range: std::ops::Range<u32>) -> Vec<Tenant> {
    let model = config.tenants.get("cliente").unwrap();
    let make = |number| Tenant {
        id: format!("t{number}").parse().unwrap(),
        schema: format!("t{number}").parse().unwrap(),
        ..Tenant::clone(model)
    };
    range.map(make).collect()
}

/// Who becomes `role` for a request.
fn login_of(role: &str, credentials: &Credentials) -> String {
    match (credentials, role.rsplit_once('_')) {
        (Credentials::PerTenant(_), Some((tenant, "anon" | "user"))) => format!("{tenant}_login"),
        _ => EDGE_LOGIN.to_owned(),
    }
}

fn per_tenant() -> Credentials {
    Credentials::new(config::Credentials::PerTenant, &tokio_postgres::Config::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_do_what_the_config_says_and_no_more() {
    let cluster = Cluster::start().await;
    assert!(onboarded(&cluster.edge().await).await.unwrap().is_empty());
    // Back and forth: each takes the other's memberships back.
    for credentials in [Credentials::Shared, per_tenant(), Credentials::Shared, per_tenant()] {
        check_rights(&cluster, &credentials).await;
    }
}

async fn check_rights(cluster: &Cluster, credentials: &Credentials) {
    let (config, migrations) = (config(), example());
    let mut edge = cluster.edge().await;
    let all: Vec<Tenant> = config.tenants.values().map(|tenant| Tenant::clone(tenant)).collect();
    for _ in 0..2 {
        shared(&mut edge, &config.shared, &migrations).await.unwrap();
        cluster
            .onboard(&all, &config.shared, &migrations, credentials, all.len())
            .await;
    }
    let known = onboarded(&edge).await.unwrap();
    assert_eq!(known.len(), all.len());
    for tenant in &all {
        assert_eq!(
            known[&tenant.id],
            migrations.digest(tenant, &config.shared, credentials)
        );
    }

    let own = "INSERT INTO mylist (text) VALUES ('x')";
    let common = "INSERT INTO beforeidie (text) VALUES ('x')";
    for (role, schema, sql, expected) in [
        (
            "rowhouse_cliente_anon",
            "cliente",
            "SELECT FROM mylist, beforeidie",
            "ok",
        ),
        (
            "rowhouse_cliente_anon",
            "cliente",
            "SELECT FROM cliente2.mylist",
            "42501",
        ),
        ("rowhouse_cliente_anon", "cliente", own, "42501"),
        ("rowhouse_cliente_anon", "cliente", common, "42501"),
        (
            "rowhouse_cliente_anon",
            "cliente",
            "SELECT FROM rowhouse_migrations",
            "42501",
        ),
        (
            "rowhouse_cliente_anon",
            "cliente",
            "SELECT FROM public.rowhouse_migrations",
            "42501",
        ),
        (
            "rowhouse_cliente_anon",
            "cliente",
            "SELECT FROM rowhouse.onboarded",
            "42501",
        ),
        ("rowhouse_cliente_anon", "cliente", "CREATE TABLE evil ()", "42501"),
        ("rowhouse_cliente_anon", "cliente", "CREATE TEMP TABLE evil ()", "42501"),
        ("rowhouse_cliente_user", "cliente", own, "ok"),
        ("rowhouse_cliente_user", "cliente", common, "42501"),
        (
            "rowhouse_cliente_user",
            "cliente",
            "DELETE FROM cliente2.mylist",
            "42501",
        ),
        (
            "rowhouse_cliente_user",
            "cliente",
            "DELETE FROM rowhouse_migrations",
            "42501",
        ),
        (
            "rowhouse_cliente_user",
            "cliente",
            "CREATE TABLE public.evil ()",
            "42501",
        ),
        ("rowhouse_adm_user", "public", common, "ok"),
        ("rowhouse_adm_anon", "public", common, "42501"),
        ("rowhouse_adm_user", "public", "SELECT FROM cliente.mylist", "42501"),
        ("rowhouse_edge", "cliente", "SELECT FROM cliente.mylist", "42501"),
    ] {
        let outcome = cluster.outcome(&login_of(role, credentials), role, schema, sql).await;
        assert_eq!(outcome, expected, "{credentials:?} {role}: {sql}");
    }

    // Who may become whom: the pools' login those two roles of its tenant alone, and nobody an owner.
    let shares = matches!(credentials, Credentials::Shared);
    let pools_login = login_of("rowhouse_cliente_user", credentials);
    for (login, role, may) in [
        (pools_login.as_str(), "rowhouse_cliente_anon", true),
        (&pools_login, "rowhouse_cliente_user", true),
        (&pools_login, "rowhouse_cliente2_user", shares),
        (&pools_login, "rowhouse_cliente2_anon", shares),
        (&pools_login, "rowhouse_cliente_owner", false),
        (&pools_login, "rowhouse_shared_owner", false),
        (EDGE_LOGIN, "rowhouse_cliente_user", shares),
        (EDGE_LOGIN, "rowhouse_cliente_owner", false),
        (EDGE_LOGIN, "rowhouse_shared_owner", false),
    ] {
        let outcome = cluster.outcome(login, role, "cliente", "SELECT").await;
        assert_eq!(outcome == "ok", may, "{credentials:?} {login} -> {role}: {outcome}");
    }
    let logins: i64 = edge
        .query_one(
            "SELECT count(*) FROM pg_roles WHERE rolname ~ '^rowhouse_.*_login$' AND rolcanlogin",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(logins, if shares { 0 } else { all.len().try_into().unwrap() });

    // A changed configuration gives and takes back; the digest tells.
    let mut changed = all
        .iter()
        .find(|tenant| tenant.id.as_str() == "cliente")
        .unwrap()
        .clone();
    let everyone = Shared {
        write: SharedWrite::Tenants,
        ..config.shared.clone()
    };
    for (access, shared_rules, expected) in [
        (AnonymousAccess::Write, &everyone, ["ok", "ok", "ok"]),
        (AnonymousAccess::Read, &config.shared, ["ok", "42501", "42501"]),
        (AnonymousAccess::None, &config.shared, ["42501", "42501", "42501"]),
    ] {
        Arc::make_mut(&mut changed.limits).anonymous = access;
        tenant(&mut edge, &changed, shared_rules, &migrations, credentials)
            .await
            .unwrap();
        for (role, sql, expected) in [
            ("rowhouse_cliente_anon", "SELECT FROM mylist", expected[0]),
            ("rowhouse_cliente_anon", own, expected[1]),
            ("rowhouse_cliente_user", common, expected[2]),
        ] {
            let outcome = cluster
                .outcome(&login_of(role, credentials), role, "cliente", sql)
                .await;
            assert_eq!(outcome, expected, "{access:?} {role}: {sql}");
        }
    }

    // The connection is as it was.
    let row = edge
        .query_one("SELECT current_user::text, current_setting('search_path'), count(*) FROM pg_locks WHERE locktype = 'advisory'", &[])
        .await
        .unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        (EDGE_LOGIN, "\"$user\", public", 0_i64)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "the times are for people: cargo test -- --nocapture")]
async fn many_tenants_at_once() {
    let cluster = Cluster::start().await;
    let (config, migrations) = (config(), example());
    shared(&mut cluster.edge().await, &config.shared, &migrations)
        .await
        .unwrap();
    cluster
        .onboard(
            &numbered(&config, 0..30),
            &config.shared,
            &migrations,
            &per_tenant(),
            10,
        )
        .await;
    let tenants = numbered(&config, 100..200);
    for what in ["new", "known"] {
        let start = Instant::now();
        cluster
            .onboard(&tenants, &config.shared, &migrations, &per_tenant(), 4)
            .await;
        eprintln!("100 {what} tenants over 4 connections: {:?}", start.elapsed());
    }
    let start = Instant::now();
    assert_eq!(onboarded(&cluster.edge().await).await.unwrap().len(), 130);
    eprintln!("onboarded: {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_say_what_and_where_and_leave_the_connection_clean() {
    let cluster = Cluster::start().await;
    let (config, good) = (config(), example());
    let mut edge = cluster.edge().await;
    shared(&mut edge, &config.shared, &good).await.unwrap();
    let one = &numbered(&config, 0..1)[0];
    let dir = cluster.dir.join("tenant");
    fs::create_dir(&dir).unwrap();
    let load = || Migrations::load(None, Some(&dir));
    fs::write(dir.join("V1__first.sql"), "CREATE TABLE a (b int)").unwrap();
    fs::write(dir.join("V02__broken.sql"), "CREATE TABLE c (d nonsense)").unwrap();

    let message = tenant(&mut edge, one, &config.shared, &load().unwrap(), &Credentials::Shared)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("V02__broken.sql") && message.contains("42704"),
        "{message}"
    );
    let user: String = edge.query_one("SELECT current_user::text", &[]).await.unwrap().get(0);
    assert_eq!(user, EDGE_LOGIN);
    fs::write(dir.join("V02__broken.sql"), "CREATE TABLE c (d int)").unwrap();
    tenant(
        &mut cluster.edge().await,
        one,
        &config.shared,
        &load().unwrap(),
        &Credentials::Shared,
    )
    .await
    .unwrap();

    fs::write(dir.join("V1__first.sql"), "CREATE TABLE a (b bigint)").unwrap();
    let message = tenant(&mut edge, one, &config.shared, &load().unwrap(), &Credentials::Shared)
        .await
        .unwrap_err()
        .to_string();
    assert!(message.contains("V1__first was changed"), "{message}");

    fs::write(dir.join("V2__again.sql"), "").unwrap();
    assert!(matches!(load(), Err(Error::RepeatedVersion { .. })));
    fs::write(dir.join("V3-x.sql"), "").unwrap();
    assert!(matches!(load(), Err(Error::Name { .. })));

    edge.batch_execute("CREATE SCHEMA other").await.unwrap();
    let taken = Tenant {
        schema: "other".parse().unwrap(),
        ..one.clone()
    };
    let message = tenant(&mut edge, &taken, &config.shared, &good, &Credentials::Shared)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`other` already exists and belongs to role `rowhouse_edge`"),
        "{message}"
    );
    let reserved = Tenant {
        id: "shared".parse().unwrap(),
        ..one.clone()
    };
    assert!(matches!(
        tenant(&mut edge, &reserved, &config.shared, &good, &Credentials::Shared).await,
        Err(Error::ReservedId(_))
    ));

    let elsewhere = Shared {
        schema: "common".parse().unwrap(),
        ..config.shared.clone()
    };
    shared(&mut edge, &elsewhere, &good).await.unwrap();
    let outcome = cluster
        .outcome(
            EDGE_LOGIN,
            "rowhouse_shared_read",
            "common",
            "SELECT FROM common.beforeidie",
        )
        .await;
    assert_eq!(outcome, "ok", "a tenant of this login is in the group");
}
