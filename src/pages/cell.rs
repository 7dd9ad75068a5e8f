//! One value of a row, from Postgres' text format to the form in which a page shows it.

use std::borrow::Cow;

use crate::pages::list::Kind;

/// A value as the template shows it. Everything is still unescaped: that is the template's task.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// SQL NULL, which is not the same as an empty text.
    Null,
    /// Nothing inside: `''`, `{}` or `[]`, as given.
    Empty(&'static str),
    Boolean(bool),
    Plain(&'a str),
    /// Short enough to stand in the row, in monospace.
    Code(&'a str),
    /// A calendar date that is valid in `<time>`.
    Date(&'a str),
    Timestamp(Moment<'a>),
    /// The elements of a one-dimensional array; `None` is a NULL among them.
    Items(Vec<Option<Cow<'a, str>>>),
    Long(Long<'a>),
}

/// A point in time, in the three forms a page needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Moment<'a> {
    /// For the `datetime` attribute: `2026-11-24T09:30:05Z`. Fractions of a second are left to the JSON.
    pub(crate) machine: String,
    /// `2026-11-24`
    pub(crate) date: &'a str,
    /// `09:30`, and the offset unless it is UTC or the column has none: `09:30 -03`.
    pub(crate) time: String,
}

/// A value too long for its row: an excerpt there, the rest on demand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Long<'a> {
    pub(crate) excerpt: &'a str,
    /// The value, JSON indented; at most [`WHOLE_MAX_BYTES`] before that.
    pub(crate) whole: Cow<'a, str>,
    /// Whether `whole` is not all of it.
    pub(crate) is_cut: bool,
    /// Whether it is shown in monospace.
    pub(crate) is_code: bool,
}

impl<'a> Cell<'a> {
    /// Reads `value`, a field in Postgres' text format, by the kind of its column.
    ///
    /// Text that does not read as its kind (`infinity`, a year after 9999, a nested array) is shown as it came.
    pub(crate) fn new(kind: Kind, value: Option<&'a str>) -> Self {
        let Some(text) = value else {
            return Self::Null;
        };
        let read = match kind {
            Kind::Boolean => boolean(text).map(Self::Boolean),
            Kind::Date => is_date(text).then_some(Self::Date(text)),
            Kind::Timestamp => moment(text).map(Self::Timestamp),
            Kind::Array if text == "{}" => Some(Self::Empty("{}")),
            Kind::Array if text == "[]" => Some(Self::Empty("[]")),
            Kind::Array if text.len() <= ITEMS_MAX_BYTES && text.starts_with('[') => json_items(text).map(Self::Items),
            Kind::Array if text.len() <= ITEMS_MAX_BYTES => items(text).map(Self::Items),
            Kind::Json if text == "{}" => Some(Self::Empty("{}")),
            Kind::Json if text == "[]" => Some(Self::Empty("[]")),
            Kind::Text if text.is_empty() => Some(Self::Empty("''")),
            Kind::Array | Kind::Json | Kind::Number | Kind::Text | Kind::Other => None,
        };
        read.unwrap_or_else(|| Self::as_it_came(kind, text))
    }

    fn as_it_came(kind: Kind, text: &'a str) -> Self {
        let is_code = matches!(kind, Kind::Array | Kind::Json | Kind::Other);
        let max_chars = if is_code { CODE_MAX_CHARS } else { PROSE_MAX_CHARS };
        match (is_code, text.char_indices().nth(max_chars)) {
            (true, None) => Self::Code(text),
            (false, None) => Self::Plain(text),
            (_, Some(_)) => Self::Long(Long::new(kind, text, is_code)),
        }
    }
}

impl<'a> Long<'a> {
    fn new(kind: Kind, text: &'a str, is_code: bool) -> Self {
        let is_cut = text.len() > WHOLE_MAX_BYTES;
        let whole = match kind {
            Kind::Json if !is_cut => Cow::Owned(indent(text)),
            _ => Cow::Borrowed(&text[..text.floor_char_boundary(WHOLE_MAX_BYTES)]),
        };
        let excerpt_end = text
            .char_indices()
            .nth(EXCERPT_CHARS)
            .map_or(text.len(), |(index, _)| index);
        Self {
            excerpt: text[..excerpt_end].trim_end(),
            whole,
            is_cut,
            is_code,
        }
    }
}

/// `t` and `f` as `boolout` writes them; `true` and `false` as a cast to text does.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        _ => None,
    }
}

/// Whether `text` is `YYYY-MM-DD`. Postgres has checked the calendar already.
fn is_date(text: &str) -> bool {
    has_shape(text, "0000-00-00")
}

/// Reads `2026-11-24 09:30:05.123+00`, the ISO `DateStyle`, with or without fraction and offset.
fn moment(text: &str) -> Option<Moment<'_>> {
    let (date, clock) = text.split_once([' ', 'T'])?;
    let seconds = clock.get(..8)?;
    if !is_date(date) || !has_shape(seconds, "00:00:00") {
        return None;
    }
    let rest = &clock[8..];
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|digit: char| digit.is_ascii_digit()),
        None => rest,
    };
    // HTML knows offsets of hours and minutes only; a historic local time with seconds in its offset is shown as text.
    let machine_zone = match zone {
        "" => String::new(),
        "+00" | "+00:00" | "Z" => "Z".to_owned(),
        _ if has_shape(zone, "+00") => format!("{zone}:00"),
        _ if has_shape(zone, "+00:00") => zone.to_owned(),
        _ => return None,
    };
    let minutes = &seconds[..5];
    Some(Moment {
        machine: format!("{date}T{seconds}{machine_zone}"),
        date,
        time: if machine_zone.is_empty() || machine_zone == "Z" {
            minutes.to_owned()
        } else {
            format!("{minutes} {zone}")
        },
    })
}

/// Whether `text` is `shape` with a digit for every `0` and a sign for every `+`.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, expected)| match expected {
            b'0' => byte.is_ascii_digit(),
            b'+' => byte == b'+' || byte == b'-',
            _ => byte == expected,
        })
}

/// Splits an array in Postgres' text format, `{a,"b c",NULL}`; `None` when it is nested or not an array.
///
/// Source: PostgreSQL manual, 8.15.6 "Array Input and Output Syntax".
fn items(text: &str) -> Option<Vec<Option<Cow<'_, str>>>> {
    let mut rest = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut found = Vec::new();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (item, after) = quoted_item(quoted)?;
            found.push(Some(Cow::Owned(item)));
            rest = after;
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let item = &rest[..end];
            if item.is_empty() || item.contains(['{', '}', '"', '\\']) {
                return None;
            }
            found.push((item != "NULL").then_some(Cow::Borrowed(item)));
            rest = &rest[end..];
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return rest.is_empty().then_some(found),
        }
    }
}

/// The elements of a JSON array of texts and numbers; `None` when there is anything else in it.
fn json_items(text: &str) -> Option<Vec<Option<Cow<'_, str>>>> {
    let items: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let item = |item| match item {
        serde_json::Value::Null => Some(None),
        serde_json::Value::String(text) => Some(Some(Cow::Owned(text))),
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Some(Some(Cow::Owned(item.to_string()))),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
    };
    items.into_iter().map(item).collect()
}

/// Takes one element up to its closing quote; returns it without escapes, and what follows.
fn quoted_item(text: &str) -> Option<(String, &str)> {
    let mut item = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((item, &text[index + 1..])),
            '\\' => item.push(characters.next()?.1),
            _ => item.push(character),
        }
    }
    None
}

/// Puts every member of `json` on its own line, and changes nothing else: numbers keep all their digits.
pub(crate) fn indent(json: &str) -> String {
    let mut lines = String::with_capacity(json.len() * 2);
    let mut depth: usize = 0;
    let mut in_string = false;
    let mut is_escaped = false;
    let mut characters = json.chars().peekable();
    while let Some(character) = characters.next() {
        if in_string {
            lines.push(character);
            in_string = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
            continue;
        }
        match character {
            '{' | '[' => {
                lines.push(character);
                depth += 1;
                while characters.next_if(char::is_ascii_whitespace).is_some() {}
                if !matches!(characters.peek(), Some('}' | ']')) {
                    break_line(&mut lines, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !lines.ends_with(['{', '[']) {
                    break_line(&mut lines, depth);
                }
                lines.push(character);
            }
            ',' => {
                lines.push(character);
                break_line(&mut lines, depth);
            }
            ':' => lines.push_str(": "),
            _ if character.is_ascii_whitespace() => {}
            _ => {
                in_string = character == '"';
                lines.push(character);
            }
        }
    }
    lines
}

/// Starts a line at `depth`, at most [`INDENT_MAX`]: the text must not grow with the square of its depth.
fn break_line(lines: &mut String, depth: usize) {
    lines.push('\n');
    lines.extend(std::iter::repeat_n("  ", depth.min(INDENT_MAX)));
}

/// Longest text that stands in its row; about four lines of the widest column.
const PROSE_MAX_CHARS: usize = 255;
/// Longest monospace value that stands in its row.
const CODE_MAX_CHARS: usize = 40;
/// How much of a longer value its row shows; CSS clips it further to the column.
const EXCERPT_CHARS: usize = 40;
/// Longest array shown item by item.
const ITEMS_MAX_BYTES: usize = 160;
/// Most of one value that a page carries: a page of the largest values stays in the hundreds of kilobytes.
const WHOLE_MAX_BYTES: usize = 4096;
/// Deepest indentation, in steps of two spaces.
const INDENT_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn items_of(text: &str) -> Vec<Option<String>> {
        items(text)
            .expect("an array")
            .into_iter()
            .map(|item| item.map(Cow::into_owned))
            .collect()
    }

    #[test]
    fn null_is_not_an_empty_text() {
        assert_eq!(Cell::new(Kind::Text, None), Cell::Null);
        assert_eq!(Cell::new(Kind::Text, Some("")), Cell::Empty("''"));
        assert_eq!(Cell::new(Kind::Array, Some("{}")), Cell::Empty("{}"));
    }

    #[test]
    fn both_spellings_of_a_boolean_are_read() {
        for (text, expected) in [("t", true), ("true", true), ("f", false), ("false", false)] {
            assert_eq!(Cell::new(Kind::Boolean, Some(text)), Cell::Boolean(expected));
        }
        assert_eq!(Cell::new(Kind::Boolean, Some("maybe")), Cell::Plain("maybe"));
    }

    #[test]
    fn timestamps_become_valid_html_times() {
        for (text, machine, time) in [
            ("2026-11-24 09:30:05.123456+00", "2026-11-24T09:30:05Z", "09:30"),
            ("2026-11-24 09:30:05-03", "2026-11-24T09:30:05-03:00", "09:30 -03"),
            ("2026-11-24 09:30:05+05:45", "2026-11-24T09:30:05+05:45", "09:30 +05:45"),
            ("2026-11-24 09:30:05", "2026-11-24T09:30:05", "09:30"),
            ("2026-11-24T09:30:05+00:00", "2026-11-24T09:30:05Z", "09:30"),
        ] {
            let moment = moment(text).expect("a timestamp");
            assert_eq!(
                (moment.machine.as_str(), moment.date, moment.time.as_str()),
                (machine, "2026-11-24", time)
            );
        }
    }

    #[test]
    fn times_that_html_cannot_say_stay_text() {
        for text in [
            "infinity",
            "0044-03-15 12:00:00 BC",
            "12026-01-01 00:00:00",
            "1910-01-01 00:00:00+00:19:32",
            "é",
        ] {
            assert_eq!(Cell::new(Kind::Timestamp, Some(text)), Cell::Plain(text));
        }
        assert_eq!(Cell::new(Kind::Date, Some("2026-11-24")), Cell::Date("2026-11-24"));
        assert_eq!(Cell::new(Kind::Date, Some("infinity")), Cell::Plain("infinity"));
    }

    #[test]
    fn arrays_are_read_with_their_quotes_and_escapes() {
        assert_eq!(items_of("{casa}"), [Some("casa".to_owned())]);
        assert_eq!(
            items_of(r#"{a,"b, c","say \"hi\"","back\\slash","",NULL,"NULL"}"#),
            [
                Some("a"),
                Some("b, c"),
                Some("say \"hi\""),
                Some("back\\slash"),
                Some(""),
                None,
                Some("NULL")
            ]
            .map(|item| item.map(str::to_owned)),
        );
        for text in ["{{1,2},{3,4}}", "[0:1]={a,b}", "{a", "{\"a}", "{a,}", "a,b"] {
            assert_eq!(items(text), None, "{text}");
        }
    }

    #[test]
    fn indentation_changes_only_white_space() {
        let json = r#"{"a": [1, {"b": "x, {\"y\": [ \\"}], "c": {}, "n": 123456789012345678901234567890.10, "d": [ ]}"#;
        let lines = indent(json);
        assert!(
            lines.contains("\n    {\n      \"b\": \"x, {\\\"y\\\": [ \\\\\"\n    }\n"),
            "{lines}"
        );
        assert!(lines.contains("\"c\": {},"), "{lines}");
        assert!(lines.contains("123456789012345678901234567890.10"), "{lines}");
        let (before, after): (serde_json::Value, serde_json::Value) = (
            serde_json::from_str(json).expect("JSON"),
            serde_json::from_str(&lines).expect("JSON"),
        );
        assert_eq!(before, after);
    }

    #[test]
    fn deep_json_does_not_grow_with_the_square_of_its_depth() {
        let json = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
        assert!(indent(&json).len() < 20 * json.len());
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        let text = "🏠é".repeat(2000);
        let long = Long::new(Kind::Text, &text, false);
        assert!(long.is_cut);
        assert_eq!(long.excerpt.chars().count(), EXCERPT_CHARS);
        assert!(text.starts_with(&*long.whole) && long.whole.len() <= WHOLE_MAX_BYTES);
    }
}
