//! Who waits for whom within a tenant.

use futures_util::future::join_all;

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
