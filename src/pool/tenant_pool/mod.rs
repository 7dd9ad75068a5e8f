//! The pool of one tenant: who may pass, the idle connections (bb8), and how a new one is opened. `run.rs` has what runs on
//! them, and where.

mod run;

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bb8::{ManageConnection, Pool, PooledConnection, QueueStrategy};
use futures_util::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_postgres::error::SqlState;

use crate::types::{RoleName, SchemaName};

use super::breaker::{Breaker, Shut};
use super::budget::{Holder, Slot};
use super::cluster::{Cluster, with_causes};
use super::connect::{NOWHERE, Startup};
use super::error::Error;
use super::lane::{Costs, Lanes, SPAN};
use super::lease::{Holds, Lease};
use super::session::Session;
use super::shared::Identity;
use super::{LOOK_AROUND, Pools, chance, cores};

/// A connection is not kept for ever: server memory grows with the catalog entries it has touched.
/// Each ends up to a tenth earlier, by chance, so that those opened together do not end together.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// The longest delay of a probe while Postgres refuses the tenant's settings: somebody has to mend those.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// Requests that may wait behind a full pool, per permitted connection. Beyond that an early refusal is kinder.
const QUEUE_PER_CONNECTION: u32 = 16;

/// The same for those that tenants share: there are many tenants.
const QUEUE_PER_SHARED: u32 = 1024;

/// Short calls of a tenant that are on their way at once, for each core: more would be answered no sooner, but everybody
/// else's would stand in line behind them, in this process and in Postgres.
const SHORT_PER_CORE: usize = 32;

/// Those that may wait until it is their turn. They are short, so that they get on; each has a client's connection.
pub(super) const SHORT_WAITING: u32 = 1024;

/// A connection that was needed within this time is about to be needed again: it is not evicted, unless the tenant holds
/// more than its share.
const QUIET: Duration = Duration::from_millis(20);

/// A connection that was not needed for so long may go to a tenant that holds more.
const ASLEEP: Duration = Duration::from_secs(1);

/// What the connections of one tenant are opened with, and how many there may be.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The endpoint, with its budget.
    pub cluster: Arc<Cluster>,
    /// Where unqualified names must resolve first; if none, only Postgres' own resolve. Verified once per connection.
    pub schema: Option<SchemaName>,
    /// The role that everything runs as, verified once per connection; none for the login itself.
    pub role: Option<RoleName>,
    /// Search path, role and timeouts.
    pub startup: Startup,
    /// How connections that tenants share become this one's, for its reads too if it has a role there; none if its statements run
    /// on its own alone.
    pub shared: Option<Identity>,
    /// The most connections of this tenant, and so the most requests it runs at once on its own.
    pub pool_max: NonZeroU32,
    /// As how many tenants it counts where slots are short.
    pub weight: NonZeroU32,
    /// Slots that no other tenant takes from it, and once they are promised to it, none has.
    pub kept: u32,
    /// The longest wait for the tenant's turn and for a slot. Opening a connection may take 5 s more.
    pub checkout_timeout: Duration,
    /// The `statement_timeout` that `startup` sets; the edge gives up a little later.
    pub statement_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
}

/// A pool's figures at one moment.
#[derive(Clone, Copy, Debug)]
pub struct PoolState {
    /// Connections there are: in use, idle, opening or closing.
    pub held: u32,
    /// Connections nobody uses.
    pub idle: u32,
    /// Requests that wait for one.
    pub waiting: u32,
}

/// The pool of one tenant, or the one that a cluster's tenants share. While nobody asks, it opens nothing and runs nothing.
pub struct TenantPool {
    generation: u64,
    spec: Spec,
    admission: Arc<Semaphore>,
    queued: AtomicU32,
    /// Short calls may be on their way as long as there are permits.
    turns: Semaphore,
    waiting_turns: AtomicU32,
    holder: Arc<Holder>,
    /// Who opens a connection has its one permit.
    opening: Arc<Semaphore>,
    /// Open while Postgres refuses the tenant's own settings.
    settings: Breaker,
    holds: Holds,
    created: Instant,
    /// When a connection last came back, in milliseconds after `created`.
    returned_at: AtomicU64,
    returned: Notify,
    lanes: Lanes,
    costs: Costs,
    /// Requests that look for a place on a lane, or for a connection.
    seeking: AtomicU32,
    /// A place on a lane has come free while somebody was seeking.
    room: Notify,
    /// Its reads on shared connections.
    on_shared: AtomicU32,
    /// Sets its statements on shared connections apart.
    number: u64,
    closed: AtomicBool,
    idle: Pool<Manager>,
}

impl TenantPool {
    /// An empty pool.
    pub(super) fn new(generation: u64, spec: Spec) -> Arc<Self> {
        // bb8 stores and checks connections; it never opens, reaps or queues here (`Manager::connect`, module page).
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let idle = Pool::builder()
            .max_size(spec.pool_max.get().saturating_mul(2))
            .min_idle(None)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_on_check_out(true)
            .retry_connection(false)
            .queue_strategy(QueueStrategy::Lifo)
            .build_unchecked(Manager);
        Arc::new(Self {
            generation,
            // More than the whole budget could never run; fewer in line for it means less to hand over.
            admission: Arc::new(Semaphore::new(spec.pool_max.get().min(spec.cluster.budget()) as usize)),
            queued: AtomicU32::new(0),
            turns: Semaphore::new(short_at_once()),
            waiting_turns: AtomicU32::new(0),
            holder: Arc::new(Holder::new(spec.weight, spec.kept)),
            opening: Arc::new(Semaphore::new(1)),
            settings: Breaker::new(LONGEST_DELAY),
            holds: Holds::default(),
            created: Instant::now(),
            returned_at: AtomicU64::new(0),
            returned: Notify::new(),
            lanes: Lanes::default(),
            costs: Costs::default(),
            seeking: AtomicU32::new(0),
            room: Notify::new(),
            on_shared: AtomicU32::new(0),
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            closed: AtomicBool::new(false),
            idle,
            spec,
        })
    }

    /// The generation of the configuration that it was made for.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The figures of this moment.
    #[must_use]
    pub fn state(&self) -> PoolState {
        PoolState {
            held: self.holder.held(),
            idle: self.idle.state().idle_connections,
            waiting: self.queued.load(Ordering::Relaxed) + self.waiting_turns.load(Ordering::Relaxed),
        }
    }

    /// Whether its connections are those that tenants share.
    fn is_shared(&self) -> bool {
        self.spec.schema.is_none()
    }

    /// A connection for one request. Waits at most the tenant's `checkout_timeout` for its turn and for a slot; opening a
    /// connection, if none is idle, may take 5 s more.
    ///
    /// `pools` is where idle connections of other tenants are found when the budget is used up. Dropping the future
    /// leaves every line and leaks nothing; a connection that was being opened is kept for the next request.
    ///
    /// # Errors
    ///
    /// [`Error::TenantQueueFull`], [`Error::ClusterSaturated`], [`Error::ClusterDown`], [`Error::ConnectTimeout`],
    /// [`Error::Refused`], [`Error::Unverified`] or [`Error::Draining`].
    pub async fn checkout(self: &Arc<Self>, pools: &Pools) -> Result<Lease, Error> {
        self.checkout_until(self.deadline(), pools).await
    }

    /// When who asks now has waited for long enough.
    fn deadline(&self) -> Instant {
        Instant::now() + self.spec.checkout_timeout
    }

    async fn checkout_until(self: &Arc<Self>, deadline: Instant, pools: &Pools) -> Result<Lease, Error> {
        let found = self.found(deadline, pools).await?;
        self.lease(found).await
    }

    /// The tenant's turn, with an idle connection or a slot for a new one.
    async fn found(self: &Arc<Self>, deadline: Instant, pools: &Pools) -> Result<(OwnedSemaphorePermit, Found), Error> {
        let admission = self.admit(deadline).await?;
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Draining);
        }
        if let Some(connection) = self.try_idle() {
            return Ok((admission, Found::Idle(connection)));
        }
        // Who has connections in use may get one of those. For the others no neighbour's is closed in vain.
        if self.holder.held() == 0 {
            if let Some(down) = self.spec.cluster.is_down() {
                return Err(down);
            }
            if let Some(shut) = self.settings.refuses(Duration::ZERO) {
                return Err(refused(&shut));
            }
        }
        Ok((admission, self.wait(pools, deadline).await?))
    }

    /// What was found, as a lease: a connection is opened in a slot.
    async fn lease(self: &Arc<Self>, (admission, found): (OwnedSemaphorePermit, Found)) -> Result<Lease, Error> {
        Ok(match found {
            Found::Idle(connection) => Lease::pooled(Arc::clone(self), connection, admission),
            Found::Slot(slot, opening) => Lease::fresh(Arc::clone(self), self.open(slot, opening).await?, admission),
        })
    }

    /// Opens a connection, in a task of its own: if who asked for it has gone, it is there for the next one, and its slot
    /// is not free before its backend is gone.
    async fn open(self: &Arc<Self>, slot: Slot, opening: OwnedSemaphorePermit) -> Result<Session, Error> {
        self.start_opening(slot, opening).await.unwrap_or(Err(Error::Draining))
    }

    fn start_opening(
        self: &Arc<Self>,
        slot: Slot,
        opening: OwnedSemaphorePermit,
    ) -> oneshot::Receiver<Result<Session, Error>> {
        let (opened, session) = oneshot::channel();
        let pool = Arc::clone(self);
        self.spec.cluster.spawn(async move {
            let result = pool.connect(slot).await;
            if let Err(Ok(session)) = opened.send(result) {
                pool.take_back(session);
            }
            // Last: who opens the next one looks for an idle one first.
            drop(opening);
        });
        session
    }

    /// Has a connection opened for who will need one soon, if the tenant has none and there is a slot. Does not wait.
    fn open_ahead(self: &Arc<Self>) {
        let is_known_to_fail =
            || self.spec.cluster.is_down().is_some() || self.settings.refuses(Duration::ZERO).is_some();
        if self.holder.held() > 0 || self.is_closed() || is_known_to_fail() {
            return;
        }
        if let Ok(opening) = Arc::clone(&self.opening).try_acquire_owned()
            && let Some(slot) = self.spec.cluster.slots().free_slot(&self.holder)
        {
            drop(self.start_opening(slot, opening));
        }
    }

    /// Waits until fewer than `pool_max` requests of the tenant run. First come, first served.
    async fn admit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(permit) = Arc::clone(&self.admission).try_acquire_owned() {
            return Ok(permit);
        }
        let pool_max = self.spec.pool_max.get();
        let most = match self.is_shared() {
            true => QUEUE_PER_SHARED,
            false => QUEUE_PER_CONNECTION,
        };
        let Some(_queued) = Queued::join(&self.queued, pool_max.saturating_mul(most)) else {
            return Err(self.full());
        };
        match timeout_at(deadline, Arc::clone(&self.admission).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Error::Draining),
            // Those in front have waited for no statement, but for a connection that does not come.
            Err(_) if self.opening.available_permits() == 0 => {
                Err(self.spec.cluster.too_slow(self.spec.checkout_timeout))
            }
            Err(_) => Err(self.full()),
        }
    }

    /// That all its places are taken, and when the line will have moved.
    fn full(&self) -> Error {
        let pool_max = self.spec.pool_max.get();
        let places = pool_max.min(self.spec.cluster.budget());
        let retry_after = self.holds.wait(self.queued.load(Ordering::Relaxed), places);
        match self.is_shared() {
            true => Error::ClusterSaturated {
                budget: self.spec.cluster.budget(),
                retry_after,
            },
            false => Error::TenantQueueFull {
                most: pool_max,
                retry_after,
            },
        }
    }

    /// A lease has ended that took so long.
    pub(super) fn has_held(&self, time: Duration) {
        self.holds.learn(time);
        self.spec.cluster.holds().learn(time);
    }

    /// An idle connection, without waiting.
    fn try_idle(&self) -> Option<PooledConnection<'static, Manager>> {
        // bb8 would try to open a connection if there were none, so ask first. Losing the race costs one refused try.
        if self.idle.state().idle_connections == 0 {
            return None;
        }
        self.idle.get_owned().now_or_never()?.ok()
    }

    /// Waits for a slot of the budget, or for a connection of this tenant to come back, whichever is first.
    async fn wait(&self, pools: &Pools, deadline: Instant) -> Result<Found, Error> {
        let slots = self.spec.cluster.slots();
        let saturated = || self.spec.cluster.saturated();
        let in_line = AtomicBool::new(false);
        let slot = async {
            // One at a time: the next one often finds the first one's connection free before its own would be open.
            let opening = Arc::clone(&self.opening).acquire_owned().await;
            let opening = opening.map_err(|_| Error::Draining)?;
            in_line.store(true, Ordering::Relaxed);
            if let Some(connection) = self.try_idle() {
                return Ok(Found::Idle(connection));
            }
            let slot = slots.slot(&self.holder).await.ok_or_else(saturated)?;
            Ok(Found::Slot(slot, opening))
        };
        tokio::pin!(slot);
        let look_around = sleep(Duration::ZERO);
        tokio::pin!(look_around);
        loop {
            tokio::select! {
                biased; // which of them is looked at first makes no difference but to simulations
                found = &mut slot => return found,
                () = self.returned.notified() => {}
                () = &mut look_around => {
                    pools.evict_idle(&self.spec.cluster, &self.holder);
                    look_around.as_mut().reset(Instant::now() + LOOK_AROUND);
                }
                () = sleep_until(deadline) => {
                    return Err(match in_line.load(Ordering::Relaxed) {
                        true => saturated(),
                        // The connection that another request opens is not coming either.
                        false => self.spec.cluster.too_slow(self.spec.checkout_timeout),
                    });
                }
            }
            if let Some(connection) = self.try_idle() {
                return Ok(Found::Idle(connection));
            }
        }
    }

    /// Opens a connection, unless Postgres has refused the tenant's settings a moment ago.
    async fn connect(&self, slot: Slot) -> Result<Session, Error> {
        let attempt = self.settings.ask().map_err(|shut| refused(&shut))?;
        let connected = self.connect_verified(slot).await;
        match &connected {
            Ok(_) => attempt.succeeded(),
            Err(error @ (Error::Refused { .. } | Error::Unverified { .. })) => attempt.failed(&with_causes(error)),
            Err(_) => return connected, // nothing is known of the settings
        }
        connected.map_err(|error| error.retried_after(self.settings.retry_after()))
    }

    /// Opens a connection and asks once where it has come out. Anything else than asked for: closed, refused.
    async fn connect_verified(&self, slot: Slot) -> Result<Session, Error> {
        let connection = self.spec.cluster.connect(&self.spec.startup, slot).await?;
        let session = Session::new(connection, self.spec.statement_timeout, lifetime(chance()));
        // A missing schema in `search_path` is skipped by Postgres without a word, and the shared tables would answer
        // in its place; and some minor releases ignored `role` at startup (CVE-2024-10978's first fix).
        let wanted = self
            .spec
            .role
            .as_ref()
            .map_or_else(|| self.spec.cluster.login(), RoleName::as_str);
        let (schema, role) = match session.whereabouts().await {
            Err(Error::Database(error)) if error.code() == &SqlState::INSUFFICIENT_PRIVILEGE => {
                (None, wanted.to_owned())
            }
            found => found?,
        };
        let wanted_schema = self.spec.schema.as_ref().map_or(NOWHERE, SchemaName::as_str);
        if schema.as_deref() != Some(wanted_schema) || role != wanted {
            return Err(Error::Unverified {
                schema: wanted_schema.into(),
                found_schema: schema,
                role: wanted.into(),
                found_role: role,
                retry_after: Duration::ZERO,
            });
        }
        Ok(session)
    }

    /// Stops a statement that nobody waits for any more.
    pub(super) fn cancel(&self, session: &Session) {
        self.spec.cluster.cancel(session.cancel_key(), session.watch());
    }

    /// Takes a connection back: to the idle ones, or to its end.
    pub(super) fn take_back(&self, mut session: Session) {
        if self.must_close(&session) {
            return;
        }
        session.set_idle();
        if self.idle.add(session).is_ok() {
            self.has_returned();
        }
    }

    /// The same for a connection that bb8 knows.
    pub(super) fn put_back(&self, mut connection: PooledConnection<'static, Manager>) {
        if self.must_close(&connection) {
            connection.retire();
        }
        connection.set_idle();
        drop(connection);
        self.has_returned();
    }

    fn has_returned(&self) {
        let now = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.returned_at.store(now, Ordering::Relaxed);
        self.returned.notify_one();
    }

    /// A place on a lane has come free.
    pub(super) fn has_room(&self) {
        if self.seeking.load(Ordering::Relaxed) > 0 {
            self.room.notify_one();
        }
    }

    /// Whether a connection in use can serve more than those who use it.
    pub(super) fn takes_more(&self, session: &Session, used_since: Instant) -> bool {
        // The clock is read only where somebody waits: this is asked for every request.
        let rotates = self.queued.load(Ordering::Relaxed) > 0 && used_since.elapsed() >= SPAN;
        let slots = self.spec.cluster.slots();
        session.is_usable() && !self.is_closed() && !rotates && !slots.would_take_back(&self.holder, || session.age())
    }

    /// Whether a connection that comes back has to make room for others.
    fn must_close(&self, session: &Session) -> bool {
        !session.is_usable() || self.is_closed() || self.spec.cluster.slots().takes_back(&self.holder, || session.age())
    }

    /// Closes one idle connection, if there is one.
    pub(super) fn evict_one(&self) -> bool {
        match self.try_idle() {
            Some(connection) => {
                connection.retire();
                true
            }
            None => false,
        }
    }

    /// Closes the connections that have been idle for too long. Synchronous: for a few microseconds they are not there,
    /// and a request in that moment opens one more.
    pub(super) fn close_stale(&self) {
        let idle: Vec<_> = std::iter::from_fn(|| self.try_idle()).collect();
        // Put back in the opposite order, so that the one used last is again the first to be used.
        for connection in idle.into_iter().rev() {
            if connection.idle() >= self.spec.idle_timeout {
                connection.retire();
            }
        }
    }

    /// Has the budget hold back what is kept for the tenant, until the pool is closed.
    pub(crate) fn keep(&self) {
        self.spec.cluster.slots().promise(&self.holder);
    }

    /// Whether it does.
    pub(super) fn is_kept(&self) -> bool {
        self.holder.is_promised()
    }

    /// Takes on nothing new and closes what is idle.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.spec.cluster.slots().withdraw(&self.holder);
        while self.evict_one() {}
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How well an idle connection of this tenant can be spared for who `asks`, if there is one: what it holds, and for how
    /// long it has needed none.
    pub(super) fn evictable(&self, cluster: &Cluster, asks: &Holder) -> Option<(u64, Duration)> {
        let here = std::ptr::eq(&raw const *self.spec.cluster, cluster);
        // One for catalogs is kept from those who wait while there are catalogs to read, and no longer.
        let is_for_catalogs = self.is_shared() && !cluster.shares_reads();
        let spares_none = self.holder.spares_none() && !is_for_catalogs;
        if !here || spares_none || self.idle.state().idle_connections == 0 {
            return None;
        }
        let returned = Duration::from_millis(self.returned_at.load(Ordering::Relaxed));
        let quiet = self.created.elapsed().saturating_sub(returned);
        let full = self.holder.full();
        let spares = match full > asks.full() {
            true => quiet >= QUIET || cluster.slots().has_surplus(&self.holder),
            false => quiet >= ASLEEP,
        };
        spares.then_some((full, quiet))
    }

    #[cfg(test)]
    pub(super) fn holder(&self) -> &Arc<Holder> {
        &self.holder
    }

    /// Whether nothing would be lost with it. A request may get hold of it in this moment, by its tenant's weak reference:
    /// then it lives on unlisted until its last lease ends, within the budget as ever.
    pub(super) fn is_dispensable(self: &Arc<Self>) -> bool {
        self.holder.held() == 0 && Arc::strong_count(self) == 1 && !self.is_kept()
    }
}

impl fmt::Debug for TenantPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TenantPool")
            .field("schema", &self.spec.schema)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Short calls of a tenant that are on their way at once.
pub(super) fn short_at_once() -> usize {
    SHORT_PER_CORE * cores()
}

fn lifetime(chance: f64) -> Duration {
    LIFETIME - (LIFETIME / 10).mul_f64(chance)
}

/// What a request is told that comes before the settings are tried again.
fn refused(shut: &Shut) -> Error {
    Error::Refused {
        source: shut.reason.as_ref().into(),
        retry_after: shut.retry_after,
    }
}

enum Found {
    Idle(PooledConnection<'static, Manager>),
    /// A slot, and that no other request of the tenant opens a connection meanwhile.
    Slot(Slot, OwnedSemaphorePermit),
}

/// One place in a bounded line.
struct Queued<'a>(&'a AtomicU32);

impl<'a> Queued<'a> {
    fn join(counter: &'a AtomicU32, max: u32) -> Option<Self> {
        let queued = Self(counter);
        // Counted first and taken back by `drop` if it was one too many: no moment in which two pass as the last.
        (counter.fetch_add(1, Ordering::AcqRel) < max).then_some(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What bb8 needs to know of our connections: nothing of it does I/O.
pub(super) struct Manager;

/// Why bb8 did not get a connection out of us.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It wanted to open one by itself. Connections are opened by the request that needs one, which sees the error and
    /// owns the slot.
    NotByItself,
    /// One of its idle connections has ended.
    Unusable,
}

impl ManageConnection for Manager {
    type Connection = Session;
    type Error = Refusal;

    fn connect(&self) -> impl Future<Output = Result<Session, Refusal>> + Send {
        std::future::ready(Err(Refusal::NotByItself))
    }

    fn is_valid(&self, session: &mut Session) -> impl Future<Output = Result<(), Refusal>> + Send {
        std::future::ready(if session.is_usable() {
            Ok(())
        } else {
            Err(Refusal::Unusable)
        })
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        !session.is_usable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_lives_for_27_to_30_minutes() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!((lifetime(0.0), lifetime(1.0)), (minutes(30), minutes(27)));
        assert_ne!(lifetime(chance()), lifetime(chance()));
    }
}
