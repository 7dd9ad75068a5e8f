//! Signing in, and who is signed in.

use askama::Template;

use super::{Frame, Part};
use crate::pages::words::fill;
use crate::pages::{Scope, finish};

/// The form to sign in with.
#[derive(Debug, Template)]
#[template(path = "console/sign_in.html")]
pub struct SignIn<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// Where to go afterwards: a path of the console.
    pub next: &'a str,
    /// The name as it was given.
    pub name: &'a str,
    /// Why it was refused.
    pub refused: Option<&'a str>,
    /// Whether there is nobody who could sign in.
    pub nobody: bool,
    /// A form that is sent again afterwards: where it goes, and what it carries.
    pub replay: Option<(&'a str, &'a [(String, String)])>,
}

/// Somebody has signed in who had written something before.
#[derive(Debug, Template)]
#[template(path = "console/send_again.html")]
pub struct SendAgain<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// Where the form goes.
    pub action: &'a str,
    /// What it carries.
    pub fields: &'a [(String, String)],
}

impl SendAgain<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 4096)
    }
}

impl SignIn<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 4096)
    }

    fn title(&self) -> String {
        fill(self.frame.words.sign_in_to, &[self.frame.tenant])
    }
}

/// A session of the list.
#[derive(Clone, Debug)]
pub struct OpenSession<'a> {
    /// When it began.
    pub started: &'a str,
    /// When it was last used.
    pub seen: &'a str,
    /// What the browser calls itself.
    pub agent: &'a str,
    /// Whether it is this one.
    pub current: bool,
}

/// Who is signed in, and where else.
#[derive(Debug, Template)]
#[template(path = "console/account.html")]
pub struct Account<'a> {
    /// What stands around it.
    pub frame: Frame<'a>,
    /// The role that everything runs as.
    pub role: &'a str,
    /// The user's sessions.
    pub sessions: Vec<OpenSession<'a>>,
    /// Why the password was not changed.
    pub refused: Option<&'a str>,
    /// The fewest characters of a password.
    pub least: usize,
}

impl Account<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 6144)
    }

    fn who(&self) -> String {
        fill(
            self.frame.words.signed_in_as,
            &[self.frame.user.unwrap_or_default(), self.role],
        )
    }

    fn rule(&self) -> String {
        fill(self.frame.words.password_rule, &[&self.least.to_string()])
    }
}
