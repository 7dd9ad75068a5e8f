//! The whole pool against a Postgres that is played (`server.rs`), on a clock that passes by itself: what is tried here in
//! a second is minutes of traffic, and the same each time.
//!
//! `schedule.rs` has schedules made by chance, and what must hold whatever they are; `cancellation.rs` drops each kind of
//! call at each point where it can be.

mod cancellation;
mod schedule;
mod server;
mod statements;
mod turns;

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::runtime;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::types::TenantId;

use super::budget::Holder;
use super::*;
use server::{LOGIN, STATEMENT_TIMEOUT, Server};

/// What a client waits for its turn.
const CHECKOUT_TIMEOUT: Duration = Duration::from_secs(2);

thread_local! {
    /// Who plays Postgres for the clusters of this thread. All tasks of a simulation are on it.
    static PLAYED: RefCell<Option<Arc<Server>>> = const { RefCell::new(None) };
}

/// A socket to who plays Postgres on this thread, if anybody does.
pub(super) fn socket() -> Option<io::Result<DuplexStream>> {
    PLAYED.with_borrow(|server| server.as_ref().map(Server::accept))
}

/// A number from 0 to 1 that is the same each time a simulation runs, if one does.
pub(super) fn chance() -> Option<f64> {
    PLAYED.with_borrow(|server| server.as_ref().map(|server| server.chance()))
}

/// Runs it on one thread, and on a clock that passes by itself.
fn on_paused_clock<F: Future>(future: F) -> F::Output {
    let mut builder = runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

/// What a world is made of.
#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    budget: u32,
    /// Whether tenants share connections for short reads.
    shares: bool,
    tenants: Vec<TenantPlan>,
    /// The longest that a backend takes to come up, and to end.
    latency: Duration,
}

impl Plan {
    /// A tenant that may have the whole budget.
    fn of_one(budget: u32) -> Self {
        let tenant = TenantPlan {
            pool_max: NonZeroU32::new(budget).unwrap(),
            weight: NonZeroU32::MIN,
            kept: 0,
        };
        Self {
            seed: 1,
            budget,
            shares: false,
            tenants: vec![tenant],
            latency: Duration::from_millis(1),
        }
    }
}

#[derive(Clone, Debug)]
struct TenantPlan {
    pool_max: NonZeroU32,
    weight: NonZeroU32,
    kept: u32,
}

/// A cluster with its pools and its tenants, and the server that it takes for Postgres.
struct World {
    plan: Plan,
    server: Arc<Server>,
    tasks: TaskTracker,
    cluster: Arc<Cluster>,
    pools: Pools,
    stop: CancellationToken,
    /// The generation of each tenant's configuration.
    generations: Vec<AtomicU64>,
    /// Whatever ever held slots, and whose it was: a tenant's, or nobody's.
    holders: Mutex<Vec<(Option<usize>, Arc<Holder>)>>,
    requests: AtomicU64,
}

impl Drop for World {
    fn drop(&mut self) {
        PLAYED.take();
    }
}

impl World {
    fn new(plan: &Plan) -> Arc<Self> {
        let server = Server::new(plan.seed, plan.budget, plan.latency);
        PLAYED.set(Some(Arc::clone(&server)));
        let tasks = TaskTracker::new();
        let mut endpoint = tokio_postgres::Config::new();
        endpoint.host("played").user(LOGIN);
        let cluster = Cluster::new(
            "played".parse().unwrap(),
            endpoint,
            None,
            Credentials::Shared,
            plan.budget,
            plan.shares,
            tasks.clone(),
        );
        let world = Arc::new(Self {
            server,
            cluster,
            pools: Pools::new(),
            stop: CancellationToken::new(),
            generations: plan.tenants.iter().map(|_| AtomicU64::new(1)).collect(),
            holders: Mutex::default(),
            requests: AtomicU64::new(0),
            plan: plan.clone(),
            tasks,
        });
        let janitor = Arc::clone(&world);
        world
            .tasks
            .spawn(async move { janitor.pools.janitor(janitor.stop.clone()).await });
        world
    }

    fn name(tenant: usize) -> String {
        format!("t{tenant}")
    }

    fn id(tenant: usize) -> TenantId {
        Self::name(tenant).parse().unwrap()
    }

    fn pool(&self, tenant: usize) -> Arc<TenantPool> {
        let generation = self.generations[tenant].load(Ordering::Relaxed);
        let pool = self.pools.of(&Self::id(tenant), generation, || self.spec(tenant));
        self.knows(Some(tenant), pool.holder());
        if let Some(shared) = self.pools.shared(&self.cluster) {
            self.knows(None, shared.holder());
        }
        pool
    }

    fn knows(&self, tenant: Option<usize>, holder: &Arc<Holder>) {
        let mut holders = lock(&self.holders);
        if !holders.iter().any(|(_, known)| Arc::ptr_eq(known, holder)) {
            holders.push((tenant, Arc::clone(holder)));
        }
    }

    fn spec(&self, tenant: usize) -> Spec {
        let plan = &self.plan.tenants[tenant];
        let schema = Self::name(tenant).parse().unwrap();
        let role = Self::name(tenant).parse().unwrap();
        Spec {
            cluster: Arc::clone(&self.cluster),
            startup: Startup::new("t").search_path([&schema]).role(&role),
            shared: Some(Identity::new(
                [&schema].into_iter(),
                Some(&role),
                STATEMENT_TIMEOUT,
                STATEMENT_TIMEOUT,
            )),
            schema: Some(schema),
            role: Some(role),
            pool_max: plan.pool_max,
            weight: plan.weight,
            kept: plan.kept,
            checkout_timeout: CHECKOUT_TIMEOUT,
            statement_timeout: STATEMENT_TIMEOUT,
            idle_timeout: Duration::from_secs(5),
        }
    }

    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// I1 and I2: slots are neither lost nor made up, and there is a slot for each backend.
    fn check(&self) {
        let backends = self.server.backends();
        let taken = self.cluster.slots().taken();
        let held: u32 = lock(&self.holders).iter().map(|(_, holder)| holder.held()).sum();
        if taken > self.plan.budget || held > taken || backends > taken as usize {
            self.server.violated(format!(
                "{backends} backends, {held} slots held, {taken} taken, with a budget of {}",
                self.plan.budget
            ));
        }
    }

    /// I7: when all is over, nothing is left.
    async fn end(&self) {
        self.stop.cancel();
        self.pools.close();
        self.tasks.close();
        if timeout(Duration::from_secs(60), self.tasks.wait()).await.is_err() {
            self.server.violated(format!("{} tasks are left", self.tasks.len()));
        }
        if timeout(Duration::from_secs(60), self.server.quiet()).await.is_err() {
            self.server.violated("somebody talks to the server still".to_owned());
        }
        let (taken, backends) = (self.cluster.slots().taken(), self.server.backends());
        let held: u32 = lock(&self.holders).iter().map(|(_, holder)| holder.held()).sum();
        let waiting = lock(&self.holders).iter().filter(|(_, holder)| holder.waits()).count();
        let waiting = waiting + self.cluster.state().waiting;
        if (taken, backends, held, waiting) != (0, 0, 0, 0) {
            self.server.violated(format!(
                "at the end {taken} slots are taken, {held} held, {backends} backends open, {waiting} wait"
            ));
        }
    }
}

/// What a client asks for, in the words of the played server.
#[derive(Clone, Debug)]
struct Asked {
    tenant: usize,
    request: u64,
    sql: Arc<str>,
    params: Vec<Option<Cow<'static, str>>>,
    rows: usize,
}

impl Asked {
    fn new(tenant: usize, request: u64, sql: &str, time: Duration, rows: usize, fate: server::Fate) -> Self {
        let params = [
            World::name(tenant),
            request.to_string(),
            time.as_micros().to_string(),
            rows.to_string(),
            fate.text().to_owned(),
        ];
        Self {
            tenant,
            request,
            sql: sql.into(),
            params: params.into_iter().map(|param| Some(param.into())).collect(),
            rows,
        }
    }

    fn step(&self) -> Step<'_> {
        Step {
            sql: &self.sql,
            params: &self.params,
        }
    }

    fn rows(&self, takes: Takes) -> Taken {
        Taken {
            tenant: World::name(self.tenant),
            request: self.request.to_string(),
            takes,
            alone: false,
            wish: Wish::Nothing,
            rows: 0,
            wrong: None,
            finishes: true,
        }
    }

    /// What is wrong with an answer that is said to be good.
    fn check(&self, done: &Done, taken: &Taken) -> Result<(), String> {
        let request = self.request;
        if let Some(wrong) = &taken.wrong {
            return Err(format!("request {request}: {wrong}"));
        }
        if !done.stopped && (taken.rows != self.rows || done.affected != self.rows as u64) {
            return Err(format!("request {request}: {} rows of {}", taken.rows, self.rows));
        }
        Ok(())
    }
}

/// How rows are taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Takes {
    All,
    /// No more than the first.
    First,
    /// Every so many it pauses, on a connection that it has alone.
    Pausing(usize),
}

/// Takes rows, and sees whether they are its own.
#[derive(Debug)]
struct Taken {
    tenant: String,
    request: String,
    takes: Takes,
    alone: bool,
    wish: Wish,
    rows: usize,
    wrong: Option<String>,
    /// Whether it has the transaction committed.
    finishes: bool,
}

impl Rows for Taken {
    fn row(&mut self, row: Row<'_>) -> ControlFlow<()> {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        let values: Vec<String> = row.values().take(3).map(text).collect();
        if values != [&*self.tenant, &*self.request, &*self.rows.to_string()] {
            self.wrong
                .get_or_insert_with(|| format!("row {}: {values:?}", self.rows));
        }
        self.rows += 1;
        self.wish = match self.takes {
            Takes::First => Wish::Nothing,
            Takes::Pausing(every) if self.rows.is_multiple_of(every) => match self.alone {
                true => Wish::Later,
                false => Wish::Alone,
            },
            _ => return ControlFlow::Continue(()),
        };
        ControlFlow::Break(())
    }

    fn alone(&mut self) {
        self.alone = true;
    }

    fn wish(&self) -> Wish {
        self.wish
    }

    fn finish(&mut self, _: &Done) -> ControlFlow<()> {
        match self.finishes {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }
}

/// A transaction that ends so.
fn transaction<'a>(writes: bool, settings: &'a [(&'a str, &'a str)], end: End) -> Access<'a> {
    Access::Transaction(Transaction {
        writes,
        isolation: None,
        settings,
        before: &[],
        after: &[],
        end,
    })
}
