//! The last hour in memory: of the whole edge every ten seconds, of each tenant that had requests every thirty.
//!
//! [`History::tick`] is given what was counted so far; what came since the last tick is what there is to keep. A tenant
//! without requests costs nothing, one whose last was an hour ago no more than its counts.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use crate::types::TenantId;

use super::{Counts, lock};

/// The figures of the last hour.
#[derive(Debug, Default)]
pub struct History {
    inner: Mutex<Inner>,
}

/// What there is at a tick.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Of each tenant that ever had a request: once the last tick has seen one, every tick is to see it.
    pub tenants: Vec<TenantSample>,
    /// Requests so far for hosts that are nobody's. They are part of the whole.
    pub unknown: Counts,
    /// Connections to Postgres, of all clusters together.
    pub slots: u32,
    /// Requests that wait for one.
    pub waiting: u32,
}

/// What there is of a tenant at a tick.
#[derive(Clone, Debug)]
pub struct TenantSample {
    /// Who.
    pub id: TenantId,
    /// Its requests since the edge was started.
    pub counts: Counts,
    /// Connections to Postgres it holds.
    pub held: u32,
}

/// How requests went within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Requests answered per second.
    pub requests_per_second: f64,
    /// Of those, 5xx and answers that broke off.
    pub errors_per_second: f64,
    /// What half of them took at most, as [`Counts::quantile`] estimates it; none without requests.
    pub p50: Option<Duration>,
    /// What 99 of a hundred took at most, likewise.
    pub p99: Option<Duration>,
}

/// Ten seconds of the whole edge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EdgePoint {
    /// How requests went, those for unknown hosts included.
    pub rate: Rate,
    /// Connections to Postgres at the end of it, of all clusters together.
    pub slots: u32,
    /// Requests that waited for one at the end of it.
    pub waiting: u32,
}

/// Thirty seconds of a tenant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TenantPoint {
    /// How its requests went.
    pub rate: Rate,
    /// Connections to Postgres it held at the end of it.
    pub held: u32,
}

#[derive(Debug)]
struct Inner {
    /// When the last tick was, since the epoch.
    last: Option<Duration>,
    unknown: Counts,
    now: Option<Rate>,
    edge: VecDeque<Option<EdgePoint>>,
    tenants: HashMap<TenantId, Track, foldhash::fast::RandomState>,
    /// The hour of a tenant without requests: zeros, and the gaps that there are.
    silent: VecDeque<Packed>,
    /// Ticks since tenants last got a point, those that were missed included.
    ticks: usize,
    /// Seconds since then.
    seconds: f64,
}

/// A tenant that ever had a request.
#[derive(Debug)]
struct Track {
    last: Counts,
    /// None while there was no request for an hour.
    hour: Option<Box<Hour>>,
}

#[derive(Debug)]
struct Hour {
    /// Of the last tick.
    now: Option<Rate>,
    /// At the last point.
    counts: Counts,
    held: u32,
    /// Points since the last request.
    idle: usize,
    /// From the first request of the hour on; before it there is silence.
    points: VecDeque<Packed>,
}

/// A [`TenantPoint`] in 20 bytes, for there are 120 of them for each of maybe ten thousand tenants. Not a number stands for
/// what there is none of; without a number of requests, the point is a gap.
#[derive(Clone, Copy, Debug)]
struct Packed {
    requests_per_second: f32,
    errors_per_second: f32,
    p50: f32,
    p99: f32,
    held: u32,
}

impl History {
    /// How often [`tick`](Self::tick) is to be called, and what a point of the whole edge stands for.
    pub const PERIOD: Duration = Duration::from_secs(10);
    /// Points of the whole edge: an hour.
    pub const EDGE_POINTS: usize = 360;
    /// What a point of a tenant stands for.
    pub const TENANT_PERIOD: Duration = Duration::from_secs(30);
    /// Points of a tenant: an hour.
    pub const TENANT_POINTS: usize = 120;

    /// An hour that nothing is known of.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what was counted up to `now`, which is since the epoch. The first tick only says where counting begins.
    ///
    /// Ticks that were missed become gaps, and what came meanwhile goes to the point behind them. A clock that was set back
    /// counts as a period.
    pub fn tick(&self, now: Duration, sample: &Sample) {
        lock(&self.inner).tick(now, sample);
    }

    /// How the requests of `tenant` went between the last two ticks. None if there were none.
    #[must_use]
    pub fn now(&self, tenant: &TenantId) -> Option<Rate> {
        lock(&self.inner).tenants.get(tenant)?.hour.as_ref()?.now
    }

    /// How all requests went between the last two ticks, those for unknown hosts included. None if there were none.
    #[must_use]
    pub fn edge_now(&self) -> Option<Rate> {
        lock(&self.inner).now
    }

    /// The last hour of the whole edge: [`EDGE_POINTS`](Self::EDGE_POINTS) points, the oldest first, none where no tick was.
    #[must_use]
    pub fn edge(&self) -> Vec<Option<EdgePoint>> {
        lock(&self.inner).edge.iter().copied().collect()
    }

    /// The last hour of `tenant`: [`TENANT_POINTS`](Self::TENANT_POINTS) points, the oldest first, none where no tick was.
    /// Without requests, and for a tenant that nobody knows, they are zeros.
    #[must_use]
    pub fn tenant(&self, tenant: &TenantId) -> Vec<Option<TenantPoint>> {
        let inner = lock(&self.inner);
        let hour = inner.tenants.get(tenant).and_then(|track| track.hour.as_ref());
        let points = hour.map(|hour| &hour.points);
        let before = Self::TENANT_POINTS - points.map_or(0, VecDeque::len);
        let points = inner.silent.iter().take(before).chain(points.into_iter().flatten());
        points.map(Packed::unpacked).collect()
    }
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            last: None,
            unknown: Counts::default(),
            now: None,
            edge: VecDeque::from([None; History::EDGE_POINTS]),
            tenants: HashMap::default(),
            silent: VecDeque::from([Packed::GAP; History::TENANT_POINTS]),
            ticks: 0,
            seconds: 0.0,
        }
    }
}

impl Inner {
    fn tick(&mut self, now: Duration, sample: &Sample) {
        let Some(last) = self.last.replace(now) else {
            self.unknown = sample.unknown;
            let begun = |tenant: &TenantSample| {
                let last = tenant.counts;
                (tenant.id.clone(), Track { last, hour: None })
            };
            self.tenants = sample.tenants.iter().map(begun).collect();
            return;
        };
        let elapsed = now.checked_sub(last).filter(|elapsed| !elapsed.is_zero());
        let seconds = elapsed.unwrap_or(History::PERIOD).as_secs_f64();
        let periods = (seconds / History::PERIOD.as_secs_f64()).round().max(1.0) as usize;

        let mut whole = sample.unknown.since(&self.unknown);
        self.unknown = sample.unknown;
        for tenant in &sample.tenants {
            whole = whole + self.tenant(tenant, seconds);
        }
        self.now = (whole.requests() > 0).then(|| Rate::of(&whole, seconds));
        let point = EdgePoint {
            rate: self.now.unwrap_or_default(),
            slots: sample.slots,
            waiting: sample.waiting,
        };
        push(&mut self.edge, History::EDGE_POINTS, periods, None, Some(point));

        self.ticks += periods;
        self.seconds += seconds;
        let per_point = History::EDGE_POINTS / History::TENANT_POINTS;
        if self.ticks >= per_point {
            self.points(self.ticks / per_point);
            self.ticks %= per_point;
            self.seconds = 0.0;
        }
    }

    /// Takes in one tenant: what came since the last tick, which was so many seconds ago.
    fn tenant(&mut self, sample: &TenantSample, seconds: f64) -> Counts {
        // A tenant that is new here had its first request after the last tick.
        let Some(track) = self.tenants.get_mut(&sample.id) else {
            if sample.counts.requests() > 0 {
                let (last, hour) = (Counts::default(), None);
                self.tenants.insert(sample.id.clone(), Track { last, hour });
                return self.tenant(sample, seconds);
            }
            return Counts::default();
        };
        if sample.counts == track.last {
            if let Some(hour) = &mut track.hour {
                hour.now = None;
                hour.held = sample.held;
            }
            return Counts::default();
        }
        let counts = sample.counts.since(&track.last);
        let hour = track.hour.get_or_insert_with(|| {
            Box::new(Hour {
                now: None,
                counts: track.last,
                held: 0,
                idle: 0,
                points: VecDeque::new(),
            })
        });
        hour.now = Some(Rate::of(&counts, seconds));
        hour.held = sample.held;
        hour.idle = 0;
        track.last = sample.counts;
        counts
    }

    /// A point of each tenant, and before it a gap for each that was missed.
    fn points(&mut self, points: usize) {
        let most = History::TENANT_POINTS;
        push(
            &mut self.silent,
            most,
            points,
            Packed::GAP,
            Packed::of(Rate::default(), 0),
        );
        for track in self.tenants.values_mut() {
            let Some(hour) = &mut track.hour else { continue };
            hour.idle += points;
            if hour.idle > most {
                track.hour = None;
                continue;
            }
            let rate = Rate::of(&track.last.since(&hour.counts), self.seconds);
            hour.counts = track.last;
            push(&mut hour.points, most, points, Packed::GAP, Packed::of(rate, hour.held));
        }
    }
}

/// Puts so many points to the end, all but the last one a gap, and drops those that are then too many.
fn push<T: Clone>(points: &mut VecDeque<T>, most: usize, more: usize, gap: T, last: T) {
    let more = more.clamp(1, most);
    // First, or there would have to be room for one too many.
    points.drain(..(points.len() + more).saturating_sub(most));
    points.extend(std::iter::repeat_n(gap, more - 1));
    points.push_back(last);
}

impl Rate {
    fn of(counts: &Counts, seconds: f64) -> Self {
        Self {
            requests_per_second: counts.requests() as f64 / seconds,
            errors_per_second: counts.errors() as f64 / seconds,
            p50: counts.quantile(0.5),
            p99: counts.quantile(0.99),
        }
    }
}

impl Packed {
    const GAP: Self = Self {
        requests_per_second: f32::NAN,
        errors_per_second: f32::NAN,
        p50: f32::NAN,
        p99: f32::NAN,
        held: 0,
    };

    fn of(rate: Rate, held: u32) -> Self {
        let seconds = |time: Option<Duration>| time.map_or(f32::NAN, |time| time.as_secs_f32());
        Self {
            requests_per_second: rate.requests_per_second as f32,
            errors_per_second: rate.errors_per_second as f32,
            p50: seconds(rate.p50),
            p99: seconds(rate.p99),
            held,
        }
    }

    fn unpacked(&self) -> Option<TenantPoint> {
        if self.requests_per_second.is_nan() {
            return None;
        }
        let time = |seconds: f32| Duration::try_from_secs_f32(seconds).ok();
        let rate = Rate {
            requests_per_second: self.requests_per_second.into(),
            errors_per_second: self.errors_per_second.into(),
            p50: time(self.p50),
            p99: time(self.p99),
        };
        Some(TenantPoint { rate, held: self.held })
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::traffic::Traffic;

    const MS: Duration = Duration::from_millis(1);

    /// A street of two, and its clock.
    struct Street {
        history: History,
        now: Duration,
        one: Traffic,
        two: Traffic,
        unknown: Traffic,
    }

    fn id(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    impl Street {
        fn new() -> Self {
            Self {
                history: History::new(),
                now: Duration::from_secs(1_000_000),
                one: Traffic::new(),
                two: Traffic::new(),
                unknown: Traffic::new(),
            }
        }

        fn tick_after(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
            let tenant = |name: &str, traffic: &Traffic| TenantSample {
                id: id(name),
                counts: traffic.counts(),
                held: 3,
            };
            let sample = Sample {
                tenants: vec![tenant("one", &self.one), tenant("two", &self.two)],
                unknown: self.unknown.counts(),
                slots: 7,
                waiting: 2,
            };
            self.history.tick(self.now, &sample);
        }

        fn tenant(&self, name: &str) -> Vec<Option<TenantPoint>> {
            self.history.tenant(&id(name))
        }
    }

    fn requests(traffic: &Traffic, times: usize) {
        for _ in 0..times {
            traffic.answered(StatusCode::OK, 2 * MS);
        }
    }

    #[test]
    fn the_first_tick_says_where_counting_begins() {
        let mut street = Street::new();
        requests(&street.one, 1000);
        street.tick_after(0);
        assert_eq!(street.history.edge_now(), None);
        assert!(street.history.edge().iter().all(Option::is_none));
        assert_eq!(street.tenant("one"), vec![None; 120]);
        requests(&street.one, 50);
        street.tick_after(10);
        assert_eq!(street.history.edge_now().unwrap().requests_per_second, 5.0);
        assert_eq!(street.history.now(&id("one")).unwrap().requests_per_second, 5.0);
    }

    #[test]
    fn rates_are_those_of_the_last_period() {
        let mut street = Street::new();
        street.tick_after(0);
        requests(&street.one, 90);
        for _ in 0..10 {
            street.one.answered(StatusCode::SERVICE_UNAVAILABLE, 800 * MS);
        }
        requests(&street.unknown, 100);
        street.tick_after(10);
        let one = street.history.now(&id("one")).unwrap();
        assert_eq!((one.requests_per_second, one.errors_per_second), (10.0, 1.0));
        assert!(one.p50.unwrap() < 3 * MS && one.p99.unwrap() > 500 * MS, "{one:?}");
        assert_eq!(street.history.now(&id("two")), None);
        let edge = street.history.edge_now().unwrap();
        assert_eq!((edge.requests_per_second, edge.errors_per_second), (20.0, 1.0));
        let points = street.history.edge();
        assert_eq!(points.len(), 360);
        let newest = EdgePoint {
            rate: edge,
            slots: 7,
            waiting: 2,
        };
        assert_eq!(points[359], Some(newest));
        assert_eq!(points[358], None);
        street.tick_after(10);
        assert_eq!(street.history.now(&id("one")), None);
        assert_eq!(street.history.edge_now(), None);
        assert_eq!(street.history.edge()[359].unwrap().rate, Rate::default());
    }

    #[test]
    fn a_tenant_has_a_point_every_thirty_seconds() {
        let mut street = Street::new();
        street.tick_after(0);
        for _ in 0..3 {
            street.tick_after(10);
        }
        requests(&street.one, 15);
        street.tick_after(10);
        street.tick_after(10);
        assert_eq!(street.tenant("one")[118], None, "not yet");
        street.one.broken(MS);
        street.tick_after(10);
        let points = street.tenant("one");
        assert_eq!(points.len(), 120);
        let newest = points[119].unwrap();
        assert!((newest.rate.requests_per_second - 16.0 / 30.0).abs() < 1e-6);
        assert!((newest.rate.errors_per_second - 1.0 / 30.0).abs() < 1e-6);
        assert!(newest.rate.p50.unwrap() > MS);
        assert_eq!(newest.held, 3);
        let silent = TenantPoint {
            rate: Rate::default(),
            held: 0,
        };
        assert_eq!(points[118], Some(silent), "before its first request it had none");
        assert_eq!(points[117], None, "before the first tick nothing is known");
        assert_eq!(street.tenant("two")[119], Some(silent));
        assert_eq!(street.tenant("nobody"), street.tenant("two"));
    }

    #[test]
    fn missed_ticks_are_gaps() {
        let mut street = Street::new();
        street.tick_after(0);
        for _ in 0..3 {
            requests(&street.one, 1);
            street.tick_after(10);
        }
        requests(&street.one, 600);
        street.tick_after(60);
        let edge = street.history.edge();
        let known: Vec<bool> = edge[350..].iter().map(Option::is_some).collect();
        assert_eq!(
            known,
            [false, true, true, true, false, false, false, false, false, true]
        );
        assert_eq!(edge[359].unwrap().rate.requests_per_second, 10.0);
        let one = street.tenant("one");
        assert!(one[117].is_some() && one[118].is_none());
        assert_eq!(one[119].unwrap().rate.requests_per_second, 10.0);
        let two = street.tenant("two");
        assert!(two[117].is_some() && two[118].is_none() && two[119].is_some());
        // A day later nothing is left of the hour but the newest point.
        street.tick_after(24 * 60 * 60);
        assert_eq!(street.history.edge().iter().flatten().count(), 1);
        assert_eq!(street.tenant("one").iter().flatten().count(), 1);
    }

    #[test]
    fn a_clock_set_back_counts_as_a_period() {
        let mut street = Street::new();
        street.tick_after(0);
        requests(&street.one, 10);
        street.now -= Duration::from_secs(3600);
        street.tick_after(0);
        assert_eq!(street.history.edge_now().unwrap().requests_per_second, 1.0);
        requests(&street.one, 20);
        street.tick_after(10);
        assert_eq!(street.history.edge_now().unwrap().requests_per_second, 2.0);
    }

    #[test]
    fn a_tenant_that_appears_brings_no_more_than_it_had() {
        let mut street = Street::new();
        street.history.tick(street.now, &Sample::default());
        street.tick_after(10);
        requests(&street.one, 10);
        street.tick_after(10);
        assert_eq!(street.history.now(&id("one")).unwrap().requests_per_second, 1.0);
        assert_eq!(
            lock(&street.history.inner).tenants.len(),
            1,
            "who has no requests costs nothing"
        );
    }

    #[test]
    fn an_hour_of_silence_is_forgotten_and_counted_on() {
        let mut street = Street::new();
        street.tick_after(0);
        requests(&street.one, 10);
        let kept = |street: &Street| lock(&street.history.inner).tenants[&id("one")].hour.is_some();
        for _ in 0..360 {
            street.tick_after(10);
            assert!(kept(&street));
        }
        assert!(street.tenant("one")[0].unwrap().rate.requests_per_second > 0.0);
        for _ in 0..3 {
            street.tick_after(10);
        }
        assert!(!kept(&street));
        assert!(street.tenant("one").iter().all(Option::is_some));
        requests(&street.one, 20);
        street.tick_after(10);
        assert_eq!(street.history.now(&id("one")).unwrap().requests_per_second, 2.0);
    }
}
