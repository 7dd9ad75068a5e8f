//! One table's rows, a page at a time.

use std::fmt::Write as _;

use askama::Template;

use crate::pages::cell::Cell;
use crate::pages::words::{Words, fill};
use crate::pages::{Relation, Scope, finish};
use crate::percent::encode;

/// A page of one table's rows: `GET /` on a tenant (its `home`) and `GET /{relation}` on any host.
///
/// Further pages are at `?page=N` of the same path. The link to the JSON asks for the same rows by `limit` and `offset`
/// in the order of the key columns, so the caller must list the rows in that order too.
#[derive(Debug, Template)]
#[template(path = "list.html")]
pub struct List<'a> {
    /// The words of the reader's language.
    pub words: &'static Words,
    /// The tenant's id, which is also the name at the head of the page.
    pub tenant: &'a str,
    /// The host the browser asked, as it is to be shown.
    pub host: &'a str,
    /// The table of this page.
    pub relation: Relation<'a>,
    /// All tables of the navigation, in their order there.
    pub relations: &'a [Relation<'a>],
    /// What the database says about the table (`COMMENT ON`), if it does.
    pub description: Option<&'a str>,
    /// The columns, in the order of each row's values.
    pub columns: &'a [Column<'a>],
    /// The values in Postgres' text format (`DateStyle` ISO); `None` is NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// Which page this is, from 1.
    pub page: u64,
    /// Whether a page follows.
    pub has_next: bool,
    /// Most rows on one page.
    pub page_size: u64,
}

/// A column, as far as a page shows it.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    /// Its name in the catalog.
    pub name: &'a str,
    /// How its values are shown.
    pub kind: Kind,
    /// Its type as Postgres calls it, for the column's head: `timestamptz`.
    pub type_name: &'a str,
    /// Whether it belongs to the primary key.
    pub key: bool,
}

/// What a column's values look like on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `t` or `f` (or `true`, `false`): a box, ticked or not.
    Boolean,
    /// Any numeric type: to the right, with digits of one width.
    Number,
    /// `text`, `varchar`, `char`, `citext` and enums.
    Text,
    /// `json` and `jsonb`.
    Json,
    /// Any array; one dimension is shown item by item.
    Array,
    /// `date`.
    Date,
    /// `timestamptz` and `timestamp`.
    Timestamp,
    /// Every other type: monospace, as Postgres writes it.
    Other,
}

/// One value with its place in the table.
struct Field<'a> {
    label: &'a str,
    class: &'static str,
    cell: Cell<'a>,
}

impl Field<'_> {
    /// The lead is the heading of its card on a phone, where the other values have the column's name beside them.
    fn is_lead(&self) -> bool {
        self.class == LEAD
    }
}

impl List<'_> {
    /// The page as HTML.
    #[must_use]
    pub fn render(&self) -> String {
        // A row of the example takes about 550 bytes; too little only costs a copy.
        finish(self, 4096 + self.rows.len() * self.columns.len().max(1) * 96)
    }

    fn fields<'s>(&'s self, row: &'s [Option<String>]) -> impl Iterator<Item = Field<'s>> {
        // The first text is what a reader knows the row by.
        let lead = self.columns.iter().position(|column| column.kind == Kind::Text);
        self.columns
            .iter()
            .zip(row)
            .enumerate()
            .map(move |(index, (column, value))| Field {
                label: column.name,
                class: match column.kind {
                    Kind::Number => "n",
                    Kind::Text if Some(index) == lead => LEAD,
                    _ => "",
                },
                cell: Cell::new(column.kind, value.as_deref()),
            })
    }

    /// More columns than a desktop screen holds: the table then scrolls in a frame of its own.
    fn is_wide(&self) -> bool {
        self.columns.len() > 8
    }

    fn start_word(&self) -> String {
        fill(self.words.start_page, &[self.tenant])
    }

    fn own_word(&self) -> String {
        fill(self.words.own_about, &[self.tenant])
    }

    fn title_word(&self) -> String {
        fill(self.words.title_page, &[&self.page.to_string()])
    }

    fn page_word(&self) -> String {
        fill(self.words.page_number, &[&self.page.to_string()])
    }

    fn rows_word(&self) -> String {
        fill(
            self.words.rows_from_to,
            &[&self.first_row().to_string(), &self.last_row().to_string()],
        )
    }

    fn caption_word(&self) -> String {
        let (first, last) = (self.first_row().to_string(), self.last_row().to_string());
        fill(self.words.caption_rows, &[self.relation.name, &first, &last])
    }

    fn no_rows_word(&self) -> String {
        fill(self.words.no_rows_on_page, &[&self.page.to_string()])
    }

    fn first_word(&self) -> String {
        fill(self.words.first_row_here, &[self.relation.name])
    }

    fn previous(&self) -> u64 {
        self.page.saturating_sub(1).max(1)
    }

    fn next(&self) -> u64 {
        self.page.saturating_add(1)
    }

    fn offset(&self) -> u64 {
        self.page.saturating_sub(1).saturating_mul(self.page_size)
    }

    fn first_row(&self) -> u64 {
        self.offset().saturating_add(1)
    }

    fn last_row(&self) -> u64 {
        self.offset().saturating_add(self.rows.len() as u64)
    }

    /// The rows of this page as JSON.
    fn json_href(&self) -> String {
        let mut href = self.api_href();
        let mut mark = '?';
        for (index, column) in self.columns.iter().filter(|column| column.key).enumerate() {
            href.push_str(if index == 0 { "?order=" } else { "," });
            encode(&quoted(column.name), &mut href);
            href.push_str(".asc");
            mark = '&';
        }
        // Writing to a `String` cannot fail.
        let _ = write!(href, "{mark}limit={}", self.page_size);
        if self.offset() > 0 {
            let _ = write!(href, "&offset={}", self.offset());
        }
        href
    }

    /// One value of `row` as JSON, found by the row's key; without a key, the rows of this page.
    fn value_href(&self, row: &[Option<String>], column: &str) -> String {
        let mut href = self.api_href();
        href.push_str("?select=");
        encode(&quoted(column), &mut href);
        let mut has_key = false;
        for (key, value) in self.columns.iter().zip(row).filter(|(column, _)| column.key) {
            let Some(value) = value else {
                return self.json_href();
            };
            href.push('&');
            encode(key.name, &mut href);
            href.push_str("=eq.");
            encode(value, &mut href);
            has_key = true;
        }
        if has_key { href } else { self.json_href() }
    }

    fn api_href(&self) -> String {
        let mut href = String::from("/api/");
        encode(self.relation.name, &mut href);
        href
    }
}

/// A column's name as `select` and `order` read it: in double quotes unless it is a plain word.
pub(crate) fn quoted(name: &str) -> String {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// The CSS class of the value that a reader knows a row by.
const LEAD: &str = "lead";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::ENGLISH;

    const COLUMNS: [Column<'static>; 4] = [
        Column {
            name: "id",
            kind: Kind::Number,
            type_name: "bigint",
            key: true,
        },
        Column {
            name: "text",
            kind: Kind::Text,
            type_name: "varchar(255)",
            key: false,
        },
        Column {
            name: "checkbox",
            kind: Kind::Boolean,
            type_name: "boolean",
            key: false,
        },
        Column {
            name: "details",
            kind: Kind::Json,
            type_name: "jsonb",
            key: false,
        },
    ];

    const RELATIONS: [Relation<'static>; 2] = [
        Relation {
            name: "mylist",
            scope: Scope::Tenant,
        },
        Relation {
            name: "beforeidie",
            scope: Scope::Shared,
        },
    ];

    fn list(rows: Vec<Vec<Option<String>>>) -> List<'static> {
        List {
            words: &ENGLISH,
            tenant: "cliente",
            host: "cliente.todo.local",
            relation: RELATIONS[0],
            relations: &RELATIONS,
            description: None,
            columns: &COLUMNS,
            rows,
            page: 1,
            has_next: false,
            page_size: 50,
        }
    }

    fn row(values: [Option<&str>; 4]) -> Vec<Option<String>> {
        values.map(|value| value.map(str::to_owned)).to_vec()
    }

    #[test]
    fn values_are_escaped() {
        let page = list(vec![row([
            Some("1"),
            Some("<script>alert(\"x\")</script> & 'q'"),
            Some("t"),
            Some("{}"),
        ])])
        .render();
        assert!(
            page.contains("&#60;script&#62;alert(&#34;x&#34;)&#60;/script&#62; &#38; &#39;q&#39;"),
            "{page}"
        );
        assert!(!page.contains("<script"));
    }

    #[test]
    fn names_are_escaped_in_text_in_attributes_and_in_links() {
        let hostile = "\"><img src=x onerror=alert(1)>";
        let columns = [Column {
            name: hostile,
            kind: Kind::Other,
            type_name: hostile,
            key: true,
        }];
        let relations = [Relation {
            name: hostile,
            scope: Scope::Tenant,
        }];
        let page = List {
            tenant: hostile,
            host: hostile,
            relation: relations[0],
            relations: &relations,
            columns: &columns,
            ..list(vec![vec![Some("x".to_owned())]])
        }
        .render();
        assert!(!page.contains("<img"));
        assert!(page.contains("data-label=\"&#34;&#62;&#60;img"), "{page}");
        assert!(
            page.contains("href=\"/%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E\""),
            "{page}"
        );
    }

    #[test]
    fn an_empty_list_says_so() {
        let page = list(Vec::new()).render();
        assert!(page.contains("No rows yet."));
        assert!(!page.contains("<table"));
        let page = List {
            page: 7,
            ..list(Vec::new())
        }
        .render();
        assert!(page.contains("No rows on page 7."));
        assert!(page.contains("href=\"?page=1\""));
    }

    #[test]
    fn null_is_a_dash_with_a_title() {
        let page = list(vec![row([Some("1"), None, None, None])]).render();
        assert_eq!(page.matches("<span class=\"nil\" title=\"NULL\">—</span>").count(), 3);
    }

    #[test]
    fn booleans_are_said_in_words_too() {
        let page = list(vec![
            row([Some("1"), Some("a"), Some("t"), Some("{}")]),
            row([Some("2"), Some("b"), Some("false"), Some("{}")]),
        ])
        .render();
        assert!(page.contains("☑</span><span class=\"vh\">yes</span>"));
        assert!(page.contains("☐</span><span class=\"vh\">no</span>"));
    }

    #[test]
    fn the_last_page_has_no_next_link() {
        let rows = || vec![row([Some("1"), Some("a"), Some("t"), Some("{}")])];
        let page = List {
            page: 3,
            ..list(rows())
        }
        .render();
        assert!(page.contains("<a rel=\"prev\" href=\"?page=2\">"));
        assert!(!page.contains("rel=\"next\""));
        let page = List {
            has_next: true,
            ..list(rows())
        }
        .render();
        assert!(page.contains("<a rel=\"next\" href=\"?page=2\">"));
        assert!(!page.contains("rel=\"prev\""));
        let page = list(rows()).render();
        assert!(!page.contains("class=\"pages\""));
    }

    #[test]
    fn page_numbers_at_the_end_of_their_range_do_not_overflow() {
        let page = List {
            page: u64::MAX,
            has_next: true,
            ..list(Vec::new())
        }
        .render();
        assert!(page.contains("&offset=18446744073709551615") || page.contains("offset=18446744073709551615"));
    }

    #[test]
    fn long_json_is_reachable_on_the_page() {
        let json = format!("{{\"first\": \"{}\", \"last\": 1}}", "x".repeat(200));
        let page = list(vec![row([Some("1"), Some("a"), Some("t"), Some(&json)])]).render();
        assert!(
            page.contains("<details class=\"code\"><summary>{&#34;first&#34;: "),
            "{page}"
        );
        assert!(page.contains("  &#34;last&#34;: 1\n}</pre>"), "{page}");
    }

    #[test]
    fn a_value_too_long_for_the_page_is_linked_by_its_key() {
        let text = "a".repeat(10_000);
        let page = list(vec![row([Some("42"), Some(&text), Some("t"), Some("{}")])]).render();
        assert!(page.len() < 12_000);
        assert!(
            page.contains("<a href=\"/api/mylist?select=text&#38;id=eq.42\">The whole value as JSON</a>"),
            "{page}"
        );
    }

    #[test]
    fn the_json_link_asks_for_the_rows_of_the_page() {
        assert_eq!(list(Vec::new()).json_href(), "/api/mylist?order=id.asc&limit=50");
        let columns = [
            Column {
                name: "a b",
                kind: Kind::Text,
                type_name: "text",
                key: true,
            },
            Column {
                name: "n",
                kind: Kind::Number,
                type_name: "int4",
                key: true,
            },
        ];
        let list = List {
            columns: &columns,
            page: 3,
            ..list(Vec::new())
        };
        assert_eq!(
            list.json_href(),
            "/api/mylist?order=%22a%20b%22.asc,n.asc&limit=50&offset=100"
        );
    }

    #[test]
    fn the_scope_is_said_in_words() {
        assert!(list(Vec::new()).render().contains("<p class=\"badge own\">own</p>"));
        let page = List {
            relation: RELATIONS[1],
            ..list(Vec::new())
        }
        .render();
        assert!(page.contains("<p class=\"badge shared\">shared</p>"));
        assert!(page.contains("<a href=\"/beforeidie\" aria-current=\"page\">"));
    }
}
