//! What was measured, as it is written to `target/suite.json`.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cells::{Set, Way};
use crate::load::Tally;
use crate::machine::Machine;
use crate::options::Scale;
use crate::processes::Cpu;
use crate::traffic::{Order, Work};

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) postgres: String,
    pub(crate) seconds_per_run: f64,
    pub(crate) runs: usize,
    pub(crate) clients: usize,
    /// Tenants of the middle size.
    pub(crate) few: usize,
    pub(crate) cells: Vec<Cell>,
    pub(crate) fairness: Option<Fairness>,
    pub(crate) cold: Option<Cold>,
}

impl Results {
    pub(crate) fn new(machine: Machine, postgres: String, scale: &Scale) -> Self {
        Self {
            machine,
            postgres,
            seconds_per_run: scale.run.as_secs_f64(),
            runs: scale.runs,
            clients: scale.clients,
            few: scale.few,
            cells: Vec::new(),
            fairness: None,
            cold: None,
        }
    }

    /// The cell of that work and that way, with one tenant or with more.
    pub(crate) fn cell(&self, work: Work, tenants: usize, order: Order, way: Way) -> Option<&Cell> {
        let wanted = |cell: &&Cell| (cell.work, cell.tenants, cell.order, cell.way) == (work, tenants, order, way);
        self.cells.iter().find(wanted)
    }

    /// Answers that were not good, or not the right ones.
    pub(crate) fn failures(&self) -> u64 {
        self.cells.iter().map(|cell| cell.failed + cell.wrong).sum()
    }
}

/// One way to do one set's work: all of its runs.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) set: String,
    pub(crate) work: Work,
    pub(crate) tenants: usize,
    pub(crate) order: Order,
    pub(crate) way: Way,
    /// Good answers a second, run by run.
    pub(crate) per_second: Vec<f64>,
    pub(crate) latency: Latency,
    /// CPU microseconds per good answer, of all runs together.
    pub(crate) server_us: Option<f64>,
    pub(crate) postgres_us: Option<f64>,
    pub(crate) load_us: Option<f64>,
    /// Bytes of the server, behind the last run.
    pub(crate) memory: Option<u64>,
    /// Connections to Postgres, behind the last run.
    pub(crate) backends: u64,
    pub(crate) failed: u64,
    pub(crate) refused: BTreeMap<u16, u64>,
    pub(crate) wrong: u64,
}

impl Cell {
    /// Of runs, each with what it took.
    pub(crate) fn new(set: &Set, name: String, tenants: usize, way: Way, runs: &[(Tally, Cpu)]) -> Self {
        let answered: u64 = runs.iter().map(|(tally, _)| tally.answered).sum();
        let per_answer = |part: fn(&Cpu) -> Option<Duration>| {
            let whole: Option<Duration> = runs.iter().map(|(_, cpu)| part(cpu)).sum();
            whole.map(|whole| whole.as_secs_f64() * 1e6 / answered.max(1) as f64)
        };
        let mut refused = BTreeMap::new();
        for (status, count) in runs.iter().flat_map(|(tally, _)| &tally.refused) {
            *refused.entry(*status).or_default() += count;
        }
        let speed = |(tally, _): &(Tally, Cpu)| tally.answered as f64 / tally.elapsed.as_secs_f64();
        Self {
            set: name,
            work: set.work,
            tenants,
            order: set.order,
            way,
            per_second: runs.iter().map(speed).collect(),
            latency: Latency::of(runs.iter().map(|(tally, _)| &tally.latencies)),
            server_us: per_answer(|cpu| cpu.server),
            postgres_us: per_answer(|cpu| cpu.postgres),
            load_us: per_answer(|cpu| cpu.load),
            memory: None,
            backends: 0,
            failed: refused.values().sum(),
            refused,
            wrong: runs.iter().map(|(tally, _)| tally.wrong).sum(),
        }
    }

    /// Answers a second: the median of the runs.
    pub(crate) fn speed(&self) -> f64 {
        median(&self.per_second)
    }
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) count: u64,
}

impl Latency {
    /// Of all of them together.
    pub(crate) fn of<'a>(histograms: impl IntoIterator<Item = &'a Histogram<u64>>) -> Self {
        let mut histograms = histograms.into_iter();
        let Some(mut all) = histograms.next().cloned() else {
            return Self::NONE;
        };
        for histogram in histograms {
            // All have the same bounds.
            _ = all.add(histogram);
        }
        let at = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            count: all.len(),
        }
    }

    const NONE: Self = Self {
        p50: 0.0,
        p99: 0.0,
        p999: 0.0,
        count: 0,
    };
}

/// What a busy neighbour, and slow statements, do to the others.
#[derive(Debug, Serialize)]
pub(crate) struct Fairness {
    /// Requests of light tenants without the hot one, and beside it.
    pub(crate) light_alone: Latency,
    pub(crate) light_beside_hot: Latency,
    /// The same with as many clients of a server that only says hello.
    pub(crate) hello_alone: Latency,
    pub(crate) hello_beside_hot: Latency,
    /// Good answers of the hot tenant a second.
    pub(crate) hot_per_second: f64,
    /// Its other answers, by their status.
    pub(crate) hot_refused: BTreeMap<u16, u64>,
    /// Statements of 1 ms alone, and beside 1 % of 100 ms.
    pub(crate) short_alone: Latency,
    pub(crate) short_beside_long: Latency,
    /// Answers of all others that were not good.
    pub(crate) failed: u64,
}

/// Tenants that nobody has asked yet.
#[derive(Debug, Serialize)]
pub(crate) struct Cold {
    /// Of a tenant's first answer.
    pub(crate) first: Latency,
    pub(crate) tenants: usize,
    /// Bytes that a tenant takes in the edge before its first request.
    pub(crate) cold_bytes: Option<f64>,
    /// Bytes that its first request adds.
    pub(crate) warm_bytes: Option<f64>,
    /// As `cold_bytes`, of 10,000 tenants: `--long`.
    pub(crate) listed_bytes: Option<f64>,
}

/// The middle one; of two, the one between them.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}
