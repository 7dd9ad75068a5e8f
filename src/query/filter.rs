//! Filters: `column=operator.value`, and trees of them joined by `and`, `or` and `not`.

use super::Error;
use super::parse::{Text, Unread, syntax, whole};

/// What a row has to pass.
#[derive(Clone)]
pub(super) enum Test {
    One(Filter),
    Group(Group),
}

/// Tests of which all must pass, or any.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) negated: bool,
    pub(super) any: bool,
    pub(super) tests: Vec<Test>,
}

/// `column=operator.value`.
#[derive(Clone)]
pub(super) struct Filter {
    pub(super) column: String,
    pub(super) negated: bool,
    pub(super) condition: Condition,
}

/// What a filter asks of its column.
#[derive(Clone)]
pub(super) enum Condition {
    /// An SQL operator and its right side.
    Compare(&'static str, String),
    /// An SQL operator, `ANY` or `ALL`, and an array literal.
    CompareEach(&'static str, &'static str, String),
    In(Vec<String>),
    /// What stands behind `IS`.
    Is(&'static str),
    /// Full-text search.
    Search {
        /// What makes a `tsquery` of the text (manual, 9.13).
        function: &'static str,
        /// A text search configuration, such as `english`; the server's default if none.
        language: Option<String>,
        query: String,
    },
}

impl Filter {
    /// The value of `eq.value`.
    pub(super) fn equal_to(&self) -> Option<&str> {
        match &self.condition {
            Condition::Compare("=", value) if !self.negated => Some(value),
            _ => None,
        }
    }
}

impl Test {
    /// Reads a parameter of the query string that is a filter: `id=eq.1`, `or=(id.eq.1,id.eq.2)`.
    pub(super) fn parse(name: &str, value: &str) -> Result<Self, Error> {
        let (negated, any) = match name {
            "and" => (false, false),
            "or" => (false, true),
            "not.and" => (true, false),
            "not.or" => (true, true),
            _ => return filter(name, value).map(Self::One),
        };
        let mut text = Text(value);
        // What stands behind the last parenthesis does not count, as in PostgREST.
        match text.tests(MAX_DEPTH) {
            Ok(tests) => Ok(Self::Group(Group { negated, any, tests })),
            Err(details) => Err(syntax("logic tree", value, details)),
        }
    }
}

/// Trees are read by recursion: deeper ones would cost a stack, and nobody writes them.
const MAX_DEPTH: usize = 64;

fn filter(name: &str, value: &str) -> Result<Filter, Error> {
    let column = whole("filter", name, Text::name)?;
    let mut text = Text(value);
    match text.operation(&column, Text::rest) {
        Ok((negated, condition)) => Ok(Filter {
            column,
            negated,
            condition,
        }),
        Err(details) => Err(syntax("filter", value, details)),
    }
}

impl<'t> Text<'t> {
    /// `(id.eq.1,not.or(a.gt.2,b.is.null))`, with spaces anywhere but in values.
    fn tests(&mut self, depth: usize) -> Result<Vec<Test>, Unread> {
        let depth = depth.checked_sub(1).ok_or("the tree is nested too deep")?;
        self.spaces();
        if !self.eat("(") {
            return Err(self.left_over());
        }
        let mut tests = vec![self.test(depth)?];
        loop {
            self.spaces();
            if self.eat(")") {
                return Ok(tests);
            }
            if !self.eat(",") {
                return Err(self.left_over());
            }
            tests.push(self.test(depth)?);
        }
    }

    fn test(&mut self, depth: usize) -> Result<Test, Unread> {
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
                let tests = self.tests(depth)?;
                return Ok(Test::Group(Group { negated, any, tests }));
            }
        }
        let column = self.name()?;
        if !self.eat(".") {
            return Err(self.left_over());
        }
        let (negated, condition) = self.operation(&column, Text::value)?;
        Ok(Test::One(Filter {
            column,
            negated,
            condition,
        }))
    }

    /// `not.eq.1`, `like(any).{a*,b*}`, `fts(english).fat`; `operand` reads what stands behind the operator.
    fn operation(
        &mut self,
        column: &str,
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
        let unknown = || format!("operator {:?}", before.0.split('.').next().unwrap_or_default());
        if let Some((_, function)) = SEARCHES.iter().find(|(name, _)| *name == operator) {
            let condition = Condition::Search {
                function,
                language: modifier.map(str::to_owned),
                query: operand(self)?,
            };
            return Ok((negated, condition));
        }
        let condition = match (operator, modifier) {
            ("in", None) => Condition::In(self.list()?),
            ("is", None) => Condition::Is(is(&operand(self)?)?),
            _ => {
                let known = OPERATORS.iter().find(|known| known.name == operator);
                let known = known.ok_or_else(unknown)?;
                let value = operand(self)?;
                let value = if known.pattern { value.replace('*', "%") } else { value };
                match modifier {
                    None => Condition::Compare(known.sql, value),
                    Some("any") if known.each => Condition::CompareEach(known.sql, "ANY", value),
                    Some("all") if known.each => Condition::CompareEach(known.sql, "ALL", value),
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
