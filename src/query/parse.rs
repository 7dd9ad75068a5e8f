//! The query string to [`Query`]: syntax only, nothing is looked up.

use std::borrow::Cow;

use super::Error;
use super::filter::Test;

/// A query string of the dialect. Not `Debug`: it holds filter values, which are never logged.
///
/// What it asks for and the values it asks with are kept apart: two that ask for the same are equal in all but
/// [`values`](Self::values), `limit` and `offset`, and become the same statement.
#[derive(Clone, Default)]
pub struct Query {
    pub(super) shape: Shape,
    /// What [`Value`]s stand for, as parameters in Postgres' text format.
    pub(super) values: Vec<String>,
    /// What is neither of the dialect's own nor a filter: the arguments of a function.
    pub(super) arguments: Vec<(String, String)>,
}

/// What is asked for, without values.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub(super) struct Shape {
    /// Empty means all columns, as does an empty `select=`.
    pub(super) select: Vec<Item>,
    /// Whether there is no `select`, or one that asks for nothing but all columns.
    pub(super) select_all: bool,
    /// All of them must pass, each in the embedded relation of its path; an empty path is the relation itself.
    pub(super) filters: Vec<(Path, Test)>,
    pub(super) order: Vec<(Path, Vec<Sort>)>,
    /// `limit` and `offset` of the relation itself and of embedded ones.
    pub(super) ranges: Vec<(Path, Range)>,
    pub(super) columns: Option<Vec<String>>,
    /// The columns that tell duplicates; the primary key if none.
    pub(super) on_conflict: Option<Vec<String>>,
}

/// The names of embedded relations from the outside in.
pub(super) type Path = Vec<String>;

/// Index into [`Query::values`].
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) struct Value(pub(super) usize);

/// One item of `select`.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) enum Item {
    All,
    Field(Output),
    Embed(Embed),
}

/// A value to deliver.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Output {
    /// None for `count()`, which counts rows.
    pub(super) field: Option<Field>,
    pub(super) alias: Option<String>,
    /// The type it is cast to, before it is aggregated if it is.
    pub(super) cast: Option<String>,
    pub(super) aggregate: Option<Aggregate>,
    pub(super) aggregate_cast: Option<String>,
}

/// What many values are made one by.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) enum Aggregate {
    Avg,
    Count,
    Max,
    Min,
    Sum,
}

impl Aggregate {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("avg", Self::Avg),
        ("count", Self::Count),
        ("max", Self::Max),
        ("min", Self::Min),
        ("sum", Self::Sum),
    ];

    /// The function's name, which the result has as well.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Max => "max",
            Self::Min => "min",
            Self::Sum => "sum",
        }
    }
}

/// Rows of a related relation to deliver with each row.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Embed {
    pub(super) relation: String,
    pub(super) alias: Option<String>,
    /// A constraint, column or junction that tells which of several relationships is meant.
    pub(super) hint: Option<String>,
    /// Rows without related ones are left out.
    pub(super) inner: bool,
    /// Its columns stand among those of the row itself.
    pub(super) spread: bool,
    pub(super) items: Vec<Item>,
}

/// A column, or a part of its JSON.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) path: Vec<Step>,
}

/// `->key`, `->>key`, `->0`.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Step {
    /// `->>`: as text.
    pub(super) text: bool,
    pub(super) operand: String,
    /// Whether the operand is a number: a place in an array.
    pub(super) index: bool,
}

/// One item of `order`.
#[derive(Clone, Eq, Hash, PartialEq)]
pub(super) struct Sort {
    /// The embedded relation that the field is of.
    pub(super) related: Option<String>,
    pub(super) field: Field,
    /// `None`: as Postgres does it.
    pub(super) descending: Option<bool>,
    pub(super) nulls_first: Option<bool>,
}

/// Which rows of a result.
#[derive(Clone, Copy, Default, Eq, Hash, PartialEq)]
pub(super) struct Range {
    pub(super) limit: Option<Value>,
    pub(super) offset: Option<Value>,
}

/// What a query string is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A relation.
    Relation,
    /// A function that takes its arguments from the query string: what is no filter is an argument.
    Call,
}

impl Query {
    /// All columns of `limit` rows from number `offset` on, in the order of `keys`.
    #[must_use]
    pub fn page(keys: impl IntoIterator<Item = String>, limit: u64, offset: u64) -> Self {
        let ascending = |name| Sort {
            related: None,
            field: Field { name, path: Vec::new() },
            descending: None,
            nulls_first: None,
        };
        let range = Range {
            limit: Some(Value(0)),
            offset: Some(Value(1)),
        };
        Self {
            shape: Shape {
                order: vec![(Path::new(), keys.into_iter().map(ascending).collect())],
                ranges: vec![(Path::new(), range)],
                select_all: true,
                ..Shape::default()
            },
            values: vec![limit.to_string(), offset.to_string()],
            ..Self::default()
        }
    }

    /// Reads a query string, without its `?`. Of `select`, `columns` and `on_conflict` the first counts.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for what is not understood, [`Error::Range`] for a negative limit or offset.
    pub fn parse(query_string: &str, purpose: Purpose) -> Result<Self, Error> {
        let mut query = Self::default();
        let mut select = None;
        for parameter in query_string.split('&').filter(|parameter| !parameter.is_empty()) {
            let Some((name, value)) = parameter.split_once('=') else {
                if purpose == Purpose::Call {
                    continue;
                }
                // Ignoring a filter without a value would make `DELETE /t?id` empty the table.
                return Err(syntax(
                    "parameter",
                    &decode(parameter)?,
                    "it has no value: write name=value",
                ));
            };
            let (name, value) = (decode(name)?, decode(value)?);
            query.parameter(&name, &value, &mut select, purpose)?;
        }
        query.shape.select_all = select
            .as_ref()
            .is_none_or(|items: &Vec<_>| items.as_slice() == [Item::All]);
        query.shape.select = select.unwrap_or_default();
        Ok(query)
    }

    fn parameter(
        &mut self,
        name: &str,
        value: &str,
        select: &mut Option<Vec<Item>>,
        purpose: Purpose,
    ) -> Result<(), Error> {
        match name {
            "select" => return set(select, || whole("select", value, Text::select)),
            "columns" => return set(&mut self.shape.columns, || whole("columns", value, Text::columns)),
            "on_conflict" => {
                return set(&mut self.shape.on_conflict, || {
                    whole("on_conflict", value, Text::columns)
                });
            }
            _ => {}
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        match last {
            "order" => {
                let path = embed_path(name)?;
                let order = whole("order", value, Text::order)?;
                if !self.shape.order.iter().any(|(other, _)| *other == path) {
                    self.shape.order.push((path, order));
                }
            }
            "limit" | "offset" => {
                let path = embed_path(name)?;
                let Some(number) = count(last, value)? else {
                    return Ok(());
                };
                let value = self.value(number.to_string());
                let at = self.shape.ranges.iter().position(|(other, _)| *other == path);
                let at = at.unwrap_or_else(|| {
                    self.shape.ranges.push((path, Range::default()));
                    self.shape.ranges.len() - 1
                });
                let range = &mut self.shape.ranges[at].1;
                let slot = if last == "limit" {
                    &mut range.limit
                } else {
                    &mut range.offset
                };
                slot.get_or_insert(value);
            }
            "and" | "or" => {
                let (path, test) = Test::tree(name, value, &mut self.values)?;
                self.shape.filters.push((path, test));
            }
            _ => match Test::filter(name, value, &mut self.values) {
                Ok((path, test)) => self.shape.filters.push((path, test)),
                Err(_) if purpose == Purpose::Call => {
                    let argument = whole("argument", name, Text::path).map(|(_, field)| field.name);
                    self.arguments
                        .push((argument.unwrap_or_else(|_| name.to_owned()), value.to_owned()));
                }
                Err(error) => return Err(error),
            },
        }
        Ok(())
    }

    fn value(&mut self, text: String) -> Value {
        self.values.push(text);
        Value(self.values.len() - 1)
    }

    /// The range of the relation itself: limit, and offset.
    #[must_use]
    pub fn range(&self) -> (Option<u64>, u64) {
        let range = self.shape.ranges.iter().find(|(path, _)| path.is_empty());
        let number = |value: Option<Value>| self.values.get(value?.0)?.parse().ok();
        range.map_or((None, 0), |(_, range)| {
            (number(range.limit), number(range.offset).unwrap_or(0))
        })
    }

    /// Takes the range of the relation itself from the `Range` header as well.
    pub fn set_range(&mut self, limit: Option<u64>, offset: u64) {
        self.shape.ranges.retain(|(path, _)| !path.is_empty());
        let limit = limit.map(|limit| self.value(limit.to_string()));
        let offset = (offset > 0).then(|| self.value(offset.to_string()));
        if limit.is_some() || offset.is_some() {
            self.shape.ranges.push((Path::new(), Range { limit, offset }));
        }
    }

    /// Whether all columns are asked for, and nothing else.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.shape.select_all
    }

    /// The names of `columns`, if it was sent.
    #[must_use]
    pub fn columns(&self) -> Option<&[String]> {
        self.shape.columns.as_deref()
    }

    /// Whether `on_conflict` was sent.
    #[must_use]
    pub fn names_conflict(&self) -> bool {
        self.shape.on_conflict.is_some()
    }

    /// Takes the arguments of a function from elsewhere.
    pub fn set_arguments(&mut self, arguments: Vec<(String, String)>) {
        self.arguments = arguments;
    }

    /// Whether `limit` or `offset` was sent for the relation itself.
    pub(super) fn is_ranged(&self) -> bool {
        self.shape.ranges.iter().any(|(path, _)| path.is_empty())
    }
}

/// A query string with its parameters sorted by name, percent-encoded: the same for all that ask the same.
#[must_use]
pub fn canonical(query_string: &str) -> String {
    let pairs = query_string
        .split('&')
        .filter_map(|parameter| parameter.split_once('='));
    let decoded = pairs.filter_map(|(name, value)| Some((decode(name).ok()?, decode(value).ok()?)));
    let mut parameters: Vec<_> = decoded.collect();
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        encode(&name, &mut text);
        text.push('=');
        encode(&value, &mut text);
    }
    text
}

/// `column=eq.value`, percent-encoded: the filter that finds a row by its key.
#[must_use]
pub fn key_filter(column: &str, value: Option<&str>) -> String {
    let mut text = String::new();
    encode(column, &mut text);
    match value {
        Some(value) => {
            text.push_str("=eq.");
            encode(value, &mut text);
        }
        None => text.push_str("=is.null"),
    }
    text
}

/// A name as a segment of a path.
#[must_use]
pub fn encoded(name: &str) -> String {
    let mut text = String::new();
    encode(name, &mut text);
    text
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
fn encode(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a `String` does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Of a repeated parameter the first counts, as in PostgREST.
fn set<T>(slot: &mut Option<T>, parse: impl FnOnce() -> Result<T, Error>) -> Result<(), Error> {
    if slot.is_none() {
        *slot = Some(parse()?);
    }
    Ok(())
}

/// `a.b.order` without its last part.
fn embed_path(name: &str) -> Result<Path, Error> {
    whole("tree path", name, Text::path).map(|(path, _)| path)
}

/// Percent-decoding, with `+` for a space. A `%` without two digits stands for itself.
fn decode(text: &str) -> Result<String, Error> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', &[high, low, ref after @ ..]) => match (hex(high), hex(low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high << 4 | low);
                    rest = after;
                }
                _ => bytes.push(byte),
            },
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| syntax("query string", text, "it is not UTF-8 when decoded"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// What is no number is refused, as is a negative limit.
fn count(part: &str, value: &str) -> Result<Option<u64>, Error> {
    let Ok(number) = value.trim().parse::<i64>() else {
        return Err(syntax(
            if part == "limit" { "limit" } else { "offset" },
            value,
            "it is not an integer",
        ));
    };
    match u64::try_from(number) {
        Ok(number) => Ok(Some(number)),
        // Before the first row there is none to leave out.
        Err(_) if part == "offset" => Ok(None),
        Err(_) => Err(Error::Range("Limit should be greater than or equal to zero.")),
    }
}

/// Reads all of `text`; what is left over was not understood.
pub(super) fn whole<'t, T>(
    part: &'static str,
    text: &'t str,
    read: impl FnOnce(&mut Text<'t>) -> Result<T, Unread>,
) -> Result<T, Error> {
    let mut rest = Text(text);
    match read(&mut rest) {
        Ok(value) if rest.0.is_empty() => Ok(value),
        Ok(_) => Err(syntax(part, text, rest.left_over())),
        Err(details) => Err(syntax(part, text, details)),
    }
}

pub(super) fn syntax(part: &'static str, text: &str, details: impl Into<Cow<'static, str>>) -> Error {
    Error::Syntax {
        part,
        text: text.to_owned(),
        details: details.into(),
    }
}

/// What was not understood.
pub(super) type Unread = Cow<'static, str>;

/// Embeds are read by recursion: deeper ones would cost a stack, and nobody writes them.
const MAX_DEPTH: usize = 32;

/// What is still to be read of a parameter.
#[derive(Clone, Copy)]
pub(super) struct Text<'t>(pub(super) &'t str);

impl<'t> Text<'t> {
    pub(super) fn eat(&mut self, token: &str) -> bool {
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// Takes what stands before the first character that fails `allowed`.
    pub(super) fn take(&mut self, allowed: impl Fn(char) -> bool) -> &'t str {
        let end = self.0.find(|c| !allowed(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    pub(super) fn left_over(&self) -> Unread {
        match self.0 {
            "" => "unexpected end".into(),
            rest => format!("unexpected text: {rest:?}").into(),
        }
    }

    /// A column name: letters, digits, `_`, `$`, `-` and inner spaces, or anything in double quotes.
    pub(super) fn name(&mut self) -> Result<String, Unread> {
        self.spaces();
        if self.0.starts_with('"') {
            let name = self.quoted().ok_or("a quoted name does not end")?;
            self.spaces();
            return Ok(name);
        }
        let rest = self.0;
        let end = rest
            .char_indices()
            .find(|&(at, c)| match c {
                '-' => rest[at..].starts_with("->"),
                _ => !(c.is_alphanumeric() || matches!(c, '_' | '$' | ' ')),
            })
            .map_or(rest.len(), |(at, _)| at);
        let (name, after) = rest.split_at(end);
        let name = name.trim();
        if name.is_empty() {
            return Err(self.left_over());
        }
        self.0 = after;
        Ok(name.to_owned())
    }

    /// A text in double quotes, where a backslash makes the next character stand for itself. Takes nothing on `None`.
    pub(super) fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut rest = self.0.strip_prefix('"')?.chars();
        loop {
            match rest.next()? {
                '"' => break,
                '\\' => text.push(rest.next()?),
                c => text.push(c),
            }
        }
        self.0 = rest.as_str();
        Some(text)
    }

    /// `clients.projects.name->a`: embedded relations, and a field of the last.
    pub(super) fn path(&mut self) -> Result<(Path, Field), Unread> {
        let mut path = Path::new();
        loop {
            let name = self.name()?;
            if self.eat(".") {
                path.push(name);
                continue;
            }
            let steps = self.steps()?;
            return Ok((path, Field { name, path: steps }));
        }
    }

    pub(super) fn field(&mut self) -> Result<Field, Unread> {
        let name = self.name()?;
        let path = self.steps()?;
        self.spaces();
        Ok(Field { name, path })
    }

    fn steps(&mut self) -> Result<Vec<Step>, Unread> {
        let mut steps = Vec::new();
        loop {
            let text = if self.eat("->>") {
                true
            } else if self.eat("->") {
                false
            } else {
                return Ok(steps);
            };
            let mut attempt = *self;
            let sign = if attempt.eat("-") { "-" } else { "" };
            let digits = attempt.take(|c| c.is_ascii_digit());
            let ends = ["->", "::", ".", ",", ")"].iter().any(|end| attempt.0.starts_with(end));
            if !digits.is_empty() && (ends || attempt.0.is_empty()) {
                *self = attempt;
                steps.push(Step {
                    text,
                    operand: format!("{sign}{digits}"),
                    index: true,
                });
                continue;
            }
            let operand = self.key()?;
            steps.push(Step {
                text,
                operand,
                index: false,
            });
        }
    }

    /// A key of a JSON object: anything in double quotes, or what holds none of `(:.,>)`, and `-` only before others.
    fn key(&mut self) -> Result<String, Unread> {
        if self.0.starts_with('"') {
            return self.quoted().ok_or_else(|| "a quoted key does not end".into());
        }
        let rest = self.0;
        let end = rest
            .char_indices()
            .find(|&(at, c)| match c {
                '-' => rest[at..].starts_with("->"),
                _ => matches!(c, '(' | ':' | '.' | ',' | '>' | ')'),
            })
            .map_or(rest.len(), |(at, _)| at);
        let (key, after) = rest.split_at(end);
        let key = key.trim();
        if key.split('-').any(str::is_empty) {
            return Err(self.left_over());
        }
        self.0 = after;
        Ok(key.to_owned())
    }

    fn select(&mut self) -> Result<Vec<Item>, Unread> {
        self.items(MAX_DEPTH)
    }

    fn order(&mut self) -> Result<Vec<Sort>, Unread> {
        if self.0.trim().is_empty() {
            self.0 = "";
            return Ok(Vec::new());
        }
        self.separated(Self::sort)
    }

    fn columns(&mut self) -> Result<Vec<String>, Unread> {
        self.separated(Self::name)
    }

    fn separated<T>(&mut self, one: impl Fn(&mut Self) -> Result<T, Unread>) -> Result<Vec<T>, Unread> {
        let mut items = vec![one(self)?];
        while self.eat(",") {
            items.push(one(self)?);
        }
        Ok(items)
    }

    /// Items up to the end, or the parenthesis that ends an embed. May be none.
    fn items(&mut self, depth: usize) -> Result<Vec<Item>, Unread> {
        self.spaces();
        if self.0.is_empty() || self.0.starts_with(')') {
            return Ok(Vec::new());
        }
        let depth = depth.checked_sub(1).ok_or("relations are embedded too deep")?;
        self.separated(|text| text.item(depth))
    }

    fn item(&mut self, depth: usize) -> Result<Item, Unread> {
        self.spaces();
        if self.eat("*") {
            self.spaces();
            return if self.at_end() {
                Ok(Item::All)
            } else {
                Err(self.left_over())
            };
        }
        if self.eat("...") {
            let relation = self.name()?;
            return self.embed(relation, None, true, depth).map(Item::Embed);
        }
        let mut name = self.name()?;
        let mut alias = None;
        if !self.0.starts_with("::") && self.eat(":") {
            alias = Some(name);
            self.spaces();
            if self.0.starts_with("...") {
                return Err("a spread relation cannot have an alias".into());
            }
            name = self.name()?;
        }
        if name == "count" && self.eat("()") {
            let aggregate_cast = self.cast()?;
            self.spaces();
            return Ok(Item::Field(Output {
                field: None,
                alias,
                cast: None,
                aggregate: Some(Aggregate::Count),
                aggregate_cast,
            }));
        }
        if self.0.starts_with(['(', '!']) {
            return self.embed(name, alias, false, depth).map(Item::Embed);
        }
        let path = self.steps()?;
        self.spaces();
        let cast = self.cast()?;
        let mut aggregate = None;
        let mut aggregate_cast = None;
        if self.eat(".") {
            let function = self.take(|c| c.is_ascii_alphabetic());
            let known = Aggregate::ALL.iter().find(|(name, _)| *name == function);
            let (_, known) =
                known.ok_or_else(|| format!("{function:?} is no aggregate: avg, count, max, min or sum"))?;
            if !self.eat("()") {
                return Err(self.left_over());
            }
            aggregate = Some(*known);
            aggregate_cast = self.cast()?;
        }
        self.spaces();
        if !self.at_end() {
            return Err(self.left_over());
        }
        Ok(Item::Field(Output {
            field: Some(Field { name, path }),
            alias,
            cast,
            aggregate,
            aggregate_cast,
        }))
    }

    /// Whether an item ends here.
    fn at_end(self) -> bool {
        self.0.is_empty() || self.0.starts_with([',', ')'])
    }

    /// `::type`, if it is there.
    fn cast(&mut self) -> Result<Option<String>, Unread> {
        if !self.eat("::") {
            return Ok(None);
        }
        let name = self
            .take(|c| c.is_alphanumeric() || matches!(c, '_' | ' ' | '$'))
            .trim();
        if name.is_empty() {
            return Err(self.left_over());
        }
        Ok(Some(name.to_owned()))
    }

    /// What follows an embedded relation's name: `!hint!inner(items)`.
    fn embed(&mut self, relation: String, alias: Option<String>, spread: bool, depth: usize) -> Result<Embed, Unread> {
        let (mut hint, mut inner) = (None, None);
        while self.eat("!") {
            let mut attempt = *self;
            let word = attempt.take(|c| c.is_alphanumeric() || c == '_');
            if matches!(word, "inner" | "left") && attempt.0.starts_with(['!', '(']) {
                *self = attempt;
                inner.get_or_insert(word == "inner");
            } else {
                hint.get_or_insert(self.name()?);
            }
        }
        if !self.eat("(") {
            return Err(self.left_over());
        }
        let items = self.items(depth)?;
        if !self.eat(")") {
            return Err(self.left_over());
        }
        self.spaces();
        if !self.at_end() {
            return Err(self.left_over());
        }
        Ok(Embed {
            relation,
            alias,
            hint,
            inner: inner.unwrap_or(false),
            spread,
            items,
        })
    }

    fn sort(&mut self) -> Result<Sort, Unread> {
        let name = self.name()?;
        let (related, field) = if self.eat("(") {
            let field = self.field()?;
            if !self.eat(")") {
                return Err(self.left_over());
            }
            (Some(name), field)
        } else {
            let path = self.steps()?;
            self.spaces();
            (None, Field { name, path })
        };
        let descending = if self.eat(".desc") {
            Some(true)
        } else if self.eat(".asc") {
            Some(false)
        } else {
            None
        };
        let nulls_first = if self.eat(".nullsfirst") {
            Some(true)
        } else if self.eat(".nullslast") {
            Some(false)
        } else {
            None
        };
        self.spaces();
        Ok(Sort {
            related,
            field,
            descending,
            nulls_first,
        })
    }

    /// `(a,"b,c")`. Outside double quotes everything up to the next `,` or `)` counts, quotes and backslashes too.
    pub(super) fn list(&mut self) -> Result<Vec<String>, Unread> {
        self.spaces();
        if !self.eat("(") {
            return Err("a list in parentheses must follow in".into());
        }
        self.spaces();
        if self.eat(")") {
            return Ok(Vec::new());
        }
        let items = self.separated(|text| Ok(text.list_item()))?;
        if self.eat(")") {
            Ok(items)
        } else {
            Err("the list does not end".into())
        }
    }

    fn list_item(&mut self) -> String {
        let mut attempt = *self;
        attempt.spaces();
        if let Some(item) = attempt.quoted() {
            attempt.spaces();
            if attempt.0.starts_with([',', ')']) {
                *self = attempt;
                return item;
            }
        }
        self.take(|c| !matches!(c, ',' | ')')).to_owned()
    }
}
