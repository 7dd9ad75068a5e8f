//! Where a call runs: on a lane of the tenant's own or of shared connections, or on a connection for itself.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};

use super::{Queued, SHORT_WAITING, TenantPool, short_at_once};
use crate::pool::Pools;
use crate::pool::call::{Access, Call, Done, Rows, Step, Wish};
use crate::pool::error::Error;
use crate::pool::lane::{BUSY, Costs, FULL, Place};
use crate::pool::lease::Lease;
use crate::pool::session::{DEADLINE_SLACK, Guise, Order, Patience, Unrun};
use crate::pool::stream::{Begun, Ran, Running};

/// Reads of a tenant that run on shared connections at once: more have connections of its own, so that nobody else waits
/// behind them.
const SHARED_AT_ONCE: u32 = 16;

/// What is alike for all takes no longer than this on a connection that all wait for, and waits for no tenant's locks: what does
/// is run on the tenant's own.
const SHORTLY: &[(&str, &str)] = &[("lock_timeout", "20ms"), ("statement_timeout", "500ms")];

/// Whether it may be run once more.
fn is_lost<T>(ran: &Result<T, Unrun>) -> bool {
    matches!(ran, Err(Unrun::Failed(error)) if error.is_of_connection())
}

/// A place on a lane, of the tenant's own connections or of the shared ones.
struct Seat<'a> {
    place: Place,
    shared: Option<(Guise<'a>, Queued<'a>)>,
}

impl TenantPool {
    /// Runs `call` on a connection of the tenant and hands its rows over, in server order, until they break. What
    /// `rows` made comes back with what it has taken. What only reads is run once more, with new rows, if its connection
    /// is lost. `waited` is told of each wait for a connection.
    ///
    /// Dropping the future stops the statement and closes its connection, but for one on a lane that others use: that goes
    /// on, and what it answers is passed over.
    ///
    /// # Errors
    ///
    /// Those of [`checkout`](Self::checkout), [`Error::Database`] with what Postgres said, [`Error::Lost`] if the
    /// connection broke, [`Error::Deadline`].
    pub async fn run<R: Rows>(
        self: &Arc<Self>,
        pools: &Pools,
        call: &Call<'_>,
        rows: impl Fn() -> R,
        waited: impl Fn(Duration),
    ) -> Result<(Done, R), Error> {
        self.begin(pools, call, rows, waited).await?.whole().await
    }

    /// The same, but that it is handed over when its rows pause. What has begun to come is not run once more.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    pub async fn begin<R: Rows>(
        self: &Arc<Self>,
        pools: &Pools,
        call: &Call<'_>,
        rows: impl Fn() -> R,
        waited: impl Fn(Duration),
    ) -> Result<Begun<R>, Error> {
        match self.run_once(pools, call, &rows, &waited).await {
            Err(error) if error.is_of_connection() && call.only_reads() => {
                Box::pin(self.run_once(pools, call, &rows, &waited)).await
            }
            result => result,
        }
    }

    /// Runs a read of Postgres' own catalogs whose text means the same for every tenant: on a connection that tenants share, if
    /// there are any, where it is planned once for all, and else on one of the tenant's own; never on a lane. Unless reads are
    /// shared as well, the tenant's first connection is opened meanwhile, which it is about to need. It runs once more if its
    /// connection is lost. `settings` hold for it alone.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub async fn run_alike<R: Rows>(
        self: &Arc<Self>,
        pools: &Pools,
        statement: Step<'_>,
        settings: &[(&'static str, &str)],
        rows: impl Fn() -> R,
    ) -> Result<(Done, R), Error> {
        if let Some((shared, _)) = self.common(pools) {
            let deadline = self.deadline();
            if !self.spec.cluster.shares_reads() {
                self.open_ahead();
            }
            let mut ran = self
                .run_for_all(&shared, deadline, pools, statement, settings, rows())
                .await;
            if is_lost(&ran) {
                ran = self
                    .run_for_all(&shared, deadline, pools, statement, settings, rows())
                    .await;
            }
            match ran {
                Ok(ran) => return Ok(ran),
                Err(Unrun::Failed(error)) if !self.can_do_better(&error) => return Err(error),
                Err(_) => {}
            }
        }
        let call = Call {
            statement,
            access: Access::Read { settings },
        };
        let mut ran = self.run_alone(self.deadline(), pools, &call, rows(), &|_| {}).await;
        if is_lost(&ran) {
            ran = self.run_alone(self.deadline(), pools, &call, rows(), &|_| {}).await;
        }
        ran.map_err(Error::of_alone)?.whole().await
    }

    /// On a connection of `shared`, in a task of its own: a client that leaves would take the connection with it, which has
    /// planned for all.
    async fn run_for_all<R: Rows>(
        self: &Arc<Self>,
        shared: &Arc<Self>,
        deadline: Instant,
        pools: &Pools,
        statement: Step<'_>,
        settings: &[(&'static str, &str)],
        mut rows: R,
    ) -> Result<(Done, R), Unrun> {
        let lease = shared.checkout_until(deadline, pools).await?;
        rows.alone();
        let pool = Arc::clone(self);
        let sql = Arc::clone(statement.sql);
        let params = statement.params.iter();
        let params: Box<[Option<Cow<'static, str>>]> = params
            .map(|text| text.as_ref().map(|text| Cow::Owned(text.clone().into_owned())))
            .collect();
        let settings: Box<[(&str, String)]> = settings
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let (told, ran) = oneshot::channel();
        self.spec.cluster.spawn(async move {
            let own = settings.iter().map(|(name, value)| (*name, value.as_str()));
            let settings: Vec<_> = SHORTLY.iter().copied().chain(own).collect();
            let call = Call {
                statement: Step {
                    sql: &sql,
                    params: &params,
                },
                access: Access::Read { settings: &settings },
            };
            let Some(guise) = pool.guise() else {
                return lease.finish(); // there was one when the lease was asked for
            };
            let order = Order {
                call: &call,
                guise: Some(Guise { alike: true, ..guise }),
                patience: Patience::alone(),
            };
            let ran = lease.run_order(order, rows).await;
            lease.finish();
            // If nobody is there to be told, the next one reads it again.
            _ = told.send(ran.and_then(Ran::whole));
        });
        ran.await.unwrap_or_else(|_| Err(Error::Draining.into()))
    }

    /// Whether a connection of the tenant's own may come further than the one for all that failed so.
    fn can_do_better(&self, error: &Error) -> bool {
        match error {
            Error::Refused { .. } | Error::Unverified { .. } => true,
            Error::ClusterSaturated { .. } | Error::ConnectTimeout { .. } => self.holder.held() > 0,
            error => error.is_of_time(),
        }
    }

    async fn run_once<R: Rows>(
        self: &Arc<Self>,
        pools: &Pools,
        call: &Call<'_>,
        rows: &impl Fn() -> R,
        waited: &impl Fn(Duration),
    ) -> Result<Begun<R>, Error> {
        let learns = call.is_one_batch();
        let cost = if learns { self.cost(call.statement.sql) } else { None };
        let ran = match cost {
            Some(cost) => {
                self.run_on_lane(self.deadline(), pools, call, cost, rows(), waited)
                    .await
            }
            None => Err(Unrun::Moved),
        };
        let ran = match ran {
            // Boxed, or what runs on a lane would carry the room that this needs.
            Err(Unrun::Moved | Unrun::Elsewhere) => {
                Box::pin(self.run_alone(self.deadline(), pools, call, rows(), waited)).await
            }
            ran => ran.map(|(done, rows)| Begun::Whole(done, rows)),
        };
        let ran = ran.map_err(Error::of_alone);
        match &ran {
            Ok(Begun::Whole(done, _)) if learns => self.learn(call.statement.sql, done.took),
            Ok(Begun::Running(_)) => self.costs.set_long(call.statement.sql),
            _ => {}
        }
        ran
    }

    /// What `sql` costs, if it is short: this tenant, or as long as nothing is known of it those that are like it.
    fn cost(&self, sql: &str) -> Option<Duration> {
        match self.costs.known(sql) {
            Some(cost) => Costs::short(cost),
            None => self.spec.cluster.costs().known(sql).and_then(Costs::short),
        }
    }

    /// Learns what a run of `sql` has cost; others that are like this tenant presume it of their own first run.
    fn learn(&self, sql: &Arc<str>, took: Duration) {
        if self.costs.learn(sql, took) {
            self.spec.cluster.costs().learn(sql, took);
        }
    }

    async fn run_on_lane<R: Rows>(
        self: &Arc<Self>,
        deadline: Instant,
        pools: &Pools,
        call: &Call<'_>,
        cost: Duration,
        rows: R,
        waited: &impl Fn(Duration),
    ) -> Result<(Done, R), Unrun> {
        let asked = Instant::now();
        let _turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            Err(_) => Box::pin(self.turn(deadline)).await?,
        };
        let seat = self.seat(deadline, pools, call, cost).await?;
        waited(asked.elapsed());
        let is_long = || {
            self.costs.learn_long(call.statement.sql);
        };
        let order = Order {
            call,
            guise: seat.shared.as_ref().map(|(guise, _)| *guise),
            patience: Patience::new(Some(seat.place.patience()), &is_long),
        };
        let ran = seat.place.lease().run_order(order, rows).await;
        let (done, rows) = ran.and_then(Ran::whole)?;
        if done.stopped && rows.wish() == Wish::Alone {
            self.costs.set_long(call.statement.sql);
            return Err(Unrun::Moved);
        }
        Ok((done, rows))
    }

    /// Waits until fewer short calls of the tenant are on their way. First come, first served.
    async fn turn(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, Error> {
        let full = || {
            let most = u32::try_from(short_at_once()).unwrap_or(u32::MAX);
            let ahead = self.waiting_turns.load(Ordering::Relaxed);
            Error::TenantQueueFull {
                most,
                retry_after: self.holds.wait(ahead, most),
            }
        };
        let _waiting = Queued::join(&self.waiting_turns, SHORT_WAITING).ok_or_else(full)?;
        match timeout_at(deadline, self.turns.acquire()).await {
            Ok(turn) => turn.map_err(|_| Error::Draining),
            Err(_) => Err(full()),
        }
    }

    async fn run_alone<R: Rows>(
        self: &Arc<Self>,
        deadline: Instant,
        pools: &Pools,
        call: &Call<'_>,
        mut rows: R,
        waited: &impl Fn(Duration),
    ) -> Result<Begun<R>, Unrun> {
        let asked = Instant::now();
        let lease = self.checkout_until(deadline, pools).await?;
        let began = Instant::now();
        waited(began - asked);
        rows.alone();
        let order = Order {
            call,
            guise: None,
            patience: Patience::alone(),
        };
        let ran = lease.run_order(order, rows).await;
        if let Ok(Ran::Paused(paused)) = ran {
            let limit = call.statement_timeout().unwrap_or(self.spec.statement_timeout);
            let limit = limit.saturating_add(DEADLINE_SLACK);
            return Ok(Begun::Running(Box::new(Running::new(paused, lease, began, limit))));
        }
        lease.finish();
        let (done, rows) = ran.and_then(Ran::whole)?;
        Ok(Begun::Whole(done, rows))
    }

    /// The shared connections for short reads, and who they become.
    fn shared(&self, pools: &Pools) -> Option<(Arc<Self>, Guise<'_>)> {
        let common = self.spec.cluster.shares_reads().then(|| self.common(pools)).flatten();
        common.filter(|(_, guise)| guise.identity.has_role)
    }

    /// The shared connections, for whatever they are, and who they become. Who has slots of its own at any time shares none: for
    /// those it would have to wait as all do.
    fn common(&self, pools: &Pools) -> Option<(Arc<Self>, Guise<'_>)> {
        if self.holder.is_promised() {
            return None;
        }
        let guise = self.guise()?;
        Some((pools.shared(&self.spec.cluster)?, guise))
    }

    /// Who a shared connection becomes.
    fn guise(&self) -> Option<Guise<'_>> {
        Some(Guise {
            identity: self.spec.shared.as_ref()?,
            number: self.number,
            alike: false,
        })
    }

    /// A place on a lane for a call that costs this much: on the tenant's own if others are on their way there, else on a
    /// shared one, since few connections that never pause do more than many that do.
    async fn seat(
        self: &Arc<Self>,
        deadline: Instant,
        pools: &Pools,
        call: &Call<'_>,
        cost: Duration,
    ) -> Result<Seat<'_>, Error> {
        let own = |place| Seat { place, shared: None };
        let shared = match call.access {
            Access::Read { .. } => self.shared(pools),
            Access::Transaction(_) => None,
        };
        let Some((shared, guise)) = shared else {
            return Ok(own(self.place(deadline, pools, cost).await?));
        };
        let seeking = self.seeking.load(Ordering::Relaxed) > 0;
        if !seeking
            && !self.lanes.are_empty()
            && let Some(place) = self.join(cost)
        {
            return Ok(own(place));
        }
        let Some(counted) = Queued::join(&self.on_shared, SHARED_AT_ONCE) else {
            return Ok(own(self.place(deadline, pools, cost).await?));
        };
        let place = match shared.seeking.load(Ordering::Relaxed) {
            0 => shared.join(cost),
            _ => None,
        };
        if let Some(place) = place {
            let shared = Some((guise, counted));
            return Ok(Seat { place, shared });
        }
        if !seeking && let Some(place) = self.join(cost) {
            return Ok(own(place));
        }
        let place = shared.place(deadline, pools, cost).await?;
        let shared = Some((guise, counted));
        Ok(Seat { place, shared })
    }

    /// A place on a lane for a batch that costs this much: on one that is not busy, on one that is opened for it, or on the
    /// first that has room.
    async fn place(self: &Arc<Self>, deadline: Instant, pools: &Pools, cost: Duration) -> Result<Place, Error> {
        if self.seeking.load(Ordering::Relaxed) == 0
            && let Some(place) = self.join(cost)
        {
            return Ok(place);
        }
        Box::pin(self.seek(deadline, pools, cost)).await
    }

    /// The same, when there is none at once.
    async fn seek(self: &Arc<Self>, deadline: Instant, pools: &Pools, cost: Duration) -> Result<Place, Error> {
        let _seeking = Queued::join(&self.seeking, u32::MAX);
        let checkout = self.found(deadline, pools);
        tokio::pin!(checkout);
        loop {
            tokio::select! {
                biased; // a connection that is there is not left for a lane
                found = &mut checkout => {
                    let lease = self.lease(found?).await?;
                    return Ok(self.lanes.open(lease, cost));
                }
                () = self.room.notified() => {}
            }
            if let Some(place) = self.lanes.join(cost, FULL) {
                return Ok(place);
            }
        }
    }

    /// A place on a lane, without waiting.
    fn join(self: &Arc<Self>, cost: Duration) -> Option<Place> {
        if let Some(place) = self.lanes.join(cost, BUSY) {
            return Some(place);
        }
        if !self.lanes.are_spread()
            && let Ok(admission) = Arc::clone(&self.admission).try_acquire_owned()
            && let Some(connection) = self.try_idle()
        {
            let lease = Lease::pooled(Arc::clone(self), connection, admission);
            return Some(self.lanes.open(lease, cost));
        }
        self.lanes.join(cost, FULL)
    }
}
