//! A connection of a tenant for one request: what checking out costs by itself, and with a statement on it.

#![expect(clippy::expect_used, reason = "a request that fails would be measured as a fast one")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rowhouse::pool::{Access, Call, Fold, Row, Step};

use support::{ROWS, Street};

criterion_group!(benches, pool);
criterion_main!(benches);

/// One request after the other, so that the connection of the first is there for all others.
fn pool(criterion: &mut Criterion) {
    let street = Street::start(1);
    let pools = &street.service().pools;
    let tenants = street.tenants();
    let tenant = tenants.first().expect("one was started");
    let checkout = async || {
        let pool = tenant.pool(pools);
        pool.checkout(pools).await.expect("a connection is free in time")
    };
    let sql: Arc<str> = "SELECT id, text, checkbox FROM mylist WHERE id = $1".into();
    let params = [Some(ROWS.to_string().into())];
    let select = async || {
        let mut lease = checkout().await;
        let call = Call {
            statement: Step {
                sql: &sql,
                params: &params,
            },
            access: Access::Read { settings: &[] },
        };
        let done = lease.run(&call, Fold::new((), |(), _: Row<'_>| {})).await;
        lease.finish();
        assert_eq!(done.expect("the statement runs").0.affected, 1);
    };
    street.runtime().block_on(select());

    let mut group = criterion.benchmark_group("pool");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    group.bench_function("checkout", |bencher| {
        bencher
            .to_async(street.runtime())
            .iter(async || checkout().await.finish());
    });
    group.bench_function("checkout_and_select", |bencher| {
        bencher.to_async(street.runtime()).iter(select);
    });
    group.finish();
}
