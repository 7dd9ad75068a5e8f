//! A thousand rows of ten columns: encoded here, against JSON made in Postgres; and the catalog of a large schema.

#![expect(clippy::expect_used, reason = "a request that fails would be measured as a fast one")]

mod support;

use std::fmt::Write as _;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use rowhouse::catalog::{LOAD_SQL, Loaded};
use rowhouse::encode::{Column, Encoding, JsonRows};
use rowhouse::pool::{Access, Call, Fold, Row, Step};
use rowhouse::service::Service;
use rowhouse::tenant::Tenant;
use tokio_postgres::NoTls;

use support::Street;

criterion_group!(benches, rows, catalog);
criterion_main!(benches);

const ROWS: usize = 1000;

/// Requests at once: more than there are cores, so that neither the edge nor Postgres waits for the other.
const AT_ONCE: usize = 4;

const COLUMNS: [(&str, &str, Encoding, &str); 10] = [
    ("id", "bigint", Encoding::Int8, "n"),
    ("name", "text", Encoding::Text, "'Tenant number ' || n"),
    ("email", "text", Encoding::Text, "'person' || n || '@example.com'"),
    ("age", "int", Encoding::Int4, "n % 90"),
    ("price", "numeric(10,2)", Encoding::Numeric, "n * 1.25"),
    ("active", "boolean", Encoding::Bool, "n % 3 = 0"),
    (
        "created",
        "timestamptz",
        Encoding::TimestampTz,
        "timestamptz '2026-01-01 00:00:00Z' + n * interval '61.5 s'",
    ),
    ("born", "date", Encoding::Date, "date '1950-01-01' + n"),
    ("reference", "uuid", Encoding::Uuid, "md5(n::text)::uuid"),
    (
        "note",
        "text",
        Encoding::Text,
        "'She said \"no\", ' || repeat('and so on ', n % 10)",
    ),
];

/// A tenant's table, read both ways.
struct Wide {
    service: Arc<Service>,
    tenant: Arc<Tenant>,
    plain: Arc<str>,
    aggregated: Arc<str>,
    columns: Arc<[Column]>,
}

impl Wide {
    fn new(street: &Street) -> Self {
        let names = COLUMNS.map(|(name, ..)| format!("t.{name}")).join(", ");
        let rows = format!("SELECT {names} FROM wide AS t LIMIT {ROWS}");
        Self {
            service: Arc::clone(street.service()),
            tenant: street.tenants().pop().expect("one was started"),
            aggregated: format!("SELECT json_agg(r)::text FROM ({rows}) AS r").into(),
            plain: rows.into(),
            columns: COLUMNS
                .iter()
                .map(|(name, _, encoding, _)| Column::new(name, *encoding))
                .collect(),
        }
    }

    async fn encoded(&self) -> Bytes {
        let json = JsonRows::new(Arc::clone(&self.columns), 0);
        let take = |json: &mut JsonRows, row: Row<'_>| json.row(row.values()).expect("its own types");
        self.read(&self.plain, json, take).await.finish()
    }

    async fn made_in_postgres(&self) -> Bytes {
        let take = |json: &mut Bytes, row: Row<'_>| {
            *json = Bytes::copy_from_slice(row.values().next().flatten().expect("a document"));
        };
        self.read(&self.aggregated, Bytes::new(), take).await
    }

    async fn read<T: Send + 'static>(
        &self,
        sql: &Arc<str>,
        state: T,
        take: impl FnMut(&mut T, Row<'_>) + Send + 'static,
    ) -> T {
        let pools = &self.service.pools;
        let mut lease = self
            .tenant
            .pool(pools)
            .checkout(pools)
            .await
            .expect("a connection is free in time");
        let call = Call {
            statement: Step { sql, params: &[] },
            access: Access::Read { settings: &[] },
        };
        let (_, rows) = lease
            .run(&call, Fold::new(state, take))
            .await
            .expect("the statement runs");
        lease.finish();
        rows.state
    }
}

/// Both ways as the requests of one tenant, several at once, each a task as in a server.
fn rows(criterion: &mut Criterion) {
    let street = Street::start(1);
    let runtime = street.runtime();
    runtime.block_on(execute(&street, &wide_table()));
    let wide = Arc::new(Wide::new(&street));
    let value = |json: Bytes| -> serde_json::Value { serde_json::from_slice(&json).expect("JSON") };
    let (ours, theirs) = runtime.block_on(async { (wide.encoded().await, wide.made_in_postgres().await) });
    assert_eq!(value(ours), value(theirs), "the same rows");

    let mut group = criterion.benchmark_group("read");
    group
        .throughput(Throughput::Elements(AT_ONCE as u64))
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    group.bench_function("1000x10_encoded", |bencher| {
        bencher.to_async(runtime).iter(|| {
            join_all((0..AT_ONCE).map(|_| {
                let wide = Arc::clone(&wide);
                runtime.spawn(async move { wide.encoded().await })
            }))
        });
    });
    group.bench_function("1000x10_json_agg", |bencher| {
        bencher.to_async(runtime).iter(|| {
            join_all((0..AT_ONCE).map(|_| {
                let wide = Arc::clone(&wide);
                runtime.spawn(async move { wide.made_in_postgres().await })
            }))
        });
    });
    group.finish();
}

/// 200 tables of ten columns, each with a foreign key to the one before; loaded as at a tenant's first request.
fn catalog(criterion: &mut Criterion) {
    const TABLES: usize = 200;
    let street = Street::start(1);
    let runtime = street.runtime();
    let mut sql = String::from("SET search_path = t000;");
    for number in 0..TABLES {
        let before = number.saturating_sub(1);
        let columns: String = (0..8).map(|column| format!("c{column} text, ")).collect();
        // Writing to a `String` does not fail.
        _ = write!(
            sql,
            "CREATE TABLE large{number} (id int PRIMARY KEY, {columns} before_id int REFERENCES large{before});"
        );
    }
    runtime.block_on(execute(&street, &sql));
    let pools = &street.service().pools;
    let tenants = street.tenants();
    let tenant = tenants.first().expect("one was started");
    let sql: Arc<str> = LOAD_SQL.into();
    let load = async || {
        let params = ["t000", "public", "true", "rowhouse_t000_login"].map(|text| Some(text.into()));
        let mut lease = tenant.pool(pools).checkout(pools).await.expect("a connection is free");
        let call = Call {
            statement: Step {
                sql: &sql,
                params: &params,
            },
            access: Access::Read { settings: &[] },
        };
        let take = |loaded: &mut Option<Loaded>, row: Row<'_>| {
            let values: Vec<_> = row
                .values()
                .map(|value| value.map(|value| std::str::from_utf8(value).expect("UTF-8")))
                .collect();
            *loaded = Some(Loaded::from_row(&values, None).expect("the form of LOAD_SQL"));
        };
        let (_, rows) = lease
            .run(&call, Fold::new(None, take))
            .await
            .expect("the statement runs");
        lease.finish();
        rows.state.expect("one row").catalog
    };
    assert!(runtime.block_on(load()).relations().len() > TABLES);
    let mut group = criterion.benchmark_group("catalog");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    group.bench_function("200_tables", |bencher| bencher.to_async(runtime).iter(load));
    group.finish();
}

fn wide_table() -> String {
    let columns = COLUMNS
        .map(|(name, type_name, ..)| format!("{name} {type_name}"))
        .join(", ");
    let values = COLUMNS.map(|(.., value)| value).join(", ");
    format!(
        "SET search_path = t000; CREATE TABLE wide ({columns}); INSERT INTO wide SELECT {values} FROM \
         generate_series(1, {ROWS}) AS n; GRANT SELECT ON wide TO rowhouse_t000_anon;"
    )
}

/// As the superuser; statistics are made, so that autovacuum finds nothing to do while something is measured.
async fn execute(street: &Street, sql: &str) {
    let (client, connection) = street.superuser().connect(NoTls).await.expect("the server is there");
    let work = async {
        client.batch_execute(sql).await.expect("a superuser may do so");
        client.batch_execute("VACUUM ANALYZE").await.expect("nobody forbids it");
        drop(client);
    };
    let (_closed, ()) = tokio::join!(connection, work);
}
