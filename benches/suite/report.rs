//! What is printed, and written: lines as they come, `target/suite.json`, and a part of `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::Result;
use crate::goals::goals;
use crate::machine;
use crate::options::Options;
use crate::plot;
use crate::results::{Cell, Cold, Fairness, Latency, Results};

/// Where it goes.
#[derive(Debug)]
pub(crate) struct Report {
    measures: bool,
    write: bool,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            measures: options.measures(),
            write: options.write,
        }
    }

    pub(crate) fn say(&self, text: &str) -> Result<()> {
        writeln!(io::stdout(), "{text}")?;
        Ok(())
    }

    pub(crate) fn heading(&self, results: &Results) -> Result<()> {
        self.say(&facts(results))?;
        self.say(&format!(
            "{:22} {:>8} {:>17} {:>8} {:>8} {:>8} {:>8} {:>9} {:>7} {:>7} {:>8}",
            "", "req/s", "min to max", "p50 ms", "p99", "p99.9", "edge µs", "Postgres", "load", "RSS MB", "backends"
        ))
    }

    pub(crate) fn cells(&self, cells: &[Cell]) -> Result<()> {
        let name = cells.first().map_or("", |cell| cell.set.as_str());
        let load = machine::load().unwrap_or_default();
        self.say(&format!("\n{name} (load {load})"))?;
        for cell in cells {
            let mut line = format!("{:22} {:>8}", cell.way.name(), thousands(cell.speed()));
            for (figure, width) in figures(cell).iter().zip([17, 8, 8, 8, 8, 9, 7, 7, 8]) {
                write!(line, " {figure:>width$}")?;
            }
            if cell.failed + cell.wrong > 0 {
                write!(
                    line,
                    "  FAILED {} {:?}, WRONG {}",
                    cell.failed, cell.refused, cell.wrong
                )?;
            }
            self.say(&line)?;
        }
        Ok(())
    }

    /// The rest. Answers that were not good are an error where it is only asked whether everything works; another
    /// tenant's rows always are.
    pub(crate) fn finish(&self, results: &Results) -> Result<()> {
        if let Some(fairness) = &results.fairness {
            self.say(&told_fairness(fairness))?;
        }
        if let Some(cold) = &results.cold {
            self.say(&told_cold(cold))?;
        }
        if self.measures {
            for goal in goals(results) {
                let verdict = if goal.met { "met" } else { "NOT MET" };
                self.say(&format!(
                    "{:58} {:>20}  {:>12}  {verdict}",
                    goal.what, goal.wanted, goal.measured
                ))?;
            }
            let json = target().join("suite.json");
            fs::write(&json, serde_json::to_string_pretty(results)?)?;
            self.say(&format!("\nwritten: {}", json.display()))?;
        }
        if self.write {
            rewrite(results)?;
        }
        let wrong: u64 = results.cells.iter().map(|cell| cell.wrong).sum();
        match results.failures() {
            failures if wrong > 0 || (failures > 0 && !self.measures) => {
                Err(format!("{failures} answers were not what they should be, {wrong} of them another tenant's").into())
            }
            _ => Ok(()),
        }
    }
}

/// Puts the tables between the marks of docs/benchmarks.md, and draws docs/plots/.
fn rewrite(results: &Results) -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let file = docs.join("benchmarks.md");
    let text = fs::read_to_string(&file)?;
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or("docs/benchmarks.md has no mark where the suite begins")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("docs/benchmarks.md has no mark where the suite ends")?;
    fs::write(&file, format!("{before}{BEGIN}\n{}{END}{after}", markdown(results)?))?;
    fs::create_dir_all(docs.join("plots"))?;
    for (name, svg) in plot::all(results) {
        fs::write(docs.join("plots").join(name), svg)?;
    }
    Ok(())
}

const BEGIN: &str = "<!-- suite -->";
const END: &str = "<!-- /suite -->";

fn markdown(results: &Results) -> Result<String> {
    let mut text = format!(
        "\n{}\n\n| Goal | wanted | measured | |\n|---|---:|---:|---|\n",
        facts(results)
    );
    for goal in goals(results) {
        let verdict = if goal.met { "met" } else { "**not met**" };
        writeln!(
            text,
            "| {} | {} | {} | {verdict} |",
            goal.what, goal.wanted, goal.measured
        )?;
    }
    for (name, _) in plot::all(results) {
        let title = name.trim_end_matches(".svg");
        writeln!(text, "\n![{title}](plots/{name})")?;
    }
    for cells in results.cells.chunk_by(|a, b| a.set == b.set) {
        writeln!(text, "\n| {} | {TABLE_HEAD}", cells[0].set)?;
        for cell in cells {
            let (way, speed) = (cell.way.name(), thousands(cell.speed()));
            writeln!(text, "| {way} | **{speed}** | {} |", figures(cell).join(" | "))?;
        }
    }
    let failures = results.cells.iter().filter(|cell| cell.failed > 0);
    for cell in failures {
        writeln!(
            text,
            "\n{}, {}: {} answers failed.",
            cell.set,
            cell.way.name(),
            cell.failed
        )?;
    }
    if let Some(fairness) = &results.fairness {
        writeln!(text, "\n{}", told_fairness(fairness))?;
    }
    if let Some(cold) = &results.cold {
        writeln!(text, "\n{}", told_cold(cold))?;
    }
    text.push('\n');
    Ok(text)
}

const TABLE_HEAD: &str = "requests a second | min to max | p50 ms | p99 | p99.9 | server's CPU µs | Postgres' | load's | \
     RSS MB | backends |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|";

fn facts(results: &Results) -> String {
    let machine = &results.machine;
    let load = machine.load_before.as_deref().unwrap_or("unknown");
    format!(
        "{}, {} cores ({}), PostgreSQL {}, load before {load}. {} clients, {} runs of {} s each, in turns.",
        machine.date,
        machine.cores,
        machine.processor,
        results.postgres,
        results.clients,
        results.runs,
        results.seconds_per_run
    )
}

fn told_fairness(fairness: &Fairness) -> String {
    let p99 = |latency: &Latency| format!("{:.2} ms", latency.p99);
    format!(
        "Light tenants, p99: {} alone, {} beside a hot one with {} answers a second (refused, by status: {:?}). \
         The same clients of the server that only says hello: {} alone, {} beside the others. \
         Statements of 1 ms, p99: {} alone, {} \
         beside 1 % of 100 ms. Answers that failed: {}.",
        p99(&fairness.light_alone),
        p99(&fairness.light_beside_hot),
        thousands(fairness.hot_per_second),
        fairness.hot_refused,
        p99(&fairness.hello_alone),
        p99(&fairness.hello_beside_hot),
        p99(&fairness.short_alone),
        p99(&fairness.short_beside_long),
        fairness.failed
    )
}

fn told_cold(cold: &Cold) -> String {
    let kb = |bytes: Option<f64>| figure(bytes.map(|bytes| bytes / 1000.0));
    format!(
        "First answers of {} cold tenants: p50 {:.2} ms, p99 {:.2} ms. Memory of a tenant: {} KB cold, {} KB more once asked, \
         {} KB cold with 10,000.",
        cold.tenants,
        cold.first.p50,
        cold.first.p99,
        kb(cold.cold_bytes),
        kb(cold.warm_bytes),
        kb(cold.listed_bytes)
    )
}

/// `12,345`.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What is told of a cell behind its speed, in this order: the spread of that, the percentiles of latency, the CPU of
/// server, Postgres and load, the server's memory, and the backends.
fn figures(cell: &Cell) -> [String; 9] {
    let Latency { p50, p99, p999, .. } = cell.latency;
    let milliseconds = |latency: f64| format!("{latency:.2}");
    [
        spread(&cell.per_second),
        milliseconds(p50),
        milliseconds(p99),
        milliseconds(p999),
        figure(cell.server_us),
        figure(cell.postgres_us),
        figure(cell.load_us),
        figure(cell.memory.map(|bytes| bytes as f64 / 1e6)),
        cell.backends.to_string(),
    ]
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(0.0, f64::max);
    format!("{} to {}", thousands(least), thousands(most))
}

/// With one decimal; a dash where there is none.
fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"))
}

/// Where cargo builds: this program is in `target/release/deps`.
fn target() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    program
        .ancestors()
        .nth(3)
        .map_or_else(|| "target".into(), Path::to_owned)
}
