//! Rows from a file.

use askama::Template;

use super::grid::grouped;
use super::{Frame, Part};
use crate::pages::words::fill;
use crate::pages::{Scope, finish};

/// The form that takes a file, and what would become of it.
#[derive(Debug, Template)]
#[template(path = "console/import.html")]
pub struct Import<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The relation's name.
    pub name: &'a str,
    /// Whether the text is JSON; else it is CSV.
    pub json: bool,
    /// The text as it was sent.
    pub text: &'a str,
    /// What would become of it.
    pub preview: Option<Preview>,
    /// What is wrong.
    pub problem: Option<String>,
    /// The columns that can be filled in.
    pub columns: Vec<&'a str>,
}

/// What would become of a file.
#[derive(Debug, Template)]
#[template(path = "console/preview.html")]
pub struct Preview {
    /// The words.
    pub words: &'static crate::pages::words::Words,
    /// The columns of the file.
    pub columns: Vec<String>,
    /// The first rows.
    pub rows: Vec<Vec<String>>,
    /// How many there are.
    pub total: usize,
    /// Why the database would refuse them.
    pub problem: Option<String>,
}

impl Import<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 6144 + self.text.len())
    }

    fn title(&self) -> String {
        fill(self.frame.words.import_into, &[self.name])
    }

    fn good(&self) -> Option<String> {
        let preview = self.preview.as_ref().filter(|preview| preview.problem.is_none())?;
        Some(fill(self.frame.words.import_run, &[&grouped(preview.total as u64)]))
    }
}

impl Preview {
    /// That part of the page as HTML.
    #[must_use]
    pub fn render_part(&self) -> String {
        self.render().unwrap_or_default()
    }

    fn good(&self) -> String {
        fill(self.words.import_good, &[&grouped(self.total as u64)])
    }

    fn rest(&self) -> String {
        fill(
            self.words.and_more,
            &[&grouped(self.total.saturating_sub(self.rows.len()) as u64)],
        )
    }
}
