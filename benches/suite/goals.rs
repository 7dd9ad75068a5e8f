//! The goals, and how far what was measured meets them.

use crate::cells::Way;
use crate::results::{Cell, Results};
use crate::traffic::{Order, Work};

/// One goal.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) what: &'static str,
    pub(crate) wanted: String,
    pub(crate) measured: String,
    pub(crate) met: bool,
}

/// Those whose cells were measured.
pub(crate) fn goals(results: &Results) -> Vec<Goal> {
    let cell = |work, tenants, way| results.cell(work, tenants, Order::RoundRobin, way);
    let one = |work, way| cell(work, 1, way);
    let by_key = one(Work::ByKey, Way::Rowhouse);
    let mut goals = Vec::new();
    let mut ratio = |what, wanted, ours: Option<&Cell>, theirs: Option<&Cell>| {
        goals.extend(
            ours.zip(theirs)
                .map(|(ours, theirs)| at_least(what, wanted, ours, theirs)),
        );
    };
    ratio(
        "One row by key, 1 tenant, against pgbench",
        0.9,
        by_key,
        one(Work::ByKey, Way::Pgbench),
    );
    ratio(
        "One row by key, tenants in turn, against SET search_path",
        2.2,
        cell(Work::ByKey, results.few, Way::Rowhouse),
        cell(Work::ByKey, results.few, Way::SetPath),
    );
    let shared = results.cells.iter().find(|cell| cell.way == Way::RowhouseShared);
    let beside_shared = |cell: &&Cell| shared.is_some_and(|shared| cell.set == shared.set) && cell.way == Way::SetPath;
    ratio(
        "The same with shared reads",
        2.2,
        shared,
        results.cells.iter().find(beside_shared),
    );
    let fifty = one(Work::Fifty, Way::Rowhouse);
    ratio("50 rows, against pgbench", 0.8, fifty, one(Work::Fifty, Way::Pgbench));
    ratio("50 rows, against json_agg", 1.6, fifty, one(Work::Fifty, Way::JsonAgg));
    ratio(
        "1,000 rows, against json_agg",
        2.2,
        one(Work::Thousand, Way::Rowhouse),
        one(Work::Thousand, Way::JsonAgg),
    );
    ratio(
        "Role and claims, against anonymous",
        0.8,
        one(Work::ByKey, Way::RowhouseToken),
        by_key,
    );
    if let Some(cpu) = by_key.and_then(|cell| cell.server_us) {
        goals.push(at_most("CPU of the edge per one-row request", cpu, 16.0, "µs"));
    }
    goals.extend(of_cold(results));
    goals.extend(results.fairness.as_ref().map(|fairness| {
        let times = fairness.light_beside_hot.p99 / fairness.light_alone.p99;
        at_most(
            "p99 of light tenants beside a hot one, against alone",
            times,
            3.0,
            "times",
        )
    }));
    goals
}

fn of_cold(results: &Results) -> Vec<Goal> {
    let Some(cold) = &results.cold else {
        return Vec::new();
    };
    let kb = |bytes: Option<f64>| bytes.map(|bytes| bytes / 1000.0);
    let mut goals = vec![
        at_most("First answer of a cold tenant, p50", cold.first.p50, 5.0, "ms"),
        at_most("First answer of a cold tenant, p99", cold.first.p99, 10.0, "ms"),
    ];
    let memory = [
        ("Memory of a cold tenant", 6.0, kb(cold.cold_bytes)),
        ("Memory of a cold tenant, 10,000 of them", 6.0, kb(cold.listed_bytes)),
        ("Memory that a tenant's first request adds", 30.0, kb(cold.warm_bytes)),
    ];
    let measured = memory
        .into_iter()
        .filter_map(|(what, most, kb)| Some(at_most(what, kb?, most, "KB")));
    goals.extend(measured);
    goals
}

fn at_least(what: &'static str, wanted: f64, ours: &Cell, theirs: &Cell) -> Goal {
    let ratio = ours.speed() / theirs.speed();
    Goal {
        what,
        wanted: format!("at least {wanted} times"),
        measured: format!("{ratio:.2} times"),
        met: ratio >= wanted,
    }
}

fn at_most(what: &'static str, measured: f64, most: f64, unit: &str) -> Goal {
    Goal {
        what,
        wanted: format!("at most {most} {unit}"),
        measured: format!("{measured:.1} {unit}"),
        met: measured <= most,
    }
}
