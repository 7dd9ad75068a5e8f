//! Connections to a cluster are as encrypted as its url says, or there are none.

use std::fs;
use std::io;
use std::net;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm,
};
use rowhouse::edge::{Edge, Options, StartError};
use rowhouse::embedded;
use rowhouse::embedded::Postgres;
use rowhouse::migrate;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{Client, NoTls};

use crate::support::{Reply, TempDir, operator, over_address, raw, template, until};

const REQUEST: &[u8] = b"GET /api/mylist HTTP/1.1\r\nHost: cliente.localhost\r\nConnection: close\r\n\r\n";

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
struct Issued {
    certificate: String,
    key: String,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Authority {
    fn new(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// For these hosts; one without any is for a client of that name. Good for `until` from now, or until as long ago.
    fn issue(&self, name: &str, hosts: &[&str], expired: bool) -> Issued {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let purpose = match hosts.is_empty() {
            true => ExtendedKeyUsagePurpose::ClientAuth,
            false => ExtendedKeyUsagePurpose::ServerAuth,
        };
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        let now = SystemTime::now();
        params.not_before = (now - 2 * DAY).into();
        params.not_after = if expired { now - DAY } else { now + DAY }.into();
        let key = KeyPair::generate().unwrap();
        Issued {
            certificate: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A server on TCP that lets nobody in without TLS. The edge's login has a password.
struct Server {
    postgres: Postgres,
    port: u16,
    dir: TempDir,
}

impl Server {
    async fn start(issued: &Issued) -> Self {
        let dir = TempDir::new();
        let start = |_| {
            let port = free_port();
            let mut options = embedded::Options::new(dir.path().join("pg"));
            options.durable = false;
            options.template = Some(template());
            let more = [("listen_addresses", "127.0.0.1"), ("port", &port.to_string())];
            options.settings = more.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
            Some((Postgres::start(options).ok()?, port))
        };
        // Another test may take the port before the server does.
        let (postgres, port) = (0..5).find_map(start).unwrap();
        let server = Self { postgres, port, dir };
        migrate::bootstrap_embedded(&server.superuser("postgres").await)
            .await
            .unwrap();
        let superuser = server.superuser(migrate::EMBEDDED_DATABASE).await;
        migrate::bootstrap_embedded_database(&superuser).await.unwrap();
        superuser
            .batch_execute("ALTER ROLE rowhouse_edge PASSWORD 'secret'")
            .await
            .unwrap();
        server.admit("scram-sha-256").await;
        server.show(issued).await;
        server.set("ssl = on").await;
        until(Duration::from_secs(5), "the reload", async || {
            let superuser = server.superuser("postgres").await;
            superuser.query_one("SHOW ssl", &[]).await.unwrap().get::<_, &str>(0) == "on"
        })
        .await;
        server
    }

    async fn superuser(&self, database: &str) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.postgres.socket_dir()).port(self.port);
        let (client, connection) = config.user("postgres").dbname(database).connect(NoTls).await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
        tokio::spawn(connection);
        client
    }

    /// Writes a file that the server's user alone may read.
    fn write(&self, name: &str, text: &str) {
        let data = self.dir.path().join("pg");
        let owner = fs::metadata(&data).unwrap();
        let path = data.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    async fn reload(&self) {
        let superuser = self.superuser("postgres").await;
        superuser.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    }

    async fn set(&self, setting: &str) {
        let superuser = self.superuser("postgres").await;
        superuser
            .batch_execute(&format!("ALTER SYSTEM SET {setting}"))
            .await
            .unwrap();
        self.reload().await;
    }

    /// Lets everybody in who has come by TLS and can do what `method` asks.
    async fn admit(&self, method: &str) {
        self.write(
            "pg_hba.conf",
            &format!("local all all trust\nhostssl all all all {method}\n"),
        );
        self.reload().await;
    }

    /// Shows another certificate to whoever connects from now on.
    async fn show(&self, issued: &Issued) {
        self.write("server.crt", &issued.certificate);
        self.write("server.key", &issued.key);
        self.reload().await;
    }

    /// An edge that connects to `host` with these `settings` of the url, and `more` keys of the cluster.
    fn options(&self, host: &str, port: u16, settings: &str, more: &str) -> Options {
        options(self.dir.path(), host, port, settings, more)
    }

    /// How many backends of the edge there are, how many of them came by TLS, and how many listen to notifications.
    async fn backends(&self) -> [i64; 3] {
        const COUNT: &str = "SELECT count(*), count(*) FILTER (WHERE ssl), \
            count(*) FILTER (WHERE application_name = 'rowhouse/notices') \
            FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename LIKE 'rowhouse%'";
        let row = self.superuser("postgres").await.query_one(COUNT, &[]).await.unwrap();
        [row.get(0), row.get(1), row.get(2)]
    }

    async fn run(&self, sql: &str) {
        self.superuser(migrate::EMBEDDED_DATABASE)
            .await
            .batch_execute(sql)
            .await
            .unwrap();
    }
}

/// An edge that knows its server by this address alone.
fn options(dir: &Path, host: &str, port: u16, settings: &str, more: &str) -> Options {
    let (user, database) = (migrate::EDGE_LOGIN, migrate::EMBEDDED_DATABASE);
    over_address(dir, &format!("{user}:secret@{host}:{port}/{database}?{settings}"), more)
}

fn free_port() -> u16 {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What the operator sees of the cluster.
async fn cluster(edge: &Edge) -> Value {
    operator(edge, "/status").await.json()["clusters"]["main"].clone()
}

fn write_below(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_is_encrypted_in_every_mode() {
    // Its signatures are hashed with SHA-384, and so is what the password's proof is bound to.
    let authority = Authority::new("an authority", &PKCS_ECDSA_P384_SHA384);
    let server = Server::start(&authority.issue("server", &["localhost", "127.0.0.1"], false)).await;
    write_below(server.dir.path(), "root.pem", &authority.pem);
    for (host, settings, credentials) in [
        ("localhost", "sslmode=require", "shared"),
        ("127.0.0.1", "sslmode=require&channel_binding=require", "shared"),
        ("localhost", "sslmode=prefer&channel_binding=disable", "shared"),
        // Relative paths start where all of the configuration's do.
        ("localhost", "sslmode=require&sslrootcert=root.pem", "per_tenant"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=root.pem", "shared"),
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=root.pem", "shared"),
        (
            "localhost",
            "sslmode=verify-full&sslrootcert=root.pem&channel_binding=require",
            "per_tenant",
        ),
    ] {
        let more = format!("credentials = \"{credentials}\"");
        let options = server.options(host, server.port, settings, &more);
        let edge = Edge::start(options).await.unwrap();
        let reply = raw(&edge, REQUEST).await;
        assert_eq!(reply.status, 200, "{settings}: {reply:?}, {}", cluster(&edge).await);
        until(Duration::from_secs(3), "a connection for notifications", async || {
            server.backends().await[2] == 1
        })
        .await;
        let [all, encrypted, _] = server.backends().await;
        assert!(
            all >= 2 && encrypted == all,
            "{settings}: {encrypted} of {all} are encrypted"
        );
        assert_eq!(cluster(&edge).await["reason"], Value::Null, "{settings}");
        // A connection is closed when the server has closed it, too.
        assert!(edge.stop(Duration::from_secs(5)).await);
        assert_eq!(server.backends().await, [0; 3], "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_unix_socket_there_is_no_tls() {
    let server =
        Server::start(&Authority::new("an authority", &PKCS_ECDSA_P256_SHA256).issue("server", &["localhost"], false))
            .await;
    let socket = server.postgres.socket_dir().to_str().unwrap().replace('/', "%2F");
    let edge = Edge::start(server.options(&socket, server.port, "sslmode=require", ""))
        .await
        .unwrap();
    assert_eq!(raw(&edge, REQUEST).await.status, 200);
    let [all, encrypted, _] = server.backends().await;
    assert!(all > 0 && encrypted == 0, "{encrypted} of {all} are encrypted");
}

/// Passes bytes on to a server and keeps the first ones of each connection.
struct Relay {
    port: u16,
    heads: Arc<Mutex<Vec<[u8; 9]>>>,
}

impl Relay {
    async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<[u8; 9]>>> = Arc::default();
        let kept = Arc::clone(&heads);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let kept = Arc::clone(&kept);
                tokio::spawn(async move { relay(client, to, &kept).await.ok() });
            }
        });
        Self { port, heads }
    }
}

async fn relay(mut client: TcpStream, to: u16, kept: &Mutex<Vec<[u8; 9]>>) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
    let mut head = [0; 9];
    client.read_exact(&mut head[..8]).await?;
    server.write_all(&head[..8]).await?;
    client.write_u8(server.read_u8().await?).await?;
    client.read_exact(&mut head[8..]).await?;
    kept.lock().unwrap().push(head);
    server.write_all(&head[8..]).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_cancelled_over_tls() {
    let authority = Authority::new("an authority", &PKCS_ECDSA_P256_SHA256);
    let server = Server::start(&authority.issue("server", &["localhost"], false)).await;
    write_below(server.dir.path(), "root.pem", &authority.pem);
    let relay = Relay::start(server.port).await;
    let settings = "sslmode=verify-full&sslrootcert=root.pem";
    let edge = Edge::start(server.options("localhost", relay.port, settings, ""))
        .await
        .unwrap();
    server
        .run(
            "CREATE VIEW cliente.slow AS SELECT 1 AS id, pg_sleep(4)::text AS slept; \
             GRANT SELECT ON cliente.slow TO rowhouse_cliente_anon",
        )
        .await;
    let superuser = server.superuser("postgres").await;
    let sleeping = async || {
        const COUNT: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        superuser.query_one(COUNT, &[]).await.unwrap().get::<_, i64>(0)
    };
    let mut client = TcpStream::connect(edge.address()).await.unwrap();
    let request = "GET /api/slow HTTP/1.1\r\nHost: cliente.localhost\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    until(Duration::from_secs(3), "the statement", async || sleeping().await == 1).await;
    let before = relay.heads.lock().unwrap().len();
    drop(client);
    until(Duration::from_secs(1), "the end of the statement", async || {
        sleeping().await == 0
    })
    .await;
    assert!(edge.stop(Duration::from_secs(5)).await);
    let heads = relay.heads.lock().unwrap();
    assert!(heads.len() > before, "it was not cancelled");
    for head in heads.iter() {
        // SSLRequest, and then a record of TLS that holds a handshake.
        assert_eq!(head, b"\0\0\0\x08\x04\xd2\x16\x2f\x16");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_does_not_verify_ends_all_talk_and_the_operator_is_told() {
    let authority = Authority::new("an authority", &PKCS_ECDSA_P256_SHA256);
    let good = authority.issue("server", &["localhost"], false);
    let server = Server::start(&good).await;
    write_below(server.dir.path(), "root.pem", &authority.pem);
    let settings = "sslmode=verify-full&sslrootcert=root.pem";
    let edge = Edge::start(server.options("localhost", server.port, settings, ""))
        .await
        .unwrap();
    assert_eq!(raw(&edge, REQUEST).await.status, 200);

    // A reload takes a moment, and backends that there are go on as they are.
    let refused = async |expected: &[&str]| {
        until(Duration::from_secs(5), expected[0], async || {
            server
                .run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'rowhouse%'")
                .await;
            let reply = raw(&edge, REQUEST).await;
            if reply.status == 200 {
                return false;
            }
            assert_eq!((reply.status, &*reply.code()), (503, "cluster_down"), "{reply:?}");
            assert!(!reply.body.to_lowercase().contains("certificate"), "{reply:?}");
            assert!(!reply.body.contains("TLS"), "{reply:?}");
            let reason = cluster(&edge).await["reason"].to_string();
            expected.iter().all(|expected| reason.contains(expected))
        })
        .await;
    };
    let stranger = Authority::new("a stranger", &PKCS_ECDSA_P256_SHA256);
    server.show(&stranger.issue("server", &["localhost"], false)).await;
    refused(&["UnknownIssuer; have sslrootcert name the certificate of the authority"]).await;
    server
        .show(&authority.issue("server", &["db1.example.com"], false))
        .await;
    refused(&[
        "not valid for name \\\"localhost\\\"",
        "db1.example.com",
        "use sslmode=verify-ca",
    ])
    .await;
    server.show(&authority.issue("server", &["localhost"], true)).await;
    refused(&["certificate expired", "; renew it"]).await;
    server.set("ssl = off").await;
    refused(&["the server does not speak TLS; set ssl = on there, or sslmode=disable"]).await;

    server.set("ssl = on").await;
    server.show(&good).await;
    until(Duration::from_secs(5), "the service after that", async || {
        raw(&edge, REQUEST).await.status == 200
    })
    .await;
    assert_eq!(cluster(&edge).await["reason"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edge_logs_in_by_a_certificate_of_its_own() {
    let authority = Authority::new("an authority", &PKCS_ECDSA_P256_SHA256);
    let server = Server::start(&authority.issue("server", &["localhost"], false)).await;
    server.write("ca.pem", &authority.pem);
    server.set("ssl_ca_file = 'ca.pem'").await;
    server.admit("cert").await;
    let own = authority.issue(migrate::EDGE_LOGIN, &[], false);
    let dir = server.dir.path();
    write_below(dir, "edge.pem", &own.certificate);
    write_below(dir, "edge.key", &own.key);
    let settings = "sslmode=require&sslcert=edge.pem&sslkey=edge.key";
    let edge = Edge::start(server.options("localhost", server.port, settings, ""))
        .await
        .unwrap();
    let reply = raw(&edge, REQUEST).await;
    assert_eq!(reply.status, 200, "{reply:?}, {}", cluster(&edge).await);
    drop(edge);

    // A key of another certificate, and no certificate at all.
    write_below(dir, "edge.key", &authority.issue("another", &[], false).key);
    let error = Edge::start(server.options("localhost", server.port, settings, ""))
        .await
        .err()
        .unwrap();
    assert!(matches!(error, StartError::Encryption { .. }), "{error}");
    assert!(error.to_string().contains("edge.key: "), "{error}");
    let settings = "sslmode=verify-ca&sslrootcert=edge.key";
    let error = Edge::start(server.options("localhost", server.port, settings, ""))
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("edge.key: no CERTIFICATE section; "),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_binds_nothing_is_refused_where_that_is_demanded() {
    let server =
        Server::start(&Authority::new("an authority", &PKCS_ECDSA_P256_SHA256).issue("server", &["localhost"], false))
            .await;
    server.admit("password").await;
    let settings = "sslmode=require&channel_binding=require";
    let edge = Edge::start(server.options("localhost", server.port, settings, ""))
        .await
        .unwrap();
    let reason = cluster(&edge).await["reason"].to_string();
    assert!(reason.contains("channel binding"), "{reason}");
}

/// A server of ours that accepts, waits for the request for TLS, says `answer` and then nothing. What it is sent after
/// that is kept.
async fn hostile(answer: &'static [u8]) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let kept = Arc::clone(&heard);
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await.unwrap();
                client.write_all(answer).await.unwrap();
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = client.read(&mut buffer).await {
                    kept.lock().unwrap().extend(&buffer[..read]);
                }
            });
        }
    });
    (port, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_anything_but_tls_is_told_nothing() {
    // Behind an S in plain text: that nobody need authenticate, and that the server is ready (CVE-2021-23222).
    let cases: [(&[u8], &str); 5] = [
        (b"SR\0\0\0\x08\0\0\0\0Z\0\0\0\x05I", "the server's answer is no TLS: "),
        (b"SE\0\0\0\x09Mno\0\0", "the server's answer is no TLS: "),
        (b"N", "the server does not speak TLS; set ssl = on there"),
        (
            b"E\0\0\0\x09Mno\0\0",
            "the server answered the request for TLS with 'E'; is it PostgreSQL?",
        ),
        (b"S", "the database did not accept a connection within 5s"),
    ];
    let ask = async |(answer, expected): (&'static [u8], &str)| {
        let (port, heard) = hostile(answer).await;
        let dir = TempDir::new();
        let edge = Edge::start(options(dir.path(), "localhost", port, "sslmode=require", ""))
            .await
            .unwrap();
        until(Duration::from_secs(10), expected, async || {
            cluster(&edge).await["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains(expected))
        })
        .await;
        let reply = raw(&edge, REQUEST).await;
        assert_eq!((reply.status, &*reply.code()), (503, "tenant_onboarding"), "{reply:?}");
        let heard = heard.lock().unwrap();
        let login = migrate::EDGE_LOGIN.as_bytes();
        assert!(
            !heard.windows(login.len()).any(|bytes| bytes == login),
            "{expected}: {heard:?}"
        );
    };
    join_all(cases.map(ask)).await;
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// `SSL_CERT_FILE` stands in for what the system trusts, as it does for OpenSSL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorities_can_be_those_of_the_system() {
    let authority = Authority::new("an authority", &PKCS_ECDSA_P256_SHA256);
    let server = Server::start(&authority.issue("server", &["localhost"], false)).await;
    let root = write_below(server.dir.path(), "root.pem", &authority.pem);
    let options = server.options("localhost", server.port, "sslrootcert=system", "");
    let port = free_port();
    let edge = Command::new(env!("CARGO_BIN_EXE_rowhouse"))
        .args(["--config", options.config_dir.to_str().unwrap(), "serve"])
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--operator-listen",
            "127.0.0.1:0",
        ])
        .env("SSL_CERT_FILE", root)
        .env_remove("SSL_CERT_DIR")
        .stdin(Stdio::null())
        .spawn()
        .map(Killed)
        .unwrap();
    until(
        Duration::from_secs(10),
        "an answer",
        async || match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(mut stream) => {
                stream.write_all(REQUEST).await.unwrap();
                Reply::read(&mut stream).await.status == 200
            }
            Err(_) => false,
        },
    )
    .await;
    let [all, encrypted, _] = server.backends().await;
    assert!(all > 0 && encrypted == all, "{encrypted} of {all} are encrypted");
    drop(edge);
}
