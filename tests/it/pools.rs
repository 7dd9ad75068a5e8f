//! What tenants share: a budget of connections that is never exceeded, and in which no tenant takes another's turn.

#![expect(clippy::panic, reason = "a failed test says what it met")]

use std::fmt::Write as _;
use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use rowhouse::pool;
use rowhouse::pool::{Access, Call, Credentials, End, Fold, Pools, Row, Spec, Startup, Step, TenantPool, Transaction};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use crate::support::{Cluster, EXAMPLE, Street, until};

/// The edge's backends as the server counts them, but for the one that listens to notifications.
async fn backends(superuser: &Client) -> i64 {
    const COUNT: &str = "SELECT count(*) FROM pg_stat_activity \
        WHERE usename LIKE 'rowhouse%' AND application_name <> 'rowhouse/notices'";
    superuser.query_one(COUNT, &[]).await.unwrap().get(0)
}

/// A view of cliente's that takes `seconds` to read. Made before the first request, which loads the catalog.
async fn make_slow(superuser: &Client, seconds: f32) {
    let sql = format!(
        "CREATE VIEW cliente.slow AS SELECT 1 AS id, pg_sleep({seconds})::text AS slept; \
         GRANT SELECT ON cliente.slow TO rowhouse_cliente_anon"
    );
    superuser.batch_execute(&sql).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_tenants_share_a_budget_of_four() {
    const TENANTS: usize = 10;
    let mut tenants = String::new();
    for n in 0..TENANTS {
        writeln!(tenants, "[tenants.t{n}]\nhosts = [\"t{n}.localhost\"]").unwrap();
    }
    let street = Street::with_budget(4, "", &tenants).await;
    let superuser = street.superuser().await;
    let end = Instant::now() + Duration::from_secs(2);
    let client = async |tenant: usize| {
        let (mut served, mut refused) = (0_u32, 0_u32);
        while Instant::now() < end {
            let reply = street.get(&format!("t{tenant}.localhost"), "/api/mylist?limit=1").await;
            match reply.status {
                200 => served += 1,
                503 if reply.header("Retry-After").is_some() => refused += 1,
                _ => panic!("{reply:?}"),
            }
        }
        (tenant, served, refused)
    };
    let sampler = async {
        let (mut most, mut samples) = (0, 0);
        while Instant::now() < end {
            most = backends(&superuser).await.max(most);
            samples += 1;
            sleep(Duration::from_millis(3)).await;
        }
        (most, samples)
    };
    let clients = join_all((0..3 * TENANTS).map(|number| client(number % TENANTS)));
    let (answers, (most, samples)) = tokio::join!(clients, sampler);

    let mut served = [0; TENANTS];
    let mut refused = 0;
    for (tenant, ok, no) in answers {
        served[tenant] += ok;
        refused += no;
    }
    assert!(samples > 20, "{samples} samples prove nothing");
    assert!(most <= 4, "{most} backends with a budget of 4");
    assert!(
        served.iter().all(|&count| count > 0),
        "a tenant was never served: {served:?}"
    );
    let total: u32 = served.iter().sum();
    assert!(refused * 10 <= total, "{refused} refused, {total} served: {served:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_delays_no_other_tenant() {
    let street = Street::start("[defaults]\npool_max = 2", EXAMPLE).await;
    let superuser = street.superuser().await;
    make_slow(&superuser, 0.3).await;
    assert_eq!(street.get("cliente2.localhost", "/api/mylist").await.status, 200);
    let slow = join_all((0..60).map(|_| street.get("cliente.localhost", "/api/slow")));
    let neighbour = async {
        let mut longest = Duration::ZERO;
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            let asked = Instant::now();
            let reply = street.get("cliente2.localhost", "/api/mylist").await;
            assert_eq!(reply.status, 200, "{reply:?}");
            longest = longest.max(asked.elapsed());
            sleep(Duration::from_millis(5)).await;
        }
        longest
    };
    let (slow, longest) = tokio::join!(slow, neighbour);
    assert!(longest < Duration::from_millis(250), "a neighbour waited {longest:?}");
    let served = slow.iter().filter(|reply| reply.status == 200).count();
    assert!(served >= 2, "{slow:?}");
    let refused: Vec<_> = slow.iter().filter(|reply| reply.status != 200).collect();
    assert!(
        !refused.is_empty(),
        "sixty requests fitted into a line of two and thirty-two"
    );
    for reply in refused {
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (503, "tenant_queue_full"),
            "{reply:?}"
        );
        assert!(reply.header("Retry-After").is_some(), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_takes_its_query_with_it() {
    let street = Street::start("[defaults]\npool_max = 2\nstatement_timeout = \"20s\"", EXAMPLE).await;
    let superuser = street.superuser().await;
    make_slow(&superuser, 15.0).await;
    let sleeping = async || {
        const COUNT: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        superuser.query_one(COUNT, &[]).await.unwrap().get::<_, i64>(0)
    };
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(street.edge().address()).await.unwrap();
        let request = b"GET /api/slow HTTP/1.1\r\nHost: cliente.localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        clients.push(stream);
    }
    let limit = Duration::from_secs(5);
    until(limit, "both queries running", async || sleeping().await == 2).await;
    drop(clients);
    until(Duration::from_secs(2), "the cancel of both queries", async || {
        sleeping().await == 0
    })
    .await;
    // Both of the pool's places are free again, and what is kept is clean.
    for _ in 0..20 {
        let reply = street.get("cliente.localhost", "/api/mylist").await;
        assert_eq!((reply.status, reply.body.as_str()), (200, "[]"), "{reply:?}");
    }
    until(limit, "every slot coming back", async || {
        let status = street.status().await;
        let cliente = &status["tenants"]["cliente"];
        cliente["connections"] == cliente["idle"]
            && cliente["waiting"] == 0
            && status["clusters"]["main"]["in_use"] == backends(&superuser).await
    })
    .await;
}

/// `cliente` and `cliente2` with these keys of their own, each with a view that takes so long to read.
async fn two_with_slow_views(budget: u32, one: (&str, f32), two: (&str, f32)) -> (Street, Client) {
    let defaults = "[defaults]\npool_max = 8\nstatement_timeout = \"30s\"\ncheckout_timeout = \"20s\"";
    let street = Street::with_budget(budget, defaults, &two_tenants(one.0, two.0)).await;
    let superuser = street.superuser().await;
    for (schema, seconds) in [("cliente", one.1), ("cliente2", two.1)] {
        let sql = format!(
            "CREATE VIEW {schema}.slow AS SELECT 1 AS id, pg_sleep({seconds})::text AS slept; \
             GRANT SELECT ON {schema}.slow TO rowhouse_{schema}_anon"
        );
        superuser.batch_execute(&sql).await.unwrap();
    }
    (street, superuser)
}

fn two_tenants(one: &str, two: &str) -> String {
    format!(
        "[tenants.cliente]\nhosts = [\"cliente.localhost\"]\n{one}\n\
         [tenants.cliente2]\nhosts = [\"cliente2.localhost\"]\n{two}\n"
    )
}

/// The backends of both, as the server counts them.
async fn backends_of_both(superuser: &Client) -> [i64; 2] {
    const COUNT: &str = "SELECT count(*) FILTER (WHERE usename = 'rowhouse_cliente_login'), \
        count(*) FILTER (WHERE usename = 'rowhouse_cliente2_login') FROM pg_stat_activity";
    let row = superuser.query_one(COUNT, &[]).await.unwrap();
    [row.get(0), row.get(1)]
}

/// 1. A tenant holds all of the budget that it can get, and wants more.
/// 2. Another has never been asked anything; three of the connections are its own all the same, at once.
/// 3. Its file says so no more: now they are for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_keeps_is_there_while_others_hold_the_rest() {
    let (street, superuser) = two_with_slow_views(8, ("", 3.0), ("pool_min = 3", 0.5)).await;
    let hog = join_all((0..60).map(|_| street.get("cliente.localhost", "/api/slow")));
    let others = async {
        let limit = Duration::from_secs(10);
        until(limit, "the rest being held", async || {
            backends_of_both(&superuser).await == [5, 0]
        })
        .await;
        sleep(Duration::from_millis(200)).await;
        assert_eq!(backends_of_both(&superuser).await, [5, 0], "it took what another keeps");
        let asked = Instant::now();
        let all_at_once = async {
            until(limit, "three at once", async || {
                backends_of_both(&superuser).await == [5, 3]
            })
            .await;
        };
        let asking = join_all((0..3).map(|_| street.get("cliente2.localhost", "/api/slow")));
        let (replies, ()) = tokio::join!(asking, all_at_once);
        for reply in replies {
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(4), "it waited {took:?} for what it keeps");

        street.write("example.toml", &two_tenants("", ""));
        until(limit, "the others having them", async || {
            backends_of_both(&superuser).await == [8, 0]
        })
        .await;
    };
    tokio::select! {
        _ = hog => panic!("twenty seconds have passed"),
        () = others => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_the_weight_is_three_times_the_connections() {
    let (street, superuser) = two_with_slow_views(8, ("weight = 3", 0.03), ("weight = 1", 0.03)).await;
    let begin = Instant::now() + Duration::from_secs(1);
    let end = begin + Duration::from_secs(2);
    let client = async |host: &str| {
        let mut served = 0_u32;
        while Instant::now() < end {
            let reply = street.get(host, "/api/slow").await;
            assert_eq!(reply.status, 200, "{reply:?}");
            served += u32::from(Instant::now() > begin);
        }
        served
    };
    let clients = async |host| join_all((0..16).map(|_| client(host))).await.into_iter().sum::<u32>();
    let sampler = async {
        let mut sum = [0, 0];
        while Instant::now() < end {
            let [one, two] = backends_of_both(&superuser).await;
            assert!(one + two <= 8, "{one} and {two} backends with a budget of 8");
            if Instant::now() > begin {
                sum = [sum[0] + one, sum[1] + two];
            }
            sleep(Duration::from_millis(5)).await;
        }
        sum
    };
    let (one, two, [held, held2]) = tokio::join!(clients("cliente.localhost"), clients("cliente2.localhost"), sampler);
    assert!(held > 2 * held2 && held < 4 * held2, "{held} to {held2} connections");
    assert!(one > 2 * two && one < 5 * two, "{one} to {two} answers");
}

#[tokio::test]
async fn idle_connections_close_after_their_time() {
    let street = Street::start("[defaults]\nidle_timeout = \"1s\"", EXAMPLE).await;
    let superuser = street.superuser().await;
    assert_eq!(street.get("cliente.localhost", "/api/mylist").await.status, 200);
    let used = Instant::now();
    let open = async || backends_of_both(&superuser).await[0];
    assert!(open().await >= 1, "the connection was not kept at all");
    until(Duration::from_secs(4), "closing an idle connection", async || {
        open().await == 0
    })
    .await;
    assert!(
        used.elapsed() >= Duration::from_millis(900),
        "closed after {:?}",
        used.elapsed()
    );
    assert_eq!(street.get("cliente.localhost", "/api/mylist").await.status, 200);
}

/// Two hundred requests in turn meet a schema that does not exist: Postgres is asked a few times, and everybody is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misconfigured_tenant_is_tried_now_and_then() {
    const SESSIONS: &str = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()";
    let keys = "managed = false\nanonymous_role = \"nobodys_anon\"";
    let tenants = format!("[tenants.gone]\nhosts = [\"gone.localhost\"]\n{keys}");
    let street = Street::with_cluster("budget = 20\nshared_reads = false", "", &tenants).await;
    let superuser = street.superuser().await;
    let sql = "CREATE ROLE nobodys_anon; GRANT nobodys_anon TO rowhouse_edge";
    superuser.batch_execute(sql).await.unwrap();
    let sessions = async || superuser.query_one(SESSIONS, &[]).await.unwrap().get::<_, i64>(0);
    let before = sessions().await;
    for _ in 0..200 {
        let reply = street.get("gone.localhost", "/api/own").await;
        assert_eq!(
            (reply.status, &*reply.code()),
            (503, "tenant_misconfigured"),
            "{reply:?}"
        );
    }
    sleep(Duration::from_secs(1)).await; // the statistics of a backend are written when it ends
    let tried = sessions().await - before;
    assert!(tried < 40, "{tried} backends for 200 requests");
}

/// A pool of at most two connections over a server of its own.
fn pool_of_two(cluster: &Cluster) -> (Pools, Arc<TenantPool>) {
    let endpoint = Arc::new(cluster.endpoint());
    let cluster = pool::Cluster::new(
        "main".parse().unwrap(),
        (*endpoint).clone(),
        None,
        Credentials::Shared,
        2,
        false,
        TaskTracker::new(),
    );
    let pools = Pools::new();
    let schema: rowhouse::types::SchemaName = "public".parse().unwrap();
    let spec = || Spec {
        cluster,
        startup: Startup::new("dropped").search_path([&schema]),
        schema: Some(schema),
        role: None,
        shared: None,
        pool_max: NonZeroU32::new(2).unwrap(),
        weight: NonZeroU32::MIN,
        kept: 0,
        checkout_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(60),
    };
    let pool = pools.of(&"dropped".parse().unwrap(), 1, spec);
    (pools, pool)
}

/// Polls `future` so many times, with time between for what it waits for, and drops it. Whether it was done before.
async fn polled(future: impl Future, times: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..times {
        if poll_fn(|context| Poll::Ready(future.as_mut().poll(context)))
            .await
            .is_ready()
        {
            return true;
        }
        sleep(Duration::from_micros(300)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_at_any_point_leaks_nothing() {
    let cluster = Cluster::start();
    let (pools, pool) = pool_of_two(&cluster);
    let read: Arc<str> = "SELECT $1::text".into();
    let write: Arc<str> = "SELECT pg_catalog.pg_notify('nobody', $1)".into();
    let params = [Some("seven".into())];
    let take = |found: &mut String, row: Row<'_>| {
        *found = String::from_utf8(row.values().next().flatten().unwrap_or_default().to_vec()).unwrap();
    };
    let rows = || Fold::new(String::new(), take);
    let settings = [("app.one", "two")];
    let calls = [
        Call {
            statement: Step {
                sql: &read,
                params: &params,
            },
            access: Access::Read { settings: &settings },
        },
        Call {
            statement: Step {
                sql: &write,
                params: &params,
            },
            access: Access::Transaction(Transaction {
                writes: true,
                isolation: None,
                settings: &settings,
                before: &[],
                after: &[],
                end: End::CommitAfterRows,
            }),
        },
    ];
    for call in &calls {
        let mut done = 0;
        let mut times = 0;
        // On, until it was done in time so often that there is no further point to drop it at.
        while done < 10 {
            // Two at once, so that a lane has somebody else on it.
            let (one, two) = tokio::join!(
                polled(pool.run(&pools, call, rows, |_| {}), times),
                polled(pool.run(&pools, call, rows, |_| {}), times / 2)
            );
            done += usize::from(one) + usize::from(two);
            times += 1;
            let (_, rows) = pool.run(&pools, &calls[0], rows, |_| {}).await.unwrap();
            assert_eq!(rows.state, "seven", "after {times} polls");
        }
        assert!(times > 3, "it was done at once, which shows nothing");
    }
    until(Duration::from_secs(5), "every connection coming back", async || {
        let state = pool.state();
        state.held == state.idle && state.held <= 2 && state.waiting == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_comes_into_anothers_transaction() {
    let cluster = Cluster::start();
    let (pools, pool) = pool_of_two(&cluster);
    let take = |found: &mut String, row: Row<'_>| {
        *found = String::from_utf8(row.values().next().flatten().unwrap_or_default().to_vec()).unwrap();
    };
    let run = async |sql: &str| {
        let call = Call {
            statement: Step {
                sql: &sql.into(),
                params: &[],
            },
            access: Access::Read { settings: &[] },
        };
        let (_, rows) = pool
            .run(&pools, &call, || Fold::new(String::new(), take), |_| {})
            .await
            .unwrap();
        rows.state
    };
    let who = "SELECT pg_catalog.pg_backend_pid()::text";
    let first = run(who).await;
    assert_eq!(run(who).await, first, "an idle connection is used again");
    run("BEGIN").await;
    assert_ne!(run(who).await, first, "it is in a transaction");
}
