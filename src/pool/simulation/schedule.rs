//! Schedules made by chance: clients that come, ask for this and that and leave; servers that refuse; connections that die;
//! tenants that come and go. Each comes from a seed, and what is found is told as the shortest schedule that shows it.

use std::env;
use std::panic::resume_unwind;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::error::SqlState;

use super::server::{Fate, Fault};
use super::*;

/// Seeds that are tried each time. `ROWHOUSE_SEEDS=1000` tries so many, `ROWHOUSE_SEEDS=17..18` those.
const SEEDS: std::ops::Range<u64> = 0..40;

/// The longest statement where nothing goes wrong.
const LONGEST: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
struct Schedule {
    plan: Plan,
    /// What happens, and how long after what is before it, in microseconds.
    events: Vec<(u64, Event)>,
}

#[derive(Clone, Debug)]
enum Event {
    Ask(Ask),
    /// So many clients that ask again as soon as they are answered, for so long.
    Crowd {
        ask: Ask,
        clients: usize,
        millis: u64,
    },
    /// A connection for onboarding, held so long.
    Admin {
        tenant: usize,
        micros: u64,
    },
    /// A new generation of a tenant's configuration.
    Reload(usize),
    /// A tenant is removed.
    Remove(usize),
    /// A tenant's schema is gone, or there again.
    Schema {
        tenant: usize,
        gone: bool,
    },
    /// A backend is ended.
    End(usize),
    /// What becomes of the next connection that has no other fate yet.
    Fault(Fault),
}

#[derive(Clone, Debug)]
struct Ask {
    tenant: usize,
    how: How,
    /// Which of a few statements of its kind.
    statement: usize,
    micros: u64,
    rows: usize,
    fate: Fate,
    /// The client leaves then.
    leaves: Option<u64>,
    sets: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum How {
    Read,
    FirstRow,
    ReadTransaction,
    Alike,
    Export { pause: u64 },
    Write(End),
    Undone,
    Lease { calls: usize },
}

impl How {
    fn kind(self) -> &'static str {
        match self {
            Self::Read | Self::FirstRow | Self::ReadTransaction => "read",
            Self::Alike => "alike",
            Self::Export { .. } => "export",
            Self::Write(_) | Self::Undone => "write",
            Self::Lease { .. } => "lease",
        }
    }
}

/// Whether anything goes wrong but clients that leave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Weather {
    Calm,
    Rough,
}

fn schedule(weather: Weather) -> impl Strategy<Value = Schedule> {
    let tenant = (1_u32..6, 1_u32..4, 0_u32..2).prop_map(|(pool_max, weight, kept)| TenantPlan {
        pool_max: NonZeroU32::new(pool_max).unwrap(),
        weight: NonZeroU32::new(weight).unwrap(),
        kept,
    });
    let plan = (
        any::<u64>(),
        1_u32..9,
        any::<bool>(),
        prop::collection::vec(tenant, 1..8),
        100_u64..5_000,
    )
        .prop_map(|(seed, budget, shares, mut tenants, latency)| {
            // As the configuration demands: more cannot be kept than there is.
            let mut left = budget - 1;
            for tenant in &mut tenants {
                tenant.kept = tenant.kept.min(left);
                left -= tenant.kept;
            }
            Plan {
                seed,
                budget,
                shares,
                tenants,
                latency: Duration::from_micros(latency),
            }
        });
    // Times of one millisecond and less come in bursts.
    let delay = prop_oneof![3 => 0_u64..1, 6 => 0_u64..2_000, 2 => 0_u64..50_000];
    let events = prop::collection::vec((delay, event(weather)), 1..150);
    (plan, events).prop_map(|(plan, events)| Schedule { plan, events })
}

fn event(weather: Weather) -> BoxedStrategy<Event> {
    let tenant = || 0_usize..8;
    let asks = || ask(weather).prop_map(Event::Ask);
    let crowd = (ask(weather), 2_usize..12, 100_u64..600).prop_map(|(ask, clients, millis)| Event::Crowd {
        // Nobody of them leaves, and nothing is so short that it would never end.
        ask: Ask {
            micros: ask.micros.max(1_000),
            leaves: None,
            ..ask
        },
        clients,
        millis,
    });
    if weather == Weather::Calm {
        return prop_oneof![40 => asks(), 1 => crowd].boxed();
    }
    let fault = prop::sample::select(vec![
        Fault::Unreachable,
        Fault::Full,
        Fault::StartingUp,
        Fault::NoSuchRole,
        Fault::Silent,
        Fault::Closes,
        Fault::Elsewhere,
    ]);
    prop_oneof![
        80 => asks(),
        1 => crowd,
        2 => (tenant(), 0_u64..100_000).prop_map(|(tenant, micros)| Event::Admin { tenant, micros }),
        4 => tenant().prop_map(Event::Reload),
        2 => tenant().prop_map(Event::Remove),
        2 => (tenant(), any::<bool>()).prop_map(|(tenant, gone)| Event::Schema { tenant, gone }),
        4 => any::<usize>().prop_map(Event::End),
        6 => fault.prop_map(Event::Fault),
    ]
    .boxed()
}

fn ask(weather: Weather) -> impl Strategy<Value = Ask> {
    let longest = u64::try_from(LONGEST.as_micros()).unwrap();
    let how = prop_oneof![
        10 => Just(How::Read),
        1 => Just(How::FirstRow),
        3 => Just(How::ReadTransaction),
        1 => Just(How::Alike),
        1 => (0_u64..5_000).prop_map(|pause| How::Export { pause }),
        2 => prop::sample::select(vec![End::Commit, End::CommitAfterRows, End::Rollback]).prop_map(How::Write),
        1 => Just(How::Undone),
        1 => (0_usize..4).prop_map(|calls| How::Lease { calls }),
    ];
    let micros = match weather {
        Weather::Calm => prop_oneof![12 => 20_u64..1_500, 2 => 1_500_u64..20_000, 1 => 20_000..longest].boxed(),
        Weather::Rough => prop_oneof![12 => 20_u64..1_500, 2 => 1_500_u64..50_000, 1 => 50_000_u64..1_500_000].boxed(),
    };
    let fate = match weather {
        Weather::Calm => prop_oneof![20 => Just(Fate::Good), 1 => Just(Fate::Fails)].boxed(),
        Weather::Rough => prop_oneof![
            20 => Just(Fate::Good),
            2 => Just(Fate::Fails),
            1 => Just(Fate::Forgets),
            1 => Just(Fate::Dies),
            1 => Just(Fate::DiesCommitted),
        ]
        .boxed(),
    };
    let leaves = prop_oneof![8 => Just(None), 2 => (0_u64..3_000).prop_map(Some), 1 => (0_u64..100_000).prop_map(Some)];
    (
        0_usize..8,
        how,
        0_usize..3,
        micros,
        0_usize..12,
        fate,
        leaves,
        any::<bool>(),
    )
        .prop_map(|(tenant, how, statement, micros, rows, fate, leaves, sets)| Ask {
            tenant,
            how,
            statement,
            micros,
            // One that never pauses might be taken for a short read.
            rows: if how.kind() == "export" { rows + 3 } else { rows },
            // Each to whom it can happen.
            fate: match (how, fate) {
                (How::Lease { .. }, Fate::Forgets) => Fate::Opens,
                (_, fate) => fate,
            },
            leaves,
            sets,
        })
}

/// What may happen to requests in a schedule, by what is in it.
#[derive(Clone, Copy, Default)]
struct Perils {
    connections_die: bool,
    connecting_fails: bool,
    tenants_go: bool,
}

impl Schedule {
    fn perils(&self) -> Perils {
        let mut perils = Perils::default();
        for (_, event) in &self.events {
            match event {
                Event::Ask(ask) | Event::Crowd { ask, .. } => {
                    perils.connections_die |= matches!(ask.fate, Fate::Dies | Fate::DiesCommitted);
                }
                Event::End(_) => {
                    perils.connections_die = true;
                    perils.connecting_fails = true;
                }
                Event::Fault(_) | Event::Schema { gone: true, .. } => perils.connecting_fails = true,
                Event::Reload(_) | Event::Remove(_) => perils.tenants_go = true,
                Event::Admin { .. } | Event::Schema { .. } => {}
            }
        }
        perils
    }

    /// What has gone on, and what should not have.
    fn run(&self) -> (Vec<String>, Vec<String>) {
        on_paused_clock(async {
            let world = World::new(&self.plan);
            let mut clients = JoinSet::new();
            clients.spawn(watch(Arc::clone(&world), self.perils()));
            for (delay, event) in &self.events {
                sleep(Duration::from_micros(*delay)).await;
                self.happen(&world, &mut clients, event);
            }
            // Whoever has not been told by then never is.
            let last = Instant::now() + Duration::from_secs(60);
            while clients.len() > 1 {
                match timeout_at(last, clients.join_next()).await {
                    Ok(Some(Ok(()))) => {}
                    Ok(Some(Err(panicked))) => resume_unwind(panicked.into_panic()),
                    Ok(None) => break,
                    Err(_) => {
                        world.server.violated(format!("{} wait for ever", clients.len() - 1));
                        break;
                    }
                }
            }
            clients.shutdown().await;
            world.end().await;
            (world.server.trace(), world.server.violations())
        })
    }

    fn happen(&self, world: &Arc<World>, clients: &mut JoinSet<()>, event: &Event) {
        let tenants = self.plan.tenants.len();
        match event {
            Event::Ask(ask) => {
                let mut ask = ask.clone();
                ask.tenant %= tenants;
                clients.spawn(client(Arc::clone(world), ask, self.perils()));
            }
            Event::Crowd {
                ask,
                clients: many,
                millis,
            } => {
                let mut ask = ask.clone();
                ask.tenant %= tenants;
                let end = Instant::now() + Duration::from_millis(*millis);
                for _ in 0..*many {
                    let (world, ask, perils) = (Arc::clone(world), ask.clone(), self.perils());
                    clients.spawn(async move {
                        while Instant::now() < end {
                            client(Arc::clone(&world), ask.clone(), perils).await;
                            // What is refused is refused at once.
                            sleep(Duration::from_micros(100)).await;
                        }
                    });
                }
            }
            Event::Admin { tenant, micros } => {
                let (world, micros) = (Arc::clone(world), *micros);
                let role = World::name(tenant % tenants).parse().unwrap();
                clients.spawn(async move {
                    let startup = Startup::new("admin").role(&role);
                    if let Ok(admin) = world.pools.admin(&world.cluster, &startup, CHECKOUT_TIMEOUT).await {
                        sleep(Duration::from_micros(micros)).await;
                        drop(admin);
                    }
                });
            }
            Event::Reload(tenant) => {
                world.generations[tenant % tenants].fetch_add(1, Ordering::Relaxed);
                world.pool(tenant % tenants);
            }
            Event::Remove(tenant) => world.pools.remove(&World::id(tenant % tenants)),
            Event::Schema { tenant, gone } => world.server.lose_schema(&World::name(tenant % tenants), *gone),
            Event::End(which) => world.server.end_one(*which),
            Event::Fault(fault) => world.server.will(*fault),
        }
    }
}

/// Asks once, and says what is wrong with the answer.
async fn client(world: Arc<World>, ask: Ask, perils: Perils) {
    let request = world.next_request();
    let name = ["a", "b", "c"][ask.statement];
    let asked = Asked::new(
        ask.tenant,
        request,
        &format!("{} {name}", ask.how.kind()),
        Duration::from_micros(ask.micros),
        ask.rows,
        ask.fate,
    );
    let answer = answer(&world, &ask, &asked);
    let answer = match ask.leaves {
        Some(leaves) => timeout(Duration::from_micros(leaves), answer).await.ok(),
        None => Some(answer.await),
    };
    let Some(answer) = answer else {
        world.server.is_left_by(request);
        return;
    };
    let committed = world.server.committed(request);
    let commits = matches!(ask.how, How::Write(End::Commit | End::CommitAfterRows));
    let wrong = match &answer {
        Ok(()) if committed != u32::from(commits) => Some(format!("was committed {committed} times")),
        Ok(()) => None,
        Err(Wrong::Answer(wrong)) => Some(wrong.clone()),
        // It may have been committed before its connection was lost, but not twice.
        Err(Wrong::Failed(_)) if committed > u32::from(commits) => Some("was committed nevertheless".to_owned()),
        Err(Wrong::Failed(error)) if !may_fail(&ask, perils, error) => Some(format!("{error:?}")),
        Err(Wrong::Failed(_)) => None,
    };
    if let Some(wrong) = wrong {
        world.server.violated(format!("request {request}, {ask:?}: {wrong}"));
    }
}

/// Why a client has no good answer.
enum Wrong {
    Failed(Error),
    Answer(String),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

async fn answer(world: &World, ask: &Ask, asked: &Asked) -> Result<(), Wrong> {
    let pool = world.pool(ask.tenant);
    let settings: &[(&str, &str)] = if ask.sets { &[("app.asks", "x")] } else { &[] };
    let call = Call {
        statement: asked.step(),
        access: match ask.how {
            How::ReadTransaction => transaction(false, settings, End::Commit),
            How::Write(end) => transaction(true, settings, end),
            How::Undone => transaction(true, settings, End::CommitAfterRows),
            _ => Access::Read { settings },
        },
    };
    let takes = match ask.how {
        How::FirstRow => Takes::First,
        How::Export { .. } => Takes::Pausing(3),
        _ => Takes::All,
    };
    let rows = || Taken {
        finishes: ask.how != How::Undone,
        ..asked.rows(takes)
    };
    let check = |done: &Done, taken: &Taken| asked.check(done, taken).map_err(Wrong::Answer);
    match ask.how {
        How::Lease { calls } => {
            let mut lease = pool.checkout(&world.pools).await?;
            for _ in 0..calls {
                let (done, taken) = lease.run(&call, rows()).await?;
                check(&done, &taken)?;
            }
            lease.finish();
        }
        How::Alike => {
            let (done, taken) = pool.run_alike(&world.pools, call.statement, &[], rows).await?;
            check(&done, &taken)?;
        }
        How::Export { pause } => {
            let mut begun = pool.begin(&world.pools, &call, rows, |_| {}).await?;
            let (done, taken) = loop {
                match begun {
                    Begun::Whole(done, taken) => break (done, taken),
                    Begun::Running(running) => {
                        sleep(Duration::from_micros(pause)).await;
                        begun = running.go_on().await?;
                    }
                }
            };
            check(&done, &taken)?;
        }
        _ => {
            let (done, taken) = pool.run(&world.pools, &call, rows, |_| {}).await?;
            check(&done, &taken)?;
        }
    }
    Ok(())
}

/// Whether a request may be told this.
fn may_fail(ask: &Ask, perils: Perils, error: &Error) -> bool {
    let exports = match ask.how {
        How::Export { pause } => pause * ask.rows as u64,
        _ => 0,
    };
    let is_long = Duration::from_micros(ask.micros + exports) + Duration::from_millis(20) >= STATEMENT_TIMEOUT;
    match error {
        Error::TenantQueueFull { .. } | Error::ClusterSaturated { .. } => true,
        Error::ConnectTimeout { .. } => true,
        Error::ClusterDown { .. } | Error::Refused { .. } | Error::Unverified { .. } => perils.connecting_fails,
        Error::Draining => perils.tenants_go,
        Error::Database(error) => match *error.code() {
            SqlState::DIVISION_BY_ZERO => ask.fate == Fate::Fails,
            SqlState::QUERY_CANCELED => is_long,
            SqlState::ADMIN_SHUTDOWN => perils.connections_die,
            // All statements were forgotten while it ran, so that it cannot be told whether it did.
            SqlState::INVALID_SQL_STATEMENT_NAME => ask.fate == Fate::Forgets,
            _ => false,
        },
        Error::Lost(_) => perils.connections_die,
        Error::Deadline(_) => is_long,
    }
}

/// Looks every millisecond: I1 and I2, and, where nothing goes wrong, I4. Who holds less than its share and waits does so no
/// longer than those who hold more take to end what they do.
async fn watch(world: Arc<World>, perils: Perils) {
    let is_calm = !perils.connections_die && !perils.connecting_fails && !perils.tenants_go;
    // A statement has to end, its backend to close and another to come up; with others' turns in between.
    let patience = 3 * (LONGEST + 3 * world.plan.latency) + 2 * LOOK_AROUND;
    let mut poor_since: Vec<Option<Instant>> = vec![None; world.plan.tenants.len()];
    loop {
        world.check();
        if is_calm {
            let holders = lock(&world.holders).clone();
            let active = holders.iter().filter(|(_, holder)| holder.held() > 0 || holder.waits());
            let weight: u32 = active.map(|(_, holder)| holder.weight()).sum();
            let share = |holder: &Holder| {
                (world.plan.budget * holder.weight() / weight.max(1))
                    .max(holder.kept())
                    .max(1)
            };
            let others_have_more = holders.iter().any(|(_, holder)| holder.held() > share(holder));
            for (tenant, holder) in &holders {
                let Some(tenant) = *tenant else { continue };
                let is_poor = others_have_more && holder.waits() && holder.held() < share(holder);
                let since = &mut poor_since[tenant];
                *since = is_poor.then(|| since.unwrap_or_else(Instant::now));
                if since.is_some_and(|since| since.elapsed() > patience) {
                    let held = holder.held();
                    world.server.violated(format!(
                        "tenant {tenant} holds {held} and has waited for {patience:?}, while others hold more than their share"
                    ));
                    return;
                }
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = env::var("ROWHOUSE_SEEDS") else {
        return SEEDS;
    };
    let number = |text: &str| text.trim().parse().expect("ROWHOUSE_SEEDS is a number or a range");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

fn runner(seed: u64) -> TestRunner {
    let config = Config {
        cases: 1,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        max_shrink_time: 20_000, // milliseconds
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn try_all(weather: Weather) {
    for seed in seeds() {
        let result = runner(seed).run(&schedule(weather), |schedule| {
            let (trace, violations) = schedule.run();
            match violations.is_empty() {
                true => Ok(()),
                false => Err(TestCaseError::fail([violations, trace].concat().join("\n"))),
            }
        });
        let failure = result.err().map(|error| match error {
            TestError::Fail(reason, schedule) => format!("{reason}\n{schedule:#?}"),
            TestError::Abort(reason) => reason.to_string(),
        });
        assert!(failure.is_none(), "seed {seed}:\n{}", failure.unwrap_or_default());
    }
}

/// Clients come, ask and leave.
#[test]
fn every_tenant_has_its_share_whatever_the_others_do() {
    try_all(Weather::Calm);
}

/// The same while servers refuse and connections die, and tenants come and go.
#[test]
fn nothing_is_lost_or_mixed_up_whatever_goes_wrong() {
    try_all(Weather::Rough);
}

/// Else a failure could not be looked into.
#[test]
fn a_seed_goes_the_same_way_each_time() {
    let mut happened = 0;
    for (weather, seed) in [
        (Weather::Calm, 1),
        (Weather::Calm, 2),
        (Weather::Rough, 1),
        (Weather::Rough, 2),
    ] {
        let schedule = schedule(weather).new_tree(&mut runner(seed)).unwrap().current();
        let (first, _) = schedule.run();
        assert_eq!(first, schedule.run().0);
        happened += first.len();
    }
    assert!(happened > 40, "{happened} statements");
}
