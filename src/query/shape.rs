//! What a request asks for, without its values: read from the normalized text of a query string.

use super::Error;
use super::filter::Test;
use super::request::{FIELD_END, PARAMETER_END, Range, SKIPPED, last};
use super::text::{Name, Text, Unread, whole};
use super::values::Value;

/// What is asked for.
#[derive(Default)]
pub(super) struct Shape<'t> {
    /// Empty means all columns, as does an empty `select=`.
    pub(super) select: Vec<Item<'t>>,
    /// All of them must pass, each in the embedded relation of its path; an empty path is the relation itself.
    pub(super) filters: Vec<(Path<'t>, Test<'t>)>,
    pub(super) order: Vec<(Path<'t>, Vec<Sort<'t>>)>,
    /// `limit` and `offset` of the relation itself and of embedded ones.
    pub(super) ranges: Vec<(Path<'t>, Range)>,
    pub(super) columns: Option<Vec<Name<'t>>>,
    /// The columns that tell duplicates; the primary key if none.
    pub(super) on_conflict: Option<Vec<Name<'t>>>,
}

/// The names of embedded relations from the outside in.
pub(super) type Path<'t> = Vec<Name<'t>>;

/// One item of `select`.
pub(super) enum Item<'t> {
    All,
    Field(Output<'t>),
    Embed(Embed<'t>),
}

/// A value to deliver.
pub(super) struct Output<'t> {
    /// None for `count()`, which counts rows.
    pub(super) field: Option<Field<'t>>,
    pub(super) alias: Option<Name<'t>>,
    /// The type it is cast to, before it is aggregated if it is.
    pub(super) cast: Option<&'t str>,
    pub(super) aggregate: Option<Aggregate>,
    pub(super) aggregate_cast: Option<&'t str>,
}

/// What many values are made one by.
#[derive(Clone, Copy)]
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
pub(super) struct Embed<'t> {
    pub(super) relation: Name<'t>,
    pub(super) alias: Option<Name<'t>>,
    /// A constraint, column or junction that tells which of several relationships is meant.
    pub(super) hint: Option<Name<'t>>,
    /// Rows without related ones are left out.
    pub(super) inner: bool,
    /// Its columns stand among those of the row itself.
    pub(super) spread: bool,
    pub(super) items: Vec<Item<'t>>,
}

/// A column, or a part of its JSON.
pub(super) struct Field<'t> {
    pub(super) name: Name<'t>,
    pub(super) path: Vec<Step<'t>>,
}

/// `->key`, `->>key`, `->0`.
pub(super) struct Step<'t> {
    /// `->>`: as text.
    pub(super) text: bool,
    pub(super) operand: Name<'t>,
    /// Whether the operand is a number: a place in an array.
    pub(super) index: bool,
}

/// One item of `order`.
pub(super) struct Sort<'t> {
    /// The embedded relation that the field is of.
    pub(super) related: Option<Name<'t>>,
    pub(super) field: Field<'t>,
    /// `None`: as Postgres does it.
    pub(super) descending: Option<bool>,
    pub(super) nulls_first: Option<bool>,
}

impl<'t> Shape<'t> {
    /// Reads what [`Query::parse`](super::Query::parse) has written; `range` is that of the relation itself.
    ///
    /// # Errors
    ///
    /// [`Error::Syntax`] for what is not understood.
    pub(super) fn read(normalized: &'t str, range: Range) -> Result<Self, Error> {
        let mut shape = Self::default();
        let mut select = None;
        let mut values = 0;
        for parameter in normalized.split_terminator(PARAMETER_END) {
            let Some((name, text)) = parameter.split_once(FIELD_END) else {
                // A value that belongs to the range of the relation itself.
                debug_assert_eq!(parameter, SKIPPED);
                values += 1;
                continue;
            };
            match last(name) {
                "select" if name == "select" => set(&mut select, || whole("select parameter", text, Text::select))?,
                "columns" if name == "columns" => {
                    set(&mut shape.columns, || whole("columns parameter", text, Text::columns))?
                }
                "on_conflict" if name == "on_conflict" => {
                    set(&mut shape.on_conflict, || {
                        whole("on_conflict parameter", text, Text::columns)
                    })?;
                }
                "order" => {
                    let path = embed_path(name)?;
                    let order = whole("order", text, Text::order)?;
                    if !shape.order.iter().any(|(other, _)| *other == path) {
                        shape.order.push((path, order));
                    }
                }
                bound @ ("limit" | "offset") => {
                    let value = Value(values);
                    values += 1;
                    shape.range(embed_path(name)?).set(bound, value);
                }
                "and" | "or" => shape.filters.push(Test::tree(name, text, &mut values)?),
                _ => shape.filters.push(Test::filter(name, text, &mut values)?),
            }
        }
        shape.select = select.unwrap_or_default();
        if !range.is_empty() {
            shape.ranges.push((Path::new(), range));
        }
        Ok(shape)
    }

    fn range(&mut self, path: Path<'t>) -> &mut Range {
        let at = self.ranges.iter().position(|(other, _)| *other == path);
        let at = at.unwrap_or_else(|| {
            self.ranges.push((path, Range::default()));
            self.ranges.len() - 1
        });
        &mut self.ranges[at].1
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
fn embed_path(name: &str) -> Result<Path<'_>, Error> {
    whole("tree path", name, Text::path).map(|(path, _)| path)
}

/// Embeds are read by recursion: deeper ones would cost a stack, and nobody writes them.
const MAX_DEPTH: usize = 32;

impl<'t> Text<'t> {
    fn select(&mut self) -> Result<Vec<Item<'t>>, Unread> {
        self.items(MAX_DEPTH)
    }

    fn order(&mut self) -> Result<Vec<Sort<'t>>, Unread> {
        if self.0.trim().is_empty() {
            self.0 = "";
            return Ok(Vec::new());
        }
        self.separated(Self::sort)
    }

    fn columns(&mut self) -> Result<Vec<Name<'t>>, Unread> {
        self.separated(Self::name)
    }

    /// Items up to the end, or the parenthesis that ends an embed. May be none.
    fn items(&mut self, depth: usize) -> Result<Vec<Item<'t>>, Unread> {
        self.spaces();
        if self.0.is_empty() || self.0.starts_with(')') {
            return Ok(Vec::new());
        }
        let depth = depth.checked_sub(1).ok_or("relations are embedded too deep")?;
        self.separated(|text| text.item(depth))
    }

    fn item(&mut self, depth: usize) -> Result<Item<'t>, Unread> {
        self.spaces();
        if self.eat("*") {
            self.spaces();
            return if self.at_end() {
                Ok(Item::All)
            } else {
                Err(self.unexpected())
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
                return Err(self.unexpected());
            }
            aggregate = Some(*known);
            aggregate_cast = self.cast()?;
        }
        self.spaces();
        if !self.at_end() {
            return Err(self.unexpected());
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
    fn cast(&mut self) -> Result<Option<&'t str>, Unread> {
        if !self.eat("::") {
            return Ok(None);
        }
        let name = self
            .take(|c| c.is_alphanumeric() || matches!(c, '_' | ' ' | '$'))
            .trim();
        if name.is_empty() {
            return Err(self.unexpected());
        }
        Ok(Some(name))
    }

    /// What follows an embedded relation's name: `!hint!inner(items)`.
    fn embed(
        &mut self,
        relation: Name<'t>,
        alias: Option<Name<'t>>,
        spread: bool,
        depth: usize,
    ) -> Result<Embed<'t>, Unread> {
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
            return Err(self.unexpected());
        }
        let items = self.items(depth)?;
        if !self.eat(")") {
            return Err(self.unexpected());
        }
        self.spaces();
        if !self.at_end() {
            return Err(self.unexpected());
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

    fn sort(&mut self) -> Result<Sort<'t>, Unread> {
        let name = self.name()?;
        let (related, field) = if self.eat("(") {
            let field = self.field()?;
            if !self.eat(")") {
                return Err(self.unexpected());
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
}
