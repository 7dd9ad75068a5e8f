//! The address of a list in the console, and what it asks the data API for.
//!
//! `/admin/data/mylist?c=text&o=contains&v=milk&c=due&o=lt&v=2026-12-01&q=word&sort=due.desc&show=id&show=text`: filters
//! come in threes, so that a form without a script can make them. Everything that a list shows is in its address.

use std::borrow::Cow;

use crate::catalog::{Column, Relation};
use crate::pages::{Kind, quoted};
use crate::percent::{decode_query, encode};

use super::kind;

/// Rows on one page of a list.
pub const GRID_SIZE: u64 = 50;

/// More filters are not read: nobody fills in so many.
const MOST_FILTERS: usize = 20;

/// What a list is asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GridQuery {
    /// In the order of the form.
    pub filters: Vec<Filter>,
    /// A word to be found in any column of text.
    pub search: String,
    /// The column that the rows are sorted by, and whether the largest come first.
    pub sort: Option<(String, bool)>,
    /// The columns that are shown; all if empty.
    pub show: Vec<String>,
    /// Which rows of all.
    pub place: Place,
    /// A column whose filter makes no sense, or lacks its value: it is said, as rows that it should have left out must not be
    /// taken for those that were meant.
    pub misfit: Option<String>,
}

/// One condition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Filter {
    /// The column's name.
    pub column: String,
    /// What its value is compared by.
    pub operator: Operator,
    /// What with; nothing for those that need none.
    pub value: String,
}

/// Where a page of a list begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Place {
    /// At the first row.
    #[default]
    First,
    /// Behind the row of these values: of the column it is sorted by, then of the key.
    After(Vec<Option<String>>),
    /// In front of it.
    Before(Vec<Option<String>>),
    /// Behind so many pages, where there is no key to go by.
    Page(u64),
}

macro_rules! operators {
    ($($name:ident $code:literal),+ $(,)?) => {
        /// How a filter compares.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[expect(missing_docs, reason = "what they are called on the page says what they are: pages/words.rs")]
        pub enum Operator { $($name),+ }

        impl Operator {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// As it stands in an address.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }
        }
    };
}

operators! {
    Is "is", IsNot "not", Contains "contains", Starts "starts", Ends "ends", More "gt", AtLeast "gte", Less "lt", AtMost "lte",
    OneOf "in", Has "has", Overlaps "any", Words "words", Matches "match", Yes "yes", No "no", Null "null", NotNull "notnull",
}

impl Operator {
    /// Reads [`code`](Self::code).
    fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|operator| operator.code() == code)
    }

    /// Whether it compares with nothing.
    #[must_use]
    pub fn takes_no_value(self) -> bool {
        matches!(self, Self::Yes | Self::No | Self::Null | Self::NotNull)
    }

    /// Whether it makes sense for a column, with this value.
    fn fits(self, column: &Column, value: &str) -> bool {
        // Nothing is a value of text alone.
        let is_text = kind(column) == Kind::Text && matches!(self, Self::Is | Self::IsNot);
        Self::of(column).contains(&self) && (self.takes_no_value() || is_text || !value.is_empty())
    }

    /// Those that make sense for a column.
    #[must_use]
    pub fn of(column: &Column) -> &'static [Self] {
        match kind(column) {
            _ if !column.labels.is_empty() => &[Self::Is, Self::IsNot, Self::OneOf, Self::Null, Self::NotNull],
            Kind::Boolean => &[Self::Yes, Self::No, Self::Null, Self::NotNull],
            Kind::Text => &[
                Self::Contains,
                Self::Is,
                Self::IsNot,
                Self::Starts,
                Self::Ends,
                Self::OneOf,
                Self::Matches,
                Self::More,
                Self::Less,
                Self::Null,
                Self::NotNull,
            ],
            Kind::Json if &*column.base_type == "json" => &[Self::Null, Self::NotNull],
            Kind::Json => &[Self::Has, Self::Is, Self::IsNot, Self::Null, Self::NotNull],
            Kind::Other if &*column.base_type == "tsvector" => &[Self::Words, Self::Null, Self::NotNull],
            kind if kind == Kind::Array || column.base_type.ends_with("range") => &[
                Self::Has,
                Self::Overlaps,
                Self::Is,
                Self::IsNot,
                Self::Null,
                Self::NotNull,
            ],
            Kind::Number | Kind::Date | Kind::Timestamp | Kind::Array | Kind::Other => &[
                Self::Is,
                Self::IsNot,
                Self::More,
                Self::AtLeast,
                Self::Less,
                Self::AtMost,
                Self::OneOf,
                Self::Null,
                Self::NotNull,
            ],
        }
    }
}

impl GridQuery {
    /// Reads the query string of an address. What is not understood counts as absent, as people edit addresses by hand;
    /// so does an order or a choice that names a column that there is not. A filter does not: it is told ([`misfit`](Self::misfit)).
    #[must_use]
    pub fn parse(text: &str, relation: &Relation) -> Self {
        let mut query = Self::default();
        let (mut column, mut operator) = (None, None);
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match name {
                "c" => column = Some(value.into_owned()).filter(|name| !name.is_empty()),
                "o" => operator = Operator::parse(&value),
                "v" => {
                    let (Some(name), operator) = (column.take(), operator.take()) else {
                        continue;
                    };
                    let Some(column) = relation.field(&name) else {
                        query.misfit = Some(name);
                        continue;
                    };
                    match operator.filter(|operator| operator.fits(column, &value)) {
                        Some(operator) if query.filters.len() < MOST_FILTERS => query.filters.push(Filter {
                            column: column.name.to_string(),
                            operator,
                            value: if operator.takes_no_value() {
                                String::new()
                            } else {
                                value.into_owned()
                            },
                        }),
                        _ => query.misfit = Some(column.name.to_string()),
                    }
                }
                "q" => query.search = value.trim().to_owned(),
                "sort" => {
                    let (name, desc) = match value.rsplit_once('.') {
                        Some((name, "desc")) => (name, true),
                        Some((name, "asc")) => (name, false),
                        _ => (&*value, false),
                    };
                    query.sort = relation
                        .column(name)
                        .filter(|(_, column)| is_sortable(column))
                        .map(|(_, column)| (column.name.to_string(), desc));
                }
                "show" if relation.column(&value).is_some() => query.show.push(value.into_owned()),
                "after" => query.place = marks(&value).map_or(Place::First, Place::After),
                "before" => query.place = marks(&value).map_or(Place::First, Place::Before),
                "page" => {
                    query.place = value
                        .parse()
                        .map_or(Place::First, |page: u64| Place::Page(page.min(1_000_000)))
                }
                _ => {}
            }
        }
        query
    }

    /// The address again, from the `?` on; empty if nothing is asked for.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut add = |name: &str, value: &str| {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            encode(value, &mut text);
        };
        for filter in &self.filters {
            add("c", &filter.column);
            add("o", filter.operator.code());
            add("v", &filter.value);
        }
        if !self.search.is_empty() {
            add("q", &self.search);
        }
        if let Some((column, desc)) = &self.sort {
            add("sort", &format!("{column}.{}", if *desc { "desc" } else { "asc" }));
        }
        for column in &self.show {
            add("show", column);
        }
        match &self.place {
            Place::First | Place::Page(0) => {}
            Place::After(marks) => add("after", &serde_json::json!(marks).to_string()),
            Place::Before(marks) => add("before", &serde_json::json!(marks).to_string()),
            Place::Page(page) => add("page", &page.to_string()),
        }
        text
    }

    /// The same at another place.
    #[must_use]
    pub fn at(&self, place: Place) -> Self {
        Self { place, ..self.clone() }
    }

    /// The same, sorted by another column from the first row on.
    #[must_use]
    pub fn sorted(&self, column: &str, desc: bool) -> Self {
        Self {
            sort: Some((column.to_owned(), desc)),
            place: Place::First,
            ..self.clone()
        }
    }

    /// The same without one of its filters.
    #[must_use]
    pub fn without(&self, filter: usize) -> Self {
        let mut rest = self.at(Place::First);
        rest.filters.remove(filter);
        rest
    }

    /// Whether it shows less than all rows.
    #[must_use]
    pub fn is_narrowed(&self) -> bool {
        !self.filters.is_empty() || !self.search.is_empty()
    }

    /// Whether a column is shown.
    #[must_use]
    pub fn shows(&self, column: &str) -> bool {
        self.show.is_empty() || self.show.iter().any(|shown| shown == column)
    }

    /// Columns of the order: the one it is sorted by, then the key, unless there is none.
    #[must_use]
    pub fn order<'r>(&self, relation: &'r Relation) -> Vec<(&'r Column, bool)> {
        let sort = self.sort.as_ref().and_then(|(name, desc)| {
            let (_, column) = relation.column(name)?;
            Some((column, *desc))
        });
        let mut order: Vec<_> = sort.into_iter().collect();
        for column in relation.key() {
            if !order.iter().any(|(known, _)| known.name == column.name) {
                order.push((column, false));
            }
        }
        order
    }

    /// Whether its pages are found by keys: each costs the same, however far behind, and none is shown twice when rows come
    /// in between.
    #[must_use]
    pub fn has_keyset(&self, relation: &Relation) -> bool {
        // What JSON says of arrays and the like is not what Postgres takes for their values.
        let is_plain = |column: &Column| match kind(column) {
            Kind::Array | Kind::Json => false,
            Kind::Other => column.type_oid != 0 || !column.labels.is_empty(),
            _ => true,
        };
        let order = self.order(relation);
        !relation.primary_key.is_empty() && !relation.is_view() && order.iter().all(|(column, _)| is_plain(column))
    }

    /// What narrows it, as the data API's `and`; nothing if nothing does.
    #[must_use]
    pub fn conditions(&self, relation: &Relation) -> Vec<String> {
        let mut conditions: Vec<String> = self
            .filters
            .iter()
            .filter_map(|filter| {
                Some(condition(
                    relation.field(&filter.column)?,
                    filter.operator,
                    &filter.value,
                ))
            })
            .collect();
        if !self.search.is_empty() {
            let mut found: Vec<String> = relation
                .columns
                .iter()
                .filter(|column| column.labels.is_empty() && kind(column) == Kind::Text)
                .map(|column| condition(column, Operator::Contains, &self.search))
                .collect();
            // Who looks for a number may mean the row's own, if it can have such a number.
            let fits = |key: &&Column| match &*key.base_type {
                "smallint" => self.search.parse::<i16>().is_ok(),
                "integer" => self.search.parse::<i32>().is_ok(),
                "bigint" => self.search.parse::<i64>().is_ok(),
                _ => false,
            };
            let keys = relation.key().filter(fits);
            found.extend(keys.map(|key| condition(key, Operator::Is, &self.search)));
            // Without a column of text nothing is found.
            if let (true, Some(first)) = (found.is_empty(), relation.columns.first()) {
                let name = quoted(&first.name);
                found.push(format!("and({name}.is.null,{name}.not.is.null)"));
            }
            conditions.push(format!("or({})", found.join(",")));
        }
        conditions
    }

    /// The page's rows, and one more to tell whether a page follows, as a query string of the data API. `select` is what
    /// each row consists of.
    #[must_use]
    pub fn page(&self, relation: &Relation, select: &str) -> String {
        let mut conditions = self.conditions(relation);
        let backwards = matches!(self.place, Place::Before(_));
        let order = self.order(relation);
        if let Place::After(marks) | Place::Before(marks) = &self.place
            && marks.len() == order.len()
        {
            conditions.extend(beyond(&order, marks, backwards));
        }
        let mut text = String::from("?select=");
        encode(select, &mut text);
        add_conditions(&conditions, &mut text);
        if !order.is_empty() {
            text.push_str("&order=");
            encode(&order_text(&order, backwards), &mut text);
        }
        text.push_str(&format!("&limit={}", GRID_SIZE + 1));
        if let Place::Page(page) = self.place {
            text.push_str(&format!("&offset={}", page * GRID_SIZE));
        }
        text
    }

    /// All rows in their order, as a query string of the data API: an export, or a link.
    #[must_use]
    pub fn all(&self, relation: &Relation) -> String {
        let mut text = String::new();
        let mut add = |name: &str, value: &str| {
            text.push(if text.is_empty() { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            encode(value, &mut text);
        };
        if !self.show.is_empty() {
            let shown = relation.columns.iter().filter(|column| self.shows(&column.name));
            let names: Vec<String> = shown.map(|column| quoted(&column.name)).collect();
            add("select", &names.join(","));
        }
        let conditions = self.conditions(relation);
        if !conditions.is_empty() {
            add("and", &format!("({})", conditions.join(",")));
        }
        let order = self.order(relation);
        if !order.is_empty() {
            add("order", &order_text(&order, false));
        }
        // Commas mean nothing to a URL.
        text.replace("%2C", ",")
    }
}

/// Whether rows can be in the order of a column's values.
#[must_use]
pub fn is_sortable(column: &Column) -> bool {
    !matches!(
        &*column.base_type,
        "json" | "xml" | "point" | "polygon" | "box" | "line" | "lseg" | "path" | "circle"
    )
}

/// Appends `&and=(…)`.
pub fn add_conditions(conditions: &[String], text: &mut String) {
    if !conditions.is_empty() {
        text.push_str("&and=");
        encode(&format!("({})", conditions.join(",")), text);
    }
}

/// One condition in the data API's words. Names and values stand in quotes, so that none of their characters means anything.
fn condition(column: &Column, operator: Operator, value: &str) -> String {
    let name = quoted(&column.name);
    let like =
        |before: &str, after: &str| format!("{name}.ilike.{}", text(&format!("{before}{}{after}", literally(value))));
    let list = || value.split(',').map(str::trim).filter(|item| !item.is_empty());
    let is_array = kind(column) == Kind::Array;
    // A list of words or what Postgres takes for an array as it is.
    let array = || match value.trim().starts_with('{') {
        true => value.trim().to_owned(),
        false => format!("{{{}}}", list().map(text).collect::<Vec<_>>().join(",")),
    };
    match operator {
        Operator::Is => format!("{name}.eq.{}", text(value)),
        Operator::IsNot => format!("{name}.neq.{}", text(value)),
        Operator::Contains => like("*", "*"),
        Operator::Starts => like("", "*"),
        Operator::Ends => like("*", ""),
        Operator::More => format!("{name}.gt.{}", text(value)),
        Operator::AtLeast => format!("{name}.gte.{}", text(value)),
        Operator::Less => format!("{name}.lt.{}", text(value)),
        Operator::AtMost => format!("{name}.lte.{}", text(value)),
        Operator::OneOf => format!("{name}.in.({})", list().map(text).collect::<Vec<_>>().join(",")),
        Operator::Has if is_array => format!("{name}.cs.{}", text(&array())),
        Operator::Has => format!("{name}.cs.{}", text(value)),
        Operator::Overlaps if is_array => format!("{name}.ov.{}", text(&array())),
        Operator::Overlaps => format!("{name}.ov.{}", text(value)),
        Operator::Words => format!("{name}.plfts.{}", text(value)),
        Operator::Matches => format!("{name}.imatch.{}", text(value)),
        Operator::Yes => format!("{name}.is.true"),
        Operator::No => format!("{name}.is.false"),
        Operator::Null => format!("{name}.is.null"),
        Operator::NotNull => format!("{name}.not.is.null"),
    }
}

/// The rows behind the one of `marks` in an order, or in front of it: the condition of each column holds where all before
/// it are equal. NULL is larger than every value, as Postgres sorts it.
fn beyond(order: &[(&Column, bool)], marks: &[Option<String>], backwards: bool) -> Option<String> {
    let mut either = Vec::new();
    let mut equal: Vec<String> = Vec::new();
    for ((column, desc), mark) in order.iter().zip(marks) {
        let name = quoted(&column.name);
        let falling = *desc != backwards;
        let further = match (mark, falling) {
            (None, false) => None,
            (None, true) => Some(format!("{name}.not.is.null")),
            (Some(mark), true) => Some(format!("{name}.lt.{}", text(mark))),
            (Some(mark), false) if column.not_null => Some(format!("{name}.gt.{}", text(mark))),
            (Some(mark), false) => Some(format!("or({name}.gt.{},{name}.is.null)", text(mark))),
        };
        if let Some(further) = further {
            let mut all = equal.clone();
            all.push(further);
            either.push(format!("and({})", all.join(",")));
        }
        equal.push(match mark {
            Some(mark) => format!("{name}.eq.{}", text(mark)),
            None => format!("{name}.is.null"),
        });
    }
    (!either.is_empty()).then(|| format!("or({})", either.join(",")))
}

fn order_text(order: &[(&Column, bool)], backwards: bool) -> String {
    let columns: Vec<String> = order
        .iter()
        .map(|(column, desc)| {
            let direction = if *desc != backwards { "desc" } else { "asc" };
            format!("{}.{direction}", quoted(&column.name))
        })
        .collect();
    columns.join(",")
}

/// A value in the quotes of the data API, which are those of Postgres' arrays as well.
#[must_use]
pub fn text(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// What a pattern of `ilike` takes for itself. An asterisk cannot be: it stands for anything.
fn literally(value: &str) -> String {
    value.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn marks(text: &str) -> Option<Vec<Option<String>>> {
    serde_json::from_str(text).ok()
}

/// A part of a query string, decoded; what is no UTF-8 is shown as it is.
pub(crate) fn decoded(value: &str) -> Cow<'_, str> {
    match decode_query(value) {
        Ok(text) => text,
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(name: &str, type_name: &str, not_null: bool) -> Column {
        Column {
            name: name.into(),
            type_name: type_name.into(),
            base_type: type_name.into(),
            not_null,
            ..Column::default()
        }
    }

    fn relation() -> Relation {
        Relation {
            name: "mylist".into(),
            scope: crate::catalog::Scope::Tenant,
            kind: crate::catalog::RelationKind::Table,
            runs_code: false,
            insertable: true,
            updatable: true,
            deletable: true,
            comment: None,
            columns: [
                column("id", "bigint", true),
                column("text", "text", true),
                column("due", "date", false),
                column("tags", "text[]", true),
                column("a b", "text", false),
                column("done", "boolean", true),
            ]
            .into(),
            primary_key: [0].into(),
            computed: Box::default(),
            relationships: Box::default(),
        }
    }

    #[track_caller]
    fn asks(address: &str, expected: &str) {
        let relation = relation();
        let asked = GridQuery::parse(address, &relation).page(&relation, "id");
        let decoded = decode_query(&asked).unwrap().into_owned();
        assert_eq!(decoded, expected.replace("LIMIT", "&limit=51"), "{address}");
    }

    #[test]
    fn addresses_become_questions_of_the_api() {
        asks("", "?select=id&order=id.ascLIMIT");
        asks(
            "c=text&o=contains&v=50%25%20of_it&sort=due.desc",
            r#"?select=id&and=(text.ilike."*50\\%\\%20of\\_it*")&order=due.desc,id.ascLIMIT"#
                .replace(r"\\%20", " ")
                .as_str(),
        );
        asks(
            "c=due&o=null&v=&c=done&o=yes&v=x",
            "?select=id&and=(due.is.null,done.is.true)&order=id.ascLIMIT",
        );
        asks(
            "c=tags&o=has&v=casa,%20mar",
            r#"?select=id&and=(tags.cs."{\"casa\",\"mar\"}")&order=id.ascLIMIT"#,
        );
        asks(
            "c=id&o=in&v=1,2&q=7",
            r#"?select=id&and=(id.in.("1","2"),or(text.ilike."*7*","a b".ilike."*7*",id.eq."7"))&order=id.ascLIMIT"#,
        );
        asks("page=2", "?select=id&order=id.ascLIMIT&offset=100");
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let plain = "?select=id&order=id.ascLIMIT";
        for address in [
            "c=&o=is&v=1",
            "v=1",
            "sort=nothing",
            "after=x",
            "after=[1]",
            "page=x",
            "&&==&c&o&v",
        ] {
            asks(address, plain);
        }
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_told() {
        let relation = relation();
        for (address, misfit) in [
            ("c=nothing&o=is&v=1", Some("nothing")),
            ("c=id&o=contains&v=1", Some("id")),
            ("c=id&o=is&v=", Some("id")),
            ("c=id&o=nothing&v=1", Some("id")),
            ("c=text&o=is&v=", None),
            ("c=text&o=contains&v=", Some("text")),
            ("c=&o=is&v=", None),
            ("c=due&o=null&v=", None),
        ] {
            assert_eq!(
                GridQuery::parse(address, &relation).misfit.as_deref(),
                misfit,
                "{address}"
            );
        }
    }

    #[test]
    fn pages_are_numbered_where_values_cannot_mark_them() {
        let relation = relation();
        for (address, keyset) in [("", true), ("sort=due.asc", true), ("sort=tags.asc", false)] {
            assert_eq!(
                GridQuery::parse(address, &relation).has_keyset(&relation),
                keyset,
                "{address}"
            );
        }
    }

    #[test]
    fn a_page_goes_on_behind_its_last_row() {
        asks(
            r#"after=["5"]"#,
            r#"?select=id&and=(or(and(id.gt."5")))&order=id.ascLIMIT"#,
        );
        asks(
            r#"before=["5"]"#,
            r#"?select=id&and=(or(and(id.lt."5")))&order=id.descLIMIT"#,
        );
        asks(
            r#"sort=due.asc&after=["2026-01-01","5"]"#,
            r#"?select=id&and=(or(and(or(due.gt."2026-01-01",due.is.null)),and(due.eq."2026-01-01",id.gt."5")))&order=due.asc,id.ascLIMIT"#,
        );
        asks(
            r#"sort=due.asc&after=[null,"5"]"#,
            r#"?select=id&and=(or(and(due.is.null,id.gt."5")))&order=due.asc,id.ascLIMIT"#,
        );
        asks(
            r#"sort=due.desc&after=[null,"5"]"#,
            r#"?select=id&and=(or(and(due.not.is.null),and(due.is.null,id.gt."5")))&order=due.desc,id.ascLIMIT"#,
        );
        // Marks of another order.
        asks(r#"sort=due.asc&after=["5"]"#, "?select=id&order=due.asc,id.ascLIMIT");
    }

    proptest! {
        #[test]
        fn addresses_survive(
            filters in proptest::collection::vec((0_usize..6, 0_usize..18, "\\PC{1,8}"), 0..4),
            search in "[^ ]\\PC{0,6}[^ ]",
            show in proptest::collection::vec(0_usize..6, 0..3),
            marks in proptest::collection::vec(proptest::option::of("\\PC{0,6}"), 1..3),
        ) {
            let relation = relation();
            let names: Vec<String> = relation.columns.iter().map(|column| column.name.to_string()).collect();
            let filters = filters.into_iter().filter_map(|(column, operator, value)| {
                let operator = Operator::ALL[operator];
                let fits = Operator::of(&relation.columns[column]).contains(&operator);
                let value = if operator.takes_no_value() { String::new() } else { value };
                fits.then(|| Filter { column: names[column].clone(), operator, value })
            });
            let query = GridQuery {
                filters: filters.collect(),
                search: search.trim().to_owned(),
                sort: Some(("due".to_owned(), true)),
                show: show.into_iter().map(|at| names[at].clone()).collect(),
                place: Place::After(marks),
                misfit: None,
            };
            let text = query.to_text();
            prop_assert_eq!(GridQuery::parse(text.trim_start_matches('?'), &relation), query);
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,80}") {
            let relation = relation();
            let query = GridQuery::parse(&text, &relation);
            let _ = (query.page(&relation, "id"), query.all(&relation), query.to_text());
        }
    }
}
