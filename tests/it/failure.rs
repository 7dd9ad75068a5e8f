//! Postgres goes away, in part or whole: no request hangs, and the service is back when Postgres is.

#![expect(clippy::panic, clippy::print_stderr, reason = "a failed test says what it met")]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use rowhouse::edge::Edge;
use rowhouse::embedded;
use rowhouse::embedded::Postgres;
use rowhouse::migrate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Street, TempDir, connect, make_edge_login, over_url, raw, until};

/// No request may take longer while its database is gone: `checkout_timeout` is 2 s.
const PROMPT: Duration = Duration::from_secs(3);

const REQUEST: &[u8] = b"GET /api/mylist HTTP/1.1\r\nHost: cliente.localhost\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminated_backends_cost_their_requests_and_no_more() {
    let street = Street::example().await;
    let superuser = street.superuser().await;
    let end = Instant::now() + Duration::from_secs(2);
    let client = async |number: usize| {
        let host = ["cliente.localhost", "cliente2.localhost"][number % 2];
        let (mut served, mut lost) = (0_u32, 0_u32);
        while Instant::now() < end {
            let reply = timeout(PROMPT, street.get(host, "/api/mylist")).await.unwrap();
            match reply.status {
                200 => served += 1,
                503 if reply.header("Retry-After").is_some() => lost += 1,
                _ => panic!("{reply:?}"),
            }
        }
        (served, lost)
    };
    let terminator = async {
        while Instant::now() < end {
            sleep(Duration::from_millis(200)).await;
            terminate(&superuser).await;
        }
    };
    let clients = join_all((0..8).map(client));
    let (answers, ()) = tokio::join!(clients, terminator);
    let served: u32 = answers.iter().map(|(served, _)| served).sum();
    let lost: u32 = answers.iter().map(|(_, lost)| lost).sum();
    eprintln!("{served} served, {lost} lost");
    assert!(lost * 5 <= served, "{lost} lost, {served} served");

    terminate(&superuser).await;
    until(Duration::from_secs(1), "the service after that", async || {
        street.get("cliente.localhost", "/api/mylist").await.status == 200
    })
    .await;
    for host in ["cliente.localhost", "cliente2.localhost"].iter().cycle().take(40) {
        let reply = street.get(host, "/api/mylist").await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

async fn terminate(superuser: &tokio_postgres::Client) {
    superuser
        .batch_execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'rowhouse%'")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_stops_and_returns_is_served_again_by_itself() {
    let dir = TempDir::new();
    let mut postgres = start(dir.path());
    let edge = edge_over(dir.path(), &postgres).await;
    assert_eq!(get(&edge).await.0, 200);
    for round in 0..2 {
        postgres.stop();
        drop(postgres);
        for _ in 0..5 {
            assert_unavailable(&edge).await;
        }
        postgres = start(dir.path());
        until(Duration::from_secs(2), "the service after the return", async || {
            get(&edge).await.0 == 200
        })
        .await;
        for _ in 0..20 {
            let (status, head) = get(&edge).await;
            assert_eq!(status, 200, "round {round}: {head}");
        }
    }
    assert!(edge.stop(Duration::from_secs(5)).await);
}

/// The budget fits `max_connections`, but others have taken what it counts on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_connection_left_is_said_to_be_full() {
    let dir = TempDir::new();
    let mut options = embedded::Options::new(dir.path().join("pg"));
    options.durable = false;
    options.max_connections = 14;
    let postgres = Postgres::start(options).unwrap();
    let edge = edge_over(dir.path(), &postgres).await;
    let mut others = Vec::new();
    // Three are for superusers alone, one listens to notifications.
    for _ in 0..10 {
        others.push(connect(postgres.socket_dir(), "postgres", "postgres").await);
    }
    let reply = raw(&edge, REQUEST).await;
    assert_eq!((reply.status, &*reply.code()), (503, "cluster_saturated"), "{reply:?}");
    assert!(reply.header("Retry-After").is_some(), "{reply:?}");
    drop(others);
    until(Duration::from_secs(3), "the service after that", async || {
        get(&edge).await.0 == 200
    })
    .await;
}

/// Whoever waits for a connection that another request opens is told the same as that one: it is not the budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_accepts_and_says_nothing_is_down() {
    let dir = TempDir::new();
    let mut postgres = start(dir.path());
    let edge = edge_over(dir.path(), &postgres).await;
    assert_eq!(get(&edge).await.0, 200);
    let socket = postgres.socket_dir().join(format!(".s.PGSQL.{}", postgres.port()));
    postgres.stop();
    let silent = UnixListener::bind(&socket).unwrap();
    let silence = async {
        let mut held = Vec::new();
        loop {
            held.push(silent.accept().await.unwrap());
        }
    };
    let requests = join_all((0..6).map(|_| timeout(Duration::from_secs(8), raw(&edge, REQUEST))));
    let replies = tokio::select! {
        replies = requests => replies,
        () = silence => unreachable!("it never ends"),
    };
    for reply in replies {
        let reply = reply.unwrap();
        assert_eq!((reply.status, &*reply.code()), (503, "cluster_down"), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_server_that_is_killed_is_started_again() {
    let street = Street::example().await;
    let made = street
        .write_as(
            "POST",
            "cliente",
            "cliente.localhost",
            "/api/mylist",
            r#"{"text":"kept"}"#,
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    sleep(Duration::from_secs(1)).await; // without fsync a crash may lose the commits of the last half second
    for signal in ["-KILL", "-QUIT", "-INT"] {
        let pid = street.postgres_pid();
        let killed = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
        assert!(killed.success());
        until(Duration::from_secs(15), "the server's return", async || {
            let reply = street.get("cliente.localhost", "/api/mylist?select=text").await;
            assert!(matches!(reply.status, 200 | 503), "{signal}: {reply:?}");
            street.postgres_pid() != pid && reply.body == r#"[{"text":"kept"}]"#
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_starts_before_its_cluster_waits_for_it() {
    let dir = TempDir::new();
    let mut postgres = start(dir.path());
    make_edge_login(&postgres).await;
    let options = over_url(dir.path(), &postgres, migrate::EDGE_LOGIN, "");
    postgres.stop();
    drop(postgres);
    let edge = Edge::start(options).await.unwrap();
    assert_unavailable(&edge).await;
    let _postgres = start(dir.path());
    until(Duration::from_secs(3), "the first tenant going live", async || {
        get(&edge).await.0 == 200
    })
    .await;
    assert!(edge.stop(Duration::from_secs(5)).await);
}

/// A server of our own, which the edge knows by its URL only.
fn start(dir: &Path) -> Postgres {
    let mut options = embedded::Options::new(dir.join("pg"));
    options.durable = false;
    Postgres::start(options).unwrap()
}

/// An edge over it, with the example's tenants.
async fn edge_over(dir: &Path, postgres: &Postgres) -> Edge {
    make_edge_login(postgres).await;
    Edge::start(over_url(dir, postgres, migrate::EDGE_LOGIN, ""))
        .await
        .unwrap()
}

/// The status and the head of an answer.
async fn get(edge: &Edge) -> (u16, String) {
    let asking = async {
        let mut stream = TcpStream::connect(edge.address()).await.unwrap();
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PROMPT, asking).await.unwrap();
    let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or(0), head)
}

async fn assert_unavailable(edge: &Edge) {
    let (status, head) = get(edge).await;
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("\r\nretry-after:"), "{head}");
}
