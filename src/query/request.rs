//! The query string to [`Query`]: what is asked for, and the values it is asked with, taken apart.

use super::Error;
use super::filter::{self, Operand};
use super::percent::decode;
use super::shape::Shape;
use super::text::{Name, Text, Unread, syntax, whole};
use super::values::{Value, Values};

/// A query string of the dialect. Not `Debug`: it holds filter values, which are never logged.
///
/// Two that ask for the same are equal in all but their values, and become the same statement.
#[derive(Clone, Default)]
pub struct Query {
    /// All that is asked for but the range: the parameters, percent-decoded, without their values. The key of a plan.
    pub(super) normalized: String,
    pub(super) values: Values,
    /// Of the relation itself.
    pub(super) range: Range,
    /// What is neither of the dialect's own nor a filter: the arguments of a function.
    pub(super) arguments: Vec<(String, String)>,
    selects: Selects,
    names_conflict: bool,
}

#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum Selects {
    #[default]
    Default,
    All,
    Some,
}

/// Which rows of a result.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub(super) struct Range {
    pub(super) limit: Option<Value>,
    pub(super) offset: Option<Value>,
}

impl Range {
    /// `bound` is `limit` or `offset`; the first of several counts.
    pub(super) fn set(&mut self, bound: &str, value: Value) {
        let slot = if bound == "limit" {
            &mut self.limit
        } else {
            &mut self.offset
        };
        slot.get_or_insert(value);
    }

    pub(super) fn is_empty(self) -> bool {
        self.limit.is_none() && self.offset.is_none()
    }
}

/// What a query string is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A relation.
    Relation,
    /// A function that takes its arguments from the query string: what is no filter is an argument.
    Call,
}

/// Ends a parameter of the normalized text; names and texts with this character are refused.
pub(super) const PARAMETER_END: char = '\u{1e}';
/// Ends its name, likewise.
pub(super) const FIELD_END: char = '\u{1f}';
/// In place of a parameter: there is a value that [`Query::range`] knows of.
pub(super) const SKIPPED: &str = "";

impl Query {
    /// All columns of `limit` rows from number `offset` on, in the order of `keys`.
    #[must_use]
    pub fn page<'k>(keys: impl IntoIterator<Item = &'k str>, limit: u64, offset: u64) -> Self {
        let mut query = Self::default();
        let quoted = |name: &str| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let order: Vec<_> = keys.into_iter().map(quoted).collect();
        if !order.is_empty() {
            // Quoted names are always understood.
            _ = query.parameter("order", "order", &order.join(","));
        }
        query.set_range(Some(limit), offset);
        query
    }

    /// Reads a query string, without its `?`. Of `select`, `columns` and `on_conflict` the first counts.
    ///
    /// What is not understood of `select`, `order` and the like is said when a plan is made.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for a filter that is not understood, [`Error::Range`] for a negative limit or offset.
    pub fn parse(query_string: &str, purpose: Purpose) -> Result<Self, Error> {
        let mut query = Self {
            normalized: String::with_capacity(query_string.len()),
            values: Values::with_capacity(query_string.len()),
            ..Self::default()
        };
        for parameter in query_string.split('&').filter(|parameter| !parameter.is_empty()) {
            let Some((name, value)) = parameter.split_once('=') else {
                if purpose == Purpose::Call {
                    continue;
                }
                // Ignoring a filter without a value would make `DELETE /t?id` empty the table.
                let parameter = decode(parameter)?;
                let read = parameter.chars().count();
                return Err(syntax(
                    "parameter",
                    &parameter,
                    read,
                    "it has no value: write name=value",
                ));
            };
            query.read(&decode(name)?, &decode(value)?, purpose)?;
        }
        Ok(query)
    }

    fn read(&mut self, name: &str, value: &str, purpose: Purpose) -> Result<(), Error> {
        match last(name) {
            "select" if name == "select" => {
                if self.selects == Selects::Default {
                    let all = value.trim_matches([' ', '\t']) == "*";
                    self.selects = if all { Selects::All } else { Selects::Some };
                }
                self.parameter("select parameter", name, value)
            }
            "columns" if name == "columns" => self.parameter("columns parameter", name, value),
            "on_conflict" if name == "on_conflict" => {
                self.names_conflict = true;
                self.parameter("on_conflict parameter", name, value)
            }
            "order" => self.parameter("order", name, value),
            bound @ ("limit" | "offset") => {
                let Some(number) = count(bound, value)? else {
                    return Ok(());
                };
                let value = self.values.push_number(number);
                if name == bound {
                    self.range.set(bound, value);
                    self.normalized.push(PARAMETER_END);
                    Ok(())
                } else {
                    self.parameter("tree path", name, "")
                }
            }
            "and" | "or" => self
                .attempt("logic tree", value, |query, text| {
                    query.copy(name)?;
                    query.normalized.push(FIELD_END);
                    // What stands behind the last parenthesis does not count, as in PostgREST.
                    query.tests(text, MAX_DEPTH)
                })
                // Its column counts from the operator, as if that stood before the parenthesis.
                .map_err(|error| error.behind(junction(name).chars().count())),
            _ => {
                let named = whole("filter", name, Text::path).map(drop);
                let filtered = named.and_then(|()| {
                    self.attempt("filter", value, |query, text| {
                        query.copy(name)?;
                        query.normalized.push(FIELD_END);
                        query.condition(text, Text::rest)
                    })
                });
                if filtered.is_err() && purpose == Purpose::Call {
                    let argument = whole("argument", name, Text::path).map(|(_, field)| field.name.into_owned());
                    self.arguments
                        .push((argument.unwrap_or_else(|_| name.to_owned()), value.to_owned()));
                    return Ok(());
                }
                filtered
            }
        }
    }

    /// A parameter without values.
    fn parameter(&mut self, part: &'static str, name: &str, text: &str) -> Result<(), Error> {
        self.attempt(part, text, |query, _| {
            query.copy(name)?;
            query.normalized.push(FIELD_END);
            query.copy(text)
        })
    }

    /// Takes a parameter as a whole, or nothing of it.
    fn attempt(
        &mut self,
        part: &'static str,
        text: &str,
        take: impl FnOnce(&mut Self, &mut Text<'_>) -> Result<(), Unread>,
    ) -> Result<(), Error> {
        let before = (self.normalized.len(), self.values.len());
        let mut rest = Text(text);
        match take(self, &mut rest) {
            Ok(()) => {
                self.normalized.push(PARAMETER_END);
                Ok(())
            }
            Err(details) => {
                self.normalized.truncate(before.0);
                self.values.truncate(before.1);
                Err(syntax(part, text, rest.read_of(text), details))
            }
        }
    }

    fn copy(&mut self, text: &str) -> Result<(), Unread> {
        // Names become SQL text, where a NUL cannot be.
        const REFUSED: [u8; 3] = [0, FIELD_END as u8, PARAMETER_END as u8];
        if text.bytes().any(|byte| REFUSED.contains(&byte)) {
            return Err("it holds a control character".into());
        }
        self.normalized.push_str(text);
        Ok(())
    }

    /// `(id.eq.1,not.or(a.gt.2,b.is.null))`, with spaces anywhere but in values.
    fn tests(&mut self, text: &mut Text<'_>, depth: usize) -> Result<(), Unread> {
        let depth = depth.checked_sub(1).ok_or("the tree is nested too deep")?;
        text.spaces();
        if !text.eat("(") {
            return Err(text.expecting("\"(\""));
        }
        self.normalized.push('(');
        loop {
            self.test(text, depth)?;
            text.spaces();
            if text.eat(")") {
                self.normalized.push(')');
                return Ok(());
            }
            if !text.eat(",") {
                return Err(text.expecting("\",\" or \")\""));
            }
            self.normalized.push(',');
        }
    }

    fn test(&mut self, text: &mut Text<'_>, depth: usize) -> Result<(), Unread> {
        text.spaces();
        let before = text.0;
        if text.junction().is_some() {
            self.copy(text.until(before))?;
            return self.tests(text, depth);
        }
        if let Err(unread) = text.field() {
            let nothing = text.0 == before;
            return Err(if nothing { text.expecting(TEST) } else { unread });
        }
        if !text.eat(".") {
            return Err(text.expecting("\".\" and an operator (eq, gt, ...)"));
        }
        self.copy(text.until(before))?;
        self.condition(text, Text::value)
    }

    /// `not.eq.1`, `like(any).{a*,b*}`, `fts(english).fat`; `operand` reads what stands behind the operator.
    fn condition<'t>(
        &mut self,
        text: &mut Text<'t>,
        operand: impl FnOnce(&mut Text<'t>) -> Result<Name<'t>, Unread>,
    ) -> Result<(), Unread> {
        let before = text.0;
        let operator = text.operator()?;
        self.copy(text.until(before))?;
        match operator.operand() {
            Operand::Plain => {
                self.values.push(&operand(text)?);
            }
            Operand::Pattern => {
                self.values.push_pattern(&operand(text)?);
            }
            Operand::List => {
                self.values.begin_array();
                text.list(|item| self.values.push_element(item))?;
                self.values.end_array();
            }
            Operand::Word => {
                let (word, _) = filter::is(&operand(text)?)?;
                self.normalized.push_str(word);
            }
        }
        Ok(())
    }

    /// What is asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for what is not understood.
    pub(super) fn shape(&self) -> Result<Shape<'_>, Error> {
        Shape::read(&self.normalized, self.range)
    }

    /// The range of the relation itself: limit, and offset.
    #[must_use]
    pub fn range(&self) -> (Option<u64>, u64) {
        let number = |value: Option<Value>| self.values.get(value?)?.parse().ok();
        (number(self.range.limit), number(self.range.offset).unwrap_or(0))
    }

    /// Takes the range of the relation itself from elsewhere.
    pub fn set_range(&mut self, limit: Option<u64>, offset: u64) {
        self.range = Range {
            limit: limit.map(|limit| self.values.push_number(limit)),
            offset: (offset > 0).then(|| self.values.push_number(offset)),
        };
    }

    /// Whether all columns are asked for, and nothing else.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.selects != Selects::Some
    }

    /// The names of `columns`, if it was sent.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for what is not understood.
    pub fn columns(&self) -> Result<Option<Vec<String>>, Error> {
        let columns = self.shape()?.columns;
        Ok(columns.map(|names| names.into_iter().map(Name::into_owned).collect()))
    }

    /// Whether `on_conflict` was sent.
    #[must_use]
    pub fn names_conflict(&self) -> bool {
        self.names_conflict
    }

    /// Takes the arguments of a function from elsewhere.
    pub fn set_arguments(&mut self, arguments: Vec<(String, String)>) {
        self.arguments = arguments;
    }

    /// Whether `limit` or `offset` was sent for the relation itself.
    pub(super) fn is_ranged(&self) -> bool {
        !self.range.is_empty()
    }
}

/// Trees are read by recursion: deeper ones would cost a stack, and nobody writes them.
const MAX_DEPTH: usize = 64;

/// What a test of a tree begins with.
const TEST: &str = "field name (* or [a..z0..9_$]), negation operator (not) or logic operator (and, or)";

/// `and`, `or`, `not.and` or `not.or` at the end of `a.b.not.or`.
fn junction(name: &str) -> &str {
    let last = last(name);
    let before = &name[..name.len() - last.len()];
    let negation = if before == "not." || before.ends_with(".not.") {
        4
    } else {
        0
    };
    &name[before.len() - negation..]
}

/// The last part of `a.b.order`, which tells what a parameter is.
pub(super) fn last(name: &str) -> &str {
    name.rfind('.').map_or(name, |dot| &name[dot + 1..])
}

/// What is no number is refused, as is a negative limit.
fn count(part: &str, value: &str) -> Result<Option<u64>, Error> {
    let Ok(number) = value.trim().parse::<i64>() else {
        let part = if part == "limit" { "limit" } else { "offset" };
        return Err(syntax(part, value, 0, "it is not an integer"));
    };
    match u64::try_from(number) {
        Ok(number) => Ok(Some(number)),
        // Before the first row there is none to leave out.
        Err(_) if part == "offset" => Ok(None),
        Err(_) => Err(Error::Range("Limit should be greater than or equal to zero.")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::filter::{Condition, Test};
    use super::*;

    /// The text without values, its characters for ends made visible, and the values.
    fn taken_apart(query_string: &str) -> (String, Vec<String>) {
        let query = Query::parse(query_string, Purpose::Relation).ok().unwrap();
        let shown = query.normalized.replace(FIELD_END, "=").replace(PARAMETER_END, "&");
        let values = (0..query.values.len()).map(|at| query.values.get(Value(at)).unwrap().to_owned());
        (shown, values.collect())
    }

    #[test]
    fn values_are_taken_out() {
        for (query_string, normalized, values) in [
            ("", "", &[][..]),
            ("id=eq.1", "id=eq.&", &["1"]),
            (
                "select=id,a:b::text&order=id.desc",
                "select=id,a:b::text&order=id.desc&",
                &[],
            ),
            ("a->>b=like.*%25x*&c=is.NULL", "a->>b=like.&c=is.null&", &["%%x%"]),
            (
                "id=in.(1,%22a,b%22,)&a=not.like(any).{a*,b}",
                "id=in.&a=not.like(any).&",
                &["{\"1\",\"a,b\",\"\"}", "{a%,b}"],
            ),
            (
                "t=fts(english).cat&t=wfts.dog",
                "t=fts(english).&t=wfts.&",
                &["cat", "dog"],
            ),
            ("limit=5&id=eq.1&offset=-1", "&id=eq.&", &["5", "1"]),
            (
                "x.limit=5&x.order=id&limit=1&limit=2",
                "x.limit=&x.order=id&&&",
                &["5", "1", "2"],
            ),
            (
                "or=(+id.eq.1,not.and+(a.in.(1,2),b.is.True),c.cs.{1,2}+)z&x.not.and=(a.eq.%22b)%22)",
                "or=(id.eq.,not.and(a.in.,b.is.true),c.cs.)&x.not.and=(a.eq.)&",
                &["1", "{\"1\",\"2\"}", "{1,2}", "b)"],
            ),
        ] {
            let expected = (normalized.to_owned(), values.iter().map(ToString::to_string).collect());
            assert_eq!(taken_apart(query_string), expected, "{query_string}");
        }
    }

    #[test]
    fn arguments_leave_nothing_behind() {
        let query = Query::parse("id=gt.3&since=2026-01-01&n=in.(1&a=is.x&limit=2", Purpose::Call)
            .ok()
            .unwrap();
        let arguments = [("since", "2026-01-01"), ("n", "in.(1"), ("a", "is.x")];
        let arguments = arguments.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(query.arguments, arguments);
        assert_eq!(query.values.len(), 2);
        assert_eq!(query.range(), (Some(2), 0));
        assert_eq!(query.shape().ok().unwrap().filters.len(), 1);
    }

    #[test]
    fn characters_that_end_parts_are_refused() {
        for query_string in [
            "select=%22a%1Eb%22",
            "order=%22%1F%22",
            "%22a%1E%22=eq.1",
            "or=(%22a%1F%22.eq.1)",
            "a=fts(%1E).x",
            "select=%22a%00b%22:id",
        ] {
            assert!(Query::parse(query_string, Purpose::Relation).is_err(), "{query_string}");
        }
        assert_eq!(
            taken_apart("a=eq.%1E%1F"),
            ("a=eq.&".to_owned(), vec!["\u{1e}\u{1f}".to_owned()])
        );
    }

    /// The values that the tests stand for, in order.
    fn numbers(test: &Test<'_>, found: &mut Vec<usize>) {
        match test {
            Test::One(filter) => match filter.condition {
                Condition::Compare(_, value)
                | Condition::CompareEach(_, _, value)
                | Condition::In(value)
                | Condition::Search { query: value, .. } => found.push(value.0),
                Condition::Is(_) => {}
            },
            Test::Group(group) => group.tests.iter().for_each(|test| numbers(test, found)),
        }
    }

    proptest! {
        /// Each test of a query string is given its own value, whatever stands between them.
        #[test]
        fn tests_find_their_values(
            parts in prop::collection::vec((0..8_usize, "[a-z]{1,3}", "[ -~é]{0,8}"), 0..12),
        ) {
            let encode = |text: &str| text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
            let mut expected = Vec::new();
            let parameters = parts.iter().map(|(kind, name, value)| {
                let encoded = encode(value);
                let plain = value.replace(['"', '\\'], "");
                let quoted = encode(&format!("\"{plain}\""));
                let mut filter = |value: &str, text: String| {
                    expected.push(value.to_owned());
                    text
                };
                match kind {
                    0 => "limit=3".to_owned(),
                    1 => "x.offset=3".to_owned(),
                    2 => format!("select={name}"),
                    3 => format!("{name}1=is.null"),
                    4 => filter(value, format!("{name}1=eq.{encoded}")),
                    5 => filter(value, format!("{name}1.{name}2=not.fts(simple).{encoded}")),
                    6 => filter(&plain, format!("or=({name}1.eq.{quoted},{name}2.is.true)")),
                    _ => filter(&format!("{{\"{plain}\"}}"), format!("{name}1=in.({quoted})")),
                }
            });
            let query_string = parameters.collect::<Vec<_>>().join("&");
            let query = Query::parse(&query_string, Purpose::Relation).ok().unwrap();
            let shape = query.shape().ok().unwrap();
            let mut found = Vec::new();
            for (_, test) in &shape.filters {
                numbers(test, &mut found);
            }
            let found: Vec<_> = found.into_iter().map(|at| query.values.get(Value(at)).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
