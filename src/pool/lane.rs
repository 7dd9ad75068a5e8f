//! Lanes: connections that a tenant's short reads share, one batch behind the other.
//!
//! A lease whose request is short is a lane for as long as somebody uses it: others send their batch behind the first
//! without waiting for its answer. That saves Postgres a wake-up for each, which costs it more than the statement does,
//! and the cluster a slot. What a batch costs its lane is learned per statement and tenant: what is long, or not known
//! yet, has a connection for itself.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::lease::Lease;
use super::{cores, lock};

/// A statement that takes longer, by what was learned of it, is not for a lane.
const SHORT: Duration = Duration::from_millis(5);

/// Work on a lane beside which another connection is looked for, if one lies idle. Some eight reads of a row: fewer do
/// not let Postgres work without pause.
pub(super) const BUSY: Duration = Duration::from_micros(250);

/// Work on a lane beside which a request rather waits for another connection: what opening one costs.
pub(super) const FULL: Duration = Duration::from_millis(2);

/// While requests of the tenant wait for a connection of their own, a lane that is so old takes no more: none goes on for
/// ever.
pub(super) const SPAN: Duration = Duration::from_millis(20);

/// Waits behind others who do not get on are given up after this and twice what was expected: somebody in front takes far
/// longer than their statement did before.
const PATIENCE: Duration = Duration::from_millis(10);

/// A first run takes up to so many times as long as later ones: the connection is new to the tables, and the statement to the
/// connection. Without this, nearly everything would look long to tenants that have run nothing yet.
const FIRST: u32 = 8;

/// Statements whose cost is known, per tenant. Past it what was learned is worth less than the memory: start over.
const STATEMENTS_MAX: usize = 1024;

/// The lanes of one tenant.
#[derive(Default)]
pub(super) struct Lanes {
    open: Mutex<Vec<Weak<Lease>>>,
}

/// A place on a lane, for one batch.
pub(super) struct Place {
    lease: Arc<Lease>,
    cost: Duration,
    patience: Duration,
}

/// The work that is in flight on a lane, as far as it was foreseen, in microseconds.
#[derive(Default)]
pub(super) struct Load(AtomicU64);

/// What a tenant's statements cost.
#[derive(Default)]
pub(super) struct Costs(RwLock<HashMap<Arc<str>, AtomicU32, foldhash::fast::RandomState>>);

impl Lanes {
    /// A place on the lane with the least work, if that is less than `limit`.
    pub(super) fn join(&self, cost: Duration, limit: Duration) -> Option<Place> {
        let mut open = lock(&self.open);
        let mut least: Option<(Duration, Arc<Lease>)> = None;
        open.retain(|lane| {
            let Some(lane) = lane.upgrade() else {
                return false;
            };
            let load = lane.load().now();
            let better = load < least.as_ref().map_or(limit, |(least, _)| *least);
            if better && lane.takes_more() {
                least = Some((load, lane));
            }
            true
        });
        // Under the lock, so that two do not take the same last place.
        least.map(|(_, lease)| Place::new(lease, cost))
    }

    /// Makes a lane of `lease`, with a place on it.
    pub(super) fn open(&self, lease: Lease, cost: Duration) -> Place {
        let lease = Arc::new(lease);
        let mut open = lock(&self.open);
        open.push(Arc::downgrade(&lease));
        Place::new(lease, cost)
    }

    /// Whether there is none.
    pub(super) fn are_empty(&self) -> bool {
        lock(&self.open).iter().all(|lane| lane.strong_count() == 0)
    }

    /// Whether there are as many as need be while each could take more: one for each core. More backends are slower, not faster,
    /// as long as they wait for the same cores.
    pub(super) fn are_spread(&self) -> bool {
        let open = lock(&self.open);
        open.iter().filter(|lane| lane.strong_count() > 0).count() >= cores()
    }
}

impl Place {
    fn new(lease: Arc<Lease>, cost: Duration) -> Self {
        let before = lease.load().add(cost);
        Self {
            lease,
            cost,
            patience: PATIENCE + 2 * before,
        }
    }

    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// How long to wait behind others.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lease.load().subtract(self.cost);
        self.lease.has_room();
    }
}

impl Load {
    pub(super) fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, cost: Duration) -> Duration {
        Duration::from_micros(self.0.fetch_add(micros(cost).into(), Ordering::Relaxed))
    }

    fn subtract(&self, cost: Duration) {
        self.0.fetch_sub(micros(cost).into(), Ordering::Relaxed);
    }
}

impl Costs {
    /// What `sql` costs, if it is known.
    pub(super) fn known(&self, sql: &str) -> Option<Duration> {
        let costs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let cost = costs.get(sql)?.load(Ordering::Relaxed);
        Some(Duration::from_micros(cost.into()))
    }

    /// A cost that is short enough for a lane.
    pub(super) fn short(cost: Duration) -> Option<Duration> {
        Some(cost).filter(|cost| *cost <= SHORT)
    }

    /// Learns what a run of `sql` has cost; whether that is the first thing known of it, which counts for a part. Good news
    /// count for half, bad news for little, and at most for twice of what was known: a machine that has much to do makes
    /// everything long, and must not be given more to do for that.
    pub(super) fn learn(&self, sql: &Arc<str>, took: Duration) -> bool {
        let took = micros(took).max(1);
        let costs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(cost) = costs.get(sql) {
            let known = cost.load(Ordering::Relaxed);
            let renewed = if took < known {
                known.midpoint(took)
            } else {
                known + ((took - known) / 8).min(known)
            };
            // Two at once: one of them is lost.
            cost.store(renewed, Ordering::Relaxed);
            return false;
        }
        drop(costs);
        let mut costs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if costs.len() >= STATEMENTS_MAX {
            costs.clear();
        }
        costs
            .insert(Arc::clone(sql), AtomicU32::new((took / FIRST).max(1)))
            .is_none()
    }

    /// Learns that `sql` is long, whatever was known.
    pub(super) fn set_long(&self, sql: &Arc<str>) {
        let mut costs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        costs.insert(Arc::clone(sql), AtomicU32::new(micros(8 * SHORT)));
    }

    /// Learns that a run of `sql` is a long one, before it has ended.
    pub(super) fn learn_long(&self, sql: &Arc<str>) {
        self.learn(sql, 8 * SHORT);
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_learned_and_unlearned() {
        let costs = Costs::default();
        let sql: Arc<str> = "SELECT 1".into();
        let short = || costs.known(&sql).and_then(Costs::short);
        assert_eq!(costs.known(&sql), None);
        assert!(costs.learn(&sql, Duration::from_millis(32)), "nothing was known");
        assert_eq!(short(), Some(Duration::from_millis(4)));
        assert!(!costs.learn(&sql, Duration::from_micros(40)));
        assert_eq!(short(), Some(Duration::from_micros(2020)));
        costs.learn_long(&sql);
        assert!(short().is_some(), "once is not always");
        costs.learn_long(&sql);
        assert_eq!(short(), None, "it is long now");
        for _ in 0..3 {
            costs.learn(&sql, Duration::from_micros(40));
        }
        assert!(short().is_some());
    }

    #[test]
    fn what_took_no_time_once_may_take_long_later() {
        let costs = Costs::default();
        let sql: Arc<str> = "SELECT 1".into();
        costs.learn(&sql, Duration::ZERO);
        for _ in 0..20 {
            costs.learn(&sql, Duration::from_secs(1));
        }
        assert_eq!(costs.known(&sql).and_then(Costs::short), None);
    }

    #[test]
    fn no_more_statements_are_kept_than_are_worth_it() {
        let costs = Costs::default();
        for number in 0..3 * STATEMENTS_MAX {
            costs.learn(&format!("SELECT {number}").into(), Duration::from_micros(1));
        }
        assert!(costs.0.read().unwrap().len() <= STATEMENTS_MAX);
    }
}
