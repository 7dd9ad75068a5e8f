//! What a request costs from socket to socket: the real program over loopback, against a private Postgres, beside the
//! limit (`pgbench`), the usual way (one pool and `SET search_path`), JSON made in Postgres, and an empty HTTP server.
//!
//! `cargo bench --bench suite`, or `make suite`; `-- --help` lists the options. What is compared is measured in turns,
//! within the same minute. `--write` puts the tables into `docs/benchmarks.md` and draws `docs/plots/`; every run leaves
//! `target/suite.json`. `--soak N` checks N answers instead. Without cargo's `--bench`, every cell runs for a moment, with few tenants: whether it works.

use std::io::{self, Write as _};
use std::iter;
use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

mod baseline;
mod cells;
mod cold;
mod edges;
mod fairness;
mod goals;
mod load;
mod machine;
mod options;
mod pgbench;
mod plot;
mod processes;
mod report;
mod results;
mod soak;
mod statements;
mod street;
mod traffic;

use self::edges::Edges;
use self::machine::Machine;
use self::options::{Options, Scale};
use self::report::Report;
use self::results::Results;
use self::street::Street;

/// Whatever goes wrong ends the suite with its message: a half of it proves nothing.
type Result<T, E = Error> = std::result::Result<T, E>;
type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let done = if arguments.get(1).is_some_and(|first| first == baseline::COMMAND) {
        baseline::main(baseline::Arguments::parse_from(arguments.into_iter().skip(1)))
    } else {
        suite(&Options::parse_from(arguments))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let causes = iter::successors(error.source(), |error| error.source());
            let causes: String = causes.map(|cause| format!(": {cause}")).collect();
            _ = writeln!(io::stderr(), "suite: {error}{causes}");
            ExitCode::FAILURE
        }
    }
}

/// On one thread: the load shares the cores with what it measures, and one thread takes least of them.
fn suite(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Dropped in the middle, it takes its processes with it.
        tokio::select! {
            done = run(options) => done,
            _ = terminate.recv() => Err("stopped by a signal".into()),
            _ = interrupt.recv() => Err("stopped by a signal".into()),
        }
    })
}

async fn run(options: &Options) -> Result<()> {
    let scale = options.scale();
    let machine = Machine::look();
    let report = Report::new(options);
    if let Some(requests) = options.soak {
        report.say("starting Postgres and bringing the tenants up")?;
        let street = Street::start(&Scale {
            many: scale.soaked,
            ..scale
        })
        .await?;
        soak::run(&street, &scale, requests, &report).await?;
        return street.check_writes().await;
    }
    let sets: Vec<_> = cells::SETS
        .iter()
        .filter(|set| options.wants(&set.name(&scale)) && set.fits(&scale))
        .collect();
    let (cold, fairness) = (options.wants(cold::NAME), options.wants(fairness::NAME));
    if sets.is_empty() && !cold && !fairness {
        return Ok(());
    }
    report.say("starting Postgres and bringing the tenants up")?;
    let street = Street::start(&scale).await?;
    let mut results = Results::new(machine, street.version().await?, &scale);
    report.heading(&results)?;
    let mut edges = Edges::default();
    for set in sets {
        let measured = cells::measure(set, &street, &mut edges, &scale, &report).await?;
        report.cells(&measured)?;
        results.cells.extend(measured);
    }
    edges.end(&street).await?;
    if fairness {
        results.fairness = Some(fairness::measure(&street, &scale).await?);
    }
    street.check_writes().await?;
    if cold {
        results.cold = Some(cold::measure(&street, &scale).await?);
    }
    report.finish(&results)
}
