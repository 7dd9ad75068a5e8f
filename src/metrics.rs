//! Every metric's name, unit and labels. The values of pools are read when they are asked for, not counted twice.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of the latency buckets, in seconds: from a pooled one-row read to a statement at its timeout.
const LATENCY_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// What is counted while the edge runs. Tenants come from configuration only, so that no client can make up labels.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Histogram,
    checkout: Histogram,
    reloads: Family<ReloadLabels, Counter>,
    slots: Family<ClusterLabels, Gauge>,
    budget: Family<ClusterLabels, Gauge>,
    waiting: Family<ClusterLabels, Gauge>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    tenant: String,
    status: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ReloadLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ClusterLabels {
    cluster: String,
}

impl Metrics {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("rowhouse");
        let requests = Family::<RequestLabels, Counter>::default();
        let seconds = Histogram::new(LATENCY_SECONDS);
        let checkout = Histogram::new(LATENCY_SECONDS);
        let reloads = Family::<ReloadLabels, Counter>::default();
        let slots = Family::<ClusterLabels, Gauge>::default();
        let budget = Family::<ClusterLabels, Gauge>::default();
        let waiting = Family::<ClusterLabels, Gauge>::default();
        registry.register(
            "requests",
            "Requests answered, by tenant and status class",
            requests.clone(),
        );
        registry.register(
            "request_seconds",
            "Time from a request's head to its answer",
            seconds.clone(),
        );
        registry.register(
            "checkout_wait_seconds",
            "Time a request waited for a connection",
            checkout.clone(),
        );
        registry.register(
            "config_reloads",
            "Configurations read while running, by outcome",
            reloads.clone(),
        );
        registry.register(
            "cluster_slots",
            "Connections there are, of the cluster's budget",
            slots.clone(),
        );
        registry.register("cluster_budget_slots", "Connections there may be", budget.clone());
        registry.register(
            "cluster_waiting_requests",
            "Requests that wait for a connection",
            waiting.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
            checkout,
            reloads,
            slots,
            budget,
            waiting,
        }
    }

    /// One request was answered. No tenant: the host is unknown.
    pub fn request(&self, tenant: Option<&str>, status: http::StatusCode, took: Duration) {
        let status = match status.as_u16() {
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        let tenant = tenant.unwrap_or("unknown").to_owned();
        self.requests.get_or_create(&RequestLabels { tenant, status }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// An answer broke off after its head.
    pub fn broken(&self, tenant: &str, took: Duration) {
        let labels = RequestLabels {
            tenant: tenant.to_owned(),
            status: "broken",
        };
        self.requests.get_or_create(&labels).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// A request got a connection.
    pub fn checkout(&self, waited: Duration) {
        self.checkout.observe(waited.as_secs_f64());
    }

    /// A configuration was read.
    pub fn reload(&self, ok: bool) {
        self.reloads
            .get_or_create(&ReloadLabels {
                outcome: if ok { "ok" } else { "failed" },
            })
            .inc();
    }

    /// The figures of a cluster at this moment.
    pub fn cluster(&self, id: &str, slots: u32, budget: u32, waiting: usize) {
        let labels = ClusterLabels { cluster: id.to_owned() };
        self.slots.get_or_create(&labels).set(slots.into());
        self.budget.get_or_create(&labels).set(budget.into());
        self.waiting
            .get_or_create(&labels)
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _infallible = text::encode(&mut out, &self.registry);
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
