//! A cluster's budget of connections: how many there may be, and whose turn it is.
//!
//! A free slot goes to whoever waits and holds least for its weight; among equals to who waits longest. So a tenant with
//! many requests waits behind one that has no connection, however long its own line is. While nobody waits, one tenant
//! may have all. Who holds less than is kept for it comes before all others, and nothing of that is taken from it; where
//! it is promised, nobody else gets it in the first place.
//!
//! A share is what a tenant gets if all of them at work want more than that: as much for each by its weight, but for those
//! that more is promised to, who have that, and the others share the rest.
//!
//! What is in use comes back in two ways, both only while somebody waits and only as often as needed: a tenant that holds
//! more than its share gives a connection up when it is done with it; and if there are more tenants at work than slots,
//! the tenants take turns. Idle connections are looked for by [`Pools::evict_idle`](super::Pools).
//!
//! A server that has no connection left although the budget has, because others have taken it, makes the budget smaller
//! for a while. What is out then stays out; new slots are fewer.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::lock;

/// Of tenants that take turns, each keeps a connection at least this long: far more than opening it costs (2.5 ms).
const SLICE: Duration = Duration::from_millis(20);

/// A turn passes on no more often than this, in the whole cluster: opening connections is work for Postgres, too.
const TURN: Duration = Duration::from_millis(5);

/// Who would wait behind so many for each slot is refused at once, but for a line that is short by any measure.
const LINE_PER_SLOT: usize = 4;
const SHORT_LINE: usize = 64;

/// A budget that was too large for the server gets so much smaller: one slot in ten, but at least one.
const TOO_LARGE: u32 = 10;

/// Without another complaint it grows by a slot each time this passes, up to its size.
const GROWTH: Duration = Duration::from_secs(5);

/// The slots of one cluster.
pub(super) struct Budget {
    size: u32,
    state: Mutex<State>,
    /// The length of the line, to be seen without the lock.
    waiting: AtomicU32,
}

#[derive(Default)]
struct State {
    taken: u32,
    /// How many may be taken: the size, or less while the server has fewer.
    limit: u32,
    /// Since when it has not grown; none if it is the size.
    shrunk: Option<Instant>,
    line: VecDeque<Waiter>,
    joined: u64,
    /// The sum of the weights of holders that hold something or wait.
    weight: u32,
    /// Whom slots are promised to: first who is promised most for its weight.
    promises: Vec<Arc<Holder>>,
    /// Slots that they do not hold: free or not, they are for nobody else.
    owed: u32,
    /// Connections that are closing for those in line.
    leaving: u32,
    next_turn: Option<Instant>,
}

struct Waiter {
    number: u64,
    holder: Arc<Holder>,
    turn: oneshot::Sender<Slot>,
}

/// What one tenant has of a budget.
#[derive(Debug)]
pub(super) struct Holder {
    // These change under the budget's lock only.
    held: AtomicU32,
    waiting: AtomicU32,
    /// Whether what is kept for it is there at any time, and not only when somebody gives it up.
    promised: AtomicBool,
    weight: u32,
    kept: u32,
}

impl Default for Holder {
    fn default() -> Self {
        Self::new(NonZeroU32::MIN, 0)
    }
}

/// One permitted connection. Owned by the task that drives the socket, and given back when that is closed.
pub(super) struct Slot {
    budget: Arc<Budget>,
    holder: Arc<Holder>,
    /// Whether it is counted; not if it never came to anybody.
    counts: bool,
}

impl Budget {
    pub(super) fn new(size: u32) -> Arc<Self> {
        Arc::new(Self {
            size,
            state: Mutex::new(State {
                limit: size,
                ..State::default()
            }),
            waiting: AtomicU32::new(0),
        })
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// Slots that are taken.
    pub(super) fn taken(&self) -> u32 {
        self.lock().taken
    }

    /// Slots that are promised to nobody.
    pub(super) fn for_all(&self) -> u32 {
        let state = self.lock();
        let promised: u32 = state.promises.iter().map(|holder| holder.kept).sum();
        state.limit.saturating_sub(promised)
    }

    /// Requests in line.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The next slot that is this holder's; none if the line is too long. Dropping the future leaves the line.
    pub(super) async fn slot(self: &Arc<Self>, holder: &Arc<Holder>) -> Option<Slot> {
        let (turn, slot) = oneshot::channel();
        let number = {
            let mut state = self.lock();
            if let Some(slot) = self.free_slot_of(&mut state, holder) {
                return Some(slot);
            }
            if state.line.len() >= SHORT_LINE.max(LINE_PER_SLOT * self.size as usize) {
                return None;
            }
            state.joined += 1;
            let number = state.joined;
            state.line.push_back(Waiter {
                number,
                holder: Arc::clone(holder),
                turn,
            });
            state.wait(holder, 1);
            self.tell(&state);
            number
        };
        let _place = Place { budget: self, number };
        slot.await.ok()
    }

    /// A slot that is free for this holder now.
    pub(super) fn free_slot(self: &Arc<Self>, holder: &Arc<Holder>) -> Option<Slot> {
        self.free_slot_of(&mut self.lock(), holder)
    }

    fn free_slot_of(self: &Arc<Self>, state: &mut State, holder: &Arc<Holder>) -> Option<Slot> {
        self.grow(state);
        if !state.has_one_for(holder) {
            return None;
        }
        state.taken += 1;
        state.hold(holder, 1);
        Some(self.slot_of(holder))
    }

    /// Holds back what is kept for `holder`, until it is withdrawn. Who has such slots now keeps them as long as they need
    /// them.
    pub(super) fn promise(self: &Arc<Self>, holder: &Arc<Holder>) {
        let mut state = self.lock();
        if holder.kept == 0 || holder.promised.swap(true, Ordering::Relaxed) {
            return;
        }
        state.owed += holder.owed();
        let promised = holder.fullness(holder.kept);
        let at = state
            .promises
            .partition_point(|other| other.fullness(other.kept) >= promised);
        state.promises.insert(at, Arc::clone(holder));
        self.serve(&mut state); // it may be in line for what is its own now
    }

    /// Ends a promise, if there is one.
    pub(super) fn withdraw(self: &Arc<Self>, holder: &Holder) {
        let mut state = self.lock();
        let owed = holder.owed();
        if holder.promised.swap(false, Ordering::Relaxed) {
            state.owed -= owed;
            state.promises.retain(|other| !std::ptr::eq(&raw const **other, holder));
            self.serve(&mut state);
        }
    }

    /// The server has no connection left for a slot of ours: there are fewer new ones from now on, and so many in all.
    pub(super) fn shrink(&self) -> u32 {
        let mut state = self.lock();
        let less = (state.limit / TOO_LARGE).max(1);
        state.limit = state.limit.saturating_sub(less).max(1);
        state.shrunk = Some(Instant::now());
        state.limit
    }

    /// Makes up for the time that has passed without a complaint. New slots go to those in line first.
    fn grow(self: &Arc<Self>, state: &mut State) {
        let Some(shrunk) = state.shrunk else {
            return;
        };
        let steps = shrunk.elapsed().as_millis() / GROWTH.as_millis();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX).min(self.size - state.limit);
        state.limit += steps;
        state.shrunk = (state.limit < self.size).then(|| shrunk + GROWTH * steps);
        self.serve(state);
    }

    /// Whether the holder of a connection that has lived for `age` should give it up, now that it is done with it: the slot
    /// is counted on then, so the connection must be closed.
    pub(super) fn takes_back(&self, holder: &Holder, age: impl FnOnce() -> Duration) -> bool {
        if self.waiting() == 0 {
            return false;
        }
        let mut state = self.lock();
        let Some(reason) = self.wants(&state, holder, age()) else {
            return false;
        };
        state.leaving += 1;
        if reason == Reason::Turn {
            state.next_turn = Some(Instant::now() + TURN);
        }
        true
    }

    /// Whether it would be taken back.
    pub(super) fn would_take_back(&self, holder: &Holder, age: impl FnOnce() -> Duration) -> bool {
        self.waiting() > 0 && self.wants(&self.lock(), holder, age()).is_some()
    }

    /// Counts on a connection that is closed for those in line, unless enough are.
    pub(super) fn expects_another(&self) -> bool {
        let mut state = self.lock();
        let wanting = state.line.len() > state.leaving as usize;
        state.leaving += u32::from(wanting);
        wanting
    }

    /// Takes it back: there was none to close.
    pub(super) fn expects_one_less(&self) {
        let mut state = self.lock();
        state.leaving = state.leaving.saturating_sub(1);
    }

    /// Whether somebody is in line whom no closing connection is for.
    pub(super) fn wants_more(&self) -> bool {
        self.waiting() > 0 && {
            let state = self.lock();
            state.line.len() > state.leaving as usize
        }
    }

    /// Whether a tenant holds more than its share of the slots.
    pub(super) fn has_surplus(&self, holder: &Holder) -> bool {
        holder.held() > self.lock().rest().share(holder)
    }

    fn wants(&self, state: &State, holder: &Holder, age: Duration) -> Option<Reason> {
        let held = holder.held();
        if state.line.len() <= state.leaving as usize || held <= holder.kept {
            return None;
        }
        let others = state.line.iter().map(|waiter| &waiter.holder);
        let next = others
            .filter(|other| !std::ptr::eq(&raw const ***other, holder))
            .min_by_key(|other| other.rank())?;
        let rest = state.rest();
        let leaves_it_ahead = next.fullness(next.held() + 1) <= holder.fullness(held - 1);
        if next.lacks() || held > rest.share(holder) && (next.held() == 0 || leaves_it_ahead) {
            return Some(Reason::Surplus);
        }
        // Who holds no more than a share, which is one at least, and yet more than is due: there is less than one for each.
        let is_due = next.held() == 0 || rest.covers(next, next.held() + 1);
        let is_turn = state.next_turn.is_none_or(|turn| Instant::now() >= turn);
        (is_due && !rest.covers(holder, held) && age >= SLICE && is_turn).then_some(Reason::Turn)
    }

    fn release(self: &Arc<Self>, holder: &Arc<Holder>) {
        let mut state = self.lock();
        state.hold(holder, -1);
        state.taken -= 1;
        state.leaving = state.leaving.saturating_sub(1);
        self.grow(&mut state);
        self.serve(&mut state);
    }

    /// Gives free slots to those in line.
    fn serve(self: &Arc<Self>, state: &mut State) {
        while state.taken < state.limit {
            // The first of those who hold least. If there is none for it, there is none for those behind it.
            let next = (0..state.line.len()).min_by_key(|at| state.line.get(*at).map(|waiter| waiter.holder.rank()));
            let next = next.filter(|at| {
                state
                    .line
                    .get(*at)
                    .is_some_and(|waiter| state.has_one_for(&waiter.holder))
            });
            let Some(waiter) = next.and_then(|at| state.line.remove(at)) else {
                break;
            };
            state.wait(&waiter.holder, -1);
            state.hold(&waiter.holder, 1);
            state.taken += 1;
            if let Err(mut slot) = waiter.turn.send(self.slot_of(&waiter.holder)) {
                // It has left the line in this moment.
                slot.counts = false;
                state.hold(&waiter.holder, -1);
                state.taken -= 1;
            }
        }
        self.tell(state);
    }

    fn slot_of(self: &Arc<Self>, holder: &Arc<Holder>) -> Slot {
        Slot {
            budget: Arc::clone(self),
            holder: Arc::clone(holder),
            counts: true,
        }
    }

    fn tell(&self, state: &State) {
        self.waiting
            .store(u32::try_from(state.line.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Reason {
    Surplus,
    Turn,
}

/// The slots of those who are promised no more than a share, and the sum of their weights.
struct Rest {
    slots: u64,
    weight: u64,
}

impl Rest {
    /// What a tenant may hold while others wait.
    fn share(&self, holder: &Holder) -> u32 {
        let share = self.slots * u64::from(holder.weight) / self.weight.max(1);
        u32::try_from(share).unwrap_or(u32::MAX).max(holder.kept).max(1)
    }

    /// Whether so many are within what is due to it, not rounded up to one.
    fn covers(&self, holder: &Holder, held: u32) -> bool {
        held <= holder.kept || u64::from(held) * self.weight <= self.slots * u64::from(holder.weight)
    }
}

impl State {
    /// Whether there is a free slot that is promised to no other.
    fn has_one_for(&self, holder: &Holder) -> bool {
        // Of a limit that has shrunk below what is promised, one is for all still.
        let others = if holder.owed() > 0 {
            0
        } else {
            self.owed.min(self.limit - 1)
        };
        self.taken.saturating_add(others) < self.limit
    }

    fn rest(&self) -> Rest {
        let mut rest = Rest {
            slots: self.limit.into(),
            weight: self.weight.into(),
        };
        for holder in self.promises.iter().filter(|holder| !holder.is_active()) {
            rest.slots = rest.slots.saturating_sub(holder.kept.into());
        }
        for holder in self.promises.iter().filter(|holder| holder.is_active()) {
            if u64::from(holder.kept) * rest.weight > rest.slots * u64::from(holder.weight) {
                rest.slots = rest.slots.saturating_sub(holder.kept.into());
                rest.weight -= u64::from(holder.weight);
            }
        }
        rest
    }

    fn hold(&mut self, holder: &Holder, change: i32) {
        let owed = holder.owed();
        self.change(holder, &holder.held, change);
        self.owed = self.owed - owed + holder.owed();
    }

    fn wait(&mut self, holder: &Holder, change: i32) {
        self.change(holder, &holder.waiting, change);
    }

    fn change(&mut self, holder: &Holder, count: &AtomicU32, change: i32) {
        let before = holder.is_active();
        count.store(
            count.load(Ordering::Relaxed).saturating_add_signed(change),
            Ordering::Release,
        );
        match (before, holder.is_active()) {
            (false, true) => self.weight += holder.weight,
            (true, false) => self.weight -= holder.weight,
            _ => {}
        }
    }
}

impl Holder {
    /// Nothing held yet. It counts as so many, and has a claim to so many slots at any time.
    pub(super) fn new(weight: NonZeroU32, kept: u32) -> Self {
        Self {
            held: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            promised: AtomicBool::new(false),
            weight: weight.get(),
            kept,
        }
    }

    /// Connections that it has, opening and closing ones among them.
    pub(super) fn held(&self) -> u32 {
        self.held.load(Ordering::Acquire)
    }

    /// Whether it holds no more than is kept for it.
    pub(super) fn spares_none(&self) -> bool {
        self.held() <= self.kept
    }

    /// Whether it holds less than is kept for it.
    fn lacks(&self) -> bool {
        self.held() < self.kept
    }

    /// How many it does not hold of those that are promised to it.
    fn owed(&self) -> u32 {
        match self.is_promised() {
            true => self.kept.saturating_sub(self.held()),
            false => 0,
        }
    }

    /// Whether slots are held back for it.
    pub(super) fn is_promised(&self) -> bool {
        self.promised.load(Ordering::Relaxed)
    }

    /// So much does it hold for its weight: comparable among holders.
    pub(super) fn full(&self) -> u64 {
        self.fullness(self.held())
    }

    fn fullness(&self, held: u32) -> u64 {
        (u64::from(held) << 16) / u64::from(self.weight)
    }

    /// Who comes first is owed some, or lacks some, or has the least.
    fn rank(&self) -> (bool, bool, u64) {
        (self.owed() == 0, !self.lacks(), self.full())
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> u32 {
        self.weight
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> u32 {
        self.kept
    }

    /// Whether it is in line.
    #[cfg(test)]
    pub(super) fn waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    fn is_active(&self) -> bool {
        self.held() > 0 || self.waiting.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.counts {
            self.budget.release(&self.holder);
        }
    }
}

/// A place in line, left when it is dropped.
struct Place<'a> {
    budget: &'a Budget,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        if let Some(at) = state.line.iter().position(|waiter| waiter.number == self.number)
            && let Some(waiter) = state.line.remove(at)
        {
            state.wait(&waiter.holder, -1);
            self.budget.tell(&state);
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn holders<const N: usize>() -> [Arc<Holder>; N] {
        std::array::from_fn(|_| Arc::default())
    }

    fn now(budget: &Arc<Budget>, holder: &Arc<Holder>) -> Slot {
        budget.slot(holder).now_or_never().flatten().expect("a slot is free")
    }

    #[test]
    fn a_free_slot_goes_to_who_holds_least_and_then_to_who_waits_longest() {
        let budget = Budget::new(3);
        let [hot, light, late] = &holders();
        let mut held: Vec<_> = (0..3).map(|_| now(&budget, hot)).collect();
        let mut more_of_hot = Box::pin(budget.slot(hot));
        let mut first = Box::pin(budget.slot(light));
        let mut second = Box::pin(budget.slot(late));
        assert!((&mut more_of_hot).now_or_never().is_none());
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        held.pop();
        let first = first.now_or_never().flatten().unwrap();
        assert!((&mut second).now_or_never().is_none());
        held.pop();
        assert!((&mut more_of_hot).now_or_never().is_none());
        let _second = second.now_or_never().flatten().unwrap();
        drop(first);
        assert!(more_of_hot.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_surplus_is_given_up_for_each_who_waits_and_no_more() {
        let budget = Budget::new(4);
        let [hot, light] = &holders();
        let _held: Vec<_> = (0..4).map(|_| now(&budget, hot)).collect();
        assert!(!budget.takes_back(hot, || Duration::MAX), "nobody waits");
        let mut waiting = Box::pin(budget.slot(light));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(budget.would_take_back(hot, || Duration::ZERO));
        assert!(budget.takes_back(hot, || Duration::ZERO));
        assert!(!budget.takes_back(hot, || Duration::ZERO), "one is closing already");
    }

    #[tokio::test(start_paused = true)]
    async fn more_tenants_than_slots_take_turns() {
        let budget = Budget::new(2);
        let [one, two, three, four] = &holders();
        let mut held = vec![now(&budget, one), now(&budget, two)];
        let mut third = Box::pin(budget.slot(three));
        let mut fourth = Box::pin(budget.slot(four));
        assert!((&mut third).now_or_never().is_none());
        assert!((&mut fourth).now_or_never().is_none());
        assert!(!budget.takes_back(one, || SLICE / 2), "too young");
        assert!(budget.takes_back(one, || SLICE));
        assert!(!budget.takes_back(two, || SLICE), "a turn has just passed on");
        tokio::time::advance(TURN).await;
        assert!(budget.takes_back(two, || SLICE));
        held.clear();
        assert!(third.now_or_never().flatten().is_some());
        assert!(fourth.now_or_never().flatten().is_some());
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn a_weight_counts_as_so_many_and_what_is_kept_comes_first() {
        let budget = Budget::new(6);
        let heavy = Arc::new(Holder::new(NonZeroU32::new(2).unwrap(), 0));
        let keeps = Arc::new(Holder::new(NonZeroU32::MIN, 1));
        let [light] = &holders();
        let mut of_heavy: Vec<_> = (0..5).map(|_| now(&budget, &heavy)).collect();
        let mut of_light = vec![now(&budget, light)];
        let mut second = Box::pin(budget.slot(light));
        assert!((&mut second).now_or_never().is_none());
        // Two thirds of six are its share.
        assert!(budget.would_take_back(&heavy, || Duration::ZERO));
        drop(of_heavy.pop());
        of_light.push(second.now_or_never().flatten().unwrap());
        let mut third = Box::pin(budget.slot(light));
        assert!((&mut third).now_or_never().is_none());
        assert!(
            !budget.would_take_back(&heavy, || Duration::ZERO),
            "four to two is fair"
        );
        let mut kept = Box::pin(budget.slot(&keeps));
        assert!((&mut kept).now_or_never().is_none());
        drop(of_heavy.pop());
        let kept = kept.now_or_never().flatten().unwrap();
        assert!((&mut third).now_or_never().is_none());
        assert!(
            !budget.would_take_back(&keeps, || Duration::MAX),
            "that one is kept for it"
        );
        drop(kept);
        assert!(third.now_or_never().flatten().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_is_too_large_shrinks_and_grows_back() {
        let budget = Budget::new(20);
        let [hot, light] = &holders();
        let mut held: Vec<_> = (0..20).map(|_| now(&budget, hot)).collect();
        assert_eq!(budget.shrink(), 18);
        assert_eq!(budget.shrink(), 17);
        held.truncate(17);
        let mut waiting = Box::pin(budget.slot(light));
        assert!((&mut waiting).now_or_never().is_none(), "three are gone");
        tokio::time::advance(GROWTH).await;
        let mut more_of_hot = Box::pin(budget.slot(hot));
        assert!(
            (&mut more_of_hot).now_or_never().is_none(),
            "there is one, for who waits"
        );
        let _one = waiting.now_or_never().flatten().unwrap();
        drop(more_of_hot);
        // Each complaint begins the time anew.
        tokio::time::advance(GROWTH / 2).await;
        budget.shrink();
        tokio::time::advance(GROWTH * 9 / 10).await;
        drop(held.split_off(16));
        assert!(budget.slot(hot).now_or_never().is_none());
        tokio::time::advance(GROWTH * 10).await;
        held.clear();
        let all: Vec<_> = (0..19).map(|_| now(&budget, hot)).collect();
        assert_eq!((all.len(), budget.taken()), (19, 20));
        assert!(budget.slot(hot).now_or_never().is_none(), "no more than ever");
        for _ in 0..100 {
            budget.shrink();
        }
        drop((all, _one));
        let _last = now(&budget, hot);
        assert!(budget.slot(light).now_or_never().is_none());
    }

    fn keeper(weight: u32, kept: u32) -> Arc<Holder> {
        Arc::new(Holder::new(NonZeroU32::new(weight).unwrap(), kept))
    }

    fn waits(budget: &Arc<Budget>, holder: &Arc<Holder>) -> Pin<Box<impl Future<Output = Option<Slot>> + use<>>> {
        let budget = Arc::clone(budget);
        let holder = Arc::clone(holder);
        let mut slot = Box::pin(async move { budget.slot(&holder).await });
        assert!((&mut slot).now_or_never().is_none(), "there is a slot for it");
        slot
    }

    #[test]
    fn what_is_promised_is_free_at_any_time() {
        let budget = Budget::new(6);
        let keeps = keeper(1, 2);
        let [hot, light] = &holders();
        budget.promise(&keeps);
        budget.promise(&keeps); // it is the same promise
        let mut held: Vec<_> = (0..4).map(|_| now(&budget, hot)).collect();
        let more_of_hot = waits(&budget, hot);
        let first_of_light = waits(&budget, light);
        let mut kept = vec![now(&budget, &keeps), now(&budget, &keeps)];
        let third = waits(&budget, &keeps);
        drop(third);
        // What it gives back is its own, also while others wait.
        kept.pop();
        assert_eq!(budget.taken(), 5);
        assert!(!budget.takes_back(&keeps, || Duration::MAX));
        kept.push(now(&budget, &keeps));
        held.pop();
        assert!(first_of_light.now_or_never().is_some(), "who holds least comes first");
        drop(more_of_hot);
        // It is for all as soon as the promise ends, and those in line have it.
        kept.clear();
        let _one = now(&budget, hot);
        let mut waiting = [waits(&budget, light), waits(&budget, light)];
        budget.withdraw(&keeps);
        budget.withdraw(&keeps);
        assert!(waiting.iter_mut().all(|slot| slot.now_or_never().is_some()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_that_shrinks_below_what_is_promised_has_one_for_all() {
        let budget = Budget::new(6);
        let keeps = keeper(1, 5);
        let [hot, light] = &holders();
        budget.promise(&keeps);
        let first = now(&budget, hot);
        for _ in 0..6 {
            budget.shrink();
        }
        drop(first);
        let of_light = now(&budget, light);
        let waiting = waits(&budget, hot);
        drop(of_light);
        assert!(waiting.now_or_never().flatten().is_some());
    }

    /// A share is of what is left beside the promises, or else who waits for it would wait for ever.
    #[test]
    fn nobody_starves_beside_those_who_keep_much() {
        let budget = Budget::new(8);
        let keeps = keeper(1, 6);
        let [one, two] = &holders();
        budget.promise(&keeps);
        let _of_one = [now(&budget, one), now(&budget, one)];
        let waiting = waits(&budget, two);
        assert!(budget.would_take_back(one, || Duration::ZERO), "idle as they are");
        let _kept: Vec<_> = (0..6).map(|_| now(&budget, &keeps)).collect();
        assert!(budget.would_take_back(one, || Duration::ZERO), "and at work");
        assert!(!budget.would_take_back(&keeps, || Duration::MAX));
        drop(waiting);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_starves_beside_those_who_weigh_much() {
        let budget = Budget::new(4);
        let heavy = keeper(3, 0);
        let [one, two, three] = &holders();
        let _held = [
            now(&budget, &heavy),
            now(&budget, &heavy),
            now(&budget, one),
            now(&budget, two),
        ];
        let waiting = waits(&budget, three);
        // Two of four are due to three sixths of the weight, and less than one to each of the others.
        assert!(!budget.would_take_back(&heavy, || SLICE));
        assert!(!budget.would_take_back(one, || SLICE / 2));
        assert!(budget.takes_back(one, || SLICE));
        drop(waiting);

        let budget = Budget::new(2);
        let [heavy, other] = [keeper(100, 0), keeper(100, 0)];
        let _held = [now(&budget, &heavy), now(&budget, &other)];
        let _waiting = waits(&budget, three);
        assert!(budget.takes_back(&heavy, || SLICE), "it has a turn all the same");
    }

    #[test]
    fn three_times_the_weight_has_three_times_the_slots() {
        for first_come in [0, 1] {
            let budget = Budget::new(8);
            let both = [keeper(3, 0), keeper(1, 0)];
            let mut held: [Vec<Slot>; 2] = [Vec::new(), Vec::new()];
            held[first_come].extend((0..8).map(|_| now(&budget, &both[first_come])));
            // Each of them always wants one more, and each connection comes back some time.
            let mut lines = both.clone().map(|holder| waits(&budget, &holder));
            for _ in 0..100 {
                for who in [0, 1] {
                    if !held[who].is_empty() && budget.takes_back(&both[who], || Duration::ZERO) {
                        held[who].pop();
                    }
                }
                for who in [0, 1] {
                    if let Some(slot) = (&mut lines[who]).now_or_never() {
                        held[who].push(slot.unwrap());
                        lines[who] = waits(&budget, &both[who]);
                    }
                }
            }
            assert_eq!([held[0].len(), held[1].len()], [6, 2]);
        }
    }

    /// What may happen to a budget, in any order.
    #[derive(Clone, Debug)]
    enum Event {
        Ask(usize),
        Leave(usize),
        Release(usize),
        TakeBack(usize),
        Promise(usize),
        Withdraw(usize),
        Shrink,
        Pass,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0_usize..5).prop_map(Event::Ask),
            1 => any::<usize>().prop_map(Event::Leave),
            3 => any::<usize>().prop_map(Event::Release),
            1 => (0_usize..5).prop_map(Event::TakeBack),
            1 => (0_usize..5).prop_map(Event::Promise),
            1 => (0_usize..5).prop_map(Event::Withdraw),
            1 => Just(Event::Shrink),
            1 => Just(Event::Pass),
        ]
    }

    proptest! {
        /// However requests come, wait, leave and finish, promises are made and ended, and the budget shrinks and grows: never
        /// more slots than that but for those that were out before, none lost, none idle while somebody waits whom no
        /// promise excludes, and everything free at the end.
        #[test]
        fn no_slot_is_lost_or_made_up(size in 1_u32..6, events in prop::collection::vec(event(), 0..200)) {
            let budget = Budget::new(size);
            let holders = [(1, 0), (3, 0), (1, 1), (2, 2), (1, 3)].map(|(weight, kept)| keeper(weight, kept));
            let mut held: Vec<Slot> = Vec::new();
            let mut waiting = Vec::new();
            for event in events {
                let before = held.len();
                match event {
                    Event::Shrink => _ = budget.shrink(),
                    Event::Pass => {
                        let mut state = budget.lock();
                        state.shrunk = state.shrunk.and_then(|shrunk| shrunk.checked_sub(GROWTH));
                    }
                    Event::Ask(who) => waiting.push(Box::pin(budget.slot(&holders[who]))),
                    Event::Leave(at) if !waiting.is_empty() => drop(waiting.swap_remove(at % waiting.len())),
                    Event::Release(at) if !held.is_empty() => drop(held.swap_remove(at % held.len())),
                    Event::TakeBack(who) => _ = budget.takes_back(&holders[who], || Duration::MAX),
                    Event::Promise(who) => budget.promise(&holders[who]),
                    Event::Withdraw(who) => budget.withdraw(&holders[who]),
                    Event::Leave(_) | Event::Release(_) => {}
                }
                // Everyone who waits looks whether it is their turn, twice: a request may bring those before it theirs.
                for _ in 0..2 {
                    waiting.retain_mut(|turn| match turn.now_or_never() {
                        Some(Some(slot)) => {
                            held.push(slot);
                            false
                        }
                        Some(None) => false,
                        None => true,
                    });
                }
                let (limit, owed, fits_nobody) = {
                    let state = budget.lock();
                    let owes = state.line.iter().any(|waiter| waiter.holder.owed() > 0);
                    (state.limit, state.owed, state.taken >= state.limit || !owes)
                };
                prop_assert!(fits_nobody, "a promised slot is free, and who it is for waits");
                prop_assert_eq!(owed, holders.iter().map(|holder| holder.owed()).sum::<u32>());
                prop_assert!((1..=size).contains(&limit));
                prop_assert!(held.len() <= before.max(limit as usize));
                prop_assert_eq!(budget.taken() as usize, held.len());
                prop_assert!(waiting.is_empty() || held.len() + owed as usize >= limit as usize);
                prop_assert_eq!(budget.waiting() as usize, waiting.len());
                let sum: u32 = holders.iter().map(|holder| holder.held()).sum();
                prop_assert_eq!(sum as usize, held.len());
            }
            waiting.clear();
            held.clear();
            prop_assert_eq!(budget.taken(), 0);
            let state = budget.lock();
            prop_assert_eq!(state.weight, 0);
            drop(state);
            for holder in &holders {
                budget.withdraw(holder);
            }
            let state = budget.lock();
            prop_assert_eq!((state.owed, state.promises.len()), (0, 0));
        }
    }
}
