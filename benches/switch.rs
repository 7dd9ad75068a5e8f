//! The cost of switching tenants: the same requests on the same number of connections, once with a pool per tenant and
//! once with one pool for all that says `SET search_path` on every checkout.

#![expect(clippy::expect_used, reason = "a request that fails would be measured as a fast one")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bb8::{ManageConnection, Pool};
use bb8_postgres::PostgresConnectionManager;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future;
use rowhouse::encode::{Column, Encoding, JsonRows};
use rowhouse::pool::{Access, Call, Fold, Step};
use rowhouse::service::Service;
use rowhouse::tenant::Tenant;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls, Row, Statement};

use support::{ROWS, Street};

criterion_group!(benches, switch);
criterion_main!(benches);

/// Requests at once.
const BATCH: usize = 64;

/// One row by its key. Without a schema, as `search_path` decides.
const BY_KEY: &str = "SELECT id, text, checkbox FROM mylist WHERE id = $1";

fn switch(criterion: &mut Criterion) {
    let street = Street::start(100);
    for (tenants, connections) in [(1, 8), (100, 100)] {
        let mut group = criterion.benchmark_group(format!("switch/{tenants}_tenants"));
        group
            .throughput(Throughput::Elements(BATCH as u64))
            .sample_size(20)
            .warm_up_time(Duration::from_secs(1))
            .measurement_time(Duration::from_secs(3));
        let own_pool = OwnPool::new(&street, tenants);
        measure(&mut group, "own_pool", &street, tenants, &Arc::new(own_pool));
        // Idle backends are not free for the others.
        street.runtime().block_on(async { street.service().pools.close() });
        for (name, pipelined) in [("set_search_path", false), ("set_pipelined", true)] {
            let shared = street
                .runtime()
                .block_on(SharedPool::new(&street, tenants, connections, pipelined));
            measure(&mut group, name, &street, tenants, &Arc::new(shared));
        }
        group.finish();
    }
}

/// One way to answer a request.
trait Answer: Send + Sync + 'static {
    /// The row `key` of tenant number `tenant` as JSON.
    fn answer(&self, tenant: usize, key: i64) -> impl Future<Output = Vec<u8>> + Send;
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    street: &Street,
    tenants: usize,
    way: &Arc<impl Answer>,
) {
    let next = AtomicUsize::new(0);
    // Every connection is open and has its statement before the clock runs.
    street.runtime().block_on(async {
        for _ in 0..2 * tenants.div_ceil(BATCH) {
            batch(way, &next, tenants).await;
        }
    });
    group.bench_function(name, |bencher| {
        bencher.to_async(street.runtime()).iter(|| batch(way, &next, tenants));
    });
}

/// [`BATCH`] requests at once, for one tenant after the other.
async fn batch(way: &Arc<impl Answer>, next: &AtomicUsize, tenants: usize) {
    let first = next.fetch_add(BATCH, Ordering::Relaxed);
    let mut requests = JoinSet::new();
    for n in first..first + BATCH {
        let way = Arc::clone(way);
        let key = (n % ROWS) as i64 + 1;
        requests.spawn(async move {
            let json = way.answer(n % tenants, key).await;
            let start = format!(r#"[{{"id":{key},"text":"Water"#);
            assert!(json.starts_with(start.as_bytes()), "not the row that was asked for");
        });
    }
    while let Some(request) = requests.join_next().await {
        request.expect("every request is answered");
    }
}

/// As the edge does it: a pool per tenant, the search path in the startup message.
struct OwnPool {
    service: Arc<Service>,
    tenants: Vec<Arc<Tenant>>,
    sql: Arc<str>,
    columns: Arc<[Column]>,
}

impl OwnPool {
    fn new(street: &Street, tenants: usize) -> Self {
        Self {
            service: Arc::clone(street.service()),
            tenants: street.tenants().into_iter().take(tenants).collect(),
            sql: BY_KEY.into(),
            columns: Arc::new([
                Column::new("id", Encoding::Int8),
                Column::new("text", Encoding::Text),
                Column::new("checkbox", Encoding::Bool),
            ]),
        }
    }
}

impl Answer for OwnPool {
    async fn answer(&self, tenant: usize, key: i64) -> Vec<u8> {
        let pools = &self.service.pools;
        let pool = self.tenants[tenant].pool(pools);
        let mut lease = pool.checkout(pools).await.expect("a connection is free in time");
        let call = Call {
            statement: Step {
                sql: &self.sql,
                params: &[Some(key.to_string().into())],
            },
            access: Access::Read { settings: &[] },
        };
        let json = JsonRows::new(Arc::clone(&self.columns), 0);
        let take = |json: &mut JsonRows, row: rowhouse::pool::Row<'_>| {
            json.row(row.values()).expect("the values match their columns");
        };
        let (_, rows) = lease
            .run(&call, Fold::new(json, take))
            .await
            .expect("the statement runs");
        lease.finish();
        rows.state.finish().into()
    }
}

/// One pool for all tenants, as carefully as one can: the statement stays prepared, and no checkout pings.
struct SharedPool {
    pool: Pool<Manager>,
    /// `SET search_path` of each tenant.
    switches: Vec<String>,
    /// Whether the statement leaves without waiting for the answer to SET.
    pipelined: bool,
}

impl SharedPool {
    async fn new(street: &Street, tenants: usize, connections: u32, pipelined: bool) -> Self {
        let switches: Vec<String> = street
            .tenants()
            .iter()
            .take(tenants)
            .map(|tenant| format!("SET search_path = {}, public", tenant.config().schema.as_str()))
            .collect();
        let manager = Manager {
            postgres: PostgresConnectionManager::new(street.superuser(), NoTls),
            first: switches.first().cloned().unwrap_or_default(),
        };
        let pool = Pool::builder()
            .max_size(connections)
            .min_idle(Some(connections))
            .test_on_check_out(false)
            .build(manager)
            .await
            .expect("the server takes that many connections");
        Self {
            pool,
            switches,
            pipelined,
        }
    }
}

impl Answer for SharedPool {
    async fn answer(&self, tenant: usize, key: i64) -> Vec<u8> {
        let connection = self.pool.get().await.expect("a connection is free in time");
        let Connection { client, by_key } = &*connection;
        let switch = client.batch_execute(&self.switches[tenant]);
        let row = if self.pipelined {
            // Both are polled, and so sent, before either is waited for.
            let (switched, row) = future::join(switch, client.query_one(by_key, &[&key])).await;
            switched.expect("the schema is there");
            row
        } else {
            switch.await.expect("the schema is there");
            client.query_one(by_key, &[&key]).await
        };
        let json = serde_json::to_vec(&[Item::of(&row.expect("the statement runs"))]);
        json.expect("nothing in it can fail")
    }
}

#[derive(Serialize)]
struct Item<'a> {
    id: i64,
    text: &'a str,
    checkbox: bool,
}

impl<'a> Item<'a> {
    fn of(row: &'a Row) -> Self {
        Self {
            id: row.get(0),
            text: row.get(1),
            checkbox: row.get(2),
        }
    }
}

/// Connections that keep their statement.
struct Manager {
    postgres: PostgresConnectionManager<NoTls>,
    /// Where the statement is prepared. It follows the search path from there: Postgres plans it anew when that differs.
    first: String,
}

struct Connection {
    client: Client,
    by_key: Statement,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = tokio_postgres::Error;

    async fn connect(&self) -> Result<Connection, tokio_postgres::Error> {
        let client = self.postgres.connect().await?;
        client.batch_execute(&self.first).await?;
        let by_key = client.prepare(BY_KEY).await?;
        Ok(Connection { client, by_key })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), tokio_postgres::Error> {
        self.postgres.is_valid(&mut connection.client).await
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.client.is_closed()
    }
}
