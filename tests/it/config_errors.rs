//! Promise: every mistake in the configuration is found at once, at its line and column, with what to write instead; and
//! a bad tenant file stops its own tenants, no others.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rowhouse::config::{AnonymousAccess, Config, Credentials, Endpoint, Errors, Live, SharedWrite, schema};

/// A project with the least `rowhouse.toml`, in a directory of its own.
struct Project {
    root: PathBuf,
}

/// The least that is valid.
const ROWHOUSE: &str = "[clusters.main]\nembedded = true\n";

/// 32 bytes.
const KEY: &str = "0123456789abcdef0123456789abcdef";

impl Project {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "rowhouse-config-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let root = std::env::temp_dir().canonicalize().unwrap().join(name);
        fs::create_dir_all(root.join("config/tenants")).unwrap();
        let project = Self { root };
        project.write("config/rowhouse.toml", ROWHOUSE);
        project
    }

    /// Not readable by others, so that secrets may stand in it.
    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    }

    fn tenant(&self, name: &str, text: impl AsRef<[u8]>) {
        self.write(&format!("config/tenants/{name}.toml"), text);
    }

    fn load(&self) -> Result<Config, Errors> {
        self.reload(&Live::new())
    }

    fn reload(&self, live: &Live) -> Result<Config, Errors> {
        let env = |name: &str| match name {
            "KEY" => Some(KEY.to_owned()),
            "SHORT_KEY" => Some("hunter2".to_owned()),
            "DATABASE_URL" => Some("postgres://edge:hunter2@db1/app".to_owned()),
            "BAD_URL" => Some("mysql://edge:hunter2@db1/app".to_owned()),
            _ => None,
        };
        Config::load(&self.root.join("config"), &env, live)
    }

    /// Everything `rowhouse check` would print, without the path of the project.
    fn report(&self) -> Vec<String> {
        let errors = match self.load() {
            Ok(config) => config.report(),
            Err(errors) => errors,
        };
        let root = format!("{}/", self.root.display());
        errors.to_string().lines().map(|line| line.replace(&root, "")).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn ids(config: &Config) -> Vec<&str> {
    config.tenants.keys().map(|id| id.as_str()).collect()
}

/// The report of a tenant file that stands alone.
#[track_caller]
fn check_tenant(text: &str, expected: &[&str]) {
    let project = Project::new();
    project.tenant("x", text);
    let expected: Vec<String> = expected
        .iter()
        .map(|line| format!("config/tenants/x.toml:{line}"))
        .collect();
    assert_eq!(project.report(), expected, "{text}");
}

/// The report of a `rowhouse.toml` without tenants.
#[track_caller]
fn check_rowhouse(text: &str, expected: &[&str]) {
    let project = Project::new();
    project.write("config/rowhouse.toml", text);
    let expected: Vec<String> = expected
        .iter()
        .map(|line| format!("config/rowhouse.toml:{line}"))
        .collect();
    assert_eq!(project.report(), expected, "{text}");
}

#[test]
fn every_default_is_filled_in() {
    let project = Project::new();
    project.tenant("acme", "[tenants.acme]\nhosts = [\"acme.example.com\"]\n");
    let config = project.load().unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:8000".parse().unwrap());
    assert_eq!(config.server.operator_listen, "127.0.0.1:9000".parse().unwrap());
    assert!(config.server.public_ports.is_empty());
    assert_eq!(config.server.jwt_secret, None);
    assert_eq!(config.server.max_body.get(), 1 << 20);
    assert_eq!(config.server.max_connections.get(), 10_000);
    assert_eq!(config.server.grace, Duration::from_secs(30));
    assert_eq!(config.tls, None);
    assert_eq!(config.clusters["main"].budget.get(), 80);
    assert_eq!(
        config.clusters["main"].endpoint,
        Endpoint::Embedded {
            data: project.root.join(".rowhouse/main")
        }
    );
    assert_eq!(config.shared.schema.as_str(), "public");
    assert_eq!(config.shared.write, SharedWrite::Operator);
    assert_eq!((config.migrations.shared, config.migrations.tenant), (None, None));
    assert_eq!(config.failed, []);
    assert_eq!(config.warnings, Vec::<String>::new());

    let acme = &config.tenants["acme"];
    assert_eq!(
        acme.hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>(),
        ["acme.example.com"]
    );
    assert_eq!((acme.schema.as_str(), acme.cluster.as_str()), ("acme", "main"));
    assert_eq!(
        (acme.home.as_deref(), acme.managed, acme.is_operator()),
        (None, true, false)
    );
    assert_eq!(
        (&acme.jwt_secret, &acme.anonymous_role, &acme.tls),
        (&None, &None, &None)
    );
    assert!(acme.roles.is_empty() && acme.extra_search_path.is_empty());
    assert_eq!(
        (&*acme.file, acme.line),
        (project.root.join("config/tenants/acme.toml").as_path(), 1)
    );
    assert_eq!(acme.limits.pool_max.get(), 8);
    assert_eq!((acme.limits.pool_min, acme.limits.weight.get()), (0, 1));
    assert_eq!(acme.limits.checkout_timeout, Duration::from_secs(2));
    assert_eq!(acme.limits.statement_timeout, Duration::from_secs(5));
    assert_eq!(acme.limits.lock_timeout, Duration::from_secs(2));
    assert_eq!(acme.limits.idle_timeout, Duration::from_secs(60));
    assert_eq!(acme.limits.max_rows.get(), 1000);
    assert_eq!(acme.limits.anonymous, AnonymousAccess::Read);
}

#[test]
fn every_key_takes_effect() {
    let project = Project::new();
    for file in [
        "tls/a.pem",
        "tls/a.key",
        "migrations/shared/V1__a.sql",
        "migrations/tenant/V1__a.sql",
    ] {
        project.write(file, "");
    }
    project.write("secrets/jwt", format!("{KEY}\r\n"));
    project.write(
        "config/rowhouse.toml",
        format!(
            r#"
            [server]
            listen = "0.0.0.0:80"
            operator_listen = "[::1]:9001"
            public_ports = [8080, 8443]
            trusted_proxies = ["127.0.0.1", "fd00::/8"]
            jwt_secret = "{KEY}"
            max_body = "512KiB"
            max_connections = 5
            grace = "1m 30s"
            [tls]
            listen = "0.0.0.0:443"
            certificates = [{{ cert = "tls/a.pem", key = "tls/a.key" }}]
            [clusters]
            main = {{ embedded = true, data = "pg", budget = 40 }}
            far = {{ url = "postgres://edge:hunter2@db1:5433/app", credentials = "per_tenant" }}
            env = {{ url_env = "DATABASE_URL", embedded = false }}
            [shared]
            schema = "common"
            write = "tenants"
            [defaults]
            pool_max = 2
            pool_min = 1
            weight = 100
            checkout_timeout = "100ms"
            statement_timeout = "1m"
            lock_timeout = "1s"
            idle_timeout = "5m"
            anonymous = "none"
            max_rows = 10
            [migrations]
            shared = "migrations/shared"
            tenant = "migrations/tenant"
            "#
        ),
    );
    project.tenant(
        "all",
        r#"
        [tenants.boss]
        hosts = ["A.example.com.", "[::1]"]
        schema = "common"
        [tenants.legacy]
        hosts = ["legacy.example.com"]
        home = "My Table"
        schema = "test"
        cluster = "far"
        pool_max = 3
        pool_min = 3
        weight = 7
        checkout_timeout = "1s"
        statement_timeout = "2s"
        lock_timeout = "3s"
        idle_timeout = "4s"
        anonymous = "write"
        max_rows = 5
        jwt_secret_file = "secrets/jwt"
        roles = ["Legacy Admin"]
        managed = false
        anonymous_role = "web_anon"
        extra_search_path = ["public"]
        tls = { cert = "tls/a.pem", key = "tls/a.key" }
        "#,
    );
    let config = project.load().unwrap();
    assert_eq!(config.report().to_string(), "");
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.server.operator_listen.to_string(), "[::1]:9001");
    assert_eq!(
        config
            .server
            .public_ports
            .iter()
            .map(|port| port.get())
            .collect::<Vec<_>>(),
        [8080, 8443]
    );
    let proxies = config.server.trusted_proxies.iter().map(ToString::to_string);
    assert_eq!(proxies.collect::<Vec<_>>(), ["127.0.0.1/32", "fd00::/8"]);
    assert_eq!(config.server.jwt_secret.as_ref().unwrap().expose(), KEY.as_bytes());
    assert_eq!(
        (config.server.max_body.get(), config.server.max_connections.get()),
        (512 << 10, 5)
    );
    assert_eq!(config.server.grace, Duration::from_secs(90));
    let tls = config.tls.as_ref().unwrap();
    assert_eq!(
        (tls.listen.port(), &tls.certificates[0].cert),
        (443, &project.root.join("tls/a.pem"))
    );
    assert_eq!(
        config.clusters["main"].endpoint,
        Endpoint::Embedded {
            data: project.root.join("pg")
        }
    );
    assert_eq!(config.clusters["main"].budget.get(), 40);
    let credentials = ["main", "far", "env"].map(|cluster| config.clusters[cluster].credentials);
    assert_eq!(
        credentials,
        [Credentials::PerTenant, Credentials::PerTenant, Credentials::Shared]
    );
    for cluster in ["far", "env"] {
        let Endpoint::Url { postgres: url, .. } = &config.clusters[cluster].endpoint else {
            panic!("{cluster} is embedded")
        };
        assert_eq!(
            (url.get_user(), url.get_password()),
            (Some("edge"), Some(&b"hunter2"[..]))
        );
    }
    assert_eq!(config.shared.write, SharedWrite::Tenants);
    assert_eq!(config.migrations.shared, Some(project.root.join("migrations/shared")));
    assert_eq!(config.migrations.tenant, Some(project.root.join("migrations/tenant")));

    let boss = &config.tenants["boss"];
    assert_eq!(
        boss.hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>(),
        ["a.example.com", "[::1]"]
    );
    assert!(boss.is_operator());
    assert_eq!(
        (boss.limits.pool_max.get(), boss.limits.anonymous),
        (2, AnonymousAccess::None)
    );
    assert_eq!(
        (boss.limits.checkout_timeout, boss.limits.max_rows.get()),
        (Duration::from_millis(100), 10)
    );

    let legacy = &config.tenants["legacy"];
    assert_eq!((legacy.line, legacy.is_operator(), legacy.managed), (5, false, false));
    assert_eq!(
        (legacy.home.as_deref(), legacy.schema.as_str()),
        (Some("My Table"), "test")
    );
    assert_eq!(legacy.cluster.as_str(), "far");
    let limits = &legacy.limits;
    assert_eq!(
        [&boss.limits, limits].map(|limits| (limits.pool_min, limits.weight.get())),
        [(1, 100), (3, 7)]
    );
    assert_eq!(
        (limits.pool_max.get(), limits.max_rows.get(), limits.anonymous),
        (3, 5, AnonymousAccess::Write)
    );
    let timeouts = [
        limits.checkout_timeout,
        limits.statement_timeout,
        limits.lock_timeout,
        limits.idle_timeout,
    ];
    assert_eq!(timeouts.map(|timeout| timeout.as_secs()), [1, 2, 3, 4]);
    assert_eq!(legacy.jwt_secret.as_ref().unwrap().expose(), KEY.as_bytes());
    assert_eq!(legacy.roles[0].as_str(), "Legacy Admin");
    assert_eq!(legacy.anonymous_role.as_ref().unwrap().as_str(), "web_anon");
    assert_eq!(legacy.extra_search_path[0].as_str(), "public");
    assert_eq!(legacy.tls.as_ref().unwrap().key, project.root.join("tls/a.key"));
}

#[test]
fn hostile_schema_names_are_refused_at_their_place() {
    let cases = [
        (
            "x -c role=postgres",
            "schema name \"x -c role=postgres\" may hold only a-z, 0-9 and _, not ' '",
        ),
        (
            "'; DROP SCHEMA a",
            "schema name \"'; DROP SCHEMA a\" must begin with a-z or _, not with '\\''",
        ),
        (
            "pg_temp_3",
            "schema name \"pg_temp_3\" begins with pg_, which PostgreSQL reserves for itself",
        ),
        (
            "PUBLIC",
            "schema name \"PUBLIC\" must begin with a-z or _, not with 'P'",
        ),
        ("größe", "schema name \"größe\" may hold only a-z, 0-9 and _, not 'ö'"),
        (
            "information_schema",
            "schema \"information_schema\" belongs to PostgreSQL itself",
        ),
    ];
    for (schema, message) in cases {
        check_tenant(
            &format!("[tenants.x]\nhosts = [\"x.example.com\"]\nschema = \"{schema}\"\n"),
            &[&format!(
                "3:10: {message}: write 1 to 63 of a-z, 0-9 and _, such as \"acme\""
            )],
        );
    }
    check_tenant(
        &format!(
            "[tenants.x]\nhosts = [\"x.example.com\"]\nschema = \"{}\"\n",
            "x".repeat(64)
        ),
        &[&format!(
            "3:10: schema name \"{}\" is 64 bytes long: at most 63 are allowed: write 1 to 63 of a-z, 0-9 and _, such as \
             \"acme\"",
            "x".repeat(64)
        )],
    );
}

#[test]
fn positions_are_exact() {
    let host = "host \"a b\" is refused (host is not a name of a-z, 0-9, hyphens and dots (write an international name as \
                its xn-- form)): write a host name without port, such as \"acme.example.com\"";
    // The first line, the last line without its newline, and an element of a list.
    check_tenant("tenants.x.hosts = [\"ok\", \"a b\"]", &[&format!("1:26: {host}")]);
    check_tenant(
        "[tenants.x]\nhosts = [\n  \"ok\",\n  \"a b\"]",
        &[&format!("4:3: {host}")],
    );
    // Characters, not bytes.
    check_tenant(
        "# größe 日本\n[tenants.x]\nhosts = [\"ok\",    \"a b\"] # é",
        &[&format!("3:19: {host}")],
    );
    check_tenant(
        "tenants.x = { home = \"größe\", hosts = [\"a b\"] }",
        &[&format!("1:40: {host}")],
    );
    // Windows' line ends, and its byte order mark.
    check_tenant(
        "# é\r\n[tenants.x]\r\nhosts = [\"a b\"]\r\n",
        &[&format!("3:10: {host}")],
    );
    check_tenant("\u{feff}tenants.x.hosts = [\"a b\"]\r\n", &[&format!("1:20: {host}")]);
}

#[test]
fn syntax_errors_have_a_place() {
    check_tenant(
        "[tenants.x\n",
        &["1:11: this is not TOML: unclosed table, expected `]`"],
    );
    check_tenant(
        "[tenants.x]\nhosts = [\"x.example.com\"]\n\n[tenants.x]\nhome = \"a\"\nhome = \"b\"\n",
        &[
            "4:10: `x` stands twice: keep one of the two",
            "6:1: `home` stands twice: keep one of the two",
        ],
    );
    let project = Project::new();
    project.tenant("x", b"# \xc3\xa9\nx = \"\xff\"\n");
    assert_eq!(
        project.report(),
        ["config/tenants/x.toml:2:6: byte 0xFF is not UTF-8: save the file as UTF-8"],
    );
}

#[test]
fn unknown_keys_are_errors_with_advice() {
    check_tenant(
        "[tenants.x]\nhsots = [\"x.example.com\"]\nhosts = [\"x.example.com\"]\npol_max = 3\n",
        &[
            "2:1: unknown key `hsots`: did you mean `hosts`?",
            "4:1: unknown key `pol_max`: did you mean `pool_max`?",
        ],
    );
    check_tenant(
        "[tenant.x]\nhosts = [\"x.example.com\"]\n",
        &["1:2: unknown key `tenant`: did you mean `tenants`?"],
    );
    check_rowhouse(
        "zebra = 1\n[clusters.main]\nembedded = true\n[tls]\nlisten = \"[::]:443\"\ncertificates = [{ crt = 1 }]\n",
        &[
            "1:1: unknown key `zebra`: write one of `clusters`, `defaults`, `migrations`, `server`, `shared`, `tls`",
            "6:17: a certificate needs its `cert`: write cert = \"path of a PEM file\"",
            "6:17: a certificate needs its `key`: write key = \"path of a PEM file\"",
            "6:19: unknown key `crt`: did you mean `cert`?",
        ],
    );
}

#[test]
fn a_proxy_is_an_address_or_a_network() {
    let project = Project::new();
    project.write(
        "config/rowhouse.toml",
        "[server]\ntrusted_proxies = [\"::1\", \"nginx\", \"10.0.0.0/40\"]\n[clusters.main]\nembedded = true\n",
    );
    let write = "write an IP address or a network, such as \"127.0.0.1\" or \"10.0.0.0/8\"";
    assert_eq!(
        project.report(),
        [
            format!("config/rowhouse.toml:2:27: \"nginx\" is no IP address and no network: {write}"),
            format!("config/rowhouse.toml:2:36: \"10.0.0.0/40\" is no IP address and no network: {write}"),
        ]
    );
}

#[test]
fn every_mistake_of_every_file_is_found_at_once() {
    let project = Project::new();
    project.write(
        "config/rowhouse.toml",
        "[server]\nlisten = \"localhost\"\nmax_body = \"1MB\"\ngrace = 30\npublic_ports = [0, \"80\"]\n\
         [clusters.main]\nbudget = 0\n[shared]\nwrite = \"all\"\n[defaults]\nanonymous = \"reed\"\nmax_rows = 1.5\n\
         [migrations]\ntenant = \"nowhere\"\n",
    );
    project.tenant(
        "a",
        "[tenants.Acme]\nhosts = []\n[tenants.b]\nhosts = \"b.example.com\"\nmanaged = \"no\"\nroles = [\"\"]\n\
         [tenants.c]\n[tenants.d]\nhosts = [\"d\", \"D\"]\npool_max = -1\ncluster = \"mian\"\n[tenants]\ne = 5\n",
    );
    project.tenant(
        "b",
        "[tenants.z]\nhosts = [\"z.example.com:80\"]\nstatement_timeout = \"0s\"\n",
    );
    let address = "write an IP address and a port, such as \"127.0.0.1:8000\" or \"[::]:8000\"";
    let duration = "write a duration from 1ms to 24days, such as \"500ms\", \"2s\" or \"1m 30s\"";
    let port = "write a port number from 1 to 65535, such as 8080";
    let count = "write a whole number from 1 to 4294967295, such as 8";
    let root = project.root.display();
    assert_eq!(
        project.report(),
        [
            format!("config/rowhouse.toml:2:10: \"localhost\" is no address to listen on: {address}"),
            "config/rowhouse.toml:3:12: \"1MB\" is no size: write a number of bytes from 1 to 1GiB, such as \"512KiB\", \
             \"1MiB\" or 1048576"
                .into(),
            format!("config/rowhouse.toml:4:9: a number does not belong here: {duration}"),
            format!("config/rowhouse.toml:5:17: 0 is out of range: {port}"),
            format!("config/rowhouse.toml:5:20: a text does not belong here: {port}"),
            "config/rowhouse.toml:6:11: cluster `main` has no address: write url = \"postgres://…\", url_env = \
             \"DATABASE_URL\" or embedded = true"
                .into(),
            format!("config/rowhouse.toml:7:10: 0 is out of range: {count}"),
            "config/rowhouse.toml:9:9: \"all\" is unknown: write \"operator\" or \"tenants\"".into(),
            "config/rowhouse.toml:11:13: \"reed\" is unknown: write \"none\", \"read\" or \"write\"".into(),
            format!("config/rowhouse.toml:12:12: a number with a fraction does not belong here: {count}"),
            // `report` has removed the project's directory where a slash follows it.
            format!(
                "config/rowhouse.toml:14:10: there is no directory nowhere: create it or correct the path (relative paths \
                 start at {root})"
            ),
            "config/tenants/a.toml:1:10: tenant id \"Acme\" must begin with a-z or _, not with 'A': write 1 to 40 of a-z, \
             0-9 and _, such as [tenants.acme]"
                .into(),
            "config/tenants/a.toml:2:9: the tenant has no host: write hosts = [\"acme.example.com\"]".into(),
            "config/tenants/a.toml:4:9: expected a list: write it in square brackets, such as [\"a\", \"b\"]".into(),
            "config/tenants/a.toml:5:11: a text does not belong here: write true or false".into(),
            "config/tenants/a.toml:6:10: the role name is empty: write the name of a role of Postgres, 1 to 63 bytes, such as \"web_anon\""
                .into(),
            "config/tenants/a.toml:7:10: the tenant has no host: write hosts = [\"c.example.com\"]".into(),
            "config/tenants/a.toml:9:15: host \"d\" stands twice in this list: remove one".into(),
            format!("config/tenants/a.toml:10:12: -1 is out of range: {count}"),
            "config/tenants/a.toml:11:11: rowhouse.toml has no cluster `mian`: did you mean `main`?".into(),
            "config/tenants/a.toml:13:5: expected a table: write its keys below a [header], or in braces { … }".into(),
            "config/tenants/b.toml:2:10: host \"z.example.com:80\" is refused (host must be written without a port): \
             write a host name without port, such as \"acme.example.com\""
                .into(),
            format!("config/tenants/b.toml:3:21: \"0s\" is out of range: {duration}"),
        ]
    );
}

#[test]
fn bad_rowhouse_toml_starts_nothing() {
    let project = Project::new();
    project.tenant(
        "x",
        "[tenants.x]\nhosts = [\"x.example.com\"]\ncluster = \"elsewhere\"\n",
    );
    project.write("config/rowhouse.toml", "[server\n");
    // Nothing is known of the clusters, so none is said to be missing.
    assert_eq!(
        project.report(),
        ["config/rowhouse.toml:1:8: this is not TOML: unclosed table, expected `]`"]
    );
    fs::remove_file(project.root.join("config/rowhouse.toml")).unwrap();
    assert_eq!(
        project.report(),
        ["config/rowhouse.toml:1:1: there is no such file: create it, or use --config DIR"],
    );
    assert!(project.load().is_err());
    check_rowhouse(
        "",
        &[
            "1:1: there is no cluster: write [clusters.main] and below it url = \"postgres://…\", url_env = \
           \"DATABASE_URL\" or embedded = true",
        ],
    );
    let nowhere = Config::load(Path::new("/nonexistent/config"), &|_| None, &Live::new()).unwrap_err();
    assert!(
        nowhere
            .to_string()
            .starts_with("/nonexistent/config/rowhouse.toml:1:1: there is no configuration directory")
    );
}

#[test]
fn clusters_have_exactly_one_address() {
    check_rowhouse(
        "[clusters.a]\nurl = \"postgres://db1/app\"\nembedded = true\nurl_env = \"DATABASE_URL\"\n\
         [clusters.b]\nurl_env = \"NO_SUCH\"\ndata = \"pg\"\n[clusters.c]\nurl_env = \"BAD_URL\"\n\
         [clusters.d]\nurl = \"db1:5432\"\n[clusters.e]\nembedded = true\ndata = \"pg\"\n\
         [clusters.f]\nembedded = true\ndata = \"pg\"\n",
        &[
            "3:12: `embedded` excludes `url`: remove one of them",
            "4:11: `url_env` excludes `url`: remove one of them",
            "6:11: environment variable NO_SUCH is not set: set it, or write url = \"postgres://…\"",
            "7:8: `data` belongs to an embedded Postgres: remove it, or write embedded = true",
            "9:11: environment variable BAD_URL: this is no URL of a Postgres server: set it to a URL such as \
             \"postgres://user@host:5432/database\"",
            "11:7: this is no URL of a Postgres server: write a URL such as \"postgres://user@host:5432/database\"",
            "17:8: cluster `e` has the data directory pg, too: write another",
        ],
    );
}

#[test]
fn tls_to_a_cluster_is_checked_as_far_as_it_can_be_read() {
    check_rowhouse(
        "[clusters.a]\nurl = \"postgres://db1/app?sslmode=allow\"\n\
         [clusters.b]\nurl = \"postgres://db1/app?sslmode=verify-full\"\n",
        &[
            "2:7: `sslmode` in this URL is \"allow\", and not disable, prefer, require, verify-ca or verify-full: write a URL \
             such as \"postgres://user@host:5432/database\"",
            "4:7: `sslmode=verify-full` in this URL needs sslrootcert, the path of a PEM file or system: write a URL such as \
             \"postgres://user@host:5432/database\"",
        ],
    );
    let project = Project::new();
    project.write(
        "config/rowhouse.toml",
        "[clusters.a]\nurl = \"host=db1 sslmode=verify-ca sslrootcert=no.pem sslcert=/no.crt sslkey=config\"\n",
    );
    let root = project.root.display();
    let missing = [("/no.crt", "sslcert"), ("config", "sslkey"), ("no.pem", "sslrootcert")].map(|(path, setting)| {
        format!(
            "config/rowhouse.toml:2:7: there is no file {path} for `{setting}`: create it or correct the path (relative \
             paths start at {root})"
        )
    });
    assert_eq!(project.report(), missing);
}

#[test]
fn listeners_do_not_share_a_port() {
    check_rowhouse(
        "server = { listen = \"0.0.0.0:9000\" }\ntls = { listen = \"0.0.0.0:9000\" }\nclusters.main.embedded = true\n",
        &[
            "1:21: operator_listen of [server] (127.0.0.1:9000) is the address of listen of [server], too: write another \
             port",
            "2:18: listen of [tls] (0.0.0.0:9000) is the address of listen of [server], too: write another port",
            "2:18: listen of [tls] (0.0.0.0:9000) is the address of operator_listen of [server], too: write another port",
        ],
    );
    check_rowhouse(
        "tls = {}\nclusters.main.embedded = true\n",
        &["1:7: [tls] needs an address: write listen = \"0.0.0.0:443\""],
    );
    check_rowhouse(
        "server = { listen = \"127.0.0.1:0\", operator_listen = \"127.0.0.1:0\" }\nclusters.main.embedded = true\n",
        &[],
    );
}

#[test]
fn secrets_come_from_one_place_and_are_long_enough() {
    let tenant = "[tenants.x]\nhosts = [\"x.example.com\"]\n";
    let length = "HS256 needs 32 or more, such as `openssl rand -hex 32` prints";
    check_tenant(&format!("{tenant}jwt_secret_env = \"KEY\"\n"), &[]);
    check_tenant(
        &format!("{tenant}jwt_secret_env = \"SHORT_KEY\"\n"),
        &[&format!("3:18: the key has 7 bytes: {length}")],
    );
    check_tenant(
        &format!("{tenant}jwt_secret_env = \"NO_SUCH\"\n"),
        &["3:18: environment variable NO_SUCH is not set: set it, or use jwt_secret_file"],
    );
    check_tenant(
        &format!("{tenant}jwt_secret_file = \"secrets/jwt\"\n"),
        &[
            "3:19: secret file secrets/jwt cannot be read (No such file or directory (os error 2)): correct the path or its \
           permissions",
        ],
    );
    check_tenant(
        &format!("{tenant}jwt_secret = \"{}\"\n", &KEY[1..]),
        &[&format!("3:14: the key has 31 bytes: {length}")],
    );
    check_tenant(
        &format!("{tenant}jwt_secret = \"{KEY}\"\njwt_secret_env = \"KEY\"\n"),
        &["4:18: `jwt_secret_env` excludes `jwt_secret`: remove one of them"],
    );
    // A number after the key may be the secret: it is not repeated.
    check_tenant(
        &format!("{tenant}jwt_secret = 12345678901234567890\n"),
        &["3:14: a number does not belong here: write a text in quotes"],
    );
}

#[test]
fn secrets_in_world_readable_files_are_refused() {
    let project = Project::new();
    let public = |path: &str| fs::set_permissions(project.root.join(path), Permissions::from_mode(0o644)).unwrap();
    project.write(
        "config/rowhouse.toml",
        format!("server.jwt_secret = \"{KEY}\"\nclusters.main.url = \"postgres://edge:hunter2@db1/app\"\n"),
    );
    project.write("jwt", KEY);
    project.tenant(
        "x",
        "[tenants.x]\nhosts = [\"x.example.com\"]\njwt_secret_file = \"jwt\"\n",
    );
    assert_eq!(project.report(), Vec::<String>::new());
    public("config/rowhouse.toml");
    assert_eq!(
        project.report(),
        [
            "config/rowhouse.toml:1:21: a secret stands in a file that everybody on this machine may read: run chmod 640 \
             on the file, or use jwt_secret_file",
            "config/rowhouse.toml:2:21: a password stands in a file that everybody on this machine may read: run chmod \
             640 on the file, or use url_env",
        ]
    );
    // A secret file is often mounted that way, so that one is warned of only.
    project.write("config/rowhouse.toml", ROWHOUSE);
    public("jwt");
    let config = project.load().unwrap();
    assert_eq!(config.warnings.len(), 1);
    assert!(
        config.warnings[0].contains("x.toml:3:19: everybody on this machine may read"),
        "{:?}",
        config.warnings
    );
    assert_eq!(ids(&config), ["x"]);
}

#[test]
fn secrets_are_never_printed() {
    let project = Project::new();
    project.write(
        "config/rowhouse.toml",
        format!("server.jwt_secret = \"{KEY}\"\nclusters.main.url = \"postgres://edge:hunter2@db1/app\"\n"),
    );
    project.tenant(
        "x",
        "[tenants.x]\nhosts = [\"x.example.com\"]\njwt_secret_env = \"KEY\"\n",
    );
    let printed = format!("{:?}", project.load().unwrap());
    assert!(!printed.contains(KEY) && !printed.contains("hunter2"), "{printed}");
    let bytes = format!("{:?}", KEY.as_bytes());
    assert!(!printed.contains(bytes.trim_matches(['[', ']'])), "{printed}");

    project.write(
        "config/rowhouse.toml",
        "server.jwt_secret = \"hunter2\"\nclusters.main.url = \"postgres://edge:hunter2@db1:port/app\"\n\
         clusters.b = { url_env = \"BAD_URL\" }\n",
    );
    project.tenant(
        "x",
        "[tenants.x]\nhosts = [\"x.example.com\"]\njwt_secret_env = \"SHORT_KEY\"\n",
    );
    let errors = project.load().unwrap_err();
    assert_eq!(errors.as_slice().len(), 4);
    assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
}

#[test]
fn unmanaged_tenants_name_their_anonymous_role() {
    let tenant = "[tenants.x]\nhosts = [\"x.example.com\"]\n";
    check_tenant(
        &format!("{tenant}managed = false\n"),
        &[
            "3:11: a tenant that is not managed names the role of requests without a token: write anonymous_role = \
           \"web_anon\", or anonymous = \"none\"",
        ],
    );
    check_tenant(&format!("{tenant}managed = false\nanonymous = \"none\"\n"), &[]);
    check_tenant(
        &format!("{tenant}managed = false\nanonymous_role = \"web_anon\"\n"),
        &[],
    );
    check_tenant(
        &format!("{tenant}anonymous_role = \"web_anon\"\n"),
        &["3:18: `anonymous_role` is for schemas that others own: remove it, or write managed = false"],
    );
}

#[test]
fn two_tenants_share_nothing() {
    check_tenant(
        "[tenants.a]\nhosts = [\"x.example.com\"]\n[tenants.b]\nhosts = [\"b.example.com\", \"X.example.com\"]\n",
        &[
            "4:27: host \"x.example.com\" is already that of tenant `a` (config/tenants/x.toml:1): write another, or remove \
           it there",
        ],
    );
    check_tenant(
        "[tenants.a]\nhosts = [\"a.example.com\"]\n[tenants.b]\nhosts = [\"b.example.com\"]\nschema = \"a\"\n",
        &[
            "5:10: schema \"a\" of cluster `main` is already that of tenant `a` (config/tenants/x.toml:1): write another \
           schema",
        ],
    );
    check_tenant(
        "[tenants.a]\nhosts = [\"a\"]\nschema = \"public\"\n[tenants.public]\nhosts = [\"b\"]\n",
        &[
            "4:10: schema \"public\" is the shared one, and tenant `a` (config/tenants/x.toml:1) is already the operator of \
           cluster `main`: write another schema",
        ],
    );

    // Across files the order of their names decides, and the losing file frees what else it claims.
    let project = Project::new();
    project.tenant("1", "[tenants.a]\nhosts = [\"a.example.com\"]\n");
    project.tenant(
        "2",
        "[tenants.a]\nhosts = [\"a2.example.com\"]\n[tenants.b]\nhosts = [\"b.example.com\"]\n",
    );
    project.tenant("3", "[tenants.c]\nhosts = [\"b.example.com\"]\n");
    assert_eq!(
        project.report(),
        [
            "config/tenants/2.toml:1:10: schema \"a\" of cluster `main` is already that of tenant `a` \
             (config/tenants/1.toml:1): write another schema",
            "config/tenants/2.toml:1:10: tenant `a` is already defined at config/tenants/1.toml:1: write another id",
            "config/tenants/2.toml:4:10: host \"b.example.com\" is already that of tenant `c` (config/tenants/3.toml:1): \
             write another, or remove it there",
        ]
    );
    assert_eq!(ids(&project.load().unwrap()), ["a", "c"]);
}

#[test]
fn the_same_schema_name_on_two_clusters_is_two_schemas() {
    let project = Project::new();
    project.write(
        "config/rowhouse.toml",
        "clusters = { main = { embedded = true }, far = { embedded = true } }\n",
    );
    project.tenant(
        "x",
        "[tenants.a]\nhosts = [\"a\"]\nschema = \"public\"\n[tenants.b]\nhosts = [\"b\"]\nschema = \"public\"\ncluster = \"far\"\n",
    );
    let config = project.load().unwrap();
    assert!(config.tenants["a"].is_operator() && config.tenants["b"].is_operator());
}

#[test]
fn bad_tenant_file_stops_its_own_tenants_only() {
    let project = Project::new();
    project.tenant(
        "bad",
        "[tenants.a]\nhosts = [\"a.example.com\"]\n[tenants.b]\nhosts = []\n",
    );
    project.tenant("good", "[tenants.c]\nhosts = [\"c.example.com\"]\n");
    project.tenant("torn", "[tenants.d]\nhosts = [\"d.exa");
    project.tenant("empty", "# nothing yet\n");
    let config = project.load().unwrap();
    assert_eq!(ids(&config), ["c"]);
    let failed = config.failed.iter().map(|file| {
        let ids: Vec<&str> = file.ids.iter().map(|id| id.as_str()).collect();
        (file.path.file_name().unwrap().to_str().unwrap(), ids.join(" "))
    });
    assert_eq!(
        failed.collect::<Vec<_>>(),
        [
            ("bad.toml", "a b".into()),
            ("empty.toml", String::new()),
            ("torn.toml", "d".to_owned())
        ]
    );
    assert_eq!(config.report().as_slice().len(), 3);
}

#[test]
fn live_tenants_win_every_dispute() {
    let project = Project::new();
    project.tenant("m", "[tenants.m]\nhosts = [\"m.example.com\", \"m2.example.com\"]\n");
    let live = project.load().unwrap().tenants;

    // 1. A file earlier in order claims a live tenant's host, id or schema: it loses.
    project.tenant("a", "[tenants.a]\nhosts = [\"a.example.com\", \"m.example.com\"]\n");
    project.tenant("b", "[tenants.m]\nhosts = [\"b.example.com\"]\nschema = \"b\"\n");
    project.tenant("c", "[tenants.c]\nhosts = [\"c.example.com\"]\nschema = \"m\"\n");
    let config = project.reload(&live).unwrap();
    assert_eq!(ids(&config), ["m"]);
    assert_eq!(config.failed.len(), 3);
    assert_eq!(config.tenants, live);
    // At a fresh start, the order of the files decides.
    assert_eq!(ids(&project.load().unwrap()), ["a", "c", "m"]);

    // 2. The live tenant gives the host up: now it is free.
    project.tenant("m", "[tenants.m]\nhosts = [\"m2.example.com\"]\n");
    assert_eq!(ids(&project.reload(&live).unwrap()), ["a", "m"]);

    // 3. Its file goes bad: it is served on as it was, with all its hosts, and no file can take them.
    project.tenant("m", "[tenants.m]\nhosts = [\"m2.example.com\"]\npool_max = 0\n");
    let config = project.reload(&live).unwrap();
    assert_eq!(config.tenants, live);
    assert!(Arc::ptr_eq(&config.tenants["m"], &live["m"]));
    assert_eq!(config.failed.len(), 4);
    project.tenant("m", "[ten");
    assert_eq!(project.reload(&live).unwrap().tenants, live);

    // 4. Its file is deleted: what it had is free.
    fs::remove_file(project.root.join("config/tenants/m.toml")).unwrap();
    let config = project.reload(&live).unwrap();
    assert_eq!(ids(&config), ["a", "c", "m"]);
    assert_eq!(config.tenants["m"].hosts[0].as_str(), "b.example.com");
}

#[test]
fn a_pool_min_beyond_the_pool_max_is_refused_where_it_stands() {
    check_tenant(
        "[tenants.x]\nhosts = [\"x.example.com\"]\npool_max = 2\npool_min = 3\nweight = 101\n\
         [tenants.y]\nhosts = [\"y.example.com\"]\npool_min = -1\nweight = 0\n",
        &[
            "4:12: pool_min = 3 is more than pool_max = 2: write a lower `pool_min`, or a higher `pool_max`",
            "5:10: 101 is out of range: write a whole number from 1 to 100, such as 3",
            "8:12: -1 is out of range: write a whole number from 0 to 4294967295, such as 2",
            "9:10: 0 is out of range: write a whole number from 1 to 100, such as 3",
        ],
    );
    let more = "pool_min = 9 is more than pool_max = 8: write a lower `pool_min`, or a higher `pool_max`";
    check_rowhouse(
        &format!("{ROWHOUSE}[defaults]\npool_min = 9\n"),
        &[&format!("4:12: {more}")],
    );
    // What is not written in the tenant's file is from the defaults.
    let project = Project::new();
    project.write("config/rowhouse.toml", format!("{ROWHOUSE}[defaults]\npool_min = 4\n"));
    project.tenant("x", "[tenants.x]\nhosts = [\"x.example.com\"]\npool_max = 2\n");
    let expected = "config/tenants/x.toml:3:12: pool_min = 4 is more than pool_max = 2: write a lower `pool_min`, or a \
                    higher `pool_max`";
    assert_eq!(project.report(), [expected]);
}

/// The connections that tenants share are of the budget, too.
#[test]
fn where_reads_are_shared_tenants_can_keep_one_connection_less() {
    let project = Project::new();
    project.write(
        "config/rowhouse.toml",
        "[clusters.main]\nurl = \"postgres://edge@db0/app\"\nbudget = 10\nshared_reads = true\n",
    );
    let tenant = |least: u32| format!("[tenants.a]\nhosts = [\"a.example.com\"]\npool_max = 9\npool_min = {least}\n");
    project.tenant("a", tenant(8));
    assert_eq!(project.report(), Vec::<String>::new());
    project.tenant("a", tenant(9));
    let expected = "config/tenants/a.toml:4:12: pool_min = 9 is too much: other tenants keep 0 of the 10 connections of \
                    cluster `main`, and two must be left, for all and for shared reads: write at most 8, or a higher budget \
                    there";
    assert_eq!(project.report(), [expected]);
}

#[test]
fn tenants_cannot_keep_the_whole_budget() {
    let tenant = |id: &str, keys: &str| format!("[tenants.{id}]\nhosts = [\"{id}.example.com\"]\n{keys}\n");
    let too_much = |wanted: u32, others: u32, most: u32| {
        format!(
            "pool_min = {wanted} is too much: other tenants keep {others} of the 10 connections of cluster `main`, and one \
             must be left for all: write at most {most}, or a higher budget there"
        )
    };
    let project = Project::new();
    let rowhouse = format!("{ROWHOUSE}budget = 10\n[clusters.far]\nurl = \"postgres://edge@db1/app\"\nbudget = 3\n");
    project.write("config/rowhouse.toml", &rowhouse);
    project.tenant("a", tenant("a", "pool_min = 5"));
    project.tenant(
        "b",
        tenant("b", "pool_min = 4") + &tenant("far", "pool_min = 2\ncluster = \"far\""),
    );
    assert_eq!(project.report(), Vec::<String>::new());

    // 1. What is more than fits is refused: in the order of the files, and with all of its own.
    project.tenant("c", tenant("c", "") + &tenant("d", "pool_min = 1"));
    project.tenant("e", tenant("e", ""));
    let expected = format!("config/tenants/c.toml:6:12: {}", too_much(1, 9, 0));
    assert_eq!(project.report(), [expected]);
    assert_eq!(ids(&project.load().unwrap()), ["a", "b", "e", "far"]);

    // 2. A file with a mistake keeps nothing.
    project.tenant("b", tenant("b", "pool_min = 4\nhome = 5"));
    assert_eq!(ids(&project.load().unwrap()), ["a", "c", "d", "e"]);

    // 3. Nor does one that is refused; what it would have kept is there for those after it.
    project.tenant("b", tenant("b", "pool_min = 3") + &tenant("b2", "pool_min = 2"));
    let expected = format!("config/tenants/b.toml:6:12: {}", too_much(2, 8, 1));
    assert_eq!(project.report(), [expected]);
    assert_eq!(ids(&project.load().unwrap()), ["a", "c", "d", "e"]);

    // 4. Of the defaults nothing stands in the file: it is the tenant's header.
    project.write("config/rowhouse.toml", format!("{rowhouse}[defaults]\npool_min = 4\n"));
    project.tenant("b", tenant("b", ""));
    project.tenant("c", "# it is one too many\n".to_owned() + &tenant("c", ""));
    project.tenant("e", tenant("e", "pool_min = 0"));
    let expected = format!("config/tenants/c.toml:2:10: {}", too_much(4, 9, 0));
    assert_eq!(project.report(), [expected]);
}

#[test]
fn live_tenants_keep_what_they_keep_of_the_budget() {
    let tenant = |id: &str, kept: u32| format!("[tenants.{id}]\nhosts = [\"{id}.example.com\"]\npool_min = {kept}\n");
    let project = Project::new();
    project.write("config/rowhouse.toml", format!("{ROWHOUSE}budget = 10\n"));
    project.tenant("m", tenant("m", 5));
    let live = project.load().unwrap().tenants;
    // 1. A file earlier in order would have it.
    project.tenant("a", tenant("a", 5));
    let config = project.reload(&live).unwrap();
    assert_eq!((ids(&config), config.failed.len()), (vec!["m"], 1));
    // 2. The tenant wants more, and gets what nobody had: the earlier file is before it then.
    project.tenant("a", tenant("a", 3));
    project.tenant("m", tenant("m", 7));
    let config = project.reload(&live).unwrap();
    assert_eq!((ids(&config), config.failed.len()), (vec!["a", "m"], 1));
    assert_eq!(config.tenants["m"].limits.pool_min, 5);
    // 3. Its file goes bad: it keeps what it has.
    project.tenant("a", tenant("a", 5));
    project.tenant("m", "[ten");
    assert_eq!(project.reload(&live).unwrap().tenants, live);
    // 4. It gives some of it up.
    project.tenant("m", tenant("m", 4));
    assert_eq!(ids(&project.reload(&live).unwrap()), ["a", "m"]);
}

#[test]
fn live_tenants_keep_all_their_schemas() {
    let project = Project::new();
    let existing = "managed = false\nanonymous_role = \"anyone\"";
    let two = format!("[tenants.m]\nhosts = [\"m.example.com\"]\nschemas = [\"m1\", \"m2\"]\n{existing}\n");
    project.tenant("m", &two);
    let live = project.load().unwrap().tenants;
    for schema in ["m1", "m2"] {
        let other = format!("[tenants.a]\nhosts = [\"a.example.com\"]\nschema = \"{schema}\"\n{existing}\n");
        project.tenant("a", &other);
        for text in [&*two, "[ten"] {
            project.tenant("m", text);
            let config = project.reload(&live).unwrap();
            assert_eq!(config.tenants, live, "{schema}, {text}");
        }
    }
}

#[test]
fn live_tenant_that_loses_its_new_host_keeps_the_old_one() {
    // 1. a and b are live. 2. b's file now claims a's host instead of its own, and a new file claims the host b gave up.
    // 3. b's file loses, so b is served on as it was, and the new file loses in turn.
    let project = Project::new();
    project.tenant("a", "[tenants.a]\nhosts = [\"a.example.com\"]\n");
    project.tenant("b", "[tenants.b]\nhosts = [\"b.example.com\"]\n");
    let live = project.load().unwrap().tenants;
    project.tenant("b", "[tenants.b]\nhosts = [\"a.example.com\"]\n");
    project.tenant("0", "[tenants.new]\nhosts = [\"b.example.com\"]\n");
    let config = project.reload(&live).unwrap();
    assert_eq!(config.tenants, live);
    assert_eq!(
        config
            .failed
            .iter()
            .map(|file| file.path.file_name().unwrap().to_str().unwrap())
            .collect::<Vec<_>>(),
        ["0.toml", "b.toml"]
    );
    assert!(config.failed.iter().all(|file| !file.errors.is_empty()));
}

#[test]
fn impostor_of_a_live_tenant_reserves_nothing() {
    // 1. m is live with two hosts. 2. Its file gives one up, another file defines m again and claims that host, and so
    // does a third file. 3. The second file loses for the id; the host is the third's.
    let project = Project::new();
    project.tenant("m", "[tenants.m]\nhosts = [\"m.example.com\", \"m2.example.com\"]\n");
    let live = project.load().unwrap().tenants;
    project.tenant("m", "[tenants.m]\nhosts = [\"m2.example.com\"]\n");
    project.tenant("a", "[tenants.m]\nhosts = [\"m.example.com\"]\nschema = \"a\"\n");
    project.tenant("b", "[tenants.b]\nhosts = [\"m.example.com\"]\n");
    let config = project.reload(&live).unwrap();
    assert_eq!(ids(&config), ["b", "m"]);
    assert_eq!(config.tenants["m"].hosts.len(), 1);
    assert_eq!(config.failed.len(), 1);
}

#[test]
fn a_tenant_that_only_moved_is_unchanged() {
    let project = Project::new();
    project.tenant("a", "[tenants.a]\nhosts = [\"a.example.com\"]\n");
    let live = project.load().unwrap().tenants;
    fs::remove_file(project.root.join("config/tenants/a.toml")).unwrap();
    project.tenant("b", "# a comment\n[tenants.a]\nhosts = [\"a.example.com\"]\n");
    let config = project.reload(&live).unwrap();
    assert_eq!((config.tenants == live, config.tenants["a"].line), (true, 2));
    project.tenant("b", "[tenants.a]\nhosts = [\"a.example.com\"]\npool_max = 9\n");
    assert_ne!(project.reload(&live).unwrap().tenants, live);
}

#[test]
fn only_tenant_files_inside_the_directory_are_read() {
    let project = Project::new();
    let tenant = |id: &str| format!("[tenants.{id}]\nhosts = [\"{id}.example.com\"]\n");
    let tenants = project.root.join("config/tenants");
    // What editors leave behind.
    for name in [
        "x.toml~",
        ".#x.toml",
        "#x.toml#",
        ".x.toml",
        ".x.toml.swp",
        "x.toml.bak",
        "README",
    ] {
        project.write(&format!("config/tenants/{name}"), tenant("leftover"));
    }
    // What Kubernetes makes of a ConfigMap.
    project.write("config/tenants/..2026_01_01/k8s.toml", tenant("k8s"));
    symlink("..2026_01_01", tenants.join("..data")).unwrap();
    symlink("..data/k8s.toml", tenants.join("k8s.toml")).unwrap();
    assert_eq!(ids(&project.load().unwrap()), ["k8s"]);
    assert_eq!(project.report(), Vec::<String>::new());

    // What must not be followed or read.
    project.write("elsewhere/out.toml", tenant("out"));
    symlink(project.root.join("elsewhere/out.toml"), tenants.join("out.toml")).unwrap();
    symlink("nowhere.toml", tenants.join("lost.toml")).unwrap();
    fs::create_dir(tenants.join("dir.toml")).unwrap();
    project.tenant("huge", vec![b'#'; (1 << 20) + 1]);
    project.tenant(
        "large",
        [tenant("large").into_bytes(), vec![b'#'; (1 << 20) - 100]].concat(),
    );
    assert_eq!(ids(&project.load().unwrap()), ["k8s", "large"]);
    assert_eq!(
        project.report(),
        [
            "config/tenants/dir.toml:1:1: this is no regular file: write a file, or rename this",
            "config/tenants/huge.toml:1:1: the file is longer than 1 MiB: split it into several",
            "config/tenants/lost.toml:1:1: the symbolic link cannot be followed (No such file or directory (os error 2)): \
             remove it, or put the file itself here",
            "config/tenants/out.toml:1:1: the symbolic link leads out of the configuration directory: put the file itself \
             here",
        ]
    );
}

#[test]
fn the_directories_themselves_are_checked() {
    let project = Project::new();
    let tenants = project.root.join("config/tenants");
    fs::remove_dir(&tenants).unwrap();
    let config = project.load().unwrap();
    assert_eq!((config.tenants.len(), config.warnings.len()), (0, 1));
    assert!(
        config.warnings[0].starts_with("there is no directory "),
        "{:?}",
        config.warnings
    );

    // The whole directory as a link out of the configuration: refused, and nothing else starts either.
    project.write("elsewhere/x.toml", "[tenants.x]\nhosts = [\"x.example.com\"]\n");
    symlink("../elsewhere", &tenants).unwrap();
    assert_eq!(
        project.report(),
        ["config/tenants:1:1: the symbolic link leads out of the configuration directory: put the file itself here"]
    );
    assert!(project.load().is_err());

    // The configuration directory itself may be reached by a link; paths start beside its real place.
    fs::remove_file(&tenants).unwrap();
    fs::create_dir(project.root.join("links")).unwrap();
    symlink("../config", project.root.join("links/config")).unwrap();
    let config = Config::load(&project.root.join("links/config"), &|_| None, &Live::new()).unwrap();
    assert_eq!(
        config.clusters["main"].endpoint,
        Endpoint::Embedded {
            data: project.root.join(".rowhouse/main")
        }
    );
}

#[test]
fn live_tenant_is_dropped_with_its_cluster() {
    let project = Project::new();
    project.tenant("x", "[tenants.x]\nhosts = [\"x.example.com\"]\n");
    let live = project.load().unwrap().tenants;
    project.write("config/rowhouse.toml", "[clusters.other]\nembedded = true\n");
    let config = project.reload(&live).unwrap();
    assert_eq!(config.tenants, Live::new());
    assert_eq!(
        config.warnings,
        ["tenant `x` cannot be served on: its cluster `main` is gone"]
    );
    assert_eq!(
        config.report().to_string().rsplit_once("x.toml:").unwrap().1,
        "1:10: rowhouse.toml has no cluster `main`, the default: write cluster = \"…\" (write one of `other`)"
    );
}

#[test]
fn the_example_is_valid_and_shows_every_default() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = Config::load(&root.join("config"), &|_| None, &Live::new()).unwrap();
    assert_eq!(config.report().to_string(), "");
    assert_eq!(config.warnings, Vec::<String>::new());
    assert_eq!(ids(&config), ["adm", "cliente", "cliente2"]);
    assert!(config.tenants["adm"].is_operator());
    assert_eq!(config.clusters["main"].budget.get(), 40);

    let project = Project::new();
    project.tenant("adm", "[tenants.adm]\nhosts = [\"adm.localhost\"]\n");
    let least = project.load().unwrap();
    assert_eq!(
        (&config.server, &config.tls, &config.shared),
        (&least.server, &least.tls, &least.shared)
    );
    assert_eq!(config.tenants["adm"].limits, least.tenants["adm"].limits);

    // Every key of the schema stands in the file, if only in a comment.
    let text = fs::read_to_string(root.join("config/rowhouse.toml")).unwrap();
    let schema = schema::rowhouse();
    let tables = schema["properties"].as_object().unwrap();
    for (table, schema) in tables {
        let schema = if table == "clusters" {
            &schema["additionalProperties"]
        } else {
            schema
        };
        for key in schema["properties"].as_object().unwrap().keys() {
            assert!(
                text.contains(&format!("\n{key} = ")) || text.contains(&format!("\n# {key} = ")),
                "{table}.{key}"
            );
        }
    }
}

#[test]
fn committed_schemas_are_those_of_the_types() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema");
    for (name, schema) in [("rowhouse", schema::rowhouse()), ("tenants", schema::tenants())] {
        let path = dir.join(format!("{name}.schema.json"));
        let generated = schema::pretty(&schema);
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::write(&path, &generated).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == generated,
            "{} is out of date: run UPDATE_SCHEMAS=1 cargo test",
            path.display()
        );
    }
}

#[test]
fn names_that_are_the_edges_own_are_refused() {
    let project = Project::new();
    for (tenant, expected) in [
        (
            "[tenants.shared]\nhosts = [\"a.example.com\"]\n",
            "1:10: tenant id \"shared\" is kept for the roles of the shared tables: write another",
        ),
        (
            "[tenants.a]\nhosts = [\"a.example.com\"]\nschema = \"rowhouse\"\n",
            "3:10: schema \"rowhouse\" is kept for the edge's own tables: write another",
        ),
        (
            "[tenants.a]\nhosts = [\"a.example.com\"]\nroles = [\"editor\", \"*\"]\n",
            "3:20: role \"*\" may be another tenant's: write roles of your own, or managed = false (a token may name the \
             tenant's own roles anyway)",
        ),
        (
            "[tenants.a]\nhosts = [\"a.example.com\"]\nroles = [\"rowhouse_adm_user\"]\n",
            "3:10: role \"rowhouse_adm_user\" may be another tenant's: write roles of your own, or managed = false (a token \
             may name the tenant's own roles anyway)",
        ),
    ] {
        project.tenant("x", tenant);
        let report = project.load().unwrap().report().to_string();
        assert!(report.ends_with(&format!("x.toml:{expected}")), "{report}");
    }
}

#[test]
fn who_logs_in_alone_shares_no_reads() {
    let project = Project::new();
    let cluster = |more: &str| format!("[clusters.main]\nurl = \"postgres://edge@db1/app\"\n{more}\n");
    project.write("config/rowhouse.toml", cluster(""));
    assert!(!project.load().unwrap().clusters["main"].shared_reads);
    project.write("config/rowhouse.toml", cluster("shared_reads = true"));
    assert!(project.load().unwrap().clusters["main"].shared_reads);
    project.write("config/rowhouse.toml", cluster("credentials = \"per_tenant\""));
    assert!(!project.load().unwrap().clusters["main"].shared_reads);
    project.write(
        "config/rowhouse.toml",
        cluster("credentials = \"per_tenant\"\nshared_reads = true"),
    );
    let report = project.load().unwrap_err().to_string();
    assert!(report.contains("rowhouse.toml:4:"), "{report}");
    assert!(report.contains("credentials = \"shared\""), "{report}");
}

#[test]
fn many_tenants_on_one_login_are_warned_about() {
    let project = Project::new();
    let tenants: String = (0..500)
        .map(|n| format!("[tenants.t{n}]\nhosts = [\"t{n}.example.com\"]\n"))
        .collect();
    project.tenant("all", tenants);
    assert_eq!(project.load().unwrap().warnings, Vec::<String>::new());
    project.write(
        "config/rowhouse.toml",
        "[clusters.main]\nembedded = true\ncredentials = \"shared\"\n",
    );
    let warnings = project.load().unwrap().warnings;
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("500 tenants share the login of cluster `main`"),
        "{warnings:?}"
    );
}
