//! Leaves alone what does not work, and looks now and then whether it does again.
//!
//! ```text
//!            an attempt fails                 due, and somebody asks
//!  closed ────────────────────► open ◄─────────────────────────────────► probing
//!     ▲                           fails again: twice the delay, or dropped    │
//!     └───────────────────────────────────────────────────────────────────────┘ any attempt succeeds
//! ```
//!
//! There is no task: whoever asks when a probe is due is the probe, and without demand nothing is tried. Between two
//! attempts lie 100 ms at least, whatever becomes of them; how much more is chance, so that many edges do not ask at once.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{chance, lock};

/// The first probe is due after this, and so much lies between any two.
const SHORTEST: Duration = Duration::from_millis(100);

/// A quick restart costs no request: as long as the breaker is open for less, requests wait so long for a probe.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// Whether something is tried: a server, or one tenant's settings on it.
pub(super) struct Breaker {
    longest: Duration,
    state: Mutex<State>,
    /// An outcome is known, or the probe has been given up.
    changed: Notify,
}

/// What is known; `Breaker` adds the clock and the waiting.
#[derive(Default)]
struct State {
    open: Option<Open>,
    probes: u64,
}

struct Open {
    since: Instant,
    failures: u32,
    /// When the next probe may start.
    due: Instant,
    /// The one that is under way.
    probe: Option<u64>,
    reason: Arc<str>,
}

/// Leave to try once. Dropped without an outcome, it was no attempt, and the next one may be made in its place.
pub(super) struct Attempt<'a> {
    breaker: &'a Breaker,
    probe: Option<u64>,
}

/// That it is not worth trying.
#[derive(Clone, Debug)]
pub(super) struct Shut {
    /// What the last attempt failed of.
    pub(super) reason: Arc<str>,
    /// The time to the next probe.
    pub(super) retry_after: Duration,
    since: Instant,
    is_probed: bool,
}

impl Breaker {
    /// Closed. `longest` is the longest delay of a probe.
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            longest,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Leave to try now, or why not.
    pub(super) fn ask(&self) -> Result<Attempt<'_>, Shut> {
        let probe = self.lock().ask(Instant::now())?;
        Ok(Attempt { breaker: self, probe })
    }

    /// The same for who `asked` then, and waits for the outcome of a probe if the breaker was open for less than
    /// [`PATIENCE`]. Dropping the future changes nothing.
    pub(super) async fn pass(&self, asked: Instant) -> Result<Attempt<'_>, Shut> {
        let patience = asked + PATIENCE;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable(); // before looking, so that no change is missed
            let shut = match self.ask() {
                Ok(attempt) => return Ok(attempt),
                Err(shut) => shut,
            };
            let now = Instant::now();
            if asked >= shut.since + PATIENCE || now >= patience {
                return Err(shut);
            }
            let wake = match shut.is_probed {
                true => patience,
                false => patience.min(now + shut.retry_after),
            };
            let _ = timeout_at(wake, changed).await; // whichever it was: look again
        }
    }

    /// Why a request that comes now would be refused at once, if so.
    pub(super) fn refuses(&self, patience: Duration) -> Option<Shut> {
        let now = Instant::now();
        self.lock().refuses(now).filter(|shut| now >= shut.since + patience)
    }

    /// How long it is to the next probe; nothing if it is closed.
    pub(super) fn retry_after(&self) -> Duration {
        let refused = self.lock().refuses(Instant::now());
        refused.map_or(Duration::ZERO, |shut| shut.retry_after)
    }

    /// It works again, as somebody found who had not asked.
    pub(super) fn close(&self) {
        self.lock().open = None;
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Attempt<'_> {
    /// Whether it was permitted while all was well, and something has failed since.
    pub(super) fn is_outdated(&self) -> bool {
        self.probe.is_none() && self.breaker.lock().open.is_some()
    }

    /// It works.
    pub(super) fn succeeded(self) {
        self.breaker.close();
    }

    /// It does not, for this reason.
    pub(super) fn failed(mut self, reason: &str) {
        let longest = self.breaker.longest;
        let delay = |failures| delay(failures, longest, chance());
        self.breaker
            .lock()
            .fail(Instant::now(), self.probe.take(), delay, reason);
        self.breaker.changed.notify_waiters();
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.probe.is_some() {
            self.breaker.lock().give_up(self.probe);
            self.breaker.changed.notify_waiters();
        }
    }
}

impl State {
    /// The number of the probe that who asks is, or none if all is well.
    fn ask(&mut self, now: Instant) -> Result<Option<u64>, Shut> {
        if let Some(shut) = self.refuses(now) {
            return Err(shut);
        }
        let Some(open) = &mut self.open else {
            return Ok(None);
        };
        self.probes += 1;
        open.probe = Some(self.probes);
        open.due = now + SHORTEST; // for the next one, if this one is given up
        Ok(open.probe)
    }

    fn refuses(&self, now: Instant) -> Option<Shut> {
        let open = self.open.as_ref()?;
        (open.probe.is_some() || now < open.due).then(|| Shut {
            reason: Arc::clone(&open.reason),
            retry_after: open.due.saturating_duration_since(now),
            since: open.since,
            is_probed: open.probe.is_some(),
        })
    }

    fn fail(&mut self, now: Instant, probe: Option<u64>, delay: impl Fn(u32) -> Duration, reason: &str) {
        match &mut self.open {
            None => {
                self.open = Some(Open {
                    since: now,
                    failures: 0,
                    due: now + delay(0),
                    probe: None,
                    reason: reason.into(),
                });
            }
            Some(open) if probe.is_some() && open.probe == probe => {
                open.failures += 1;
                open.due = now + delay(open.failures);
                open.probe = None;
                open.reason = reason.into();
            }
            Some(_) => {} // it began before it was open, and says nothing new
        }
    }

    fn give_up(&mut self, probe: Option<u64>) {
        if let Some(open) = &mut self.open
            && open.probe == probe
        {
            open.probe = None;
        }
    }
}

/// The delay after so many failed probes: from the shortest to twice that, four times, and so on, wherever `chance` (0 to 1)
/// has it.
fn delay(failures: u32, longest: Duration, chance: f64) -> Duration {
    let most = SHORTEST.saturating_mul(2_u32.saturating_pow(failures.saturating_add(1)));
    SHORTEST + most.min(longest).saturating_sub(SHORTEST).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    const LONGEST: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn who_asks_when_it_is_due_is_the_probe_and_its_success_lets_all_pass() {
        let breaker = Breaker::new(LONGEST);
        let (one, two) = (breaker.ask().unwrap(), breaker.ask().unwrap());
        one.failed("refused");
        assert!(two.is_outdated());
        two.failed("refused, too");
        let shut = breaker.ask().err().unwrap();
        assert_eq!(&*shut.reason, "refused");
        assert!(
            (SHORTEST..=2 * SHORTEST).contains(&shut.retry_after),
            "{:?}",
            shut.retry_after
        );
        advance(shut.retry_after).await;
        let probe = breaker.ask().unwrap();
        assert!(breaker.ask().is_err(), "one at a time");
        drop(probe);
        advance(SHORTEST).await;
        let probe = breaker.ask().expect("the one before was dropped");
        probe.failed("still refused");
        assert!(breaker.refuses(PATIENCE).is_none(), "requests wait as yet");
        advance(4 * SHORTEST).await;
        breaker.ask().unwrap().succeeded();
        assert_eq!(breaker.retry_after(), Duration::ZERO);
        let (_one, _two) = (breaker.ask().unwrap(), breaker.ask().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_a_probe_while_the_outage_is_young_and_no_longer() {
        let breaker = Breaker::new(LONGEST);
        let began = Instant::now();
        breaker.ask().unwrap().failed("refused");
        // One of the two becomes the probe; the other waits for it.
        let passes = async || {
            let passed = breaker.pass(began).await.unwrap();
            if passed.probe.is_some() {
                sleep(Duration::from_millis(300)).await;
                passed.succeeded();
                return 1;
            }
            assert!(began.elapsed() >= Duration::from_millis(400));
            0
        };
        let (one, two) = tokio::join!(passes(), passes());
        assert_eq!(one + two, 1);

        let began = Instant::now();
        breaker.ask().unwrap().failed("refused");
        advance(2 * SHORTEST).await;
        let _endless = breaker.ask().unwrap();
        assert!(breaker.pass(began).await.is_err());
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(breaker.pass(Instant::now()).now_or_never().unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_ten_seconds_is_tried_a_hundred_times_at_most() {
        let breaker = Breaker::new(LONGEST);
        let mut attempts = 0;
        let _ = timeout(Duration::from_secs(10), async {
            loop {
                // Some are dropped before there is an outcome.
                match breaker.ask() {
                    Ok(attempt) if attempts % 3 == 2 => drop(attempt),
                    Ok(attempt) => attempt.failed("refused"),
                    Err(_) => {
                        sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                }
                attempts += 1;
            }
        })
        .await;
        assert!((10..=100).contains(&attempts), "{attempts} attempts");
    }

    proptest! {
        /// However attempts begin, end and are dropped, the first ones and probes of any outage: never two probes of one
        /// outage at once, none sooner than 100 ms after the one before, and as soon as one is due there is leave for it.
        #[test]
        fn there_are_never_two_probes(
            events in prop::collection::vec((0_u8..5, any::<usize>(), 0_u64..300, 0.0..1.0_f64), 0..300),
        ) {
            let mut state = State::default();
            let mut now = Instant::now();
            let mut running: Vec<Option<u64>> = Vec::new();
            let mut last: Option<Instant> = None;
            for (kind, which, millis, chance) in events {
                match kind {
                    0 => now += Duration::from_millis(millis),
                    1 => match state.ask(now) {
                        Ok(Some(probe)) => {
                            prop_assert!(last.is_none_or(|last| now >= last + SHORTEST));
                            last = Some(now);
                            running.push(Some(probe));
                        }
                        Ok(None) => running.push(None),
                        Err(shut) => {
                            prop_assert!(shut.is_probed || shut.retry_after > Duration::ZERO);
                            prop_assert!(shut.retry_after <= LONGEST);
                        }
                    },
                    _ if running.is_empty() => {}
                    2 => {
                        state.open = None; // it has succeeded
                        last = None;
                        running.swap_remove(which % running.len());
                    }
                    3 => {
                        let probe = running.swap_remove(which % running.len());
                        state.fail(now, probe, |failures| delay(failures, LONGEST, chance), "");
                    }
                    _ => state.give_up(running.swap_remove(which % running.len())),
                }
                let current = state.open.as_ref().and_then(|open| open.probe);
                // The one that is under way is one of ours; others belong to outages that are over.
                prop_assert!(current.is_none() || running.contains(&current));
            }
        }
    }
}
