//! The HTML that a browser gets: a table's rows, the operator's list of tenants, and failures.
//!
//! Pure: view models in, one `String` out. Nothing here knows a socket, a status line or a clock, and nothing can fail
//! for the caller. The templates are in `templates/`, checked by the compiler, and escape every value; no page but the console's
//! ([`console`]) carries a script, none an inline style or anything from another origin, so they run under `default-src 'none';
//! style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'`.
//!
//! The caller serves [`STYLE`] under [`style_path`] and sets the headers.

use std::sync::LazyLock;

use askama::Template;

pub(crate) mod cell;
pub mod console;
mod chart;
mod failure;
mod list;
mod street;
pub mod words;

pub use self::chart::{Chart, ChartWords, Series};
pub use self::failure::Failure;
pub(crate) use self::list::quoted;
pub use self::list::{Column, Kind, List};
pub use self::street::{State, Street, TenantLine};

/// Whose rows a table holds. Every page says it in a word, never by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The tenant's own schema: nobody else sees these rows.
    Tenant,
    /// The shared schema: every tenant sees the same rows.
    Shared,
}

impl Scope {
    /// The word on the badge; also the name of its CSS class.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tenant => "own",
            Self::Shared => "shared",
        }
    }
}

/// A table or view as the navigation shows it; its list is at `/{name}`.
#[derive(Clone, Copy, Debug)]
pub struct Relation<'a> {
    /// Its name in the catalog, as it is: quoting and percent-encoding happen here.
    pub name: &'a str,
    /// Whose rows it holds.
    pub scope: Scope,
}

impl Relation<'_> {
    fn is(&self, name: &str) -> bool {
        self.name == name
    }
}

/// The stylesheet of every page, to be served as `text/css; charset=utf-8` under [`style_path`].
pub const STYLE: &str = concat!(include_str!("base.css"), include_str!("style.css"));

/// Where the pages look for [`STYLE`]: `/-/style-<8 hex digits>.css`.
///
/// The digits are a hash of the content, so the answer may be cached for ever.
pub fn style_path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| format!("/-/style-{:08x}.css", fnv1a(STYLE.as_bytes())));
    &PATH
}

/// FNV-1a, 32 bits: it tells two versions of our own file apart, and has no other task.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Renders `template` into a buffer that starts with room for `capacity` bytes.
fn finish(template: &impl Template, capacity: usize) -> String {
    let mut page = String::with_capacity(capacity);
    // Writing to a `String` cannot fail, and no template here uses a filter that can; should one ever do so, a
    // short page is better than half of a long one.
    if template.render_into(&mut page).is_err() {
        page.clear();
        page.push_str(
            "<!doctype html>\n<html lang=\"en\"><title>Rowhouse</title><p>This page could not be rendered.</p>\n",
        );
    }
    page
}

/// The navigation of a page that has none.
const NO_RELATIONS: &[Relation<'static>] = &[];

/// The favicon: three row houses, the door of the middle one open.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 36 36'%3E%3Crect width='36' height='36' rx='8' fill='%23963c22'/%3E%3Cpath d='M4 28V15l4.7-6 4.6 6v13zM13.3 28V15L18 9l4.7 6v13zM22.7 28V15l4.6-6 4.7 6v13z' fill='none' stroke='%23fff' stroke-width='2' stroke-linejoin='round'/%3E%3Cpath d='M16 28v-7h4v7z' fill='%23fff'/%3E%3C/svg%3E";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Elements and attributes that the templates use; a value that got out of its place would add another.
    const ELEMENTS: &[&str] = &[
        "a", "body", "button", "caption", "code", "details", "div", "footer", "form", "h1", "head", "header", "html",
        "input", "label", "li", "link", "main", "meta", "nav", "p", "path", "pre", "small", "span", "summary", "svg",
        "table", "tbody", "td", "th", "thead", "time", "title", "tr", "ul",
    ];
    const ATTRIBUTES: &[&str] = &[
        "action",
        "aria-current",
        "aria-hidden",
        "aria-label",
        "aria-labelledby",
        "autocapitalize",
        "charset",
        "class",
        "content",
        "d",
        "data-label",
        "datetime",
        "for",
        "height",
        "href",
        "id",
        "lang",
        "method",
        "name",
        "placeholder",
        "rel",
        "role",
        "scope",
        "spellcheck",
        "tabindex",
        "title",
        "type",
        "value",
        "viewBox",
        "width",
    ];

    /// Walks every tag of `page` and fails on an element, an attribute or a link that the templates do not contain.
    fn check_markup(page: &str) {
        let mut rest = page.strip_prefix("<!doctype html>").expect("a doctype");
        let mut open: Vec<&str> = Vec::new();
        while let Some(start) = rest.find('<') {
            rest = &rest[start + 1..];
            if let Some(closing) = rest.strip_prefix('/') {
                let end = closing.find('>').expect("the end of a closing tag");
                if &closing[..end] == "tbody" {
                    open.retain(|element| !["td", "tr"].contains(element));
                }
                assert_eq!(open.pop(), Some(&closing[..end]), "closing tag out of order");
                rest = &closing[end + 1..];
                continue;
            }
            let end = rest.find([' ', '>', '/']).expect("the end of a tag name");
            let element = &rest[..end];
            assert!(ELEMENTS.contains(&element), "element {element:?}");
            rest = check_attributes(&rest[end..]);
            // A cell ends where the next begins, and so does a row.
            while matches!((element, open.last()), ("td" | "tr", Some(&"td")) | ("tr", Some(&"tr"))) {
                open.pop();
            }
            if !["meta", "link", "input", "path"].contains(&element) {
                open.push(element);
            }
        }
        assert!(open.is_empty(), "left open: {open:?}");
    }

    /// Takes the attributes of one tag, up to and with its `>`; returns what follows.
    fn check_attributes(mut rest: &str) -> &str {
        loop {
            rest = rest.trim_start_matches([' ', '/']);
            if let Some(after) = rest.strip_prefix('>') {
                return after;
            }
            let (name, after) = rest.split_once("=\"").expect("a quoted attribute");
            assert!(ATTRIBUTES.contains(&name), "attribute {name:?}");
            let (value, after) = after.split_once('"').expect("the end of an attribute");
            assert!(!value.contains(['<', '>']), "raw bracket in {name}: {value:?}");
            if name == "href" {
                let is_ours = value.starts_with(['/', '?', '#']) || value.starts_with("data:image/svg+xml,");
                assert!(is_ours, "link to {value:?}");
            }
            rest = after;
        }
    }

    fn hostile() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("<script>alert(1)</script>".to_owned()),
            Just("\"><img src=x onerror=alert(1)>".to_owned()),
            Just("' onmouseover='x".to_owned()),
            Just("\" style=\"color:red".to_owned()),
            Just("</td></table></title></textarea></pre>".to_owned()),
            Just("<!--".to_owned()),
            Just("]]>".to_owned()),
            Just("javascript:alert(1)//".to_owned()),
            Just("&#x3c;script&gt;".to_owned()),
            Just("{\"a\": [1, {\"b\": \"\\\"<\"}]}".to_owned()),
            Just("{a,\"b \\\" c\",NULL}".to_owned()),
            Just("{{ 7*7 }}{% raw %}".to_owned()),
            Just("2026-11-24 01:02:03.5+00".to_owned()),
            Just("\u{202e}\0\u{1f3e0}é".to_owned()),
            ".{0,12}",
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    const KINDS: [Kind; 8] = [
        Kind::Boolean,
        Kind::Number,
        Kind::Text,
        Kind::Json,
        Kind::Array,
        Kind::Date,
        Kind::Timestamp,
        Kind::Other,
    ];

    proptest! {
        #[test]
        fn no_hostile_text_adds_markup(
            text in proptest::collection::vec(hostile(), 16),
            repeat in 1_usize..40,
            page in 1_u64..4,
            has_next: bool,
            key: bool,
        ) {
            let relations = [
                Relation { name: &text[0], scope: Scope::Tenant },
                Relation { name: &text[1], scope: Scope::Shared },
            ];
            let columns: Vec<Column<'_>> = KINDS
                .iter()
                .zip(&text[2..10])
                .map(|(kind, name)| Column { name, kind: *kind, type_name: &text[10], key })
                .collect();
            let row: Vec<Option<String>> = text[8..].iter().map(|value| Some(value.repeat(repeat))).collect();
            check_markup(
                &List {
                    words: &words::ENGLISH,
                    tenant: &text[11],
                    host: &text[12],
                    relation: relations[page as usize % 2],
                    relations: &relations,
                    description: Some(&text[13]),
                    columns: &columns,
                    rows: vec![row, vec![None; 8]],
                    page,
                    has_next,
                    page_size: 2,
                }
                .render(),
            );
            check_markup(
                &Street {
                    words: &words::PORTUGUESE,
                    tenant: &text[0],
                    host: &text[1],
                    relations: &relations,
                    tenants: vec![TenantLine {
                        id: &text[2],
                        hosts: vec![&text[3], &text[4]],
                        state: State::Failed,
                        reason: Some(&text[5]),
                        schema: &text[6],
                        cluster: &text[7],
                    }],
                    query: &text[8],
                    total: 1000,
                    page,
                    page_size: 1,
                }
                .render(),
            );
            check_markup(
                &Failure {
                    words: &words::ENGLISH,
                    status: 404,
                    title: &text[0],
                    message: &text[1],
                    hint: Some(&text[2]),
                    tenant: Some(&text[3]),
                    host: &text[4],
                    request_id: Some(&text[5]),
                }
                .render(),
            );
        }
    }

    #[test]
    fn the_style_has_its_hash_in_its_path() {
        let digits = style_path()
            .strip_prefix("/-/style-")
            .and_then(|rest| rest.strip_suffix(".css"));
        assert!(digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())));
        // The reference value for "a": http://www.isthe.com/chongo/tech/comp/fnv/
        assert_eq!(fnv1a(b"a"), 0xe40c_292c);
    }

    #[test]
    fn the_style_is_small_and_loads_nothing() {
        assert!(STYLE.len() <= 10 * 1024, "{} bytes", STYLE.len());
        assert!(!STYLE.contains("@import"));
        for reference in STYLE.split("url(").skip(1) {
            assert!(reference.starts_with("\"data:image/svg+xml,"), "{reference:.40}");
        }
    }
}
