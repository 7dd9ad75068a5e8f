//! The operator's tenants: all of them, and each.

use askama::Template;

use super::{Frame, Part};
use crate::pages::words::{Words, fill};
use crate::pages::{Scope, State, finish};

/// All tenants.
#[derive(Debug, Template)]
#[template(path = "console/street.html")]
pub struct Street<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// What is searched for.
    pub query: &'a str,
    /// The address of the part that is live.
    pub live_href: String,
    /// That part.
    pub live: Live<'a>,
}

/// The part of the street that changes by itself.
#[derive(Debug, Template)]
#[template(path = "console/street_live.html")]
pub struct Live<'a> {
    /// The words.
    pub words: &'static Words,
    /// How much of the figures: of the edge in one line.
    pub facts: Vec<Fact<'a>>,
    /// Drawings of the last hour as SVG, each with what is above it.
    pub charts: Vec<(&'static str, String)>,
    /// The clusters.
    pub clusters: Vec<ClusterLine>,
    /// What is wrong with the files.
    pub config_errors: Vec<String>,
    /// The tenants of this page.
    pub tenants: Vec<StreetLine>,
    /// How many match.
    pub total: u64,
    /// Whether something was searched for.
    pub searched: bool,
    /// Which page, from 1, and of how many.
    pub page: (u64, u64),
    /// The page before.
    pub previous_href: Option<String>,
    /// The page after.
    pub next_href: Option<String>,
}

/// A figure with its word.
#[derive(Clone, Debug)]
pub struct Fact<'a> {
    /// The word.
    pub word: &'a str,
    /// The figure.
    pub value: String,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct ClusterLine {
    /// Its id.
    pub id: String,
    /// Its slots.
    pub bar: Bar,
    /// Connections that tenants share.
    pub shared: u32,
    /// Requests that wait.
    pub waiting: usize,
    /// Why no connection can be opened.
    pub trouble: Option<String>,
}

/// Something of something: 3 of 40.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// What there is.
    pub value: u32,
    /// What there may be.
    pub most: u32,
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct StreetLine {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: State,
    /// Why, if it is in trouble.
    pub reason: Option<String>,
    /// Its hosts, the first few, each with its address.
    pub hosts: Vec<(String, String)>,
    /// How many more there are.
    pub more_hosts: usize,
    /// Its cluster.
    pub cluster: String,
    /// Requests a second.
    pub requests: String,
    /// Errors a second.
    pub errors: String,
    /// Half of the requests took no longer.
    pub p50: String,
    /// All but one in a hundred took no longer.
    pub p99: String,
    /// Connections: there, idle, waited for.
    pub connections: (u32, u32, u32),
    /// The number of its catalog.
    pub catalog: Option<u64>,
    /// Migrations that it has not got.
    pub pending: u64,
}

impl Street<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 16384 + self.live.tenants.len() * 1024)
    }
}

impl Live<'_> {
    /// That part as HTML.
    #[must_use]
    pub fn render_part(&self) -> String {
        self.render().unwrap_or_default()
    }

    fn pending_word(&self, pending: &u64) -> String {
        fill(self.words.pending, &[&pending.to_string()])
    }

    fn page_word(&self) -> String {
        fill(
            self.words.page_of,
            &[&self.page.0.to_string(), &self.page.1.to_string()],
        )
    }
}

/// One tenant.
#[derive(Debug, Template)]
#[template(path = "console/tenant.html")]
pub struct TenantPage<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// Its id.
    pub id: &'a str,
    /// The part that changes by itself.
    pub live: TenantLive,
    /// Its limits.
    pub limits: Vec<Limit>,
    /// The file that defines it, with the line.
    pub file: String,
    /// Its hosts, each with its address.
    pub hosts: Vec<(String, String)>,
    /// Its schema.
    pub schema: String,
    /// Its cluster.
    pub cluster: String,
    /// Whether it is drained.
    pub drained: bool,
    /// Whether it can be drained.
    pub can_drain: bool,
    /// The roles that a token may name; none if there is no key.
    pub roles: Vec<String>,
    /// A token that was signed just now, and what it is good for.
    pub token: Option<(String, String)>,
}

/// The part of a tenant's page that changes by itself.
#[derive(Debug, Template)]
#[template(path = "console/tenant_live.html")]
pub struct TenantLive {
    /// The words.
    pub words: &'static Words,
    /// Its state.
    pub state: State,
    /// Why, if it is in trouble.
    pub reason: Option<String>,
    /// Its figures.
    pub facts: Vec<Fact<'static>>,
    /// Drawings of the last hour as SVG, each with what is above it.
    pub charts: Vec<(&'static str, String)>,
    /// What took longest.
    pub slowest: Vec<SlowLine>,
    /// What failed.
    pub failures: Vec<FailureLine>,
}

/// A limit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Its key in the configuration.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// Requests of one shape.
#[derive(Clone, Debug)]
pub struct SlowLine {
    /// The shape.
    pub shape: String,
    /// How often it was slow.
    pub times: u64,
    /// The longest.
    pub longest: String,
}

/// A failure.
#[derive(Clone, Debug)]
pub struct FailureLine {
    /// When, UTC.
    pub at: String,
    /// What was asked.
    pub request: String,
    /// The status.
    pub status: u16,
    /// The code.
    pub code: String,
    /// The request's number, for the logs.
    pub id: String,
}

impl TenantPage<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 24576)
    }
}

impl TenantLive {
    /// That part as HTML.
    #[must_use]
    pub fn render_part(&self) -> String {
        self.render().unwrap_or_default()
    }
}

/// What is asked back before something is done to a tenant.
#[derive(Debug, Template)]
#[template(path = "console/ask_first.html")]
pub struct AskFirst<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The question.
    pub question: String,
    /// What it means.
    pub about: &'a str,
    /// Where the answer goes.
    pub action: String,
    /// The word of the button.
    pub button: &'a str,
    /// Where to go instead.
    pub back: String,
}

impl AskFirst<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 4096)
    }
}
