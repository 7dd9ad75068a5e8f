//! What is prepared, and gone.

use super::server::Fate;
use super::*;

/// 1. A statement has run, and is prepared.
/// 2. Something of the tenant's own has all statements forgotten (`DEALLOCATE ALL`).
/// 3. It is asked for again, in a transaction whose end is sent with it: what ends that is not taken for its own end.
#[test]
fn a_statement_that_is_gone_is_prepared_anew_and_runs_once() {
    let plan = Plan::of_one(1);
    let time = Duration::from_micros(100);
    on_paused_clock(async {
        let world = World::new(&plan);
        for access in [
            Access::Read { settings: &[] },
            transaction(false, &[("app.a", "b")], End::Commit),
            transaction(true, &[("app.a", "b")], End::Commit),
            transaction(true, &[], End::CommitAfterRows),
            transaction(true, &[], End::Rollback),
        ] {
            for (kind, access) in [
                ("read a", access),
                ("read b", transaction(false, &[], End::Commit)),
                ("read a", access),
            ] {
                let fate = if kind == "read b" { Fate::Forgets } else { Fate::Good };
                let asked = Asked::new(0, world.next_request(), kind, time, 2, fate);
                let call = Call {
                    statement: asked.step(),
                    access,
                };
                let pool = world.pool(0);
                let ran = pool.run(&world.pools, &call, || asked.rows(Takes::All), |_| {}).await;
                assert!(ran.is_ok(), "{access:?}: {ran:?}");
                let (done, taken) = ran.unwrap();
                asked.check(&done, &taken).unwrap();
            }
        }
        assert_eq!(world.server.backends(), 1, "it has been one connection all the time");
        world.end().await;
        let violations = world.server.violations();
        assert!(violations.is_empty(), "{violations:#?}");
    });
}
