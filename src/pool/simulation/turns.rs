//! Who waits for whom within a tenant.

use futures_util::future::join_all;
use tokio::time::sleep;

use super::server::Fate;
use super::*;
use crate::pool::tenant_pool::{SHORT_WAITING, short_at_once};

/// Far more short reads at once than are let through: each has its turn, in a line that has an end.
#[test]
fn short_reads_of_a_tenant_take_turns_and_the_line_has_an_end() {
    let plan = Plan::of_one(4);
    on_paused_clock(async {
        let world = World::new(&plan);
        let pool = world.pool(0);
        let read = async || {
            let asked = Asked::new(
                0,
                world.next_request(),
                "read a",
                Duration::from_micros(50),
                2,
                Fate::Good,
            );
            let call = Call {
                statement: asked.step(),
                access: Access::Read { settings: &[] },
            };
            let ran = pool.run(&world.pools, &call, || asked.rows(Takes::All), |_| {}).await;
            let (done, taken) = ran?;
            asked.check(&done, &taken).unwrap();
            Ok::<_, Error>(())
        };
        // It has to be known that they are short.
        read().await.unwrap();
        let line = SHORT_WAITING as usize;
        let too_many = 12;
        let most_waiting = async {
            // All have asked.
            tokio::task::yield_now().await;
            pool.state().waiting
        };
        let reads = join_all((0..short_at_once() + line + too_many).map(|_| read()));
        let (answers, waiting) = tokio::join!(reads, most_waiting);
        assert!(waiting as usize >= line, "{waiting} wait");
        let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        assert_eq!(refused.len(), too_many, "{refused:?}");
        for error in refused {
            assert!(matches!(error, Error::TenantQueueFull { .. }), "{error:?}");
        }
        assert_eq!(pool.state().waiting, 0);
        drop(pool);
        world.end().await;
        let violations = world.server.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    });
}

/// 1. A tenant keeps a slot, and holds none; its cluster has connections that tenants share for such reads as its own.
/// 2. All other slots are in use for long. It is answered at once all the same.
#[test]
fn what_a_tenant_keeps_is_there_for_its_short_reads() {
    let tenant = |kept| TenantPlan {
        kept,
        ..Plan::of_one(4).tenants.remove(0)
    };
    let plan = Plan {
        shares: true,
        tenants: vec![tenant(1), tenant(0)],
        ..Plan::of_one(4)
    };
    on_paused_clock(async {
        let world = World::new(&plan);
        world.pool(0).keep();
        let read = async |tenant, sql, time| {
            let asked = Asked::new(tenant, world.next_request(), sql, time, 2, Fate::Good);
            let call = Call {
                statement: asked.step(),
                access: Access::Read { settings: &[] },
            };
            let pool = world.pool(tenant);
            let ran = pool.run(&world.pools, &call, || asked.rows(Takes::All), |_| {}).await;
            let (done, taken) = ran.unwrap();
            asked.check(&done, &taken).unwrap();
        };
        let short = Duration::from_micros(50);
        // It is known to be short, and its connection is closed again.
        read(0, "read a", short).await;
        sleep(Duration::from_secs(60)).await;
        assert_eq!(world.server.backends(), 0);
        let long = join_all((0..3).map(|_| read(1, "read b", Duration::from_secs(1))));
        let meanwhile = async {
            sleep(Duration::from_millis(100)).await;
            assert_eq!(world.server.backends(), 3);
            timeout(Duration::from_millis(100), read(0, "read a", short)).await
        };
        let (_, answered) = tokio::join!(long, meanwhile);
        answered.expect("it has a slot of its own");
        world.end().await;
        let violations = world.server.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    });
}
