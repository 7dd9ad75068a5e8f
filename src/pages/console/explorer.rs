//! What programs can ask: a relation in the API, and all of it.

use askama::Template;

use super::{Frame, Part};
use crate::pages::words::fill;
use crate::pages::{Scope, finish};

/// A relation as programs see it.
#[derive(Debug, Template)]
#[template(path = "console/api.html")]
pub struct ApiPage<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The relation's name.
    pub name: &'a str,
    /// Whose rows it holds.
    pub scope: Scope,
    /// What the database says about it.
    pub comment: Option<&'a str>,
    /// Its columns.
    pub columns: Vec<ApiColumn<'a>>,
    /// What can be embedded in its rows.
    pub embeds: Vec<&'a str>,
    /// The verbs that its definition permits.
    pub methods: Vec<&'static str>,
    /// How to read it, in several languages.
    pub reads: Vec<Example>,
    /// How to write to it.
    pub writes: Vec<Example>,
    /// Something to try.
    pub attempt: Try<'a>,
}

/// A column.
#[derive(Clone, Debug)]
pub struct ApiColumn<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_name: &'a str,
    /// What there is to say: whether it is the key, is required, has a default.
    pub notes: String,
    /// What the database says about it.
    pub comment: Option<&'a str>,
}

/// Some lines that work when they are pasted.
#[derive(Clone, Debug)]
pub struct Example {
    /// The language.
    pub language: &'static str,
    /// The lines.
    pub code: String,
}

/// A request that is tried.
#[derive(Debug)]
pub struct Try<'a> {
    /// As whom it runs; nobody is signed in if it is empty.
    pub user: &'a str,
    /// GET, POST, PATCH or DELETE.
    pub method: &'a str,
    /// The query string.
    pub query: &'a str,
    /// The body.
    pub body: &'a str,
    /// The header `Prefer`.
    pub prefer: &'a str,
    /// What came back.
    pub answer: Option<Answer>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: String,
    /// The headers that tell something.
    pub headers: Vec<(String, String)>,
    /// The body, JSON indented.
    pub body: String,
    /// How long it took, in milliseconds.
    pub milliseconds: String,
}

impl ApiPage<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 12288)
    }

    fn title(&self) -> String {
        fill(self.frame.words.api_of, &[self.name])
    }

    fn is_method(&self, method: &str) -> bool {
        self.attempt.method == method
    }

    fn as_whom(&self) -> String {
        match self.attempt.user {
            "" => self.frame.words.api_try_anonymous.to_owned(),
            user => fill(self.frame.words.api_try_as, &[user]),
        }
    }
}

/// All that programs can ask of a tenant, from its OpenAPI document.
#[derive(Debug, Template)]
#[template(path = "console/apis.html")]
pub struct AllOfApi<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The base of all addresses.
    pub base: String,
    /// What can be asked.
    pub operations: Vec<Operation>,
    /// Why there is no document.
    pub problem: Option<String>,
}

/// Something that can be asked.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The verb.
    pub method: String,
    /// `/mylist`.
    pub path: String,
    /// What it is, if the document says so.
    pub summary: String,
    /// Names of parameters.
    pub parameters: Vec<String>,
    /// The relation's page, if it is of one.
    pub href: Option<String>,
}

impl AllOfApi<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 6144 + self.operations.len() * 512)
    }

    fn title(&self) -> String {
        fill(self.frame.words.api_all, &[self.frame.tenant])
    }
}
