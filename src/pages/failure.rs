//! What a browser sees when there is no page to show.

use askama::Template;

use crate::pages::finish;
use crate::pages::words::{Words, fill};

/// A failure, for a person: what happened, what can be done, and the number to quote when asking for help.
///
/// For a host that no tenant has, leave `tenant` and `request_id` out: the answer is then the same for every such host.
#[derive(Debug, Template)]
#[template(path = "failure.html")]
pub struct Failure<'a> {
    /// The words of the reader's language.
    pub words: &'static Words,
    /// The HTTP status.
    pub status: u16,
    /// A few words: `Not found`.
    pub title: &'a str,
    /// One sentence on what happened.
    pub message: &'a str,
    /// What the reader can do about it.
    pub hint: Option<&'a str>,
    /// The tenant's id, when the request reached one; the page then links to its `/`.
    pub tenant: Option<&'a str>,
    /// The host the browser asked; shown only together with the tenant.
    pub host: &'a str,
    /// The id under which the logs know this request.
    pub request_id: Option<&'a str>,
}

impl Failure<'_> {
    fn start_word(&self) -> String {
        fill(self.words.start_page, &[self.tenant.unwrap_or_default()])
    }

    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 3072)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::ENGLISH;

    #[test]
    fn without_a_tenant_nothing_of_the_request_is_shown() {
        let failure = |host| Failure {
            words: &ENGLISH,
            status: 404,
            title: "Not found",
            message: "No such host.",
            hint: None,
            tenant: None,
            host,
            request_id: None,
        };
        assert_eq!(failure("a.example").render(), failure("b.example").render());
        assert!(!failure("a.example").render().contains("href=\"/\""));
    }

    #[test]
    fn with_a_tenant_the_way_back_is_shown() {
        let page = Failure {
            words: &ENGLISH,
            status: 404,
            title: "Not found",
            message: "There is no table <mylist> here.",
            hint: Some("It may belong to another tenant."),
            tenant: Some("adm"),
            host: "adm.todo.local",
            request_id: Some("01H"),
        }
        .render();
        assert!(page.contains("<p class=\"status\">404</p>"));
        assert!(page.contains("&#60;mylist&#62;"));
        assert!(page.contains("<a href=\"/\">"));
        assert!(page.contains("<code>01H</code>"));
    }
}
