//! The console's pages. What they are made of is told by whoever asks for them; what they say is in `words.rs`.
//!
//! They load one stylesheet and one script of our own, and run under a policy that permits nothing else. Everything but files
//! to import and live figures works without the script; it only saves a way round.

use std::sync::LazyLock;

use askama::Template;

use crate::pages::words::{Words, fill};
use crate::pages::{Relation, Scope, finish, fnv1a};

mod account;
mod explorer;
mod form;
mod grid;
mod import;
mod street;

pub use account::{Account, OpenSession, SendAgain, SignIn};
pub use explorer::{AllOfApi, Answer, ApiColumn, ApiPage, Example, Operation, Try};
pub use form::{Choice, Confirm, Field, Form, Input, Pick, RelatedRows, here_parameter};
pub use grid::{FilterColumn, FilterLine, Grid, GridColumn, GridRow, GridValue, OperatorWord, Overview, OverviewLine};
pub use import::{Import, Preview};
pub use street::{
    AskFirst, Bar, ClusterLine, Fact, FailureLine, Limit, Live, SlowLine, Street, StreetLine, TenantLive, TenantPage,
};

/// What stands around every page of the console.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The words of the reader's language.
    pub words: &'static Words,
    /// The tenant's id.
    pub tenant: &'a str,
    /// The host the browser asked.
    pub host: &'a str,
    /// The name of who is signed in.
    pub user: Option<&'a str>,
    /// What every form carries to be believed; empty if nobody is signed in.
    pub key: &'a str,
    /// Whether it is the operator's console.
    pub operator: bool,
    /// What the tenant can reach, for the navigation.
    pub relations: &'a [Relation<'a>],
    /// Which part of the console this is.
    pub part: Part,
    /// The relation of the page, if it is of one.
    pub current: &'a str,
    /// What was done before this page.
    pub notice: Option<&'a str>,
}

/// The parts of the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// The operator's tenants.
    Street,
    /// Rows.
    Data,
    /// What programs can ask.
    Api,
    /// Whoever is signed in.
    Account,
}

impl Frame<'_> {
    fn is(&self, part: Part) -> bool {
        self.user.is_some() && self.part == part
    }

    /// Whether there are relations of this scope.
    fn has(&self, scope: Scope) -> bool {
        self.relations.iter().any(|relation| relation.scope == scope)
    }

    fn of(&self, scope: Scope) -> impl Iterator<Item = &Relation<'_>> {
        self.relations.iter().filter(move |relation| relation.scope == scope)
    }

    /// So many that a reader wants to search among them.
    fn is_long(&self) -> bool {
        self.relations.len() > 12
    }

    fn scope_about(&self, scope: &Scope) -> String {
        match scope {
            Scope::Tenant => fill(self.words.own_about, &[self.tenant]),
            Scope::Shared => self.words.shared_about.to_owned(),
        }
    }
}

/// A failure inside of the console.
#[derive(Debug, Template)]
#[template(path = "console/failure.html")]
pub struct ConsoleFailure<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The HTTP status.
    pub status: u16,
    /// One sentence on what happened.
    pub message: &'a str,
    /// What the reader can do about it.
    pub hint: Option<&'a str>,
    /// The id under which the logs know this request.
    pub request_id: &'a str,
}

impl ConsoleFailure<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 4096)
    }
}

/// The stylesheet of the console, to be served under [`style_path`].
pub const STYLE: &str = concat!(include_str!("../base.css"), include_str!("../console.css"));

/// The script of the console, to be served under [`script_path`].
pub const SCRIPT: &str = include_str!("../console.js");

/// Where the pages look for [`STYLE`]; it changes with its content.
pub fn style_path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| format!("/-/console-{:08x}.css", fnv1a(STYLE.as_bytes())));
    &PATH
}

/// Where the pages look for [`SCRIPT`]; it changes with its content.
pub fn script_path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| format!("/-/console-{:08x}.js", fnv1a(SCRIPT.as_bytes())));
    &PATH
}
