//! What there is, and the rows of one relation.

use askama::Template;

use super::{Frame, Part, here_parameter};
use crate::pages::cell::Cell;
use crate::pages::words::fill;
use crate::pages::{Kind, Scope, finish};

/// All relations that a tenant can reach.
#[derive(Debug, Template)]
#[template(path = "console/overview.html")]
pub struct Overview<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The relations, in the catalog's order.
    pub lines: Vec<OverviewLine<'a>>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct OverviewLine<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whose rows it holds.
    pub scope: Scope,
    /// Whether it is a view.
    pub is_view: bool,
    /// How many columns it has.
    pub columns: usize,
    /// What the database says about it.
    pub comment: Option<&'a str>,
    /// Whether whoever is signed in may change its rows.
    pub writable: bool,
}

impl Overview<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 4096 + self.lines.len() * 256)
    }

    fn title(&self) -> String {
        fill(self.frame.words.overview_of, &[self.frame.tenant])
    }

    fn of(&self, scope: Scope) -> impl Iterator<Item = &OverviewLine<'_>> {
        self.lines.iter().filter(move |line| line.scope == scope)
    }

    fn has(&self, scope: Scope) -> bool {
        self.lines.iter().any(|line| line.scope == scope)
    }
}

/// A page of a relation's rows.
#[derive(Debug, Template)]
#[template(path = "console/grid.html")]
pub struct Grid<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The relation's name.
    pub name: &'a str,
    /// Whose rows it holds.
    pub scope: Scope,
    /// What the database says about it.
    pub comment: Option<&'a str>,
    /// The columns that are shown.
    pub columns: Vec<GridColumn<'a>>,
    /// All columns, and whether each is shown.
    pub all_columns: Vec<(&'a str, bool)>,
    /// The rows.
    pub rows: Vec<GridRow>,
    /// The filters there are, and one that can be filled in.
    pub filters: Vec<FilterLine<'a>>,
    /// The columns a filter can name.
    pub filter_columns: Vec<FilterColumn<'a>>,
    /// What is searched for.
    pub search: &'a str,
    /// `due.desc`.
    pub sort: Option<String>,
    /// Whether anything is left out.
    pub narrowed: bool,
    /// How many rows there are, if that is known, and whether it was counted.
    pub total: Option<(u64, bool)>,
    /// The addresses of other pages.
    pub first_href: Option<String>,
    /// The page before.
    pub previous_href: Option<String>,
    /// The page after.
    pub next_href: Option<String>,
    /// The rows in the API.
    pub api_href: String,
    /// This list without its place: what an export is of.
    pub export_query: String,
    /// What whoever is signed in may do, as far as the definition permits it as well.
    pub may_insert: bool,
    /// Change rows.
    pub may_update: bool,
    /// Delete rows.
    pub may_delete: bool,
    /// The columns that can be set in several rows at once.
    pub bulk_columns: Vec<&'a str>,
    /// Why there are no rows, if the database refused.
    pub problem: Option<&'a str>,
    /// The address of this page, to come back to.
    pub here: String,
}

/// The head of a column.
#[derive(Clone, Debug)]
pub struct GridColumn<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_name: &'a str,
    /// How its values look.
    pub kind: Kind,
    /// Whether it belongs to the key.
    pub key: bool,
    /// Whether the rows are sorted by it, and whether the largest come first.
    pub sorted: Option<bool>,
    /// The same list, sorted by it; none if it cannot be.
    pub sort_href: Option<String>,
    /// What the database says about it.
    pub comment: Option<&'a str>,
    /// Whether a reader knows the rows by it.
    pub label: bool,
}

/// One row.
#[derive(Clone, Debug)]
pub struct GridRow {
    /// What finds it: `id=eq.5`. None where there is no key.
    pub key: Option<String>,
    /// What a reader knows it by.
    pub label: String,
    /// Its values, in the order of the columns.
    pub values: Vec<GridValue>,
}

/// A value.
#[derive(Clone, Debug)]
pub struct GridValue {
    /// As text; none is NULL.
    pub text: Option<String>,
    /// The address of the row that it refers to, and what that row is known by.
    pub refers: Option<(String, Option<String>)>,
    /// How many bytes it has, instead of the bytes.
    pub bytes: Option<usize>,
}

/// A value as the template shows it.
struct GridCell<'a> {
    class: &'static str,
    cell: Cell<'a>,
    refers: Option<(&'a str, Option<&'a str>)>,
    bytes: Option<usize>,
    /// Whether it is a way to the row.
    opens: bool,
}

/// A filter of the form.
#[derive(Clone, Debug)]
pub struct FilterLine<'a> {
    /// The column's name; empty if none is chosen yet.
    pub column: &'a str,
    /// The code of the comparison.
    pub operator: &'a str,
    /// What it is compared with.
    pub value: &'a str,
    /// The comparisons that can be chosen.
    pub operators: Vec<OperatorWord>,
    /// The list without it.
    pub without_href: Option<String>,
}

/// A comparison.
#[derive(Clone, Copy, Debug)]
pub struct OperatorWord {
    /// As it stands in an address.
    pub code: &'static str,
    /// As people say it.
    pub word: &'static str,
}

/// A column that can be filtered by.
#[derive(Clone, Debug)]
pub struct FilterColumn<'a> {
    /// Its name.
    pub name: &'a str,
    /// The codes of the comparisons that make sense for it.
    pub operators: String,
}

impl Grid<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 8192 + self.rows.len() * self.columns.len().max(1) * 96)
    }

    fn about_total(&self) -> String {
        let words = self.frame.words;
        match self.total {
            Some((1, true)) => format!("1 {}", words.row),
            Some((total, true)) => format!("{} {}", grouped(total), words.rows),
            Some((total, false)) => fill(words.about_rows, &[&grouped(total)]),
            None => String::new(),
        }
    }

    /// Whether rows can be chosen, to do something with them.
    fn has_bulk(&self) -> bool {
        (self.may_delete || (self.may_update && !self.bulk_columns.is_empty()))
            && self.rows.iter().any(|row| row.key.is_some())
    }

    fn cells<'s>(&'s self, row: &'s GridRow) -> impl Iterator<Item = GridCell<'s>> {
        // What rows are known by opens them, and the first column; what refers to another row opens that.
        let first = row.values.iter().position(|value| value.refers.is_none());
        let cells = self.columns.iter().zip(&row.values).enumerate();
        cells.map(move |(at, (column, value))| GridCell {
            class: if column.kind == Kind::Number { "n" } else { "" },
            cell: Cell::new(column.kind, value.text.as_deref()),
            refers: value
                .refers
                .as_ref()
                .map(|(href, label)| (href.as_str(), label.as_deref())),
            bytes: value.bytes,
            opens: row.key.is_some() && value.refers.is_none() && (Some(at) == first || column.label),
        })
    }

    fn here_parameter(&self) -> String {
        here_parameter(&self.here)
    }

    fn shown(&self) -> usize {
        self.columns.len()
    }

    fn select_word(&self, row: &GridRow) -> String {
        fill(self.frame.words.select_row, &[&row.label])
    }

    fn sort_word(&self, column: &GridColumn<'_>) -> String {
        fill(self.frame.words.sort_by, &[column.name])
    }

    fn bytes_word(&self, bytes: &usize) -> String {
        fill(self.frame.words.bytes, &[&grouped(*bytes as u64)])
    }
}

/// `12 345`, with thin spaces.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        let shown = [0, 999, 1000, 12_345, 1_234_567].map(|number| grouped(number).replace('\u{202f}', " "));
        assert_eq!(shown, ["0", "999", "1 000", "12 345", "1 234 567"]);
    }
}
