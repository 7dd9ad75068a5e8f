//! Every metric's name, unit and labels. The values of pools and of tenants' traffic are read when they are asked for, not
//! counted twice.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::traffic::{Counts, LATENCY_SECONDS, Traffic};
use crate::types::TenantId;

/// What is counted while the edge runs. Tenants come from configuration only, so that no client can make up labels.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    traffics: Arc<Traffics>,
    checkout: Histogram,
    reloads: Family<ReloadLabels, Counter>,
    slots: Family<ClusterLabels, Gauge>,
    budget: Family<ClusterLabels, Gauge>,
    waiting: Family<ClusterLabels, Gauge>,
}

/// What came of the requests for each tenant, and of those that are for nobody. A tenant's outlives its generations and its
/// removal, or its counters would fall.
#[derive(Debug, Default)]
struct Traffics {
    tenants: DashMap<TenantId, Arc<Traffic>, foldhash::fast::RandomState>,
    unknown: Arc<Traffic>,
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
        let traffics = Arc::<Traffics>::default();
        let checkout = Histogram::new(LATENCY_SECONDS);
        let reloads = Family::<ReloadLabels, Counter>::default();
        let slots = Family::<ClusterLabels, Gauge>::default();
        let budget = Family::<ClusterLabels, Gauge>::default();
        let waiting = Family::<ClusterLabels, Gauge>::default();
        registry.register_collector(Box::new(Arc::clone(&traffics)));
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
            traffics,
            checkout,
            reloads,
            slots,
            budget,
            waiting,
        }
    }

    /// Where the requests of a tenant are counted: the same for all generations of it. Whoever counts many remembers it, as
    /// this is a lookup that keeps others off; and it is made here, so who only looks had better not ask.
    #[must_use]
    pub fn traffic(&self, tenant: &TenantId) -> Arc<Traffic> {
        Arc::clone(&self.traffics.tenants.entry(tenant.clone()).or_default())
    }

    /// Where requests are counted whose host is nobody's.
    #[must_use]
    pub fn unknown(&self) -> &Arc<Traffic> {
        &self.traffics.unknown
    }

    /// What was counted so far of each tenant that ever had a request, in no order. A tenant's very first request waits
    /// while somebody stands in the middle of this.
    pub fn counts(&self) -> impl Iterator<Item = (TenantId, Counts)> {
        let tenants = self.traffics.tenants.iter();
        tenants.map(|entry| (entry.key().clone(), entry.value().counts()))
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

impl Collector for Traffics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut whole = Counts::default();
        // The registry itself ends what it registers with a full stop.
        let help = "Requests answered, by tenant and status class.";
        let mut requests = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
        let mut family = |tenant: &str, counts: Counts| {
            whole = whole + counts;
            for (status, count) in counts.classes().filter(|(_, count)| *count > 0) {
                let labels = [("tenant", tenant), ("status", status)];
                requests
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
            Ok::<_, fmt::Error>(())
        };
        family("unknown", self.unknown.counts())?;
        for entry in &self.tenants {
            family(entry.key().as_str(), entry.value().counts())?;
        }
        let help = "Time from a request's head to its answer.";
        let buckets = whole.buckets();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder
            .encode_descriptor("request_seconds", help, None, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(whole.seconds(), count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(metrics: &Metrics, prefix: &str) -> Vec<String> {
        let text = metrics.text();
        let lines = text.lines().filter(|line| line.contains(prefix));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn requests_are_told_by_tenant_and_class() {
        let metrics = Metrics::new();
        let one = "one".parse().unwrap();
        let answered = |traffic: &Traffic, status: u16, took| traffic.answered(status.try_into().unwrap(), took);
        answered(&metrics.traffic(&one), 200, Duration::from_millis(2));
        // Another generation of the tenant counts on.
        answered(&metrics.traffic(&one), 201, Duration::from_millis(2));
        answered(metrics.unknown(), 404, Duration::from_micros(100));
        metrics.traffic(&one).broken(Duration::from_secs(7));
        assert_eq!(
            lines(&metrics, "rowhouse_requests"),
            [
                "# HELP rowhouse_requests Requests answered, by tenant and status class.",
                "# TYPE rowhouse_requests counter",
                r#"rowhouse_requests_total{tenant="unknown",status="4xx"} 1"#,
                r#"rowhouse_requests_total{tenant="one",status="2xx"} 2"#,
                r#"rowhouse_requests_total{tenant="one",status="broken"} 1"#,
            ]
        );
        let seconds = lines(&metrics, "rowhouse_request_seconds");
        for line in [
            "# HELP rowhouse_request_seconds Time from a request's head to its answer.",
            "# TYPE rowhouse_request_seconds histogram",
            "rowhouse_request_seconds_sum 7.0041",
            "rowhouse_request_seconds_count 4",
            r#"rowhouse_request_seconds_bucket{le="0.0005"} 1"#,
            r#"rowhouse_request_seconds_bucket{le="0.0025"} 3"#,
            r#"rowhouse_request_seconds_bucket{le="5.0"} 3"#,
            r#"rowhouse_request_seconds_bucket{le="+Inf"} 4"#,
        ] {
            assert!(seconds.iter().any(|found| found == line), "{line} not in {seconds:#?}");
        }
        assert!(metrics.text().ends_with("# EOF\n"));
    }

    #[test]
    fn a_tenant_has_one_count() {
        let metrics = Metrics::new();
        let one: TenantId = "one".parse().unwrap();
        assert_eq!(metrics.counts().count(), 0);
        assert!(Arc::ptr_eq(&metrics.traffic(&one), &metrics.traffic(&one)));
        assert!(metrics.counts().eq([(one, Counts::default())]));
    }
}
