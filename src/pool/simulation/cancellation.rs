//! Each way through the pool, dropped at each point where it waits: right there, and once more when it would have gone on,
//! with what it waited for in its hands. Nothing is left of it, and who comes next has their own answer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::server::Fate;
use super::*;

/// A future that is polled so often at most.
struct Polled<F> {
    future: Pin<Box<F>>,
    left: usize,
    /// Whether it is dropped when it is woken, or as soon as it waits.
    when_woken: bool,
}

impl<F: Future> Future for Polled<F> {
    /// None if it is dropped.
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        match self.future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 && !self.when_woken => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// What others do meanwhile.
type Others = JoinSet<()>;

/// Runs `call`, dropped at its first point, at its second, and so on, each time in a new world that was made ready for it;
/// up to the time that it comes to its end. It must have `least` such points.
fn is_dropped_everywhere(
    plan: &Plan,
    least: usize,
    ready: impl AsyncFn(&Arc<World>, &mut Others),
    call: impl AsyncFn(&Arc<World>, u64),
) {
    for when_woken in [false, true] {
        let mut polls = 0;
        while !is_dropped_after(polls, when_woken, plan, &ready, &call) {
            polls += 1;
        }
        assert!(polls >= least, "it waits {polls} times");
    }
}

/// Whether it came to its end before.
fn is_dropped_after(
    polls: usize,
    when_woken: bool,
    plan: &Plan,
    ready: &impl AsyncFn(&Arc<World>, &mut Others),
    call: &impl AsyncFn(&Arc<World>, u64),
) -> bool {
    on_paused_clock(async {
        let world = World::new(plan);
        world.pool(0);
        let mut others = Others::new();
        ready(&world, &mut others).await;
        let request = world.next_request();
        let polled = Polled {
            future: Box::pin(call(&world, request)),
            left: polls,
            when_woken,
        };
        let is_done = polled.await.is_some();
        if !is_done {
            world.server.is_left_by(request);
        }
        world.check();
        reads(&world, 0, "read a", Duration::from_micros(300)).await;
        writes(&world, world.next_request(), End::Commit).await;
        while let Some(other) = others.join_next().await {
            other.unwrap();
        }
        world.check();
        world.end().await;
        let violations = world.server.violations();
        assert!(violations.is_empty(), "after {polls} polls: {violations:#?}");
        is_done
    })
}

fn plan(budget: u32, tenants: usize, pool_max: u32, shares: bool) -> Plan {
    let tenant = TenantPlan {
        pool_max: NonZeroU32::new(pool_max).unwrap(),
        weight: NonZeroU32::MIN,
        kept: 0,
    };
    Plan {
        seed: 1,
        budget,
        shares,
        tenants: vec![tenant; tenants],
        latency: Duration::from_millis(2),
    }
}

/// A tenant with connections of its own.
fn alone() -> Plan {
    plan(4, 1, 4, false)
}

fn asked(world: &World, tenant: usize, sql: &str, time: Duration, rows: usize) -> Asked {
    Asked::new(tenant, world.next_request(), sql, time, rows, Fate::Good)
}

async fn runs(world: &World, asked: &Asked, access: Access<'_>) {
    let call = Call {
        statement: asked.step(),
        access,
    };
    let pool = world.pool(asked.tenant);
    let ran = pool.run(&world.pools, &call, || asked.rows(Takes::All), |_| {}).await;
    let (done, taken) = ran.unwrap();
    asked.check(&done, &taken).unwrap();
}

async fn reads(world: &World, tenant: usize, sql: &str, time: Duration) {
    let asked = asked(world, tenant, sql, time, 2);
    runs(world, &asked, Access::Read { settings: &[] }).await;
}

/// What is done must be so once, and what is dropped not more than that.
async fn writes(world: &World, request: u64, end: End) {
    let asked = Asked::new(0, request, "write a", MILLISECOND, 2, Fate::Good);
    runs(world, &asked, transaction(true, &[("app.a", "b")], end)).await;
    assert_eq!(world.server.committed(request), u32::from(end != End::Rollback));
}

/// A short read, so often that it is known to be one.
async fn learns(world: &World, sql: &str) {
    for _ in 0..3 {
        reads(world, 0, sql, Duration::from_micros(300)).await;
    }
}

fn read(world: &World, request: u64, sql: &str, time: Duration) -> (Asked, Arc<TenantPool>) {
    (Asked::new(0, request, sql, time, 2, Fate::Good), world.pool(0))
}

const MILLISECOND: Duration = Duration::from_millis(1);

async fn nothing(_: &Arc<World>, _: &mut Others) {}

async fn leases(world: &Arc<World>, request: u64) {
    let (asked, pool) = read(world, request, "lease a", MILLISECOND);
    let mut lease = pool.checkout(&world.pools).await.unwrap();
    let call = Call {
        statement: asked.step(),
        access: Access::Read { settings: &[] },
    };
    for _ in 0..2 {
        let (done, taken) = lease.run(&call, asked.rows(Takes::All)).await.unwrap();
        asked.check(&done, &taken).unwrap();
    }
    lease.finish();
}

#[test]
fn a_checkout_that_opens_a_connection() {
    is_dropped_everywhere(&alone(), 3, nothing, leases);
}

#[test]
fn a_checkout_of_an_idle_connection() {
    let ready = async |world: &Arc<World>, _: &mut Others| {
        reads(world, 0, "read b", MILLISECOND).await;
        assert_eq!(world.pool(0).state().idle, 1);
    };
    is_dropped_everywhere(&alone(), 2, ready, leases);
}

/// Has somebody hold a connection for 30 ms.
async fn is_held(world: &Arc<World>, others: &mut Others, tenant: usize) {
    let lease = world.pool(tenant).checkout(&world.pools).await.unwrap();
    others.spawn(async move {
        sleep(30 * MILLISECOND).await;
        lease.finish();
    });
}

#[test]
fn a_checkout_that_waits_for_a_slot() {
    let ready = async |world: &Arc<World>, others: &mut Others| is_held(world, others, 1).await;
    is_dropped_everywhere(&plan(1, 2, 4, false), 6, ready, leases);
}

#[test]
fn a_checkout_that_waits_for_its_tenants_turn() {
    let ready = async |world: &Arc<World>, others: &mut Others| is_held(world, others, 0).await;
    is_dropped_everywhere(&plan(4, 1, 1, false), 3, ready, leases);
}

#[test]
fn a_checkout_that_waits_for_another_to_open() {
    let ready = async |world: &Arc<World>, others: &mut Others| {
        let world = Arc::clone(world);
        others.spawn(async move { reads(&world, 0, "read c", 3 * MILLISECOND).await });
        tokio::task::yield_now().await;
    };
    is_dropped_everywhere(&alone(), 3, ready, leases);
}

#[test]
fn a_read_on_a_connection_for_itself() {
    let call = async |world: &Arc<World>, request| {
        let (asked, _) = read(world, request, "read new", MILLISECOND);
        runs(
            world,
            &asked,
            Access::Read {
                settings: &[("a.b", "c")],
            },
        )
        .await;
    };
    is_dropped_everywhere(&alone(), 2, nothing, call);
}

/// Somebody else's batch, on its way on the tenant's only lane.
async fn has_company(world: &Arc<World>, others: &mut Others, time: Duration) {
    learns(world, "read a").await;
    let world = Arc::clone(world);
    others.spawn(async move { reads(&world, 0, "read a", time).await });
    tokio::task::yield_now().await;
}

async fn reads_on_a_lane(world: &Arc<World>, request: u64) {
    let (asked, _) = read(world, request, "read a", Duration::from_micros(300));
    runs(
        world,
        &asked,
        Access::Read {
            settings: &[("a.b", "c")],
        },
    )
    .await;
}

#[test]
fn a_read_on_a_lane_behind_another() {
    let ready = async |world: &Arc<World>, others: &mut Others| has_company(world, others, MILLISECOND).await;
    is_dropped_everywhere(&alone(), 1, ready, reads_on_a_lane);
}

#[test]
fn a_transaction_on_a_lane_behind_another() {
    let ready = async |world: &Arc<World>, others: &mut Others| has_company(world, others, MILLISECOND).await;
    let call = async |world: &Arc<World>, request| {
        let (asked, _) = read(world, request, "read a", Duration::from_micros(300));
        runs(world, &asked, transaction(false, &[("a.b", "c")], End::Commit)).await;
    };
    is_dropped_everywhere(&alone(), 1, ready, call);
}

#[test]
fn a_read_that_moves_from_behind_a_long_one() {
    let ready = async |world: &Arc<World>, others: &mut Others| has_company(world, others, 300 * MILLISECOND).await;
    is_dropped_everywhere(&alone(), 4, ready, reads_on_a_lane);
}

#[test]
fn a_write_that_is_new_to_its_connection() {
    for (end, least) in [(End::Commit, 3), (End::CommitAfterRows, 4), (End::Rollback, 3)] {
        let call = async |world: &Arc<World>, request| writes(world, request, end).await;
        is_dropped_everywhere(&alone(), least, nothing, call);
    }
}

#[test]
fn a_write_that_its_connection_knows() {
    let ready = async |world: &Arc<World>, _: &mut Others| writes(world, world.next_request(), End::Commit).await;
    for (end, least) in [(End::Commit, 1), (End::CommitAfterRows, 2), (End::Rollback, 1)] {
        let call = async |world: &Arc<World>, request| writes(world, request, end).await;
        is_dropped_everywhere(&alone(), least, ready, call);
    }
}

async fn exports(world: &Arc<World>, request: u64) {
    let asked = Asked::new(0, request, "export a", MILLISECOND, 200, Fate::Good);
    let call = Call {
        statement: asked.step(),
        access: Access::Read { settings: &[] },
    };
    let pool = world.pool(0);
    let rows = || asked.rows(Takes::Pausing(70));
    let mut begun = pool.begin(&world.pools, &call, rows, |_| {}).await.unwrap();
    let mut pauses = 0;
    let (done, taken) = loop {
        match begun {
            Begun::Whole(done, taken) => break (done, taken),
            Begun::Running(running) => {
                pauses += 1;
                sleep(MILLISECOND).await;
                begun = running.go_on().await.unwrap();
            }
        }
    };
    assert_eq!(pauses, 2);
    asked.check(&done, &taken).unwrap();
}

#[test]
fn an_export_that_pauses() {
    is_dropped_everywhere(&alone(), 6, nothing, exports);
}

#[test]
fn an_export_that_was_taken_for_a_short_read() {
    let ready = async |world: &Arc<World>, _: &mut Others| learns(world, "export a").await;
    is_dropped_everywhere(&alone(), 4, ready, exports);
}

fn sharing() -> Plan {
    plan(8, 2, 4, true)
}

async fn runs_alike(world: &Arc<World>, request: u64) {
    let (asked, pool) = read(world, request, "alike a", MILLISECOND);
    let ran = pool
        .run_alike(&world.pools, asked.step(), &[], || asked.rows(Takes::All))
        .await;
    let (done, taken) = ran.unwrap();
    asked.check(&done, &taken).unwrap();
}

#[test]
fn a_read_that_is_alike_for_all() {
    is_dropped_everywhere(&sharing(), 2, nothing, runs_alike);
}

#[test]
fn a_catalog_that_is_read() {
    is_dropped_everywhere(&plan(8, 2, 4, false), 2, nothing, runs_alike);
}

/// 1. A catalog is read, and another. 2. The client of the second leaves before it is there. 3. The connection for catalogs,
///    which has planned for all, stays.
#[test]
fn a_client_that_leaves_costs_nobody_the_connection_for_catalogs() {
    on_paused_clock(async {
        let world = World::new(&plan(8, 2, 4, false));
        runs_alike(&world, world.next_request()).await;
        let opened = world.server.backends();
        let second = world.next_request();
        let left = timeout(MILLISECOND / 2, runs_alike(&world, second)).await;
        assert!(left.is_err(), "it was there");
        world.server.is_left_by(second);
        sleep(100 * MILLISECOND).await;
        assert_eq!(
            (opened, world.server.backends()),
            (2, 2),
            "with the tenant's own, opened ahead"
        );
        world.end().await;
        assert_eq!(world.server.violations(), Vec::<String>::new());
    });
}

#[test]
fn a_read_that_waits_for_a_shared_connection() {
    let ready = async |world: &Arc<World>, others: &mut Others| {
        let world = Arc::clone(world);
        others.spawn(async move {
            let request = world.next_request();
            runs_alike(&world, request).await;
        });
        tokio::task::yield_now().await;
    };
    is_dropped_everywhere(&sharing(), 2, ready, runs_alike);
}

#[test]
fn a_shared_read_behind_a_neighbours() {
    let ready = async |world: &Arc<World>, others: &mut Others| {
        learns(world, "read a").await;
        reads(world, 1, "read a", Duration::from_micros(300)).await;
        let world = Arc::clone(world);
        others.spawn(async move { reads(&world, 1, "read a", MILLISECOND).await });
        tokio::task::yield_now().await;
    };
    is_dropped_everywhere(&sharing(), 1, ready, reads_on_a_lane);
}

#[test]
fn a_read_whose_connection_dies() {
    let call = async |world: &Arc<World>, request| {
        let (asked, _) = read(world, request, "read new", 20 * MILLISECOND);
        let dies = async {
            while world.server.backends() == 0 {
                sleep(MILLISECOND).await;
            }
            sleep(10 * MILLISECOND).await;
            world.server.end_one(0);
        };
        tokio::join!(runs(world, &asked, Access::Read { settings: &[] }), dies);
    };
    is_dropped_everywhere(&alone(), 4, nothing, call);
}

#[test]
fn a_connection_for_onboarding() {
    let call = async |world: &Arc<World>, _| {
        let startup = Startup::new("admin");
        let admin = world
            .pools
            .admin(&world.cluster, &startup, CHECKOUT_TIMEOUT)
            .await
            .unwrap();
        sleep(MILLISECOND).await;
        drop(admin);
    };
    let ready = async |world: &Arc<World>, others: &mut Others| is_held(world, others, 1).await;
    is_dropped_everywhere(&plan(1, 2, 4, false), 6, ready, call);
}
