//! The command line, and how large the suite is for it.

use std::time::Duration;

use clap::Parser;

/// Measures the real program against a private Postgres, beside what it is compared with.
#[derive(Debug, Parser)]
#[command(name = "suite")]
pub(crate) struct Options {
    /// Only what has this in its name, such as "by key", "1,000 tenants", "fairness", "cold".
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// How long each run of a cell takes, in seconds.
    #[arg(long, default_value_t = 0.8)]
    seconds: f64,
    /// How many runs of each cell there are; their median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The most tenants of any cell.
    #[arg(long, default_value_t = 1000)]
    tenants: usize,
    /// Puts the results into docs/benchmarks.md and docs/plots/.
    #[arg(long)]
    pub(crate) write: bool,
    /// Counts the memory of 10,000 tenants too, which takes some minutes to bring up.
    #[arg(long)]
    long: bool,
    /// Nothing is measured: so many requests are sent while everything that can go wrong does, and every answer is checked.
    #[arg(long, value_name = "REQUESTS")]
    pub(crate) soak: Option<u64>,
    /// Cargo says so when it measures, and does not when it tests.
    #[arg(long, hide = true)]
    bench: bool,
    /// What criterion calls "once each, to see that it works".
    #[arg(long, hide = true)]
    test: bool,
    /// A filter for all benches: `cargo bench -- TEXT`.
    #[arg(hide = true)]
    filter: Option<String>,
}

impl Options {
    /// Whether what is called `name` is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        [&self.only, &self.filter]
            .into_iter()
            .flatten()
            .all(|text| name.contains(text.as_str()))
    }

    /// Whether figures are wanted, not only that everything runs.
    pub(crate) fn measures(&self) -> bool {
        self.bench && !self.test
    }

    pub(crate) fn scale(&self) -> Scale {
        if !self.measures() {
            return Scale::SMOKE;
        }
        let many = self.tenants.max(2);
        Scale {
            run: Duration::from_secs_f64(self.seconds),
            runs: self.runs.max(1),
            few: many.min(Scale::FULL.few),
            many,
            listed: if self.long { TEN_THOUSAND } else { 0 }.max(many),
            cold: many.min(Scale::FULL.cold),
            light: (many - 1).min(Scale::FULL.light),
            soaked: many.min(Scale::FULL.soaked),
            ..Scale::FULL
        }
    }
}

/// Tenants with `--long`.
const TEN_THOUSAND: usize = 10_000;

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// How long one run of a cell takes.
    pub(crate) run: Duration,
    /// Runs of each cell.
    pub(crate) runs: usize,
    /// Tenants of the cells that stand for a hundred, and for a thousand.
    pub(crate) few: usize,
    pub(crate) many: usize,
    /// Tenants of the largest edge, which may have more than are ever asked.
    pub(crate) listed: usize,
    /// Requests at once.
    pub(crate) clients: usize,
    /// Tenants whose first request is measured.
    pub(crate) cold: usize,
    /// Requests at once of the tenant that is unfair.
    pub(crate) hot: usize,
    /// Tenants beside it.
    pub(crate) light: usize,
    /// Tenants of the soak.
    pub(crate) soaked: usize,
}

impl Scale {
    const FULL: Self = Self {
        run: Duration::from_secs(1),
        runs: 3,
        few: 100,
        many: 1000,
        listed: 1000,
        clients: 64,
        cold: 250,
        hot: 500,
        light: 50,
        soaked: 200,
    };

    const SMOKE: Self = Self {
        run: Duration::from_millis(40),
        runs: 1,
        few: 3,
        many: 6,
        listed: 6,
        clients: 8,
        cold: 5,
        hot: 16,
        light: 4,
        soaked: 6,
    };
}
