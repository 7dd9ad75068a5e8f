//! What requests came to: counts and latencies of each tenant, its slowest and its failed requests, and the last hour.
//!
//! Everything is memory only, and pure but for atomics and mutexes: the time comes in. [`Traffic::answered`] is on the path
//! of every request; all else is for who looks.

mod history;
mod shape;

pub use history::{EdgePoint, History, Rate, Sample, TenantPoint, TenantSample};
pub use shape::shape;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use http::StatusCode;

/// Upper bounds of the latency buckets, in seconds: from a pooled one-row read to a statement at its timeout.
pub(crate) const LATENCY_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// The same in nanoseconds, which is what a request is compared with.
const LATENCY_NANOS: [u64; LATENCY_SECONDS.len()] = {
    let mut nanos = [0; LATENCY_SECONDS.len()];
    let mut at = 0;
    while at < nanos.len() {
        nanos[at] = (LATENCY_SECONDS[at] * 1e9 + 0.5) as u64;
        at += 1;
    }
    nanos
};

/// Those, and what takes longer than any.
const BUCKETS: usize = LATENCY_SECONDS.len() + 1;

/// What becomes of requests, as a metric's label says it: the classes of [`Counts`].
const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "broken"];
const REDIRECTED: usize = 1;
const REFUSED: usize = 2;
const FAILED: usize = 3;
const BROKEN: usize = 4;

/// No request is slow that takes less, whatever the others take.
pub const SLOW: Duration = Duration::from_millis(1);

/// Shapes of slow requests that are kept of a tenant.
const SLOW_MOST: usize = 10;

/// For how long they are kept, in seconds.
const SLOW_KEPT: u64 = 60 * 60;

/// Failures that are kept of a tenant.
const FAILURES_MOST: usize = 20;

/// Of a text that a client has written, so many bytes are kept.
const TEXT_MOST: usize = 200;

/// What one tenant's requests came to, since the edge was started. Less than 200 bytes, as long as none was slow or failed.
#[derive(Debug)]
pub struct Traffic {
    classes: [AtomicU64; CLASSES.len()],
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
    /// What takes fewer nanoseconds is not among the slowest …
    floor: AtomicU64,
    /// … before this time, in seconds since the epoch: then the first of the slowest is too old.
    floor_until: AtomicU64,
    notes: OnceLock<Box<Notes>>,
}

/// What is seldom needed.
#[derive(Debug, Default)]
struct Notes {
    slowest: Mutex<Vec<Entry>>,
    failures: Mutex<VecDeque<Failure>>,
}

#[derive(Debug)]
struct Entry {
    slow: Slow,
    /// When the longest was seen: an hour later the entry is no longer true.
    longest_at: u64,
}

/// A shape of requests that were slow. It holds no values.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Slow {
    /// What was asked, as [`shape`] writes it.
    pub shape: String,
    /// How often it was seen among the slowest. An estimate: what comes while another is noted is not counted.
    pub times: u64,
    /// The longest it took within the hour.
    pub longest: Duration,
    /// When it was last seen, in seconds since the epoch.
    pub last: u64,
}

/// A request that was refused or failed. It holds neither values nor the query string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// When, in seconds since the epoch.
    pub at: u64,
    /// As the client and the log have it.
    pub request_id: String,
    /// The verb.
    pub method: String,
    /// The path, without the query string.
    pub path: String,
    /// The HTTP status.
    pub status: u16,
    /// `PGRST…`, a SQLSTATE, or a word of our own.
    pub code: String,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            buckets: Default::default(),
            nanos: AtomicU64::new(0),
            floor: AtomicU64::new(nanos(SLOW)),
            floor_until: AtomicU64::new(u64::MAX),
            notes: OnceLock::new(),
        }
    }
}

impl Traffic {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A request was answered with `status`, `took` after its head came. Allocates nothing and waits for nothing.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = match status.as_u16() {
            200..=299 => 0,
            300..=399 => REDIRECTED,
            400..=499 => REFUSED,
            _ => FAILED,
        };
        self.count(class, took);
    }

    /// An answer broke off after its head. It counts as this alone, and not as what its head said.
    pub fn broken(&self, took: Duration) {
        self.count(BROKEN, took);
    }

    /// Relaxed, as each is a counter by itself: who reads while others write may see one of the three ahead of the others.
    fn count(&self, class: usize, took: Duration) {
        let nanos = nanos(took);
        let bucket = LATENCY_NANOS.iter().position(|bound| nanos <= *bound);
        let bucket = bucket.unwrap_or(LATENCY_NANOS.len());
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What there has been so far. None of the numbers ever falls.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            classes: self.classes.each_ref().map(|count| count.load(Ordering::Relaxed)),
            buckets: self.buckets.each_ref().map(|count| count.load(Ordering::Relaxed)),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }

    /// Notes a request of this shape, if it is one of the slowest of the last hour. `now_unix` is in seconds since the
    /// epoch. As a rule two comparisons tell that it is none, and `shape` is not called; nobody ever waits here.
    pub fn slow(&self, now_unix: u64, took: Duration, shape: impl FnOnce() -> String) {
        let below = nanos(took) < self.floor.load(Ordering::Relaxed);
        if took < SLOW || below && now_unix < self.floor_until.load(Ordering::Relaxed) {
            return;
        }
        let shape = shape();
        // One of many: who finds the table taken leaves it at that.
        let mut slowest = match self.notes().slowest.try_lock() {
            Ok(slowest) => slowest,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        note(&mut slowest, now_unix, took, shape);
        let (mut floor, mut until) = (SLOW, u64::MAX);
        if slowest.len() == SLOW_MOST {
            floor = slowest.iter().map(|entry| entry.slow.longest).min().unwrap_or(floor);
            let oldest = slowest.iter().map(|entry| entry.longest_at).min();
            until = oldest.map_or(until, |oldest| oldest.saturating_add(SLOW_KEPT));
        }
        self.floor.store(nanos(floor), Ordering::Relaxed);
        self.floor_until.store(until, Ordering::Relaxed);
    }

    /// The shapes of the slowest requests of the last hour, the slowest first.
    #[must_use]
    pub fn slowest(&self, now_unix: u64) -> Vec<Slow> {
        let Some(notes) = self.notes.get() else {
            return Vec::new();
        };
        let entries = lock(&notes.slowest);
        let mut slowest: Vec<Slow> = entries
            .iter()
            .filter(|entry| entry.is_kept(now_unix))
            .map(|entry| entry.slow.clone())
            .collect();
        drop(entries);
        slowest.sort_by_key(|slow| Reverse(slow.longest));
        slowest
    }

    /// Keeps a failure, and the 19 before it. Texts of more than 200 bytes are cut.
    pub fn failed(&self, mut failure: Failure) {
        for text in [&mut failure.method, &mut failure.path, &mut failure.code] {
            shorten(text, TEXT_MOST);
        }
        let mut failures = lock(&self.notes().failures);
        if failures.len() == FAILURES_MOST {
            failures.pop_front();
        }
        failures.push_back(failure);
    }

    /// The last failures, the newest first.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.notes
            .get()
            .map(|notes| lock(&notes.failures).iter().rev().cloned().collect())
            .unwrap_or_default()
    }

    fn notes(&self) -> &Notes {
        self.notes.get_or_init(Box::default)
    }
}

impl Entry {
    fn is_kept(&self, now_unix: u64) -> bool {
        now_unix.saturating_sub(self.longest_at) < SLOW_KEPT
    }
}

/// Puts a request among the slowest: to its shape, on a free place, or in place of one that was faster.
fn note(slowest: &mut Vec<Entry>, now_unix: u64, took: Duration, shape: String) {
    slowest.retain(|entry| entry.is_kept(now_unix));
    if let Some(entry) = slowest.iter_mut().find(|entry| entry.slow.shape == shape) {
        entry.slow.times += 1;
        entry.slow.last = now_unix;
        if took >= entry.slow.longest {
            entry.slow.longest = took;
            entry.longest_at = now_unix;
        }
        return;
    }
    let entry = Entry {
        slow: Slow {
            shape,
            times: 1,
            longest: took,
            last: now_unix,
        },
        longest_at: now_unix,
    };
    if slowest.len() < SLOW_MOST {
        slowest.push(entry);
    } else if let Some(fastest) = slowest.iter_mut().min_by_key(|entry| entry.slow.longest)
        && fastest.slow.longest < took
    {
        *fastest = entry;
    }
}

/// What requests came to, up to a moment or between two of them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    classes: [u64; CLASSES.len()],
    buckets: [u64; BUCKETS],
    nanos: u64,
}

impl Counts {
    /// Requests answered, in whichever way, and answers that broke off.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Where it was not the client's fault: 5xx, and answers that broke off.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.classes[FAILED] + self.classes[BROKEN]
    }

    /// Where it was the client's: 4xx.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.classes[REFUSED]
    }

    /// What came between `earlier` and this; nothing where that was more.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = *self;
        for (count, earlier) in since.all_mut().zip(earlier.all()) {
            *count = count.saturating_sub(earlier);
        }
        since
    }

    /// The time that the part `q` of requests took at most, from 0 to 1. None without requests.
    ///
    /// An estimate: those of a bucket are taken to be spread evenly over it, and of what took longer than the last bound,
    /// 5 s, no more than that is known.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total: u64 = self.buckets.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0;
        let mut lower = 0.0;
        for (upper, count) in LATENCY_SECONDS.into_iter().zip(self.buckets) {
            if count > 0 && rank <= (below + count) as f64 {
                let part = (rank - below as f64) / count as f64;
                return Some(Duration::from_secs_f64(lower + (upper - lower) * part));
            }
            below += count;
            lower = upper;
        }
        Some(Duration::from_secs_f64(lower))
    }

    /// Each class by its label, `2xx` to `5xx` and `broken`, and how many requests are of it.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(self.classes)
    }

    /// The upper bound of each bucket in seconds, the last one infinite, and how many requests are in it.
    #[must_use]
    pub fn buckets(&self) -> [(f64, u64); BUCKETS] {
        let bound = |at: usize| LATENCY_SECONDS.get(at).copied().unwrap_or(f64::INFINITY);
        std::array::from_fn(|at| (bound(at), self.buckets[at]))
    }

    /// The time that all of them took together, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }

    fn all(&self) -> impl Iterator<Item = u64> {
        let Self {
            classes,
            buckets,
            nanos,
        } = *self;
        classes.into_iter().chain(buckets).chain([nanos])
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self {
            classes,
            buckets,
            nanos,
        } = self;
        classes.iter_mut().chain(buckets).chain([nanos])
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        for (count, other) in self.all_mut().zip(other.all()) {
            *count = count.saturating_add(other);
        }
        self
    }
}

/// 584 years are enough.
fn nanos(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// Cuts what is longer than `most` bytes, and says so; its memory goes as well.
fn shorten(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
        text.shrink_to_fit();
    }
}

/// What a panic leaves behind are counts that miss one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn failure(number: u64) -> Failure {
        Failure {
            at: number,
            request_id: format!("{number:016x}"),
            method: "GET".to_owned(),
            path: "/api/mylist".to_owned(),
            status: 404,
            code: "PGRST205".to_owned(),
        }
    }

    #[test]
    fn a_tenant_without_traffic_is_small() {
        let size = size_of::<Traffic>();
        assert!(size < 200, "{size} bytes");
    }

    #[test]
    fn requests_are_counted_by_class() {
        let traffic = Traffic::new();
        for status in [200, 201, 304, 404, 503, 500] {
            traffic.answered(StatusCode::from_u16(status).unwrap(), MS);
        }
        traffic.broken(MS);
        let counts = traffic.counts();
        let classes: Vec<_> = counts.classes().collect();
        assert_eq!(classes, [("2xx", 2), ("3xx", 1), ("4xx", 1), ("5xx", 2), ("broken", 1)]);
        assert_eq!((counts.requests(), counts.errors(), counts.refused()), (7, 3, 1));
        assert!((counts.seconds() - 0.007).abs() < 1e-9);
        assert_eq!(traffic.counts().since(&counts), Counts::default());
        assert_eq!(Counts::default().since(&counts), Counts::default());
        assert_eq!((counts + counts).requests(), 14);
    }

    #[test]
    fn bounds_belong_to_their_bucket() {
        let traffic = Traffic::new();
        for bound in LATENCY_SECONDS {
            traffic.answered(StatusCode::OK, Duration::from_secs_f64(bound));
        }
        traffic.answered(StatusCode::OK, Duration::from_secs(6));
        let buckets = traffic.counts().buckets();
        assert!(buckets.iter().all(|(_, count)| *count == 1), "{buckets:?}");
        assert_eq!(buckets[0].0, 0.0005);
        assert_eq!(buckets[12].0, f64::INFINITY);
    }

    #[test]
    fn quantiles_are_interpolated_in_their_bucket() {
        let traffic = Traffic::new();
        assert_eq!(traffic.counts().quantile(0.5), None);
        for _ in 0..100 {
            traffic.answered(StatusCode::OK, Duration::from_micros(700));
        }
        let close = |q: f64, expected: f64| {
            let found = traffic.counts().quantile(q).unwrap().as_secs_f64();
            assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
        };
        close(0.0, 0.0005);
        close(0.5, 0.00075);
        close(1.0, 0.001);
        for _ in 0..100 {
            traffic.answered(StatusCode::OK, Duration::from_secs(9));
        }
        close(0.5, 0.001);
        close(0.99, 5.0);
        close(7.0, 5.0);
    }

    #[test]
    fn fast_requests_have_no_shape() {
        let traffic = Traffic::new();
        traffic.slow(0, Duration::from_micros(999), || unreachable!());
        assert!(traffic.slowest(0).is_empty());
    }

    #[test]
    fn the_ten_slowest_shapes_stay() {
        let traffic = Traffic::new();
        for number in 1..=15 {
            traffic.slow(100, number * MS, || format!("shape {number}"));
        }
        traffic.slow(101, 7 * MS, || "shape 7".to_owned());
        // Below the floor, so it is not even asked for.
        traffic.slow(102, 5 * MS, || unreachable!());
        // As slow as the fastest of them, which is not slower.
        traffic.slow(103, 6 * MS, || "another".to_owned());
        let slowest = traffic.slowest(200);
        let shapes: Vec<_> = slowest.iter().map(|slow| slow.shape.as_str()).collect();
        let expected: Vec<_> = (6..=15).rev().map(|number| format!("shape {number}")).collect();
        assert_eq!(shapes, expected);
        let seventh = Slow {
            shape: "shape 7".to_owned(),
            times: 2,
            longest: 7 * MS,
            last: 101,
        };
        assert_eq!(slowest[8], seventh);
    }

    #[test]
    fn what_was_slow_an_hour_ago_makes_way() {
        let traffic = Traffic::new();
        for number in 0..10 {
            traffic.slow(1000 + number, 500 * MS, || format!("old {number}"));
        }
        traffic.slow(4599, 2 * MS, || unreachable!("all of the hour are slower"));
        traffic.slow(4600, 2 * MS, || "new".to_owned());
        let shapes: Vec<_> = traffic.slowest(4600).into_iter().map(|slow| slow.shape).collect();
        assert_eq!(shapes.len(), 10);
        assert_eq!(shapes[9], "new");
        assert!(!shapes.contains(&"old 0".to_owned()));
        assert_eq!(traffic.slowest(4605).len(), 5, "those of 1005 and before are too old");
        traffic.slow(6000, 3 * MS, || "new".to_owned());
        let slowest = traffic.slowest(6000);
        assert_eq!(slowest.len(), 1);
        assert_eq!((slowest[0].times, slowest[0].longest), (2, 3 * MS));
    }

    #[test]
    fn a_shape_is_as_slow_as_within_the_hour() {
        let traffic = Traffic::new();
        traffic.slow(0, 900 * MS, || "shape".to_owned());
        traffic.slow(3599, 2 * MS, || "shape".to_owned());
        assert_eq!(traffic.slowest(3599)[0].longest, 900 * MS);
        traffic.slow(3600, 3 * MS, || "shape".to_owned());
        let slowest = traffic.slowest(3600);
        assert_eq!((slowest[0].longest, slowest[0].times), (3 * MS, 1));
    }

    #[test]
    fn the_last_failures_stay() {
        let traffic = Traffic::new();
        assert!(traffic.failures().is_empty());
        for number in 0..25 {
            traffic.failed(failure(number));
        }
        let failures = traffic.failures();
        assert_eq!(failures.len(), 20);
        assert_eq!(failures[0], failure(24));
        assert_eq!(failures[19], failure(5));
    }

    #[test]
    fn what_a_client_writes_is_not_kept_at_any_length() {
        let traffic = Traffic::new();
        let path = "é".repeat(10_000);
        traffic.failed(Failure { path, ..failure(1) });
        let kept = &traffic.failures()[0].path;
        assert_eq!(*kept, format!("{}…", "é".repeat(100)));
    }

    #[test]
    fn many_count_at_once() {
        let traffic = Traffic::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..1000 {
                        traffic.answered(StatusCode::OK, 2 * MS);
                        traffic.slow(1, 2 * MS, || format!("shape {}", number % 3));
                    }
                });
            }
        });
        assert_eq!(traffic.counts().requests(), 4000);
        assert_eq!(traffic.slowest(1).len(), 3);
    }
}
