//! What requests wait for others: light tenants beside one that is hot, and short statements beside long ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::Result;
use crate::cells;
use crate::load;
use crate::load::Tally;
use crate::options::Scale;
use crate::results::{Fairness, Latency};
use crate::street::{BUDGET, Setup, Street};
use crate::traffic::{Dialect, Exchange, Order, Traffic, Work};

/// What `--only` calls it.
pub(crate) const NAME: &str = "fairness";

pub(crate) async fn measure(street: &Street, scale: &Scale) -> Result<Fairness> {
    let tenants = street.tenants(scale.light + 1);
    let edge = street.edge(tenants.len(), Setup::of(BUDGET)).await?;
    let address = edge.address();
    let dialect = Dialect::Rowhouse { token: false };
    let of = |tenants| Arc::new(Traffic::of(Work::ByKey, Order::RoundRobin, tenants, dialect));
    let (hot, light) = (of(&tenants[..1]), of(&tenants[1..]));
    let time = 3 * scale.run;

    load::drive(address, &light, scale.light, time, PAUSE).await?;
    let [alone, hot, beside_hot] = crowded(address, [&hot, &light], scale).await?;
    // What of that is the machine's: clients of a server that has nothing to do but say hello.
    let empty = cells::empty_server(street).await?;
    let hello = Arc::new(Traffic::hello());
    let [hello_alone, _, hello_beside_hot] = crowded(empty.address(), [&hello, &hello], scale).await?;
    drop(empty);

    let statements = async |long: bool| {
        let traffic = Arc::new(waits(street, long));
        load::drive(address, &traffic, SHORT_CLIENTS, time, Duration::ZERO).await
    };
    let short = statements(false).await?;
    let beside_long = statements(true).await?;
    let all = [&alone, &beside_hot, &short, &beside_long];
    Ok(Fairness {
        light_alone: Latency::of([&alone.latencies]),
        light_beside_hot: Latency::of([&beside_hot.latencies]),
        hello_alone: Latency::of([&hello_alone.latencies]),
        hello_beside_hot: Latency::of([&hello_beside_hot.latencies]),
        hot_per_second: hot.answered as f64 / hot.elapsed.as_secs_f64(),
        short_alone: Latency::of([&short.latencies]),
        short_beside_long: Latency::of([&beside_long.latencies]),
        hot_refused: hot.refused.clone(),
        failed: all.iter().flat_map(|tally| tally.refused.values()).sum(),
    })
}

/// A few clients that pause, alone; then many that do not, and the few beside them.
async fn crowded(address: SocketAddr, [hot, light]: [&Arc<Traffic>; 2], scale: &Scale) -> Result<[Tally; 3]> {
    let time = 3 * scale.run;
    let lightly = async || load::drive(address, light, scale.light, time, PAUSE).await;
    let alone = lightly().await?;
    let heavily = beside(address, Arc::clone(hot), scale.hot, time + HEAD_START);
    let (hot, beside_hot) = tokio::join!(heavily, async {
        tokio::time::sleep(HEAD_START / 2).await;
        lightly().await
    });
    Ok([alone, hot?, beside_hot?])
}

/// On a thread of its own: else the clients whose latencies count would wait for these.
async fn beside(address: SocketAddr, traffic: Arc<Traffic>, clients: usize, time: Duration) -> Result<Tally> {
    let running = spawn_blocking(move || -> Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(load::drive(address, &traffic, clients, time, Duration::ZERO))
    });
    running.await?
}

/// Calls of 1 ms, to one tenant; `long`: each hundredth takes 100 ms, and does not count.
fn waits(street: &Street, long: bool) -> Traffic {
    let tenant = &street.tenants(1)[0];
    let exchange = |n| match long && n % 100 == 0 {
        true => Exchange::wait(tenant, 100, false),
        false => Exchange::wait(tenant, 1, true),
    };
    Traffic::new((0..100).map(exchange).collect())
}

/// Of a light tenant, from one request to the next.
const PAUSE: Duration = Duration::from_millis(50);

/// How long the hot tenant is hot before the others come, and behind them.
const HEAD_START: Duration = Duration::from_millis(200);

/// Twice as many as the tenant has connections.
const SHORT_CLIENTS: usize = 16;
