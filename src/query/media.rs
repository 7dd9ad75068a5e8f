//! Media types (RFC 9110, 8.3.1 and 12.5.1), those of the dialect among them.

use std::borrow::Cow;
use std::fmt;

use super::plan::Explain;

/// A media type, as far as the dialect tells them apart.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum MediaType {
    /// `application/json`.
    Json,
    /// `application/vnd.pgrst.array+json;nulls=stripped`: without the fields that are null.
    Stripped,
    /// `application/vnd.pgrst.object+json`: one object, not an array.
    Singular {
        /// Without the fields that are null.
        stripped: bool,
    },
    /// `text/csv`.
    Csv,
    /// `application/geo+json`.
    GeoJson,
    /// `application/openapi+json`: OpenAPI 2.0.
    OpenApi,
    /// `application/vnd.oai.openapi+json;version=3.1`.
    OpenApi31,
    /// `text/plain`.
    Text,
    /// `text/xml`.
    Xml,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/octet-stream`.
    OctetStream,
    /// `application/vnd.pgrst.plan`: how Postgres would answer, for another media type.
    Plan(Box<Self>, Explain),
    /// `*/*`.
    Any,
    /// Any other, as it was written.
    Other(Box<str>),
}

impl MediaType {
    /// Reads one media type with its parameters. What is none is [`MediaType::Other`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let mut parts = parameters(text);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameter = |wanted: &str| -> Option<String> {
            parameters(text).skip(1).find_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                let value = value.trim();
                let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                name.trim()
                    .eq_ignore_ascii_case(wanted)
                    .then(|| unquoted.unwrap_or(value).to_owned())
            })
        };
        let stripped = |value: Option<String>| value.as_deref() == Some("stripped");
        match &*essence {
            "application/json" | "application/*" => Self::Json,
            "application/geo+json" => Self::GeoJson,
            "text/csv" => Self::Csv,
            "text/plain" => Self::Text,
            "text/xml" => Self::Xml,
            "application/openapi+json" => Self::OpenApi,
            "application/vnd.oai.openapi+json" => Self::OpenApi31,
            "application/x-www-form-urlencoded" => Self::Form,
            "application/octet-stream" => Self::OctetStream,
            "application/vnd.pgrst.object" | "application/vnd.pgrst.object+json" => Self::Singular {
                stripped: stripped(parameter("nulls")),
            },
            "application/vnd.pgrst.array" | "application/vnd.pgrst.array+json" => {
                if stripped(parameter("nulls")) {
                    Self::Stripped
                } else {
                    Self::Json
                }
            }
            "application/vnd.pgrst.plan" | "application/vnd.pgrst.plan+text" | "application/vnd.pgrst.plan+json" => {
                let options = parameter("options").unwrap_or_default();
                let has = |option: &str| options.split('|').any(|other| other == option);
                let explain = Explain {
                    json: essence.ends_with("+json"),
                    analyze: has("analyze"),
                    verbose: has("verbose"),
                    settings: has("settings"),
                    buffers: has("buffers"),
                    wal: has("wal"),
                };
                let of = parameter("for").map_or(Self::Json, |of| Self::parse_flat(&of));
                Self::Plan(Box::new(of), explain)
            }
            "*/*" => Self::Any,
            _ => Self::Other(text.into()),
        }
    }

    /// As [`parse`](Self::parse), but a plan of a plan is none.
    fn parse_flat(text: &str) -> Self {
        if text.contains("vnd.pgrst.plan") {
            Self::Other(text.into())
        } else {
            Self::parse(text)
        }
    }

    /// Reads the values of all `Accept` headers: what is wanted, the most wanted first. `*/*` if there is none.
    pub fn accepted<'v>(values: impl Iterator<Item = &'v str>) -> Vec<Self> {
        let mut ranges: Vec<(Self, u16)> = values
            .flat_map(list)
            .map(str::trim)
            .filter(|range| !range.is_empty())
            .map(|range| (Self::parse(&without_quality(range)), quality(range)))
            .collect();
        if ranges.is_empty() {
            return vec![Self::Any];
        }
        // Stable: what is wanted as much as another stays in its place.
        ranges.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
        ranges
            .into_iter()
            .filter(|(_, quality)| *quality > 0)
            .map(|(range, _)| range)
            .collect()
    }

    /// Whether it is `text/html`, which nothing here makes of rows.
    #[must_use]
    pub fn is_html(&self) -> bool {
        matches!(self, Self::Other(text) if text.eq_ignore_ascii_case("text/html"))
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(&self) -> Cow<'static, str> {
        match self {
            Self::Json => "application/json; charset=utf-8".into(),
            Self::OctetStream | Self::Other(_) => self.to_string().into(),
            _ => format!("{self}; charset=utf-8").into(),
        }
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "application/json",
            Self::Stripped => "application/vnd.pgrst.array+json;nulls=stripped",
            Self::Singular { stripped: false } => "application/vnd.pgrst.object+json",
            Self::Singular { stripped: true } => "application/vnd.pgrst.object+json;nulls=stripped",
            Self::Csv => "text/csv",
            Self::GeoJson => "application/geo+json",
            Self::OpenApi => "application/openapi+json",
            Self::OpenApi31 => "application/vnd.oai.openapi+json;version=3.1",
            Self::Text => "text/plain",
            Self::Xml => "text/xml",
            Self::Form => "application/x-www-form-urlencoded",
            Self::OctetStream => "application/octet-stream",
            Self::Any => "*/*",
            Self::Other(text) => text,
            Self::Plan(of, explain) => {
                let format = if explain.json { "json" } else { "text" };
                write!(f, "application/vnd.pgrst.plan+{format}; for=\"{of}\"")?;
                let options: Vec<&str> = [
                    (explain.analyze, "analyze"),
                    (explain.verbose, "verbose"),
                    (explain.settings, "settings"),
                    (explain.buffers, "buffers"),
                    (explain.wal, "wal"),
                ]
                .into_iter()
                .filter_map(|(wanted, option)| wanted.then_some(option))
                .collect();
                if !options.is_empty() {
                    write!(f, "; options={}", options.join("|"))?;
                }
                return Ok(());
            }
        })
    }
}

/// Splits at a character that stands outside double quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == at && !quoted
    })
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    split(value, ',')
}

fn parameters(text: &str) -> impl Iterator<Item = &str> {
    split(text, ';').map(str::trim)
}

fn is_quality(parameter: &str) -> bool {
    parameter.starts_with("q=") || parameter.starts_with("Q=")
}

fn without_quality(range: &str) -> String {
    let kept: Vec<&str> = parameters(range).filter(|parameter| !is_quality(parameter)).collect();
    kept.join(";")
}

/// In thousandths; 1000 if it does not say.
fn quality(range: &str) -> u16 {
    let given = parameters(range).find(|parameter| is_quality(parameter));
    let Some((units, fraction)) = given.map(|given| given[2..].split_once('.').unwrap_or_else(|| (&given[2..], "")))
    else {
        return 1000;
    };
    let mut digits = fraction.bytes().chain(std::iter::repeat(b'0'));
    let mut thousandths = 0;
    for _ in 0..3 {
        let digit = digits
            .next()
            .filter(u8::is_ascii_digit)
            .map_or(0, |digit| u16::from(digit - b'0'));
        thousandths = thousandths * 10 + digit;
    }
    if units == "0" { thousandths } else { 1000 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_choose_among_the_dialects_own() {
        let singular = |stripped| MediaType::Singular { stripped };
        for (text, expected) in [
            ("application/json; charset=utf-8", MediaType::Json),
            ("ApplicatIon/vnd.PgRsT.object+json", singular(false)),
            ("application/vnd.pgrst.object;nulls=stripped", singular(true)),
            ("application/vnd.pgrst.array+json", MediaType::Json),
            (
                "application/vnd.pgrst.array+json; nulls=\"stripped\"",
                MediaType::Stripped,
            ),
            ("application/vnd.twkb", MediaType::Other("application/vnd.twkb".into())),
            ("*/*", MediaType::Any),
        ] {
            assert_eq!(MediaType::parse(text), expected, "{text}");
        }
        let plan = MediaType::parse("application/vnd.pgrst.plan+text; for=\"text/csv\"; options=analyze|wal;");
        let text = "application/vnd.pgrst.plan+text; for=\"text/csv\"; options=analyze|wal";
        assert_eq!(plan.to_string(), text);
        assert_eq!(plan.content_type(), format!("{text}; charset=utf-8"));
    }

    #[test]
    fn the_most_wanted_comes_first() {
        let accepted = |text: &'static str| MediaType::accepted(std::iter::once(text));
        assert_eq!(MediaType::accepted(std::iter::empty()), [MediaType::Any]);
        assert_eq!(
            accepted("text/csv;q=0.8, */*;q=0.1, application/json, text/xml;q=0"),
            [MediaType::Json, MediaType::Csv, MediaType::Any]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".*", list in r#"([a-z*]{1,3}/[a-z*+.]{1,4}(;q=[0-9.]{1,4}|;a="[,;]")?,? ?){0,5}"#) {
            let _ = MediaType::accepted([&*text, &*list].into_iter());
        }
    }
}
