//! Clients in crowds, and clients that come and go: nobody but who makes the crowd waits for it, and the server never has
//! more backends than the budget.

#![expect(clippy::panic, clippy::print_stderr, reason = "a failed test says what it met")]

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rowhouse::edge::Edge;
use rowhouse::migrate;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;

use crate::support::{Street, TempDir, connect, over_url, raw, server_beside_the_edge, until};

/// The backends of the edge by who they have logged in as: what they call themselves is theirs to say. The one that listens
/// to notifications, which is beside the budget, is known before any tenant's SQL has run.
struct Backends {
    superuser: Client,
    listener: i32,
}

impl Backends {
    async fn new(superuser: Client) -> Self {
        const LISTENER: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'rowhouse/notices'";
        let mut listener = None;
        until(Duration::from_secs(5), "listening", async || {
            listener = superuser.query_opt(LISTENER, &[]).await.unwrap().map(|row| row.get(0));
            listener.is_some()
        })
        .await;
        let listener = listener.unwrap();
        Self { superuser, listener }
    }

    async fn count(&self, login: &str) -> i64 {
        const COUNT: &str = "SELECT count(*) FROM pg_stat_activity AS a JOIN pg_roles AS r ON r.oid = a.usesysid \
            WHERE r.rolname LIKE $1 AND a.pid <> $2";
        let row = self.superuser.query_one(COUNT, &[&login, &self.listener]).await;
        row.unwrap().get(0)
    }

    /// Looks 50 times a second, for ever.
    async fn never_exceed(&self, login: &str, most: i64) -> std::convert::Infallible {
        loop {
            let count = self.count(login).await;
            assert!(count <= most, "{count} backends of {login}, at most {most} are allowed");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn sleeping(&self) -> i64 {
        const COUNT: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        self.superuser.query_one(COUNT, &[]).await.unwrap().get(0)
    }
}

/// What all waits have for a machine that is busy with other tests.
const SLACK: Duration = Duration::from_secs(3);

/// So many tenants with a row each, which says whose it is.
async fn crowd(count: usize, budget: u32, defaults: &str) -> (Street, Backends) {
    let mut tenants = String::new();
    let mut sql = String::from("CREATE ROLE crowd_anon; GRANT crowd_anon TO rowhouse_edge;");
    for n in 0..count {
        writeln!(
            tenants,
            "[tenants.c{n}]\nhosts = [\"c{n}.localhost\"]\nmanaged = false\nanonymous_role = \"crowd_anon\""
        )
        .unwrap();
        write!(
            sql,
            "CREATE SCHEMA c{n}; CREATE TABLE c{n}.own AS SELECT {n} AS number; \
             GRANT USAGE ON SCHEMA c{n} TO crowd_anon; GRANT SELECT ON c{n}.own TO crowd_anon;"
        )
        .unwrap();
    }
    let street = Street::with_budget(budget, &format!("[defaults]\n{defaults}"), &tenants).await;
    let superuser = street.superuser().await;
    superuser.batch_execute(&sql).await.unwrap();
    (street, Backends::new(superuser).await)
}

/// Each of them asked once, two hundred at a time, as clients would.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_tenants_at_once_are_answered_soon() {
    const BUDGET: u32 = 50;
    const COUNT: usize = 600;
    let (street, backends) = crowd(COUNT, BUDGET, "idle_timeout = \"1s\"").await;
    let ask = async |n: usize| {
        let asked = Instant::now();
        let reply = street.get(&format!("c{n}.localhost"), "/api/own").await;
        match reply.status {
            200 => assert_eq!(reply.body, format!("[{{\"number\":{n}}}]")),
            503 => assert!(reply.header("Retry-After").is_some(), "{reply:?}"),
            _ => panic!("{reply:?}"),
        }
        (reply.status, asked.elapsed())
    };
    let began = Instant::now();
    let asking = stream::iter(0..COUNT)
        .map(ask)
        .buffer_unordered(200)
        .collect::<Vec<_>>();
    let mut replies = tokio::select! {
        replies = asking => replies,
        never = backends.never_exceed("rowhouse%", BUDGET.into()) => match never {},
    };
    replies.sort_unstable_by_key(|(_, took)| *took);
    let served = replies.iter().filter(|(status, _)| *status == 200).count();
    let (median, longest) = (replies[COUNT / 2].1, replies[COUNT - 1].1);
    let all = began.elapsed();
    eprintln!("{served} of {COUNT} served, all within {all:?}: half within {median:?}, the last within {longest:?}");
    assert!(served * 2 >= COUNT, "{served} of {COUNT} served");
    // Two seconds are for the wait in line. Opening a connection may take five more, on a machine that has much to do.
    assert!(
        median < Duration::from_secs(2) + SLACK,
        "half of them waited {median:?}"
    );
    assert!(longest < Duration::from_secs(7) + SLACK, "somebody waited {longest:?}");
    // Unused for a second, they are gone within another.
    until(Duration::from_secs(3) + SLACK, "closing what nobody uses", async || {
        let main = &street.status().await["clusters"]["main"];
        main["in_use"] == main["shared"] && main["in_use"] == backends.count("rowhouse%").await
    })
    .await;
}

/// So many tenants are asked once, in one moment: how many are served, and when the last is answered or refused.
async fn in_one_moment(count: usize, budget: u32, defaults: &str) -> (usize, Duration) {
    let (street, backends) = crowd(count, budget, defaults).await;
    let clients = join_all((0..count / 60).map(|_| multiplexed(&street))).await;
    let ask = async |n: usize| {
        let asked = Instant::now();
        let (status, retry, body) = get(&clients[n % clients.len()], &format!("c{n}.localhost"), "/api/own").await;
        match status {
            StatusCode::OK => assert_eq!(body, format!("[{{\"number\":{n}}}]")),
            StatusCode::SERVICE_UNAVAILABLE => assert!(retry, "{body:?}"),
            _ => panic!("{status}: {body:?}"),
        }
        (status == StatusCode::OK, asked.elapsed())
    };
    let asking = join_all((0..count).map(ask));
    let replies = tokio::select! {
        replies = asking => replies,
        never = backends.never_exceed("rowhouse%", budget.into()) => match never {},
    };
    let served = replies.iter().filter(|(served, _)| *served).count();
    let longest = replies.iter().map(|(_, took)| *took).max().unwrap();
    eprintln!("{served} of {count} served, the last answered within {longest:?}");
    (served, longest)
}

/// Attack case 34. Whoever cannot be served is told so in time. Half of that may pass in wait for its catalog, and half for a
/// connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_tenants_in_one_moment_are_answered_or_refused_within_two_seconds() {
    let (served, longest) = in_one_moment(3000, 50, "checkout_timeout = \"800ms\"").await;
    assert!(served >= 50, "{served} served");
    assert!(longest < Duration::from_secs(2) + SLACK, "somebody waited {longest:?}");
}

/// Where one slot of ten reads the catalogs, and the tenants take turns on the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_tenants_in_one_moment_take_turns_on_ten_slots() {
    let (served, longest) = in_one_moment(300, 10, "").await;
    assert!(served >= 20, "{served} served");
    // The longest wait for a catalog and for a slot, and the opening of a connection.
    assert!(longest < Duration::from_secs(6), "somebody waited {longest:?}");
}

/// One connection of a client that sends many requests on it at once.
async fn multiplexed(street: &Street) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(street.edge().address()).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
    tokio::spawn(connection);
    sender
}

async fn get(sender: &SendRequest<Empty<Bytes>>, host: &str, path: &str) -> (StatusCode, bool, Bytes) {
    let request = Request::get(format!("http://{host}{path}")).body(Empty::new()).unwrap();
    let mut sender = sender.clone();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    let (status, retry) = (response.status(), response.headers().contains_key("Retry-After"));
    (status, retry, response.into_body().collect().await.unwrap().to_bytes())
}

/// 1. Light tenants are asked now and then; so long does it take.
/// 2. One tenant is asked five hundred slow things at once. It has its four connections and its line, and is told so.
/// 3. Meanwhile the light ones are asked as before: it takes no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_requests_of_one_tenant_are_its_own_trouble() {
    const LIGHT: usize = 10;
    let mut tenants = String::from("[tenants.hot]\nhosts = [\"hot.localhost\"]\npool_max = 4\n");
    for n in 0..LIGHT {
        writeln!(tenants, "[tenants.l{n}]\nhosts = [\"l{n}.localhost\"]").unwrap();
    }
    let street = Street::with_budget(16, "", &tenants).await;
    let superuser = street.superuser().await;
    let sql = "CREATE VIEW hot.slow AS SELECT 1 AS id, pg_sleep(0.4)::text AS slept; \
               GRANT SELECT ON hot.slow TO rowhouse_hot_anon";
    superuser.batch_execute(sql).await.unwrap();
    let backends = Backends::new(superuser).await;
    assert_eq!(street.get("hot.localhost", "/api/mylist").await.status, 200);
    // In turns, each ten times; the longest of a hundred is what one in a hundred waits.
    let light = async || {
        let mut longest = Duration::ZERO;
        for turn in 0..10 * LIGHT {
            let asked = Instant::now();
            let reply = street.get(&format!("l{}.localhost", turn % LIGHT), "/api/mylist").await;
            assert_eq!((reply.status, &*reply.body), (200, "[]"), "{reply:?}");
            longest = longest.max(asked.elapsed());
            sleep(Duration::from_millis(15)).await;
        }
        longest
    };
    light().await; // once, for the catalogs
    let alone = light().await;
    let clients = join_all((0..10).map(|_| multiplexed(&street))).await;
    let hot = join_all(
        clients
            .iter()
            .flat_map(|client| std::iter::repeat_n(client, 50))
            .map(|client| get(client, "hot.localhost", "/api/slow")),
    );
    let (replies, beside) = tokio::select! {
        both = async { tokio::join!(hot, light()) } => both,
        never = backends.never_exceed("rowhouse_hot%", 4) => match never {},
    };
    let (mut served, mut refused) = (0, 0);
    for (status, retry, body) in replies {
        match status {
            StatusCode::OK => served += 1,
            StatusCode::SERVICE_UNAVAILABLE if retry => refused += 1,
            _ => panic!("{status}: {body:?}"),
        }
    }
    eprintln!("hot: {served} served, {refused} refused; light: {alone:?} alone, {beside:?} beside it");
    // Four at once of 0.4 s each, for two seconds; sixty-four wait meanwhile, and all others are told at once.
    assert!((8..=4 + 64).contains(&served), "{served} served");
    assert!(
        beside < 3 * alone + Duration::from_secs(1),
        "a light tenant waited {beside:?}, alone {alone:?}"
    );
}

/// 1. Clients of one tenant ask something long and leave amid it, as fast as they can.
/// 2. Those of another are answered as ever: none is cancelled with them.
/// 3. When they have left, nothing of theirs runs on, and every slot is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_leave_cost_no_one_else_anything() {
    let tenants = "[tenants.cliente]\nhosts = [\"cliente.localhost\"]\n\
                   [tenants.cliente2]\nhosts = [\"cliente2.localhost\"]\n";
    let street = Street::with_budget(8, "[defaults]\npool_max = 8\nstatement_timeout = \"20s\"", tenants).await;
    let superuser = street.superuser().await;
    let mut sql = String::new();
    for (schema, seconds) in [("cliente", 15.0), ("cliente2", 0.02)] {
        write!(
            sql,
            "CREATE VIEW {schema}.slow AS SELECT 1 AS id, pg_sleep({seconds})::text AS slept; \
             GRANT SELECT ON {schema}.slow TO rowhouse_{schema}_anon;"
        )
        .unwrap();
    }
    superuser.batch_execute(&sql).await.unwrap();
    let backends = Backends::new(superuser).await;
    let end = Instant::now() + Duration::from_secs(3);
    let left = AtomicU32::new(0);
    let leaver = async |number: u32| {
        let mut turn = number;
        while Instant::now() < end {
            let mut stream = TcpStream::connect(street.edge().address()).await.unwrap();
            let request = b"GET /api/slow HTTP/1.1\r\nHost: cliente.localhost\r\n\r\n";
            stream.write_all(request).await.unwrap();
            turn += 7;
            sleep(Duration::from_millis((turn % 40).into())).await;
            left.fetch_add(1, Ordering::Relaxed);
        }
    };
    let stayer = async |_| {
        let (mut served, mut refused) = (0_u32, 0_u32);
        while Instant::now() < end {
            let reply = street.get("cliente2.localhost", "/api/slow").await;
            match reply.status {
                200 => served += 1,
                503 if reply.header("Retry-After").is_some() => refused += 1,
                _ => panic!("{reply:?}"),
            }
        }
        (served, refused)
    };
    let both = async { tokio::join!(join_all((0..40).map(leaver)), join_all((0..4).map(stayer))).1 };
    let stayed = tokio::select! {
        stayed = both => stayed,
        never = backends.never_exceed("rowhouse%", 8) => match never {},
    };
    let served: u32 = stayed.iter().map(|(served, _)| served).sum();
    let refused: u32 = stayed.iter().map(|(_, refused)| refused).sum();
    let left = left.into_inner();
    eprintln!("{left} left; {served} served beside them, {refused} refused");
    assert!(left > 200, "{left} clients that leave are no storm");
    assert!(
        served > 20 && refused * 10 <= served,
        "{served} served, {refused} refused"
    );
    until(
        Duration::from_secs(2) + SLACK,
        "the end of all that was left",
        async || backends.sleeping().await == 0,
    )
    .await;
    until(Duration::from_secs(2) + SLACK, "every slot coming back", async || {
        let status = street.status().await;
        let idle = ["cliente", "cliente2"].map(|tenant| status["tenants"][tenant]["idle"].as_i64().unwrap());
        let [in_use, shared] = ["in_use", "shared"].map(|what| status["clusters"]["main"][what].as_i64().unwrap());
        in_use == shared + idle.iter().sum::<i64>() && in_use == backends.count("rowhouse%").await
    })
    .await;
}

/// A way to a server that passes all on at once, but for what asks to cancel: that takes its time.
struct SlowCancels {
    dir: TempDir,
    cancels: Arc<AtomicU32>,
}

const DELAY: Duration = Duration::from_millis(400);

impl SlowCancels {
    fn start(to: &Path) -> Self {
        let dir = TempDir::new();
        let cancels = Arc::new(AtomicU32::new(0));
        let listener = UnixListener::bind(dir.path().join(".s.PGSQL.5432")).unwrap();
        let (to, counted) = (to.to_owned(), Arc::clone(&cancels));
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (to, counted) = (to.clone(), Arc::clone(&counted));
                tokio::spawn(async move { pass_on(client, &to, &counted).await.ok() });
            }
        });
        Self { dir, cancels }
    }
}

async fn pass_on(mut client: UnixStream, to: &Path, cancels: &AtomicU32) -> io::Result<()> {
    const CANCEL: [u8; 8] = [0, 0, 0, 16, 4, 210, 22, 46];
    let mut head = [0; 8];
    client.read_exact(&mut head).await?;
    if head == CANCEL {
        sleep(DELAY).await;
        cancels.fetch_add(1, Ordering::Relaxed);
    }
    let mut server = UnixStream::connect(to).await?;
    server.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// 1. Clients leave amid their statements, and what asks to cancel those is on its way for a long time.
/// 2. Others of the same tenant, on the few connections that it has, are never hit by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_comes_late_hits_nobody_else() {
    let dir = TempDir::new();
    let postgres = server_beside_the_edge(&dir).await;
    let socket = postgres.socket_dir().join(format!(".s.PGSQL.{}", postgres.port()));
    let relay = SlowCancels::start(&socket);
    let options = over_url(dir.path(), &postgres, migrate::EDGE_LOGIN, "[defaults]\npool_max = 4");
    let file = options.config_dir.join("rowhouse.toml");
    let escaped = |path: &Path| path.to_str().unwrap().replace('/', "%2F");
    let direct = format!("{}:{}", escaped(postgres.socket_dir()), postgres.port());
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&direct), "{text}");
    fs::write(
        &file,
        text.replace(&direct, &format!("{}:5432", escaped(relay.dir.path()))),
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let edge = Edge::start(options).await.unwrap();
    let superuser = connect(postgres.socket_dir(), "postgres", migrate::EMBEDDED_DATABASE).await;
    let sql = "CREATE VIEW cliente.slow AS SELECT 1 AS id, pg_sleep(0.1)::text AS slept; \
               GRANT SELECT ON cliente.slow TO rowhouse_cliente_anon";
    superuser.batch_execute(sql).await.unwrap();

    let end = Instant::now() + Duration::from_secs(3);
    let leaver = async |number: u64| {
        while Instant::now() < end {
            let mut stream = TcpStream::connect(edge.address()).await.unwrap();
            let request = b"GET /api/slow HTTP/1.1\r\nHost: cliente.localhost\r\n\r\n";
            stream.write_all(request).await.unwrap();
            sleep(Duration::from_millis(30 + 10 * number)).await;
        }
    };
    let stayer = async |_| {
        let mut served = 0_u32;
        while Instant::now() < end {
            let request = b"GET /api/slow HTTP/1.1\r\nHost: cliente.localhost\r\nConnection: close\r\n\r\n";
            let reply = raw(&edge, request).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            served += 1;
        }
        served
    };
    let (_, served) = tokio::join!(join_all((0..3).map(leaver)), join_all((0..4).map(stayer)));
    let served: u32 = served.iter().sum();
    until(DELAY + SLACK, "the last ones", async || {
        // The connections that were left are closed only when their statements have ended.
        relay.cancels.load(Ordering::Relaxed) > 10
    })
    .await;
    let cancels = relay.cancels.load(Ordering::Relaxed);
    eprintln!("{cancels} cancels, {served} served beside them");
    assert!(served > 20, "{served} served");
    assert!(edge.stop(Duration::from_secs(5)).await);
}
