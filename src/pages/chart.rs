//! A line over time as a small inline SVG, which a strict content security policy lets pass: no style, no script.

use std::fmt;
use std::fmt::{Formatter, Write as _};

/// One or two series over the same time.
///
/// `Display` writes one `<svg>` element in which all text is escaped: a template marks it `|safe`. It is as wide as its
/// place, and its colours are the stylesheet's, by class: `chart`, and in it `base`, `area`, `line`, `line second`, and
/// `second` for the figures of the second series.
#[derive(Clone, Copy, Debug)]
pub struct Chart<'a> {
    /// What is shown: the beginning of what is read out.
    pub label: &'a str,
    /// Behind each figure: `ms`, `/s`; it may be empty.
    pub unit: &'a str,
    /// The oldest point first. The area below it is filled.
    pub first: Series<'a>,
    /// A line besides, on the same scale.
    pub second: Option<Series<'a>>,
    /// What is written besides figures.
    pub words: ChartWords<'a>,
    /// In units of the drawing: it is scaled, so this is its shape and how large its letters are.
    pub width: u16,
    /// Likewise.
    pub height: u16,
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// What it is called beside its latest figure; it may be empty if there is but one.
    pub name: &'a str,
    /// At equal distances in time, the last one now. None is a gap, as is what is no finite number. What is below zero is
    /// drawn as zero.
    pub points: &'a [Option<f64>],
}

/// The words of a chart, in the reader's language.
#[derive(Clone, Copy, Debug)]
pub struct ChartWords<'a> {
    /// When the first point was: `-60 min`.
    pub from: &'a str,
    /// When the last one is: `now`.
    pub to: &'a str,
    /// Before the latest figure: `latest`.
    pub latest: &'a str,
    /// Before the highest figure: `highest`.
    pub highest: &'a str,
}

/// More columns than this nobody sees, and each takes some 25 bytes.
const COLUMNS: usize = 180;

/// Above and below the lines, for a line of text each.
const MARGIN: f64 = 16.0;

impl fmt::Display for Chart<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (width, height) = (f64::from(self.width), f64::from(self.height));
        let all = [Some(self.first), self.second];
        let all = || all.iter().flatten();
        let highest = all().filter_map(|series| series.highest()).reduce(f64::max);
        let plot = Plot {
            width,
            top: MARGIN,
            base: (height - MARGIN).max(MARGIN + 1.0),
            highest: highest.filter(|highest| *highest > 0.0).unwrap_or(1.0),
        };
        write!(
            f,
            r#"<svg class="chart" role="img" viewBox="0 0 {width} {height}" aria-label=""#
        )?;
        write!(f, "{}:", Escaped(self.label))?;
        for (at, series) in all().enumerate() {
            let before = if at == 0 { "" } else { ";" };
            let ChartWords { latest, highest, .. } = self.words;
            let between = if series.name.is_empty() { "" } else { " " };
            write!(f, "{before}{between}{} {} ", Escaped(series.name), Escaped(latest))?;
            write!(f, "{}, {} ", self.figure(series.latest()), Escaped(highest))?;
            write!(f, "{}", self.figure(series.highest()))?;
        }
        write!(f, r#""><path class="base" d="M0 {0:.1}H{width}"/>"#, plot.base)?;
        let columns = columns(self.first.points);
        write!(f, r#"<path class="area" d="{}"/>"#, plot.path(&columns, true))?;
        write!(f, r#"<path class="line" d="{}"/>"#, plot.path(&columns, false))?;
        if let Some(second) = self.second {
            let path = plot.path(&self::columns(second.points), false);
            write!(f, r#"<path class="line second" d="{path}"/>"#)?;
        }
        let above = MARGIN - 5.0;
        write!(f, r#"<text x="0" y="{above}">{}</text>"#, self.figure(highest))?;
        write!(f, r#"<text x="{width}" y="{above}" text-anchor="end">"#)?;
        for (at, series) in all().enumerate() {
            let (class, before) = if at == 0 { ("first", "") } else { ("second", " ") };
            let between = if series.name.is_empty() { "" } else { " " };
            let (name, latest) = (Escaped(series.name), self.figure(series.latest()));
            write!(f, r#"{before}<tspan class="{class}">{name}{between}{latest}</tspan>"#)?;
        }
        let below = height - 4.0;
        let (from, to) = (Escaped(self.words.from), Escaped(self.words.to));
        write!(f, r#"</text><text x="0" y="{below}">{from}</text>"#)?;
        write!(
            f,
            r#"<text x="{width}" y="{below}" text-anchor="end">{to}</text></svg>"#
        )
    }
}

impl<'a> Chart<'a> {
    fn figure(&self, value: Option<f64>) -> Figure<'a> {
        Figure { value, unit: self.unit }
    }
}

impl Series<'_> {
    fn highest(&self) -> Option<f64> {
        self.points.iter().filter_map(|point| drawn(*point)).reduce(f64::max)
    }

    /// Of the last point alone: what was before a gap is not the latest.
    fn latest(&self) -> Option<f64> {
        drawn(*self.points.last()?)
    }
}

/// A point as it is drawn, if it is.
fn drawn(point: Option<f64>) -> Option<f64> {
    point.filter(|value| value.is_finite()).map(|value| value.max(0.0))
}

/// At most [`COLUMNS`] points, each the highest of as many as have to share it, so that no peak is lost.
fn columns(points: &[Option<f64>]) -> Vec<Option<f64>> {
    let each = points.len().div_ceil(COLUMNS).max(1);
    // From the end, so that only the oldest column may stand for fewer.
    let chunks = points.rchunks(each).rev();
    chunks
        .map(|chunk| chunk.iter().filter_map(|point| drawn(*point)).reduce(f64::max))
        .collect()
}

/// Where lines are drawn, in units of the drawing.
struct Plot {
    width: f64,
    top: f64,
    base: f64,
    /// The value at the top.
    highest: f64,
}

impl Plot {
    /// The `d` of a line with gaps, or of the area below it.
    fn path(&self, columns: &[Option<f64>], area: bool) -> String {
        let mut path = String::with_capacity(12 * columns.len());
        let step = self.width / (columns.len().max(2) - 1) as f64;
        // A single point would have no length to be seen by.
        let half = (step / 2.0).min(2.0);
        let mut at = 0;
        for run in columns.split(Option::is_none) {
            // The last column is at the right edge, even if it is the only one.
            let x = |index: usize| (self.width - step * (columns.len() - 1 - at - index) as f64).max(0.0);
            let mut points: Vec<(f64, f64)> = run
                .iter()
                .flatten()
                .enumerate()
                .map(|(index, value)| (x(index), self.y(*value)))
                .collect();
            if let [(x, y)] = points[..] {
                points = vec![((x - half).max(0.0), y), ((x + half).min(self.width), y)];
            }
            at += run.len() + 1;
            let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
                continue;
            };
            if area {
                points.push((last.0, self.base));
                points.push((first.0, self.base));
            }
            let mut before = 'M';
            for (x, y) in points {
                // Writing to a `String` does not fail. What follows the first pair are lines.
                let _ = write!(path, "{before}{x:.1} {y:.1}");
                before = ' ';
            }
            if area {
                path.push('z');
            }
        }
        path
    }

    fn y(&self, value: f64) -> f64 {
        self.base - (self.base - self.top) * (value / self.highest).min(1.0)
    }
}

/// A value and its unit: three digits are read at a glance.
struct Figure<'a> {
    value: Option<f64>,
    unit: &'a str,
}

impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(value) = self.value else {
            return f.write_str("–");
        };
        let decimals = match value {
            0.0..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        let number = format!("{value:.decimals$}");
        let number = match number.split_once('.') {
            Some(_) => number.trim_end_matches('0').trim_end_matches('.'),
            None => &number,
        };
        let between = if self.unit.is_empty() || self.unit.starts_with(['/', '%']) {
            ""
        } else {
            " "
        };
        write!(f, "{number}{between}{}", Escaped(self.unit))
    }
}

/// A text as it may stand in an element or an attribute. What HTML does not allow at all becomes U+FFFD.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORDS: ChartWords<'_> = ChartWords {
        from: "-60 min",
        to: "now",
        latest: "latest",
        highest: "highest",
    };

    fn chart<'a>(points: &'a [Option<f64>]) -> Chart<'a> {
        Chart {
            label: "Requests",
            unit: "/s",
            first: Series { name: "", points },
            second: None,
            words: WORDS,
            width: 360,
            height: 112,
        }
    }

    /// The `d` of the path with this class.
    #[track_caller]
    fn path(svg: &str, class: &str) -> String {
        let start = format!("<path class=\"{class}\" d=\"");
        let (_, rest) = svg.split_once(&start).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    #[test]
    fn a_line_goes_from_edge_to_edge_and_up_to_the_highest() {
        let svg = chart(&[Some(0.0), Some(40.0), Some(10.0)]).to_string();
        assert_eq!(path(&svg, "base"), "M0 96.0H360");
        assert_eq!(path(&svg, "line"), "M0.0 96.0 180.0 16.0 360.0 76.0");
        assert_eq!(
            path(&svg, "area"),
            "M0.0 96.0 180.0 16.0 360.0 76.0 360.0 96.0 0.0 96.0z"
        );
        assert!(svg.starts_with(
            r#"<svg class="chart" role="img" viewBox="0 0 360 112" aria-label="Requests: latest 10/s, highest 40/s">"#
        ));
        for text in [
            r#"<text x="0" y="11">40/s</text>"#,
            r#"<text x="360" y="11" text-anchor="end"><tspan class="first">10/s</tspan></text>"#,
            r#"<text x="0" y="108">-60 min</text>"#,
            r#"<text x="360" y="108" text-anchor="end">now</text></svg>"#,
        ] {
            assert!(svg.contains(text), "{text} not in {svg}");
        }
    }

    #[test]
    fn gaps_stay_open_and_single_points_are_seen() {
        let points = [None, Some(1.0), None, Some(f64::NAN), Some(1.0), Some(1.0), None];
        let svg = chart(&points).to_string();
        assert_eq!(path(&svg, "line"), "M58.0 16.0 62.0 16.0M240.0 16.0 300.0 16.0");
        assert_eq!(
            path(&svg, "area"),
            "M58.0 16.0 62.0 16.0 62.0 96.0 58.0 96.0zM240.0 16.0 300.0 16.0 300.0 96.0 240.0 96.0z"
        );
        assert!(svg.contains("latest –, highest 1/s"));
    }

    #[test]
    fn nothing_known_is_drawn_as_nothing() {
        for points in [&[] as &[_], &[None, None], &[Some(f64::INFINITY)]] {
            let svg = chart(points).to_string();
            assert_eq!(path(&svg, "line"), "");
            assert!(svg.contains("latest –, highest –"), "{svg}");
        }
        let svg = chart(&[Some(0.0), Some(-1.0)]).to_string();
        assert_eq!(path(&svg, "line"), "M0.0 96.0 360.0 96.0", "no scale to divide by");
        let svg = chart(&[Some(5.0)]).to_string();
        assert_eq!(path(&svg, "line"), "M358.0 16.0 360.0 16.0", "now is at the right");
    }

    #[test]
    fn two_series_share_a_scale_and_have_their_names() {
        let chart = Chart {
            label: "Response time",
            unit: "ms",
            first: Series {
                name: "p50",
                points: &[Some(1.234), Some(1.0)],
            },
            second: Some(Series {
                name: "p99",
                points: &[Some(2.0), Some(4.0)],
            }),
            ..chart(&[])
        };
        let svg = chart.to_string();
        assert!(
            svg.contains(
                "aria-label=\"Response time: p50 latest 1 ms, highest 1.23 ms; p99 latest 4 ms, highest 4 ms\""
            )
        );
        assert!(svg.contains("<tspan class=\"first\">p50 1 ms</tspan> <tspan class=\"second\">p99 4 ms</tspan>"));
        assert_eq!(path(&svg, "line"), "M0.0 71.3 360.0 76.0");
        assert_eq!(path(&svg, "line second"), "M0.0 56.0 360.0 16.0");
    }

    #[test]
    fn an_hour_is_small_and_keeps_its_peaks() {
        let mut points: Vec<Option<f64>> = (0..360).map(|n| Some(f64::from(n % 97) * 1.37)).collect();
        points[101] = Some(1e6);
        let svg = chart(&points).to_string();
        assert!(svg.len() <= 6 * 1024, "{} bytes", svg.len());
        let line = path(&svg, "line");
        assert_eq!(line.split(' ').count(), 2 * 180);
        assert!(line.contains(" 16.0 "), "{line}");
        assert!(svg.contains(">1000000/s<"));
        points.remove(0);
        assert_eq!(columns(&points).len(), 180);
        assert_eq!(columns(&points)[179], points[358]);
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, expected) in [
            (0.0, "0 ms"),
            (0.004, "0 ms"),
            (0.126, "0.13 ms"),
            (9.5, "9.5 ms"),
            (12.34, "12.3 ms"),
            (100.0, "100 ms"),
            (1234.5, "1234 ms"),
        ] {
            let (value, unit) = (Some(value), "ms");
            assert_eq!(Figure { value, unit }.to_string(), expected);
        }
    }

    /// Walks the markup: elements and attributes that a chart has and no others, each closed.
    fn check_markup(svg: &str) {
        const ELEMENTS: [&str; 4] = ["svg", "path", "text", "tspan"];
        const ATTRIBUTES: [&str; 8] = ["class", "role", "viewBox", "aria-label", "d", "x", "y", "text-anchor"];
        let mut open = Vec::new();
        for (at, piece) in svg.split('<').enumerate() {
            if at == 0 {
                assert!(piece.is_empty());
                continue;
            }
            let (tag, text) = piece.split_once('>').expect("the end of a tag");
            assert!(!text.contains(['>', '"', '\'']), "raw text {text:?}");
            for entity in text.split('&').skip(1) {
                assert!(entity.contains(';'), "raw ampersand in {text:?}");
            }
            if let Some(closed) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(closed));
                continue;
            }
            let (element, mut rest) = tag.split_once(' ').unwrap();
            assert!(ELEMENTS.contains(&element), "element {element:?}");
            let whole = rest.ends_with('/');
            rest = rest.trim_end_matches('/');
            while !rest.is_empty() {
                let (name, after) = rest.trim_start().split_once("=\"").expect("a quoted attribute");
                assert!(ATTRIBUTES.contains(&name), "attribute {name:?}");
                rest = after.split_once('"').expect("the end of an attribute").1;
            }
            if !whole {
                open.push(element);
            }
        }
        assert!(open.is_empty());
    }

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("</svg><script>alert(1)</script>".to_owned()),
            Just("\" onload=\"x".to_owned()),
            Just("'><!--]]>&amp;&".to_owned()),
            ".{0,8}",
        ];
        proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn markup_stays_well_formed(
            text in proptest::collection::vec(hostile(), 8),
            points in proptest::collection::vec(proptest::option::of(any::<f64>()), 0..400),
            two: bool,
            width: u16,
            height: u16,
        ) {
            let series = |name: usize| Series { name: &text[name], points: &points };
            let svg = Chart {
                label: &text[0],
                unit: &text[1],
                first: series(2),
                second: two.then(|| series(3)),
                words: ChartWords { from: &text[4], to: &text[5], latest: &text[6], highest: &text[7] },
                width,
                height,
            }
            .to_string();
            check_markup(&svg);
            let numbers = path(&svg, "line");
            prop_assert!(!numbers.contains(['N', 'i', '-']), "{}", numbers);
        }
    }
}
