//! A connection checked out for one request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bb8::PooledConnection;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::call::{Call, Done, Rows};
use super::error::Error;
use super::lane::Load;
use super::session::{Order, Patience, Session, Unrun};
use super::stream::Ran;
use super::tenant_pool::{Manager, TenantPool};

/// The average of how long leases take is over about so many.
const LEASES: u32 = 16;

/// Who is refused is not sent away for less, nor for longer.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(30);

/// A connection checked out for one request, or for those that share a lane.
///
/// [`finish`](Self::finish) gives it back. A lease that is dropped before that, because the client went away or the
/// request failed half-way, cancels what runs on its connection and closes it: it is clean or closed, never dirty.
pub struct Lease {
    connection: Option<Connection>,
    pool: Arc<TenantPool>,
    /// Calls on their way. One that is dropped stays among them.
    unanswered: AtomicU32,
    load: Load,
    since: Instant,
    _admission: OwnedSemaphorePermit,
}

enum Connection {
    Fresh(Session),
    Pooled(PooledConnection<'static, Manager>),
}

impl Connection {
    fn session(&self) -> &Session {
        match self {
            Self::Fresh(session) => session,
            Self::Pooled(connection) => connection,
        }
    }
}

impl Lease {
    pub(super) fn fresh(pool: Arc<TenantPool>, session: Session, admission: OwnedSemaphorePermit) -> Self {
        Self::new(pool, Connection::Fresh(session), admission)
    }

    pub(super) fn pooled(
        pool: Arc<TenantPool>,
        connection: PooledConnection<'static, Manager>,
        admission: OwnedSemaphorePermit,
    ) -> Self {
        Self::new(pool, Connection::Pooled(connection), admission)
    }

    fn new(pool: Arc<TenantPool>, connection: Connection, admission: OwnedSemaphorePermit) -> Self {
        Self {
            connection: Some(connection),
            pool,
            unanswered: AtomicU32::new(0),
            load: Load::default(),
            since: Instant::now(),
            _admission: admission,
        }
    }

    /// Runs `call` and hands its rows over, in server order, until `rows` breaks. It comes back with what it has taken.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] with what Postgres said, [`Error::Lost`] if the connection broke, [`Error::Deadline`].
    pub async fn run<R: Rows>(&mut self, call: &Call<'_>, rows: R) -> Result<(Done, R), Error> {
        let order = Order {
            call,
            guise: None,
            patience: Patience::alone(),
        };
        let ran = self.run_order(order, rows).await;
        ran.and_then(Ran::whole).map_err(Error::of_alone)
    }

    /// The same on a lane, or as a tenant's.
    pub(super) async fn run_order<R: Rows>(&self, order: Order<'_>, rows: R) -> Result<Ran<R>, Unrun> {
        let Some(connection) = &self.connection else {
            return Err(Error::Draining.into()); // only after `finish`, which takes the lease
        };
        self.unanswered.fetch_add(1, Ordering::AcqRel);
        let result = connection.session().run(order, rows).await;
        // Whatever Postgres reports leaves the session idle: outside a transaction by itself, inside because the
        // transaction was ended. A session that is in doubt has retired itself.
        if !matches!(result, Err(Unrun::Moved) | Ok(Ran::Paused(_))) {
            self.unanswered.fetch_sub(1, Ordering::AcqRel);
        }
        result
    }

    pub(super) fn session(&self) -> Option<&Session> {
        self.connection.as_ref().map(Connection::session)
    }

    /// Gives the connection back after a call that had paused, and is answered now.
    pub(super) fn finish_answered(self) {
        self.unanswered.fetch_sub(1, Ordering::AcqRel);
        self.finish();
    }

    /// The work that is on its way.
    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// A place on it has come free.
    pub(super) fn has_room(&self) {
        self.pool.has_room();
    }

    /// Whether another may send a batch behind those on their way.
    pub(super) fn takes_more(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| self.pool.takes_more(connection.session(), self.since))
    }

    /// Gives the connection back for the next request.
    pub fn finish(mut self) {
        self.release();
    }

    fn release(&mut self) {
        let connection = self.connection.take();
        if connection.is_some() {
            self.pool.has_held(self.since.elapsed());
        }
        match connection {
            Some(connection) if *self.unanswered.get_mut() > 0 || connection.session().is_retired() => {
                self.pool.cancel(connection.session());
                connection.session().retire();
            }
            Some(Connection::Fresh(session)) => self.pool.take_back(session),
            Some(Connection::Pooled(connection)) => self.pool.put_back(connection),
            None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

/// How long leases take, on average over the last few, in microseconds.
#[derive(Default)]
pub(super) struct Holds(AtomicU32);

impl Holds {
    /// One took so long. Two that end at once may count as one: it is an estimate.
    pub(super) fn learn(&self, time: Duration) {
        let mean = self.0.load(Ordering::Relaxed);
        let time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let next = mean - mean / LEASES + time / LEASES;
        self.0.store(if mean == 0 { time } else { next }, Ordering::Relaxed);
    }

    /// When those `ahead` will have had one of so many places: 1 to 30 s.
    pub(super) fn wait(&self, ahead: u32, places: u32) -> Duration {
        let mean = Duration::from_micros(self.0.load(Ordering::Relaxed).into());
        let wait = mean.saturating_mul(ahead) / places.max(1);
        wait.clamp(SOONEST, LATEST)
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("pool", &self.pool)
            .field("unanswered", &self.unanswered)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_that_of_those_ahead_within_limits() {
        let holds = Holds::default();
        assert_eq!(holds.wait(1000, 1), SOONEST, "nothing is known");
        holds.learn(Duration::from_millis(500));
        assert_eq!(holds.wait(16, 2), Duration::from_secs(4));
        assert_eq!(holds.wait(1, 2), SOONEST);
        assert_eq!(holds.wait(u32::MAX, 0), LATEST);
        for _ in 0..100 {
            holds.learn(Duration::from_millis(100));
        }
        let learned = holds.wait(16, 1);
        assert!(learned < Duration::from_secs(2), "{learned:?}");
        holds.learn(Duration::MAX);
    }
}
