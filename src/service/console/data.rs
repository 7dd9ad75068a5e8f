//! What there is, and lists of it.

use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};

use crate::catalog::{Column, Relation};
use crate::error::Error;
use crate::pages::console::{
    FilterColumn, FilterLine, Frame, Grid, GridColumn, GridRow, GridValue, OperatorWord, Overview, OverviewLine, Part,
};
use crate::pages::quoted;
use crate::pages::words::{Words, fill};
use crate::percent::encode;
use crate::response;
use crate::server::Body;
use crate::views;
use crate::views::form::{Reference, Values, key_of, label, label_column, reference, text_of};
use crate::views::grid::{add_conditions, is_sortable};
use crate::views::{GRID_SIZE, GridQuery, Operator, Place};

use super::{Ask, MOST_BYTES, Reply, Room, Service, Visit};

/// Rows that are offered for a key.
const CHOICES: usize = 20;

/// The name under which a row's reference to another is embedded in it.
const EMBEDDED: &str = "__refers";

impl Service {
    /// All relations.
    pub(super) async fn overview(&self, visit: &Visit<'_>) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let relations = room.navigation(visit.tenant);
        let notice = visit.notice();
        let lines = room
            .catalog()
            .relations()
            .iter()
            .zip(&room.rights)
            .filter(|(_, rights)| rights.select);
        let page = Overview {
            lines: lines
                .map(|(relation, rights)| OverviewLine {
                    name: &relation.name,
                    scope: views::scope(relation.scope, visit.tenant),
                    is_view: relation.is_view(),
                    columns: relation.columns.len(),
                    comment: relation.comment.as_deref(),
                    writable: rights.insert || rights.update || rights.delete,
                })
                .collect(),
            frame: Frame {
                notice: notice.as_deref(),
                ..visit.frame(&relations, Part::Data, "")
            },
        };
        Ok(response::console(StatusCode::OK, page.render()))
    }

    /// The rows of a relation.
    pub(super) async fn grid(&self, visit: &Visit<'_>, name: &str) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let (relation, rights) = room.relation(name)?;
        let query = GridQuery::parse(visit.query(), relation);
        let (mut rows, total, problem) = match &query.misfit {
            Some(column) => (Vec::new(), None, Some(fill(visit.words.misfit, &[column]))),
            None => self.rows_of(visit, &room, relation, &query).await?,
        };
        let status = if problem.is_some() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };
        let (previous, next) = neighbours(relation, &query, &mut rows);
        let href = |place: Place| address(relation, &query.at(place));
        let everything = query.at(Place::First);
        let most_rows = u64::from(visit.tenant.config().limits.max_rows.get());
        let (notice, relations) = (visit.notice(), room.navigation(visit.tenant));
        let page = Grid {
            frame: Frame {
                notice: notice.as_deref(),
                ..visit.frame(&relations, Part::Data, name)
            },
            name: &relation.name,
            scope: views::scope(relation.scope, visit.tenant),
            comment: relation.comment.as_deref(),
            all_columns: relation
                .columns
                .iter()
                .map(|column| (&*column.name, query.shows(&column.name)))
                .collect(),
            columns: grid_columns(relation, &query),
            rows: grid_rows(&room, relation, &query, rows),
            filters: filter_lines(relation, &query, visit.words),
            filter_columns: relation
                .columns
                .iter()
                .map(|column| {
                    let codes: Vec<&str> = Operator::of(column).iter().map(|operator| operator.code()).collect();
                    FilterColumn {
                        name: &column.name,
                        operators: codes.join(" "),
                    }
                })
                .collect(),
            search: &query.search,
            sort: query
                .sort
                .as_ref()
                .map(|(name, desc)| format!("{name}.{}", if *desc { "desc" } else { "asc" })),
            narrowed: query.is_narrowed(),
            total: total.map(|total| (total, total <= most_rows)),
            first_href: (!matches!(query.place, Place::First | Place::Page(0))).then(|| href(Place::First)),
            previous_href: previous.map(href),
            next_href: next.map(href),
            api_href: format!("/api/{}{}", path_of(&relation.name), everything.all(relation)),
            export_query: everything.to_text(),
            may_insert: rights.insert,
            may_update: rights.update,
            may_delete: rights.delete,
            bulk_columns: relation
                .columns
                .iter()
                .filter(|column| !column.generated && !is_key(relation, column))
                .map(|column| &*column.name)
                .collect(),
            problem: problem.as_deref(),
            here: query.to_text(),
        };
        Ok(response::console(status, page.render()))
    }

    /// The rows of one page and one more, how many there are in all, and what the database has against it.
    async fn rows_of(
        &self,
        visit: &Visit<'_>,
        room: &Room,
        relation: &Relation,
        query: &GridQuery,
    ) -> Result<(Vec<Values>, Option<u64>, Option<String>), Error> {
        let first = query.place == Place::First;
        // A page is a page, even where a client gets fewer rows at once.
        let whole = u64::from(visit.tenant.config().limits.max_rows.get()) <= GRID_SIZE;
        let ask = async |take| {
            let text = query.page(relation, &select(room, relation, query, take));
            let ask = Ask {
                prefer: if first { "count=estimated" } else { "" },
                whole,
                ..Ask::get(&relation.name, &text)
            };
            self.reply(visit, ask).await
        };
        let mut reply = match ask(Take::All).await {
            // Bytes are shown by their size alone, and so large a page is made of bytes as a rule.
            Err(Error::ResponseTooLarge { .. }) => ask(Take::WithoutBytes).await?,
            reply => reply?,
        };
        if reply.status.is_client_error() {
            // What it refers to may be closed to the role; its own rows need not be.
            let again = ask(Take::WithoutReferences).await?;
            if again.is_good() {
                reply = again;
            }
        }
        if !reply.is_good() {
            return Ok((Vec::new(), None, Some(reply.said().text())));
        }
        let total = if first {
            reply.total()
        } else {
            self.total(visit, relation, query).await?
        };
        Ok((reply.rows(), total, None))
    }

    /// How many rows there are, wherever the page is.
    async fn total(&self, visit: &Visit<'_>, relation: &Relation, query: &GridQuery) -> Result<Option<u64>, Error> {
        let mut text = String::from("?limit=1");
        add_conditions(&query.conditions(relation), &mut text);
        let asked = Ask {
            method: Method::HEAD,
            prefer: "count=estimated",
            ..Ask::get(&relation.name, &text)
        };
        Ok(self.reply(visit, asked).await?.total())
    }

    /// All rows of a list as a file.
    pub(super) async fn export(&self, visit: &Visit<'_>, name: &str) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let (relation, _) = room.relation(name)?;
        let csv = visit.parameter("format").as_deref() != Some("json");
        let query = GridQuery::parse(visit.query(), relation).all(relation);
        let asked = Ask {
            accept: if csv { "text/csv" } else { "application/json" },
            whole: true,
            ..Ask::get(name, &query)
        };
        let answer = self.ask(visit, asked).await?;
        if !answer.status().is_success() {
            let reply = Reply::collect(answer, MOST_BYTES).await?;
            return Ok(reply.refusal(visit, &room, name));
        }
        let (parts, body) = answer.into_parts();
        let mut response = response::file(body);
        if let Some(content_type) = parts.headers.get(CONTENT_TYPE) {
            response.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        }
        // RFC 6266: `filename*` for names that are not ASCII.
        let mut file = String::new();
        encode(name, &mut file);
        let (id, ending) = (&visit.tenant.config().id, if csv { "csv" } else { "json" });
        let disposition = format!("attachment; filename=\"{id}.{ending}\"; filename*=UTF-8''{id}-{file}.{ending}");
        if let Ok(disposition) = HeaderValue::from_str(&disposition) {
            response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
        }
        Ok(response)
    }

    /// Rows of a relation that a key may refer to: `[{"value": …, "label": …}]`.
    pub(super) async fn pick(&self, visit: &Visit<'_>, name: &str) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let (relation, _) = room.relation(name)?;
        let column = visit.parameter("column").unwrap_or_default();
        let Some((_, column)) = relation.column(&column) else {
            return Err(crate::router::Error::InvalidPath.into());
        };
        let query = GridQuery {
            search: visit.parameter("q").unwrap_or_default().trim().to_owned(),
            sort: label_column(relation)
                .filter(|label| is_sortable(label))
                .map(|label| (label.name.to_string(), false)),
            ..GridQuery::default()
        };
        let mut names = label_columns(relation);
        let value = quoted(&column.name);
        if !names.contains(&value) {
            names.push(value);
        }
        let text = query.page(relation, &names.join(","));
        let reply = self.reply(visit, Ask::get(name, &text)).await?;
        if !reply.is_good() {
            return Ok(response::json(reply.status, reply.body));
        }
        let choices: Vec<_> = reply
            .rows()
            .iter()
            .take(CHOICES)
            .filter_map(|row| {
                let value = text_of(row.get(&*column.name)?)?;
                Some(serde_json::json!({ "value": value, "label": label(relation, row) }))
            })
            .collect();
        Ok(response::json(
            StatusCode::OK,
            serde_json::Value::from(choices).to_string().into(),
        ))
    }
}

/// What is asked of each row.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Take {
    All,
    WithoutBytes,
    WithoutReferences,
}

/// What a list asks of each row: the columns that are shown, the key, and what the rows are known by that it refers to.
fn select(room: &Room, relation: &Relation, query: &GridQuery, take: Take) -> String {
    let mut names: Vec<String> = relation
        .columns
        .iter()
        .filter(|column| query.shows(&column.name) || is_needed(relation, query, column))
        .filter(|column| take != Take::WithoutBytes || &*column.base_type != "bytea")
        .map(|column| quoted(&column.name))
        .collect();
    let shown = relation
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| take == Take::All && query.shows(&column.name));
    for (at, column) in shown {
        if let Some(found) = reference(room.catalog(), relation, &column.name)
            && let Some(label) = label_column(found.target)
        {
            // What refers to its own relation is known by its column, anything else by its constraint.
            let by = if found.is_self {
                quoted(&column.name)
            } else {
                format!("{}!{}", quoted(&found.target.name), quoted(&found.key.constraint))
            };
            names.push(format!("{EMBEDDED}{at}:{by}({})", quoted(&label.name)));
        }
    }
    names.join(",")
}

/// Whether a column is asked for though it is not shown: it finds the row, the next page, or what the row is known by.
fn is_needed(relation: &Relation, query: &GridQuery, column: &Column) -> bool {
    let is = |other: &Column| other.name == column.name;
    is_key(relation, column)
        || query.order(relation).iter().any(|(order, _)| is(order))
        || label_column(relation).is_some_and(is)
}

/// The columns that a row is known by, as the data API has them.
pub(super) fn label_columns(relation: &Relation) -> Vec<String> {
    let key = relation.key().map(|column| quoted(&column.name));
    let mut names: Vec<String> = key.collect();
    if let Some(column) = label_column(relation) {
        let name = quoted(&column.name);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Cuts what was asked for down to the page, in its order, and says where the pages before and behind it begin.
fn neighbours(relation: &Relation, query: &GridQuery, rows: &mut Vec<Values>) -> (Option<Place>, Option<Place>) {
    let size = usize::try_from(GRID_SIZE).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let backwards = matches!(query.place, Place::Before(_));
    if backwards {
        rows.reverse();
    }
    let order = query.order(relation);
    let marks = |row: &Values| -> Vec<Option<String>> {
        let of = |(column, _): &(&Column, bool)| row.get(&*column.name).and_then(|raw| text_of(raw));
        order.iter().map(of).collect()
    };
    match (&query.place, query.has_keyset(relation)) {
        (Place::Page(page), _) => (
            (*page > 0).then(|| Place::Page(page - 1)),
            more.then(|| Place::Page(page + 1)),
        ),
        (Place::First, false) => (None, more.then_some(Place::Page(1))),
        (place, _) => {
            let behind = more || backwards;
            let before = (backwards && more) || matches!(place, Place::After(_));
            (
                rows.first().filter(|_| before).map(|row| Place::Before(marks(row))),
                rows.last().filter(|_| behind).map(|row| Place::After(marks(row))),
            )
        }
    }
}

fn grid_columns<'r>(relation: &'r Relation, query: &GridQuery) -> Vec<GridColumn<'r>> {
    let shown = relation.columns.iter().filter(|column| query.shows(&column.name));
    let columns = shown.map(|column| {
        let sorted = query
            .sort
            .as_ref()
            .filter(|(name, _)| **name == *column.name)
            .map(|(_, desc)| *desc);
        GridColumn {
            name: &column.name,
            type_name: &column.type_name,
            kind: views::kind(column),
            key: is_key(relation, column),
            sorted,
            sort_href: is_sortable(column)
                .then(|| address(relation, &query.sorted(&column.name, sorted == Some(false)))),
            comment: column.comment.as_deref(),
            label: label_column(relation).is_some_and(|label| label.name == column.name),
        }
    });
    columns.collect()
}

/// The filters there are, and an empty one to fill in.
fn filter_lines<'q>(relation: &Relation, query: &'q GridQuery, words: &'static Words) -> Vec<FilterLine<'q>> {
    let filters = query.filters.iter().enumerate().map(|(at, filter)| FilterLine {
        column: &filter.column,
        operator: filter.operator.code(),
        value: &filter.value,
        operators: relation
            .field(&filter.column)
            .map(|column| operator_words(Operator::of(column), words))
            .unwrap_or_default(),
        without_href: Some(address(relation, &query.without(at))),
    });
    let empty = FilterLine {
        column: "",
        operator: "",
        value: "",
        operators: operator_words(Operator::ALL, words),
        without_href: None,
    };
    filters.chain([empty]).collect()
}

fn grid_rows(room: &Room, relation: &Relation, query: &GridQuery, rows: Vec<Values>) -> Vec<GridRow> {
    let rows = rows.into_iter().map(|row| {
        let shown = relation
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| query.shows(&column.name));
        let values = shown.map(|(at, column)| {
            let mut text = match row.get(&*column.name) {
                Some(raw) => text_of(raw),
                None => Some("…".to_owned()),
            };
            let bytes = text
                .as_ref()
                .filter(|text| &*column.base_type == "bytea" && text.starts_with("\\x"))
                .map(|text| text.len().saturating_sub(2) / 2);
            if bytes.is_some() {
                text = None;
            }
            let refers = text.as_deref().and_then(|value| {
                let Reference { target, key, .. } = reference(room.catalog(), relation, &column.name)?;
                let (_, theirs) = key.columns.first()?;
                let mut href = format!("/admin/data/{}/row?", path_of(&target.name));
                // Only a key opens a row; what refers to another unique column opens a list.
                if target.key().count() == 1 && target.key().any(|key| key.name == *theirs) {
                    encode(theirs, &mut href);
                    href.push_str("=eq.");
                } else {
                    href = format!("/admin/data/{}?o=is&c=", path_of(&target.name));
                    encode(theirs, &mut href);
                    href.push_str("&v=");
                }
                encode(value, &mut href);
                let embedded: Option<Values> = row
                    .get(&format!("{EMBEDDED}{at}"))
                    .and_then(|raw| serde_json::from_str(raw.get()).ok());
                let known = embedded.and_then(|target| target.values().find_map(|raw| text_of(raw)));
                Some((href, known.filter(|known| !known.trim().is_empty())))
            });
            GridValue { text, refers, bytes }
        });
        GridRow {
            values: values.collect(),
            key: key_of(relation, &row),
            label: label(relation, &row),
        }
    });
    rows.collect()
}

fn operator_words(operators: &[Operator], words: &'static Words) -> Vec<OperatorWord> {
    operators
        .iter()
        .map(|operator| OperatorWord {
            code: operator.code(),
            word: match operator {
                Operator::Is => words.op_is,
                Operator::IsNot => words.op_not,
                Operator::Contains => words.op_contains,
                Operator::Starts => words.op_starts,
                Operator::Ends => words.op_ends,
                Operator::More => words.op_gt,
                Operator::AtLeast => words.op_gte,
                Operator::Less => words.op_lt,
                Operator::AtMost => words.op_lte,
                Operator::OneOf => words.op_in,
                Operator::Has => words.op_has,
                Operator::Overlaps => words.op_any,
                Operator::Words => words.op_words,
                Operator::Matches => words.op_match,
                Operator::Yes => words.op_yes,
                Operator::No => words.op_no,
                Operator::Null => words.op_null,
                Operator::NotNull => words.op_notnull,
            },
        })
        .collect()
}

fn is_key(relation: &Relation, column: &Column) -> bool {
    relation.key().any(|key| key.name == column.name)
}

/// The address of a list.
fn address(relation: &Relation, query: &GridQuery) -> String {
    format!("/admin/data/{}{}", path_of(&relation.name), query.to_text())
}

/// A name as a segment of a path.
pub(super) fn path_of(name: &str) -> String {
    let mut path = String::new();
    encode(name, &mut path);
    path
}
