//! Tenants that nobody has asked yet: how long the first answer takes, and how much memory they are, before and after.

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::Result;
use crate::load::Client;
use crate::options::Scale;
use crate::processes::Server;
use crate::results::{Cold, Latency};
use crate::street::{BUDGET, Setup, Street};
use crate::traffic::{Dialect, Exchange};

/// What `--only` calls it.
pub(crate) const NAME: &str = "cold";

pub(crate) async fn measure(street: &Street, scale: &Scale) -> Result<Cold> {
    let one = memory_of(street, 1).await?;
    // None of them has to make room for another: that is what the cells with many tenants show.
    let edge = street.edge(scale.many, Setup::of(scale.cold as u32 + 10)).await?;
    let cold = edge.memory();
    let first = first_answers(street, scale.cold, &edge).await?;
    let warm = edge.memory();
    drop(edge);
    let listed_bytes = match scale.listed {
        listed if listed > scale.many => per_tenant(one, memory_of(street, listed).await?, listed - 1),
        _ => None,
    };
    Ok(Cold {
        first: Latency::of([&first]),
        tenants: scale.cold,
        cold_bytes: per_tenant(one, cold, scale.many - 1),
        warm_bytes: per_tenant(cold, warm, scale.cold),
        listed_bytes,
    })
}

/// One request to each tenant, one after the other on one connection: microseconds, until all of the answer is there.
async fn first_answers(street: &Street, tenants: usize, edge: &Server) -> Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_bounds(1, 60_000_000, 3)?;
    let mut client = Client::connect(edge.address()).await?;
    for tenant in street.tenants(tenants) {
        let exchange = Exchange::by_key(tenant, 1, Dialect::Rowhouse { token: false });
        let begun = Instant::now();
        client.first_answer(&exchange).await?;
        latencies.saturating_record(begun.elapsed().as_micros() as u64);
    }
    Ok(latencies)
}

/// Of an edge that has just come up with so many tenants. They are brought up by another one first if they are new.
async fn memory_of(street: &Street, tenants: usize) -> Result<Option<u64>> {
    drop(street.edge(tenants, Setup::of(BUDGET)).await?);
    Ok(street.edge(tenants, Setup::of(BUDGET)).await?.memory())
}

fn per_tenant(before: Option<u64>, after: Option<u64>, tenants: usize) -> Option<f64> {
    Some((after? as f64 - before? as f64) / tenants.max(1) as f64)
}
