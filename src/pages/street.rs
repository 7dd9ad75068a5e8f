//! The operator's list of tenants.

use askama::Template;

use crate::pages::words::{Words, fill};
use crate::pages::{Relation, finish};
use crate::percent::encode;

/// A page of the tenants, on the operator's own host: `GET /`.
///
/// Further pages are at `?page=N`, a search is `?q=…`; both stay together in the links. Which tenants match, and in
/// which order they stand, is the caller's decision: those in trouble first serves an operator best.
#[derive(Debug, Template)]
#[template(path = "street.html")]
pub struct Street<'a> {
    /// The words of the reader's language.
    pub words: &'static Words,
    /// The id of the operator's tenant: `adm`.
    pub tenant: &'a str,
    /// The host the browser asked, with its port if it named one: links to the tenants keep that port.
    pub host: &'a str,
    /// The shared tables, for the navigation.
    pub relations: &'a [Relation<'a>],
    /// The tenants of this page.
    pub tenants: Vec<TenantLine<'a>>,
    /// What was searched for; empty when nothing was.
    pub query: &'a str,
    /// How many tenants match, over all pages.
    pub total: u64,
    /// Which page this is, from 1.
    pub page: u64,
    /// Most tenants on one page.
    pub page_size: u64,
}

/// One tenant.
#[derive(Clone, Debug)]
pub struct TenantLine<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its hosts, without port; each becomes a link.
    pub hosts: Vec<&'a str>,
    /// Whether it serves.
    pub state: State,
    /// Why it does not serve; shown as it is, so it must be fit for the operator's eyes.
    pub reason: Option<&'a str>,
    /// Its schema.
    pub schema: &'a str,
    /// The cluster it is on.
    pub cluster: &'a str,
}

/// Whether a tenant serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It answers requests.
    Live,
    /// Its schema, roles or migrations are under way.
    Onboarding,
    /// It does not serve, and waits for a person or for the next try.
    Failed,
    /// It is being removed or moved: requests under way end, new ones are refused.
    Draining,
}

impl State {
    /// The word on the page; also the name of its CSS class.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Onboarding => "onboarding",
            Self::Failed => "failed",
            Self::Draining => "draining",
        }
    }
}

impl Street<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        finish(self, 4096 + self.tenants.len() * 512)
    }

    fn start_word(&self) -> String {
        fill(self.words.start_page, &[self.tenant])
    }

    fn title_word(&self) -> String {
        fill(self.words.title_page, &[&self.page.to_string()])
    }

    fn page_word(&self) -> String {
        fill(self.words.page_of, &[&self.page.to_string(), &self.pages().to_string()])
    }

    fn like_word(&self) -> String {
        fill(self.words.tenants_like, &[self.query])
    }

    fn none_like_word(&self) -> String {
        fill(self.words.no_tenant_like, &[self.query])
    }

    fn no_page_word(&self) -> String {
        fill(self.words.no_tenants_on_page, &[&self.page.to_string()])
    }

    fn caption_word(&self) -> String {
        let [first, last, total] = [self.first(), self.last(), self.total].map(|number| number.to_string());
        fill(self.words.tenants_caption, &[&first, &last, &total])
    }

    fn pages(&self) -> u64 {
        self.total.div_ceil(self.page_size.max(1)).max(1)
    }

    fn has_next(&self) -> bool {
        self.page < self.pages()
    }

    fn previous(&self) -> u64 {
        // From a page past the end, the way back is the last one.
        self.page.saturating_sub(1).clamp(1, self.pages())
    }

    fn next(&self) -> u64 {
        self.page.saturating_add(1)
    }

    fn first(&self) -> u64 {
        self.page
            .saturating_sub(1)
            .saturating_mul(self.page_size)
            .saturating_add(1)
    }

    fn last(&self) -> u64 {
        self.first().saturating_add(self.tenants.len() as u64).saturating_sub(1)
    }

    /// The search as the start of a query string: empty, or `q=…&`.
    fn search(&self) -> String {
        if self.query.is_empty() {
            return String::new();
        }
        let mut search = String::from("q=");
        encode(self.query, &mut search);
        search.push('&');
        search
    }

    /// `:8000` of `adm.localhost:8000`; empty when the host names no port.
    fn port(&self) -> &str {
        match self.host.rfind(':') {
            Some(colon) if !self.host.ends_with(':') => {
                let port = &self.host[colon..];
                // The colons of an IPv6 address are none of a port's.
                if port[1..].bytes().all(|byte| byte.is_ascii_digit()) {
                    port
                } else {
                    ""
                }
            }
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::ENGLISH;

    fn street() -> Street<'static> {
        Street {
            words: &ENGLISH,
            tenant: "adm",
            host: "adm.localhost:8000",
            relations: &[],
            tenants: vec![TenantLine {
                id: "cliente",
                hosts: vec!["cliente.localhost"],
                state: State::Failed,
                reason: Some("schema \"cliente\" is <missing>"),
                schema: "cliente",
                cluster: "main",
            }],
            query: "",
            total: 250,
            page: 2,
            page_size: 100,
        }
    }

    #[test]
    fn a_tenant_shows_its_state_in_words_and_the_escaped_reason() {
        let page = street().render();
        assert!(page.contains("<span class=\"state failed\">failed</span>"));
        assert!(page.contains("schema &#34;cliente&#34; is &#60;missing&#62;"), "{page}");
        assert!(page.contains("<a href=\"//cliente.localhost:8000/\">cliente.localhost</a>"));
    }

    #[test]
    fn pages_keep_the_search() {
        let page = Street {
            query: "a&b \"c",
            ..street()
        }
        .render();
        assert!(page.contains("href=\"?q=a%26b%20%22c&#38;page=1\""), "{page}");
        assert!(page.contains("href=\"?q=a%26b%20%22c&#38;page=3\""), "{page}");
        assert!(page.contains("value=\"a&#38;b &#34;c\""), "{page}");
    }

    #[test]
    fn the_last_page_has_no_next_link() {
        assert!(street().render().contains("rel=\"next\""));
        assert!(!Street { page: 3, ..street() }.render().contains("rel=\"next\""));
    }

    #[test]
    fn nothing_found_says_so() {
        let page = Street {
            tenants: Vec::new(),
            query: "zzz",
            total: 0,
            page: 1,
            ..street()
        }
        .render();
        assert!(page.contains("No tenant matches “zzz”."));
        assert!(!page.contains("<table"));
    }

    #[test]
    fn only_a_port_is_taken_for_a_port() {
        for (host, port) in [
            ("adm.localhost", ""),
            ("adm:80", ":80"),
            ("[::1]", ""),
            ("[::1]:80", ":80"),
            ("adm:", ""),
        ] {
            assert_eq!(Street { host, ..street() }.port(), port, "{host}");
        }
    }
}
