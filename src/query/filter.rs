//! Filters: `column=operator.value`, and trees of them joined by `and`, `or` and `not`.

use super::Error;
use super::parse::{Field, Path, Text, Unread, Value, syntax, whole};

/// What a row has to pass.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) enum Test {
    One(Filter),
    Group(Group),
}

/// Tests of which all must pass, or any.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Group {
    pub(super) negated: bool,
    pub(super) any: bool,
    pub(super) tests: Vec<Test>,
}

/// `column=operator.value`.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Filter {
    pub(super) field: Field,
    pub(super) negated: bool,
    pub(super) condition: Condition,
}

/// What a filter asks of its column.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) enum Condition {
    /// An SQL operator and its right side.
    Compare(&'static str, Value),
    /// An SQL operator, `ANY` or `ALL`, and an array literal.
    CompareEach(&'static str, &'static str, Value),
    /// An array literal that must hold it.
    In(Value),
    /// What stands behind `IS`.
    Is(&'static str),
    /// Full-text search.
    Search {
        /// What makes a `tsquery` of the text (manual, 9.13).
        function: &'static str,
        /// A text search configuration, such as `english`; the server's default if none.
        language: Option<Value>,
        query: Value,
    },
}

impl Filter {
    /// The value of `eq.value`.
    pub(super) fn equal_to(&self) -> Option<Value> {
        match self.condition {
            Condition::Compare("=", value) if !self.negated && self.field.path.is_empty() => Some(value),
            _ => None,
        }
    }
}

impl Test {
    /// Reads a parameter such as `id=eq.1` or `clients.id=eq.1`. Nothing is left in `values` of one that is none.
    pub(super) fn filter(name: &str, value: &str, values: &mut Vec<String>) -> Result<(Path, Self), Error> {
        let (path, field) = whole("filter", name, Text::path)?;
        let mut text = Text(value);
        let before = values.len();
        match text.operation(&field.name, values, Text::rest) {
            Ok((negated, condition)) => Ok((
                path,
                Self::One(Filter {
                    field,
                    negated,
                    condition,
                }),
            )),
            Err(details) => {
                values.truncate(before);
                Err(syntax("filter", value, details))
            }
        }
    }

    /// Reads a parameter such as `or=(id.eq.1,id.eq.2)`, `not.and=…` or `clients.or=…`.
    pub(super) fn tree(name: &str, value: &str, values: &mut Vec<String>) -> Result<(Path, Self), Error> {
        let (mut path, last) = whole("logic path", name, Text::path)?;
        let names = path.len();
        path.retain(|name| name != "not");
        let negated = path.len() < names;
        let any = last.name == "or";
        let mut text = Text(value);
        // What stands behind the last parenthesis does not count, as in PostgREST.
        match text.tests(MAX_DEPTH, values) {
            Ok(tests) => Ok((path, Self::Group(Group { negated, any, tests }))),
            Err(details) => Err(syntax("logic tree", value, details)),
        }
    }
}

/// Trees are read by recursion: deeper ones would cost a stack, and nobody writes them.
const MAX_DEPTH: usize = 64;

impl<'t> Text<'t> {
    /// `(id.eq.1,not.or(a.gt.2,b.is.null))`, with spaces anywhere but in values.
    fn tests(&mut self, depth: usize, values: &mut Vec<String>) -> Result<Vec<Test>, Unread> {
        let depth = depth.checked_sub(1).ok_or("the tree is nested too deep")?;
        self.spaces();
        if !self.eat("(") {
            return Err(self.left_over());
        }
        let mut tests = vec![self.test(depth, values)?];
        loop {
            self.spaces();
            if self.eat(")") {
                return Ok(tests);
            }
            if !self.eat(",") {
                return Err(self.left_over());
            }
            tests.push(self.test(depth, values)?);
        }
    }

    fn test(&mut self, depth: usize, values: &mut Vec<String>) -> Result<Test, Unread> {
        self.spaces();
        for (word, negated, any) in [
            ("and", false, false),
            ("or", false, true),
            ("not.and", true, false),
            ("not.or", true, true),
        ] {
            let mut attempt = *self;
            if attempt.eat(word) && attempt.0.trim_start_matches(' ').starts_with('(') {
                *self = attempt;
                let tests = self.tests(depth, values)?;
                return Ok(Test::Group(Group { negated, any, tests }));
            }
        }
        let field = self.field()?;
        if !self.eat(".") {
            return Err(self.left_over());
        }
        let (negated, condition) = self.operation(&field.name, values, Text::value)?;
        Ok(Test::One(Filter {
            field,
            negated,
            condition,
        }))
    }

    /// `not.eq.1`, `like(any).{a*,b*}`, `fts(english).fat`; `operand` reads what stands behind the operator.
    fn operation(
        &mut self,
        column: &str,
        values: &mut Vec<String>,
        operand: impl FnOnce(&mut Self) -> Result<String, Unread>,
    ) -> Result<(bool, Condition), Unread> {
        let negated = self.eat("not.");
        let before = *self;
        let operator = self.take(|c| !matches!(c, '.' | '(' | ',' | ')'));
        let modifier = if self.eat("(") {
            let modifier = self.take(|c| c != ')');
            if !self.eat(")") {
                return Err(self.left_over());
            }
            Some(modifier)
        } else {
            None
        };
        if !self.eat(".") {
            return Err(format!("no operator with a value, like eq.1, for {column:?}").into());
        }
        let mut keep = |text: String| {
            values.push(text);
            Value(values.len() - 1)
        };
        let unknown = || format!("operator {:?}", before.0.split('.').next().unwrap_or_default());
        if let Some((_, function)) = SEARCHES.iter().find(|(name, _)| *name == operator) {
            let condition = Condition::Search {
                function,
                language: modifier.map(|language| keep(language.trim().to_owned())),
                query: keep(operand(self)?),
            };
            return Ok((negated, condition));
        }
        let condition = match (operator, modifier) {
            ("in", None) => Condition::In(keep(array(&self.list()?))),
            ("is", None) => Condition::Is(is(&operand(self)?)?),
            _ => {
                let known = OPERATORS.iter().find(|known| known.name == operator);
                let known = known.ok_or_else(unknown)?;
                let value = operand(self)?;
                let value = if known.pattern { value.replace('*', "%") } else { value };
                match modifier {
                    None => Condition::Compare(known.sql, keep(value)),
                    Some("any") if known.each => Condition::CompareEach(known.sql, "ANY", keep(value)),
                    Some("all") if known.each => Condition::CompareEach(known.sql, "ALL", keep(value)),
                    Some(_) => return Err(unknown().into()),
                }
            }
        };
        Ok((negated, condition))
    }

    /// All that is left.
    fn rest(&mut self) -> Result<String, Unread> {
        let rest = self.0;
        self.0 = "";
        Ok(rest.to_owned())
    }

    /// A value in a tree: in double quotes, an array in braces, or up to the next `,` or `)`.
    fn value(&mut self) -> Result<String, Unread> {
        let mut attempt = *self;
        if let Some(value) = attempt.quoted()
            && attempt.0.trim_start_matches(' ').starts_with([',', ')'])
        {
            *self = attempt;
            return Ok(value);
        }
        if self.0.starts_with('{') {
            let end = self.0.find('}').ok_or("an array does not end")?;
            let (array, rest) = self.0.split_at(end + 1);
            self.0 = rest;
            return Ok(array.to_owned());
        }
        Ok(self.take(|c| !matches!(c, ',' | ')')).to_owned())
    }
}

/// An array literal (manual, 8.15.6). Every element is quoted, so an empty one and `NULL` are texts like any other.
#[must_use]
pub fn array(values: &[String]) -> String {
    let mut literal = String::from("{");
    for (at, value) in values.iter().enumerate() {
        literal.push_str(if at == 0 { "\"" } else { ",\"" });
        for c in value.chars() {
            if matches!(c, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(c);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

/// What `is` may ask for, in any case.
fn is(operand: &str) -> Result<&'static str, Unread> {
    match &*operand.trim().to_ascii_lowercase() {
        "null" => Ok("NULL"),
        "not_null" => Ok("NOT NULL"),
        "true" => Ok("TRUE"),
        "false" => Ok("FALSE"),
        "unknown" => Ok("UNKNOWN"),
        _ => Err(format!("is.{operand}: null, not_null, true, false or unknown must follow").into()),
    }
}

/// An operator with one value.
struct Operator {
    name: &'static str,
    sql: &'static str,
    /// Its value is a pattern, in which `*` stands for `%`.
    pattern: bool,
    /// It takes `(any)` and `(all)`.
    each: bool,
}

const fn operator(name: &'static str, sql: &'static str, pattern: bool, each: bool) -> Operator {
    Operator {
        name,
        sql,
        pattern,
        each,
    }
}

/// PostgREST, "Tables and Views: Operators".
const OPERATORS: &[Operator] = &[
    operator("eq", "=", false, true),
    operator("neq", "<>", false, false),
    operator("gt", ">", false, true),
    operator("gte", ">=", false, true),
    operator("lt", "<", false, true),
    operator("lte", "<=", false, true),
    operator("like", "LIKE", true, true),
    operator("ilike", "ILIKE", true, true),
    operator("match", "~", false, true),
    operator("imatch", "~*", false, true),
    operator("isdistinct", "IS DISTINCT FROM", false, false),
    operator("cs", "@>", false, false),
    operator("cd", "<@", false, false),
    operator("ov", "&&", false, false),
    operator("sl", "<<", false, false),
    operator("sr", ">>", false, false),
    operator("nxr", "&<", false, false),
    operator("nxl", "&>", false, false),
    operator("adj", "-|-", false, false),
];

const SEARCHES: &[(&str, &str)] = &[
    ("fts", "to_tsquery"),
    ("plfts", "plainto_tsquery"),
    ("phfts", "phraseto_tsquery"),
    ("wfts", "websearch_to_tsquery"),
];
