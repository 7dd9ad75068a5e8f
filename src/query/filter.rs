//! Filters: `column=operator.value`, and trees of them joined by `and`, `or` and `not`.

use super::Error;
use super::shape::{Field, Path};
use super::text::{Name, Text, Unread, whole};
use super::values::Value;

/// What a row has to pass.
pub(super) enum Test<'t> {
    One(Filter<'t>),
    Group(Group<'t>),
}

/// Tests of which all must pass, or any.
pub(super) struct Group<'t> {
    pub(super) negated: bool,
    pub(super) any: bool,
    pub(super) tests: Vec<Test<'t>>,
}

/// `column=operator.value`.
pub(super) struct Filter<'t> {
    pub(super) field: Field<'t>,
    pub(super) negated: bool,
    pub(super) condition: Condition<'t>,
}

/// What a filter asks of its column.
#[derive(Clone, Copy)]
pub(super) enum Condition<'t> {
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
        language: Option<&'t str>,
        query: Value,
    },
}

impl Filter<'_> {
    /// The value of `eq.value`.
    pub(super) fn equal_to(&self) -> Option<Value> {
        match self.condition {
            Condition::Compare("=", value) if !self.negated && self.field.path.is_empty() => Some(value),
            _ => None,
        }
    }
}

/// Tests of the normalized text, which holds no values: `next` is the number of the next one.
impl<'t> Test<'t> {
    /// Reads a parameter such as `id=eq.` or `clients.id=eq.`.
    pub(super) fn filter(name: &'t str, text: &'t str, next: &mut usize) -> Result<(Path<'t>, Self), Error> {
        let (path, field) = whole("filter", name, Text::path)?;
        let (negated, condition) = whole("filter", text, |text| text.condition(next))?;
        Ok((
            path,
            Self::One(Filter {
                field,
                negated,
                condition,
            }),
        ))
    }

    /// Reads a parameter such as `or=(id.eq.,id.eq.)`, `not.and=…` or `clients.or=…`.
    pub(super) fn tree(name: &'t str, text: &'t str, next: &mut usize) -> Result<(Path<'t>, Self), Error> {
        let (mut path, last) = whole("logic path", name, Text::path)?;
        let names = path.len();
        path.retain(|name| name != "not");
        let negated = path.len() < names;
        let any = last.name == "or";
        let tests = whole("logic tree", text, |text| text.tests(next))?;
        Ok((path, Self::Group(Group { negated, any, tests })))
    }
}

impl<'t> Text<'t> {
    fn tests(&mut self, next: &mut usize) -> Result<Vec<Test<'t>>, Unread> {
        self.eat("(");
        let mut tests = vec![self.test(next)?];
        while self.eat(",") {
            tests.push(self.test(next)?);
        }
        self.eat(")");
        Ok(tests)
    }

    fn test(&mut self, next: &mut usize) -> Result<Test<'t>, Unread> {
        if let Some((negated, any)) = self.junction() {
            self.spaces();
            let tests = self.tests(next)?;
            return Ok(Test::Group(Group { negated, any, tests }));
        }
        let field = self.field()?;
        self.eat(".");
        let (negated, condition) = self.condition(next)?;
        Ok(Test::One(Filter {
            field,
            negated,
            condition,
        }))
    }

    fn condition(&mut self, next: &mut usize) -> Result<(bool, Condition<'t>), Unread> {
        let Operator { negated, kind } = self.operator()?;
        let mut value = || {
            *next += 1;
            Value(*next - 1)
        };
        let condition = match kind {
            Kind::Compare(comparison) => Condition::Compare(comparison.sql, value()),
            Kind::CompareEach(comparison, which) => Condition::CompareEach(comparison.sql, which, value()),
            Kind::In => Condition::In(value()),
            Kind::Is => Condition::Is(is(&self.value()?)?.1),
            Kind::Search { function, language } => Condition::Search {
                function,
                language,
                query: value(),
            },
        };
        Ok((negated, condition))
    }

    /// `and`, `or`, `not.and` or `not.or` before a parenthesis: whether it is negated, and whether any test will do.
    pub(super) fn junction(&mut self) -> Option<(bool, bool)> {
        const WORDS: [(&str, bool, bool); 4] = [
            ("and", false, false),
            ("or", false, true),
            ("not.and", true, false),
            ("not.or", true, true),
        ];
        WORDS.into_iter().find_map(|(word, negated, any)| {
            let mut attempt = *self;
            let found = attempt.eat(word) && attempt.0.trim_start_matches(' ').starts_with('(');
            found.then(|| {
                *self = attempt;
                (negated, any)
            })
        })
    }

    /// What stands before a value: `not.eq.`, `like(any).`, `fts(english).`.
    pub(super) fn operator(&mut self) -> Result<Operator<'t>, Unread> {
        let negated = self.eat("not.");
        let before = *self;
        let name = self.take(|c| !matches!(c, '.' | '(' | ',' | ')'));
        let modifier = if self.eat("(") {
            let modifier = self.take(|c| c != ')');
            if !self.eat(")") {
                return Err(self.expecting("\")\""));
            }
            Some(modifier)
        } else {
            None
        };
        if !self.eat(".") {
            *self = before;
            return Err(self.expected_operator());
        }
        let comparison = || COMPARISONS.iter().find(|known| known.name == name);
        let search = || SEARCHES.iter().find(|(known, _)| *known == name);
        let kind = match (name, modifier) {
            ("in", None) => Some(Kind::In),
            ("is", None) => Some(Kind::Is),
            (_, None) => comparison().map(Kind::Compare),
            (_, Some("any")) => comparison()
                .filter(|known| known.each)
                .map(|known| Kind::CompareEach(known, "ANY")),
            (_, Some("all")) => comparison()
                .filter(|known| known.each)
                .map(|known| Kind::CompareEach(known, "ALL")),
            (_, Some(_)) => None,
        };
        let kind = kind.or_else(|| {
            search().map(|(_, function)| Kind::Search {
                function,
                language: modifier.map(str::trim),
            })
        });
        match kind {
            Some(kind) => Ok(Operator { negated, kind }),
            None => {
                *self = before;
                Err(self.expected_operator())
            }
        }
    }

    fn expected_operator(&self) -> Unread {
        match self.0.split('.').next() {
            None | Some("") => self.expecting("\"not\" or operator (eq, gt, ...)"),
            Some(word) => format!("unexpected {word:?} expecting \"not\" or operator (eq, gt, ...)").into(),
        }
    }

    /// All that is left.
    pub(super) fn rest(&mut self) -> Result<Name<'t>, Unread> {
        let rest = self.0;
        self.0 = "";
        Ok(rest.into())
    }

    /// A value in a tree: in double quotes, an array in braces, or up to the next `,` or `)`.
    pub(super) fn value(&mut self) -> Result<Name<'t>, Unread> {
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
            return Ok(array.into());
        }
        Ok(self.take(|c| !matches!(c, ',' | ')')).into())
    }
}

/// What `is` may ask for, in any case: as it is written in the normalized text, and in SQL.
pub(super) fn is(operand: &str) -> Result<(&'static str, &'static str), Unread> {
    const WORDS: [(&str, &str); 5] = [
        ("null", "NULL"),
        ("not_null", "NOT NULL"),
        ("true", "TRUE"),
        ("false", "FALSE"),
        ("unknown", "UNKNOWN"),
    ];
    WORDS
        .into_iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(operand.trim()))
        .ok_or_else(|| format!("is.{operand}: null, not_null, true, false or unknown must follow").into())
}

/// What stands before a value.
pub(super) struct Operator<'t> {
    negated: bool,
    kind: Kind<'t>,
}

enum Kind<'t> {
    Compare(&'static Comparison),
    /// With `ANY` or `ALL`.
    CompareEach(&'static Comparison, &'static str),
    In,
    Is,
    Search {
        function: &'static str,
        language: Option<&'t str>,
    },
}

/// What stands behind an operator.
pub(super) enum Operand {
    Plain,
    /// `*` stands for `%`.
    Pattern,
    List,
    /// One of those that [`is`] knows: it belongs to what is asked for, not to the values.
    Word,
}

impl Operator<'_> {
    pub(super) fn operand(&self) -> Operand {
        match self.kind {
            Kind::Compare(comparison) | Kind::CompareEach(comparison, _) if comparison.pattern => Operand::Pattern,
            Kind::Compare(_) | Kind::CompareEach(..) | Kind::Search { .. } => Operand::Plain,
            Kind::In => Operand::List,
            Kind::Is => Operand::Word,
        }
    }
}

/// An operator with one value.
struct Comparison {
    name: &'static str,
    sql: &'static str,
    /// Its value is a pattern, in which `*` stands for `%`.
    pattern: bool,
    /// It takes `(any)` and `(all)`.
    each: bool,
}

const fn comparison(name: &'static str, sql: &'static str, pattern: bool, each: bool) -> Comparison {
    Comparison {
        name,
        sql,
        pattern,
        each,
    }
}

/// PostgREST, "Tables and Views: Operators".
const COMPARISONS: &[Comparison] = &[
    comparison("eq", "=", false, true),
    comparison("neq", "<>", false, false),
    comparison("gt", ">", false, true),
    comparison("gte", ">=", false, true),
    comparison("lt", "<", false, true),
    comparison("lte", "<=", false, true),
    comparison("like", "LIKE", true, true),
    comparison("ilike", "ILIKE", true, true),
    comparison("match", "~", false, true),
    comparison("imatch", "~*", false, true),
    comparison("isdistinct", "IS DISTINCT FROM", false, false),
    comparison("cs", "@>", false, false),
    comparison("cd", "<@", false, false),
    comparison("ov", "&&", false, false),
    comparison("sl", "<<", false, false),
    comparison("sr", ">>", false, false),
    comparison("nxr", "&<", false, false),
    comparison("nxl", "&>", false, false),
    comparison("adj", "-|-", false, false),
];

const SEARCHES: &[(&str, &str)] = &[
    ("fts", "to_tsquery"),
    ("plfts", "plainto_tsquery"),
    ("phfts", "phraseto_tsquery"),
    ("wfts", "websearch_to_tsquery"),
];
