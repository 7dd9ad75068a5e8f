//! One row, and what is asked back before rows are changed.

use askama::Template;

use super::{Frame, Part};
use crate::pages::words::fill;
use crate::pages::{Scope, finish};
use crate::percent::encode;

/// A row to be seen, made or changed.
#[derive(Debug, Template)]
#[template(path = "console/form.html")]
pub struct Form<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The relation's name.
    pub name: &'a str,
    /// Whose rows it holds.
    pub scope: Scope,
    /// What finds the row: `id=eq.5`. None for a new one.
    pub key: Option<&'a str>,
    /// What a reader knows the row by.
    pub label: &'a str,
    /// The list that it was opened from: the query string of its address, or nothing.
    pub here: &'a str,
    /// The columns.
    pub fields: Vec<Field<'a>>,
    /// What is wrong with the whole.
    pub problem: Option<String>,
    /// Whether it can be saved.
    pub may_save: bool,
    /// Whether it can be deleted.
    pub may_delete: bool,
    /// Whether rows like it can be made.
    pub may_insert: bool,
    /// Rows that belong to it.
    pub related: Vec<RelatedRows<'a>>,
}

/// A column of the form.
#[derive(Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its place, for the names of elements.
    pub at: usize,
    /// Its type.
    pub type_name: &'a str,
    /// What the database says about it.
    pub comment: Option<&'a str>,
    /// How it is filled in.
    pub input: Input,
    /// What stands there.
    pub value: String,
    /// A box that says NULL, and whether it is ticked; none where there can be no doubt.
    pub null: Option<bool>,
    /// Whether it must be filled in.
    pub required: bool,
    /// Whether it belongs to the key.
    pub key: bool,
    /// What it becomes when it is left empty.
    pub default: Option<&'a str>,
    /// What can be chosen.
    pub choices: Vec<Choice>,
    /// The relation that it refers to.
    pub pick: Option<Pick<'a>>,
    /// The most characters.
    pub max_length: Option<u32>,
    /// How many bytes are there now.
    pub bytes: Option<usize>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// What tells whether somebody has touched it.
    pub mark: String,
}

/// How a column is filled in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    /// One line.
    Line,
    /// Several.
    Text,
    /// A number.
    Number,
    /// A day.
    Date,
    /// A moment, with or without a zone.
    Timestamp,
    /// A box.
    Box,
    /// One of a few.
    Select,
    /// JSON.
    Json,
    /// A list, an item a line.
    Lines,
    /// Bytes.
    Bytes,
    /// A key of another relation.
    Key,
    /// Not at all.
    Nothing,
}

/// Something to choose.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What is stored.
    pub value: String,
    /// What is shown.
    pub label: String,
    /// Whether it is chosen.
    pub selected: bool,
}

/// Where a key is found.
#[derive(Clone, Debug)]
pub struct Pick<'a> {
    /// The relation.
    pub target: &'a str,
    /// Its column.
    pub column: &'a str,
    /// What the row is known by that is referred to now.
    pub label: Option<String>,
    /// The address of that row.
    pub href: Option<String>,
}

/// Rows of another relation that refer to this one.
#[derive(Debug)]
pub struct RelatedRows<'a> {
    /// The relation.
    pub name: &'a str,
    /// The columns by which they refer.
    pub by: String,
    /// The list of all of them.
    pub href: String,
    /// A new one.
    pub new_href: Option<String>,
    /// The first few, each with its address and what it is known by.
    pub rows: Vec<(Option<String>, String)>,
    /// Whether there are more.
    pub more: bool,
}

impl Form<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 6144 + self.fields.len() * 768)
    }

    fn title(&self) -> String {
        let words = self.frame.words;
        let text = if self.key.is_some() {
            words.row_of
        } else {
            words.new_row_of
        };
        fill(text, &[self.name])
    }

    fn here_parameter(&self) -> String {
        here_parameter(self.here)
    }

    fn has_problems(&self) -> bool {
        self.problem.is_some() || self.fields.iter().any(|field| field.problem.is_some())
    }

    fn related_word(&self, related: &RelatedRows<'_>) -> String {
        fill(self.frame.words.related_of, &[related.name, &related.by])
    }

    /// What stands below a field.
    fn hint(&self, field: &Field<'_>) -> String {
        let words = self.frame.words;
        let mut hints = Vec::new();
        if let Some(comment) = field.comment {
            hints.push(comment.to_owned());
        }
        match field.input {
            _ if !self.may_save => {}
            Input::Nothing => hints.push(words.generated.to_owned()),
            Input::Lines => hints.push(words.lines_about.to_owned()),
            Input::Json => hints.push(words.json_about.to_owned()),
            Input::Timestamp if field.type_name.ends_with("without time zone") => {
                hints.push(words.timestamp_plain_about.to_owned())
            }
            Input::Timestamp => hints.push(words.timestamp_about.to_owned()),
            Input::Bytes => hints.push(match field.bytes {
                Some(bytes) => fill(words.leave_bytes, &[&bytes.to_string()]),
                None => words.new_bytes.to_owned(),
            }),
            _ => {}
        }
        if let Some(default) = field
            .default
            .filter(|_| self.key.is_none() && field.input != Input::Nothing)
        {
            hints.push(fill(words.default_is, &[default]));
        }
        hints.join(" · ")
    }

    /// The ids of what describes a field.
    fn described(&self, field: &Field<'_>) -> String {
        let mut ids = Vec::new();
        if field.problem.is_some() {
            ids.push(format!("p{}", field.at));
        }
        if !self.hint(field).is_empty() {
            ids.push(format!("h{}", field.at));
        }
        ids.join(" ")
    }

    fn find_word(&self, pick: &Pick<'_>) -> String {
        fill(self.frame.words.find_in, &[pick.target])
    }

    fn shows_word(&self, label: &str) -> String {
        fill(self.frame.words.shows, &[label])
    }
}

/// The list that a page was opened from, as a parameter behind others.
#[must_use]
pub fn here_parameter(here: &str) -> String {
    if here.is_empty() {
        return String::new();
    }
    let mut parameter = String::from("&_here=");
    encode(here, &mut parameter);
    parameter
}

/// What is asked back before rows are changed or deleted.
#[derive(Debug, Template)]
#[template(path = "console/confirm.html")]
pub struct Confirm<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The relation's name.
    pub name: &'a str,
    /// The question.
    pub question: String,
    /// Where the answer goes.
    pub action: String,
    /// What the answer carries.
    pub fields: Vec<(&'a str, &'a str)>,
    /// What the rows are known by, the first few.
    pub labels: Vec<&'a str>,
    /// How many more there are.
    pub more: usize,
    /// What refers to them: names, with how many rows.
    pub related: Vec<(&'a str, String)>,
    /// The word of the button.
    pub button: &'a str,
    /// Where to go instead.
    pub back: String,
    /// What went wrong when it was done.
    pub problem: Option<String>,
}

impl Confirm<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 4096 + self.fields.len() * 128)
    }

    fn more_word(&self) -> String {
        fill(self.frame.words.and_more, &[&self.more.to_string()])
    }
}
