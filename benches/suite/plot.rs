//! The plots of `docs/plots/`: horizontal bars, written as SVG by hand. They bring a ground of their own, so that they can
//! be read on a dark page too.

use crate::cells::Way;
use crate::results::{Cell, Results};
use crate::traffic::Work;

/// Name of the file, and what is in it.
pub(crate) fn all(results: &Results) -> Vec<(&'static str, String)> {
    let by_key: Vec<_> = results.cells.iter().filter(|cell| cell.work == Work::ByKey).collect();
    let http: Vec<_> = by_key.iter().copied().filter(|cell| cell.way != Way::Pgbench).collect();
    let all: Vec<_> = results.cells.iter().filter(|cell| cell.way != Way::Hello).collect();
    let charts = [
        ("throughput.svg", throughput(&by_key)),
        ("latency.svg", latency(&http)),
        ("cpu.svg", cpu(&all)),
    ];
    charts.map(|(name, chart)| (name, chart.svg())).into()
}

fn throughput(cells: &[&Cell]) -> Chart {
    Chart {
        title: "One row by key: requests a second",
        legend: vec![],
        decimals: 0,
        one_scale: true,
        groups: grouped(cells, |cell| vec![cell.speed()]),
    }
}

fn latency(cells: &[&Cell]) -> Chart {
    Chart {
        title: "One row by key: latency in milliseconds, each group to its own scale",
        legend: vec!["up to p50", "p99", "p99.9"],
        decimals: 1,
        one_scale: false,
        groups: grouped(cells, |cell| {
            let latency = cell.latency;
            vec![latency.p50, latency.p99 - latency.p50, latency.p999 - latency.p99]
        }),
    }
}

fn cpu(cells: &[&Cell]) -> Chart {
    Chart {
        title: "CPU microseconds per request, each group to its own scale",
        legend: vec!["server", "Postgres"],
        decimals: 0,
        one_scale: false,
        groups: grouped(cells, |cell| {
            vec![cell.server_us.unwrap_or_default(), cell.postgres_us.unwrap_or_default()]
        }),
    }
}

fn grouped(cells: &[&Cell], parts: impl Fn(&Cell) -> Vec<f64>) -> Vec<Group> {
    let group = |cells: &[&Cell]| Group {
        title: cells[0].set.clone(),
        bars: cells
            .iter()
            .map(|cell| Bar {
                label: cell.way.name(),
                ours: matches!(
                    cell.way,
                    Way::Rowhouse | Way::RowhouseToken | Way::RowhouseTight | Way::RowhouseShared
                ),
                parts: parts(cell),
            })
            .collect(),
    };
    cells.chunk_by(|a, b| a.set == b.set).map(group).collect()
}

/// Bars in groups.
struct Chart {
    title: &'static str,
    /// What the parts of a bar are; none if they have but one.
    legend: Vec<&'static str>,
    decimals: usize,
    /// Whether all groups have one scale. Else each has its own: the slow ones would leave nothing of the others.
    one_scale: bool,
    groups: Vec<Group>,
}

struct Group {
    title: String,
    bars: Vec<Bar>,
}

impl Group {
    fn longest(&self) -> f64 {
        self.bars.iter().map(Bar::whole).fold(f64::MIN_POSITIVE, f64::max)
    }
}

struct Bar {
    label: &'static str,
    ours: bool,
    /// One behind the other.
    parts: Vec<f64>,
}

impl Bar {
    fn whole(&self) -> f64 {
        self.parts.iter().sum()
    }
}

impl Chart {
    fn svg(&self) -> String {
        let whole = self.groups.iter().map(Group::longest).fold(0.0, f64::max);
        let mut body = text(MARGIN, 28.0, "class=\"title\"", self.title);
        let mut y = 44.0;
        if !self.legend.is_empty() {
            body.push_str(&self.legend(y));
            y += LINE;
        }
        for group in &self.groups {
            y += LINE;
            body.push_str(&text(MARGIN, y, "class=\"group\"", &group.title));
            let scale = BAR_WIDTH / if self.one_scale { whole } else { group.longest() };
            for bar in &group.bars {
                y += LINE;
                body.push_str(&self.bar(bar, y, scale));
            }
            y += 6.0;
        }
        let height = y + 16.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#fbfaf7\" stroke=\"#d8d4c8\"/>\n{body}</svg>\n",
            self.title
        )
    }

    fn legend(&self, y: f64) -> String {
        let mut body = String::new();
        for (n, name) in self.legend.iter().enumerate() {
            let x = LABEL_WIDTH + 130.0 * n as f64;
            body.push_str(&rectangle(x, y, 12.0, THEIRS[n]));
            body.push_str(&rectangle(x + 12.0, y, 12.0, OURS[n]));
            body.push_str(&text(x + 30.0, y + 11.0, "", name));
        }
        body
    }

    fn bar(&self, bar: &Bar, y: f64, scale: f64) -> String {
        let colours = if bar.ours { OURS } else { THEIRS };
        let mut body = text(LABEL_WIDTH - 8.0, y, "text-anchor=\"end\"", bar.label);
        let mut x = LABEL_WIDTH;
        for (part, colour) in bar.parts.iter().zip(colours) {
            let width = part * scale;
            body.push_str(&rectangle(x, y - 11.0, width, colour));
            x += width;
        }
        let decimals = self.decimals;
        let figures: Vec<_> = match bar.parts.len() {
            1 => vec![crate::report::thousands(bar.whole())],
            _ => self
                .figures(bar)
                .iter()
                .map(|figure| format!("{figure:.decimals$}"))
                .collect(),
        };
        body.push_str(&text(x + 6.0, y, "class=\"figure\"", &figures.join(" · ")));
        body
    }

    /// What stands behind a bar: percentiles are told as they are, though their parts are drawn.
    fn figures(&self, bar: &Bar) -> Vec<f64> {
        if self.legend[0].starts_with("up to") {
            let mut sum = 0.0;
            let sums = bar.parts.iter().map(|part| {
                sum += part;
                sum
            });
            return sums.collect();
        }
        bar.parts.clone()
    }
}

fn rectangle(x: f64, y: f64, width: f64, colour: &str) -> String {
    format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>\n")
}

/// No text of these plots holds a character that XML would read as its own.
fn text(x: f64, y: f64, attributes: &str, text: &str) -> String {
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>\n")
}

const WIDTH: f64 = 820.0;
const MARGIN: f64 = 16.0;
const LABEL_WIDTH: f64 = 140.0;
const BAR_WIDTH: f64 = 520.0;
const LINE: f64 = 20.0;

/// Colours of a bar's parts, from its start.
const OURS: [&str; 3] = ["#0f766e", "#3fa99f", "#a3d9d2"];
const THEIRS: [&str; 3] = ["#78716c", "#a8a29e", "#d6d3d1"];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#292524}.title{font-size:16px;font-weight:600}\
     .group{font-weight:600}.figure{fill:#57534e}";
