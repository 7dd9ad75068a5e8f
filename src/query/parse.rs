//! The query string to [`Query`]: syntax only, nothing is looked up.

use std::borrow::Cow;

use super::Error;
use super::filter::Test;

/// A query string of the dialect. Not `Debug`: it holds filter values, which are never logged.
#[derive(Clone, Default)]
pub struct Query {
    /// Empty means all columns, as does an empty `select=`.
    pub(super) select: Vec<Item>,
    /// All of them must pass.
    pub(super) filters: Vec<Test>,
    pub(super) order: Vec<Sort>,
    pub(super) limit: Option<u64>,
    pub(super) offset: u64,
    /// Whether `limit` or `offset` was sent.
    pub(super) ranged: bool,
    pub(super) columns: Option<Vec<String>>,
    /// The columns that tell duplicates; the primary key if none.
    pub(super) on_conflict: Option<Vec<String>>,
}

/// One item of `select`.
#[derive(Clone)]
pub(super) enum Item {
    All,
    Column {
        name: String,
        alias: Option<String>,
        cast: Option<&'static Cast>,
    },
}

/// A type that a column may be cast to.
pub(super) struct Cast {
    /// The name as SQL, and as clients write it.
    pub(super) name: &'static str,
    pub(super) oid: u32,
}

/// One item of `order`.
#[derive(Clone)]
pub(super) struct Sort {
    pub(super) column: String,
    pub(super) descending: bool,
    pub(super) nulls_first: Option<bool>,
}

impl Query {
    /// All columns of `limit` rows from number `offset` on, in the order of `keys`.
    #[must_use]
    pub fn page(keys: impl IntoIterator<Item = String>, limit: u64, offset: u64) -> Self {
        let ascending = |column| Sort {
            column,
            descending: false,
            nulls_first: None,
        };
        Self {
            order: keys.into_iter().map(ascending).collect(),
            limit: Some(limit),
            offset,
            ..Self::default()
        }
    }

    /// Reads a query string, without its `?`. Of `select`, `order`, `limit`, `offset`, `columns` and
    /// `on_conflict` the first counts.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for what is not understood, [`Error::Range`] for a negative limit or offset.
    pub fn parse(query_string: &str) -> Result<Self, Error> {
        let (mut select, mut order, mut limit, mut offset) = (None, None, None, None);
        let mut query = Self::default();
        for parameter in query_string.split('&').filter(|parameter| !parameter.is_empty()) {
            // Ignoring a filter without a value would make `DELETE /t?id` empty the table.
            let Some((name, value)) = parameter.split_once('=') else {
                return Err(syntax(
                    "parameter",
                    &decode(parameter)?,
                    "it has no value: write name=value",
                ));
            };
            let (name, value) = (decode(name)?, decode(value)?);
            match &*name {
                "select" => set(&mut select, || whole("select", &value, Text::select))?,
                "order" => set(&mut order, || whole("order", &value, Text::order))?,
                "limit" => set(&mut limit, || count("limit", &value))?,
                "offset" => set(&mut offset, || count("offset", &value))?,
                "columns" => set(&mut query.columns, || whole("columns", &value, Text::columns))?,
                "on_conflict" => set(&mut query.on_conflict, || whole("on_conflict", &value, Text::columns))?,
                _ => query.filters.push(Test::parse(&name, &value)?),
            }
        }
        query.select = select.unwrap_or_default();
        query.order = order.unwrap_or_default();
        query.ranged = limit.is_some() || offset.is_some();
        query.limit = limit;
        query.offset = offset.unwrap_or_default();
        Ok(query)
    }
}

/// Of a repeated parameter the first counts, as in PostgREST.
fn set<T>(slot: &mut Option<T>, parse: impl FnOnce() -> Result<T, Error>) -> Result<(), Error> {
    if slot.is_none() {
        *slot = Some(parse()?);
    }
    Ok(())
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

fn count(part: &'static str, value: &str) -> Result<u64, Error> {
    let number: i64 = value
        .trim()
        .parse()
        .map_err(|_| syntax(part, value, "it is not an integer"))?;
    u64::try_from(number).map_err(|_| {
        Error::Range(if part == "limit" {
            "Limit should be greater than or equal to zero."
        } else {
            "Offset should be greater than or equal to zero."
        })
    })
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
        self.0 = self.0.trim_start_matches(' ');
    }

    /// Takes what stands before the first character that fails `allowed`.
    pub(super) fn take(&mut self, allowed: impl Fn(char) -> bool) -> &'t str {
        let end = self.0.find(|c| !allowed(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    /// Names the part of the dialect that the rest looks like.
    pub(super) fn left_over(&self) -> Unread {
        let rest = self.0;
        let what = match rest {
            _ if rest.starts_with("->") => "JSON paths are not supported",
            _ if rest.starts_with("...") => "spread embeds are not supported",
            _ if rest.starts_with(['(', '!']) => "embedded relations are not supported",
            _ if rest.starts_with('.') => "aggregates and names with a dot are not supported",
            "" => return "unexpected end".into(),
            _ => "unexpected text",
        };
        format!("{what}: {rest:?}").into()
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
        let name = name.trim_end();
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

    fn select(&mut self) -> Result<Vec<Item>, Unread> {
        if self.0.trim().is_empty() {
            self.0 = "";
            return Ok(Vec::new());
        }
        self.separated(Self::item)
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

    fn item(&mut self) -> Result<Item, Unread> {
        self.spaces();
        if self.eat("*") {
            self.spaces();
            return Ok(Item::All);
        }
        let mut name = self.name()?;
        let mut alias = None;
        if !self.0.starts_with("::") && self.eat(":") {
            alias = Some(name);
            name = self.name()?;
        }
        let cast = if self.eat("::") { Some(self.cast()?) } else { None };
        Ok(Item::Column { name, alias, cast })
    }

    /// SQL text must never hold the client's text, so a cast is one of a list.
    fn cast(&mut self) -> Result<&'static Cast, Unread> {
        let before = *self;
        let name = self
            .take(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ' '))
            .trim();
        let known = CASTS.iter().find(|cast| cast.name.eq_ignore_ascii_case(name));
        known.ok_or_else(|| format!("cast to an unknown type: {:?}", before.0).into())
    }

    fn sort(&mut self) -> Result<Sort, Unread> {
        let mut sort = Sort {
            column: self.name()?,
            descending: false,
            nulls_first: None,
        };
        if self.eat(".desc") {
            sort.descending = true;
        } else {
            self.eat(".asc");
        }
        if self.eat(".nullsfirst") {
            sort.nulls_first = Some(true);
        } else if self.eat(".nullslast") {
            sort.nulls_first = Some(false);
        }
        self.spaces();
        Ok(sort)
    }

    /// `(a,"b,c")`. Outside double quotes everything up to the next `,` or `)` counts, quotes and backslashes too.
    pub(super) fn list(&mut self) -> Result<Vec<String>, Unread> {
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

const fn cast(name: &'static str, oid: u32) -> Cast {
    Cast { name, oid }
}

/// The built-in types that `select` casts to, with their OIDs (`pg_type.dat`).
const CASTS: &[Cast] = &[
    cast("text", 25),
    cast("varchar", 1043),
    cast("character varying", 1043),
    cast("bpchar", 1042),
    cast("char", 1042),
    cast("character", 1042),
    cast("name", 19),
    cast("bool", 16),
    cast("boolean", 16),
    cast("int2", 21),
    cast("smallint", 21),
    cast("int4", 23),
    cast("int", 23),
    cast("integer", 23),
    cast("int8", 20),
    cast("bigint", 20),
    cast("oid", 26),
    cast("float4", 700),
    cast("real", 700),
    cast("float8", 701),
    cast("double precision", 701),
    cast("numeric", 1700),
    cast("decimal", 1700),
    cast("money", 790),
    cast("date", 1082),
    cast("time", 1083),
    cast("time without time zone", 1083),
    cast("timetz", 1266),
    cast("time with time zone", 1266),
    cast("timestamp", 1114),
    cast("timestamp without time zone", 1114),
    cast("timestamptz", 1184),
    cast("timestamp with time zone", 1184),
    cast("interval", 1186),
    cast("uuid", 2950),
    cast("json", 114),
    cast("jsonb", 3802),
    cast("bytea", 17),
    cast("inet", 869),
    cast("cidr", 650),
    cast("macaddr", 829),
    cast("xml", 142),
    cast("tsvector", 3614),
];
