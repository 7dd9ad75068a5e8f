//! Feeds the last hour: what was counted, and what pools and clusters hold, every ten seconds.
//!
//! One pass over those that ever had a request, in one task for all: a tick of ten thousand busy tenants takes a few
//! milliseconds, and a cold tenant no part of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::service::Service;
use crate::traffic::{History, Sample, TenantSample};
use crate::types::TenantId;

/// Ticks at once, so that counting has a beginning, and then each [`History::PERIOD`] until `stop`.
pub(super) async fn run(service: Arc<Service>, stop: CancellationToken) {
    let mut ticks = interval(History::PERIOD);
    // Ticks that were missed, as the machine slept, would find nothing new.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        service.history.tick(now.unwrap_or_default(), &sample(&service));
    }
}

fn sample(service: &Service) -> Sample {
    let pools = service.pools.states().into_iter();
    let held: HashMap<TenantId, u32, foldhash::fast::RandomState> =
        pools.map(|(tenant, pool)| (tenant, pool.held)).collect();
    let tenant = |(id, counts)| {
        let held = held.get(&id).copied().unwrap_or(0);
        TenantSample { id, counts, held }
    };
    let (slots, waiting) = service
        .control
        .clusters
        .iter()
        .fold((0, 0), |(slots, waiting), cluster| {
            let state = cluster.state();
            (slots + state.in_use, waiting + state.waiting)
        });
    Sample {
        tenants: service.metrics.counts().map(tenant).collect(),
        unknown: service.metrics.unknown().counts(),
        slots,
        waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
    }
}
