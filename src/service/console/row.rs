//! One row: seen, made, changed, deleted; and several at once.

use std::collections::HashMap;

use http::{Method, Response, StatusCode};
use serde_json::value::RawValue;

use crate::catalog::Relation;
use crate::error::Error;
use crate::pages::console::{Confirm, Field, Form, Frame, Part, RelatedRows, here_parameter};
use crate::pages::quoted;
use crate::pages::words::fill;
use crate::percent::encode;
use crate::response;
use crate::server::Body;
use crate::views;
use crate::views::Sent;
use crate::views::form::{
    Said, Values, fields, key_condition, key_of, label, object, one_value, referring, refill, text_of,
};
use crate::views::grid::add_conditions;

use super::data::{label_columns, path_of};
use super::{Ask, Reply, Rights, Room, Service, Visit, see_other};
use crate::service::MAX_RESPONSE;

/// Rows of each relation that are shown beside the one that they refer to.
const RELATED: usize = 5;

/// Relations whose rows are looked for: more would make the page slow.
const MOST_RELATED: usize = 8;

/// Rows that are named before they are changed.
const NAMED: usize = 10;

/// Rows that are changed at once: a page's, and then some.
const MOST_ROWS: usize = 1000;

impl Service {
    /// The form of a row, and what it was sent with. Without a key it is a new one.
    pub(super) async fn row(
        &self,
        visit: &Visit<'_>,
        name: &str,
        key: Option<String>,
        sent: Option<Sent>,
    ) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let (relation, rights) = room.relation(name)?;
        let condition = match &key {
            Some(key) => match key_condition(relation, key) {
                Some(condition) => Some(condition),
                None => return Ok(not_there(visit, &room, relation)),
            },
            None => None,
        };
        let found = match &condition {
            Some(condition) => match self.find(visit, relation, condition, "select=*").await? {
                Ok(Some(row)) => Some(row),
                Ok(None) => return Ok(not_there(visit, &room, relation)),
                Err(refused) => return Ok(refused.refusal(visit, &room, name)),
            },
            None => None,
        };
        let here = here(visit);
        let words = visit.words;
        // A new row may begin as a copy of another, or with a key that it refers to.
        let begun = match (&found, visit.parameter("from")) {
            (None, Some(from)) => match key_condition(relation, &from) {
                Some(condition) => {
                    let row = self.find(visit, relation, &condition, "select=*").await?;
                    row.ok().flatten().map(|row| without_keys(relation, row))
                }
                None => None,
            },
            _ => None,
        };
        let mut form = fields(room.catalog(), relation, found.as_ref().or(begun.as_ref()), words);
        if found.is_none() {
            // Bytes are not in the form, so a copy cannot have them.
            form.iter_mut().for_each(|field| field.bytes = None);
        }
        if found.is_none() && sent.is_none() {
            refill(&mut form, &Sent::parse(visit.query()));
        }
        let mut problem = None;
        if let Some(sent) = &sent {
            match object(relation, sent, found.is_some().then_some(&form), words) {
                Ok(object) if object.is_empty() && found.is_some() => {
                    let key = key.as_deref().unwrap_or_default();
                    return Ok(see_other(&format!(
                        "/admin/data/{}/row?{key}{}&_done=unchanged",
                        path_of(name),
                        here_parameter(&here)
                    )));
                }
                Ok(object) => {
                    let body = serde_json::to_vec(&object).unwrap_or_default();
                    let reply = self.save(visit, relation, rights, condition.as_deref(), body).await?;
                    let is_gone = reply.is_good() && condition.is_some() && rights.select && reply.rows().is_empty();
                    if reply.is_good() && !is_gone {
                        let done = if key.is_some() { "saved" } else { "created" };
                        // A view, or a role that may not read what it writes, tells no key.
                        let saved = reply.rows().first().and_then(|row| key_of(relation, row));
                        let to = match saved {
                            Some(saved) => format!(
                                "/admin/data/{}/row?{saved}{}&_done={done}",
                                path_of(name),
                                here_parameter(&here)
                            ),
                            None => format!("/admin/data/{}?_done={done}", path_of(name)),
                        };
                        return Ok(see_other(&to));
                    }
                    // A row that is gone, or that the role may see and not change.
                    let said = if is_gone {
                        Said {
                            message: words.no_such_row.to_owned(),
                            ..Said::default()
                        }
                    } else {
                        reply.said()
                    };
                    refill(&mut form, sent);
                    let at = said.column(relation, sent);
                    match at.and_then(|column| form.iter_mut().find(|field| *field.name == *column)) {
                        Some(field) => field.problem = Some(said.text()),
                        None => problem = Some(said.text()),
                    }
                }
                Err(problems) => {
                    refill(&mut form, sent);
                    for (column, problem) in problems {
                        if let Some(field) = form.iter_mut().find(|field| *field.name == *column) {
                            field.problem = Some(problem);
                        }
                    }
                }
            }
        }
        self.name_references(visit, &room, &mut form).await?;
        let related = match &found {
            Some(row) => self.related(visit, &room, relation, row).await?,
            None => Vec::new(),
        };
        let wrong = problem.is_some() || form.iter().any(|field| field.problem.is_some());
        let (notice, relations) = (visit.notice(), room.navigation(visit.tenant));
        let shown = found.as_ref().map(|row| label(relation, row)).unwrap_or_default();
        let page = Form {
            frame: Frame {
                notice: notice.as_deref().filter(|_| !wrong),
                ..visit.frame(&relations, Part::Data, name)
            },
            name,
            scope: views::scope(relation.scope, visit.tenant),
            key: key.as_deref(),
            label: &shown,
            here: &here,
            fields: form,
            problem,
            may_save: if found.is_some() { rights.update } else { rights.insert },
            may_delete: rights.delete,
            may_insert: rights.insert,
            related,
        };
        let status = if wrong { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        Ok(response::console(status, page.render()))
    }

    /// The row of a condition, or why the API does not give it.
    async fn find(
        &self,
        visit: &Visit<'_>,
        relation: &Relation,
        condition: &str,
        select: &str,
    ) -> Result<Result<Option<Values>, Reply>, Error> {
        let mut query = format!("?limit=1&{select}");
        add_conditions(&[condition.to_owned()], &mut query);
        let answer = self.ask(visit, Ask::get(&relation.name, &query)).await?;
        // One row may be as large as the API has them.
        let reply = Reply::collect(answer, MAX_RESPONSE).await?;
        Ok(if reply.is_good() {
            Ok(reply.rows().into_iter().next())
        } else {
            Err(reply)
        })
    }

    async fn save(
        &self,
        visit: &Visit<'_>,
        relation: &Relation,
        rights: Rights,
        row: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Reply, Error> {
        let mut query = String::from("?");
        // Who may not read what is written gets nothing of it back.
        if rights.select {
            query.push_str(&select_label(relation));
        }
        add_conditions(row.map(str::to_owned).as_slice(), &mut query);
        let returning = if rights.select { "representation" } else { "minimal" };
        let prefer = match row {
            Some(_) => format!("return={returning}, handling=strict, max-affected=1"),
            None => format!("return={returning}, missing=default"),
        };
        let query = query.replacen("?&", "?", 1);
        let ask = Ask {
            method: if row.is_some() { Method::PATCH } else { Method::POST },
            prefer: &prefer,
            body: body.into(),
            ..Ask::get(&relation.name, &query)
        };
        self.reply(visit, ask).await
    }

    /// Says beside each key what the row is known by that it refers to.
    async fn name_references(&self, visit: &Visit<'_>, room: &Room, form: &mut [Field<'_>]) -> Result<(), Error> {
        for field in form {
            let Some(pick) = &mut field.pick else {
                continue;
            };
            let (Some(target), false) = (room.catalog().relation(pick.target), field.value.is_empty()) else {
                continue;
            };
            let mut query = format!("?limit=1&{}", select_label(target));
            let condition = format!("{}.eq.{}", quoted(pick.column), views::grid::text(&field.value));
            add_conditions(&[condition], &mut query);
            let reply = self.reply(visit, Ask::get(&target.name, &query)).await?;
            if let Some(row) = reply.rows().first() {
                pick.href = key_of(target, row).map(|key| format!("/admin/data/{}/row?{key}", path_of(&target.name)));
                pick.label = Some(label(target, row));
            }
        }
        Ok(())
    }

    /// The rows that refer to this one.
    async fn related<'r>(
        &self,
        visit: &Visit<'_>,
        room: &'r Room,
        relation: &'r Relation,
        row: &Values,
    ) -> Result<Vec<RelatedRows<'r>>, Error> {
        let mut all = Vec::new();
        for (target, key) in referring(room.catalog(), relation) {
            // What is closed to the role is nothing to speak of.
            let Ok((_, rights)) = room.relation(&target.name) else {
                continue;
            };
            if all.len() == MOST_RELATED {
                break;
            }
            let values: Option<Vec<(&str, String)>> = key
                .columns
                .iter()
                .map(|(ours, theirs)| Some((&**theirs, text_of(row.get(&**ours)?)?)))
                .collect();
            let (Some(values), true) = (values, rights.select) else {
                continue;
            };
            let mut query = format!("?limit={}&{}", RELATED + 1, select_label(target));
            let conditions: Vec<String> = values
                .iter()
                .map(|(column, value)| format!("{}.eq.{}", quoted(column), views::grid::text(value)))
                .collect();
            add_conditions(&conditions, &mut query);
            let reply = self.reply(visit, Ask::get(&target.name, &query)).await?;
            if !reply.is_good() {
                continue;
            }
            let mut href = format!("/admin/data/{}?", path_of(&target.name));
            let mut new = format!("/admin/data/{}/new?", path_of(&target.name));
            for (column, value) in &values {
                href.push_str("c=");
                encode(column, &mut href);
                href.push_str("&o=is&v=");
                encode(value, &mut href);
                href.push('&');
                new.push_str("%3D");
                encode(column, &mut new);
                new.push('=');
                encode(value, &mut new);
                new.push('&');
            }
            let rows = reply.rows();
            all.push(RelatedRows {
                name: &target.name,
                by: key
                    .columns
                    .iter()
                    .map(|(_, theirs)| &**theirs)
                    .collect::<Vec<_>>()
                    .join(", "),
                href: href.trim_end_matches('&').to_owned(),
                new_href: rights.insert.then(|| new.trim_end_matches('&').to_owned()),
                more: rows.len() > RELATED,
                rows: rows
                    .iter()
                    .take(RELATED)
                    .map(|row| {
                        let href =
                            key_of(target, row).map(|key| format!("/admin/data/{}/row?{key}", path_of(&target.name)));
                        (href, label(target, row))
                    })
                    .collect(),
            });
        }
        Ok(all)
    }

    /// Deletes a row, after it was asked whether that is meant.
    pub(super) async fn delete(
        &self,
        visit: &Visit<'_>,
        name: &str,
        sent: Option<Sent>,
    ) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let (relation, _) = room.relation(name)?;
        let key = visit.row_key();
        let here = here(visit);
        let Some(condition) = key_condition(relation, &key) else {
            return Ok(not_there(visit, &room, relation));
        };
        let row = match self.find(visit, relation, &condition, &select_label(relation)).await? {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(not_there(visit, &room, relation)),
            Err(refused) => return Ok(refused.refusal(visit, &room, name)),
        };
        let mut problem = None;
        if sent.is_some() {
            let reply = self.delete_rows(visit, relation, &[condition], 1).await?;
            if reply.is_good() {
                let count = reply.total().unwrap_or(0);
                let mark = if here.is_empty() { '?' } else { '&' };
                return Ok(see_other(&format!(
                    "/admin/data/{}{here}{mark}_done=deleted&_n={count}",
                    path_of(name)
                )));
            }
            problem = Some(reply.said().text());
        }
        let shown = label(relation, &row);
        let related = self.related(visit, &room, relation, &row).await?;
        let related = related
            .iter()
            .filter(|related| !related.rows.is_empty())
            .map(|related| {
                let more = if related.more { "+" } else { "" };
                (related.name, format!("{}{more}", related.rows.len()))
            });
        let question = Question {
            related: related.collect(),
            question: fill(visit.words.sure_delete_one, &[name]),
            action: format!("/admin/data/{}/delete?{key}{}", path_of(name), here_parameter(&here)),
            fields: Vec::new(),
            button: visit.words.delete,
            back: format!("/admin/data/{}/row?{key}{}", path_of(name), here_parameter(&here)),
            problem,
        };
        Ok(question.page(visit, &room, relation, &[shown.as_str()], 0))
    }

    async fn delete_rows(
        &self,
        visit: &Visit<'_>,
        relation: &Relation,
        conditions: &[String],
        most: usize,
    ) -> Result<Reply, Error> {
        let query = narrowed(conditions);
        let prefer = format!("return=minimal, count=exact, handling=strict, max-affected={most}");
        let ask = Ask {
            method: Method::DELETE,
            prefer: &prefer,
            ..Ask::get(&relation.name, &query)
        };
        self.reply(visit, ask).await
    }

    /// Does something with the rows that were chosen in a list, after it was asked whether that is meant.
    pub(super) async fn bulk(&self, visit: &Visit<'_>, name: &str, sent: &Sent) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let (relation, rights) = room.relation(name)?;
        let words = visit.words;
        let here = sent.get("here");
        let here = if here.is_empty() || here.starts_with('?') {
            here
        } else {
            ""
        };
        let back = format!("/admin/data/{}{here}", path_of(name));
        let done = |done: &str| format!("{back}{}_done={done}", if here.is_empty() { '?' } else { '&' });
        let keys: Vec<&str> = sent.all("row").take(MOST_ROWS).collect();
        let conditions: Option<Vec<String>> = keys.iter().map(|key| key_condition(relation, key)).collect();
        let Some(conditions) = conditions.filter(|conditions| !conditions.is_empty()) else {
            return Ok(see_other(&done("none")));
        };
        let any = [format!("or({})", conditions.join(","))];
        let number = keys.len().to_string();
        let sets = sent.get("do") == "set";
        let (column, value) = (sent.get("column"), sent.get("value"));
        let set = match relation.column(column) {
            Some((_, column)) if sets => Some((column, one_value(column, value, words))),
            None if sets => return Ok(see_other(&done("none"))),
            _ => None,
        };
        let mut problem = None;
        if !sent.get("sure").is_empty() {
            let outcome = match &set {
                Some((column, Ok(json))) => Ok(self
                    .set_rows(visit, relation, &any, &column.name, json, keys.len())
                    .await?),
                Some((_, Err(problem))) => Err(problem.clone()),
                None => Ok(self.delete_rows(visit, relation, &any, keys.len()).await?),
            };
            match outcome {
                Ok(reply) if reply.is_good() => {
                    let count = reply.total().unwrap_or(0);
                    let word = if sets { "changed" } else { "deleted" };
                    return Ok(see_other(&done(&format!("{word}&_n={count}"))));
                }
                Ok(reply) => problem = Some(reply.said().text()),
                Err(wrong) => problem = Some(wrong),
            }
        }
        if !(if sets { rights.update } else { rights.delete }) && problem.is_none() {
            problem = Some(words.read_only.to_owned());
        }
        let mut query = format!("?limit={NAMED}&{}", select_label(relation));
        add_conditions(&any, &mut query);
        let named = self.reply(visit, Ask::get(name, &query)).await?.rows();
        let labels: Vec<String> = named.iter().map(|row| label(relation, row)).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let mut carried: Vec<(&str, &str)> = keys.iter().map(|key| ("row", *key)).collect();
        carried.extend([
            ("do", sent.get("do")),
            ("column", column),
            ("value", value),
            ("here", here),
        ]);
        let question = Question {
            related: Vec::new(),
            question: if sets {
                let what = match &set {
                    Some((_, Ok(json))) if json.get() == "null" => format!("{column} = NULL"),
                    Some((_, Ok(_))) if value.is_empty() => format!("{column} = ''"),
                    _ => format!("{column} = {value}"),
                };
                fill(words.sure_set, &[&what, &number])
            } else {
                match keys.len() {
                    1 => fill(words.sure_delete_one, &[name]),
                    _ => fill(words.sure_delete, &[&number, name]),
                }
            },
            action: format!("/admin/data/{}/bulk", path_of(name)),
            fields: carried,
            button: if sets { words.set } else { words.delete },
            back,
            problem,
        };
        Ok(question.page(
            visit,
            &room,
            relation,
            &labels,
            keys.len() - labels.len().min(keys.len()),
        ))
    }

    async fn set_rows(
        &self,
        visit: &Visit<'_>,
        relation: &Relation,
        conditions: &[String],
        column: &str,
        value: &RawValue,
        most: usize,
    ) -> Result<Reply, Error> {
        let query = narrowed(conditions);
        let prefer = format!("return=minimal, count=exact, handling=strict, max-affected={most}");
        let body = serde_json::to_vec(&HashMap::from([(column, value)])).unwrap_or_default();
        let ask = Ask {
            method: Method::PATCH,
            prefer: &prefer,
            body: body.into(),
            ..Ask::get(&relation.name, &query)
        };
        self.reply(visit, ask).await
    }
}

/// What is asked back.
struct Question<'a> {
    related: Vec<(&'a str, String)>,
    question: String,
    action: String,
    fields: Vec<(&'a str, &'a str)>,
    button: &'a str,
    back: String,
    problem: Option<String>,
}

impl Question<'_> {
    fn page(self, visit: &Visit<'_>, room: &Room, relation: &Relation, labels: &[&str], more: usize) -> Response<Body> {
        let status = if self.problem.is_some() {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::OK
        };
        let relations = room.navigation(visit.tenant);
        let page = Confirm {
            frame: visit.frame(&relations, Part::Data, &relation.name),
            name: &relation.name,
            question: self.question,
            action: self.action,
            fields: self.fields,
            labels: labels.to_vec(),
            more,
            related: self.related,
            button: self.button,
            back: self.back,
            problem: self.problem,
        };
        response::console(status, page.render())
    }
}

fn not_there(visit: &Visit<'_>, room: &Room, relation: &Relation) -> Response<Body> {
    let relations = room.navigation(visit.tenant);
    let frame = visit.frame(&relations, Part::Data, &relation.name);
    visit.failure(frame, StatusCode::NOT_FOUND, visit.words.no_such_row, None)
}

/// `select=` of what a row is known by; of all columns where it is known by none.
fn select_label(relation: &Relation) -> String {
    let names = label_columns(relation);
    let mut select = String::from("select=");
    let names = if names.is_empty() {
        "*".to_owned()
    } else {
        names.join(",")
    };
    encode(&names, &mut select);
    select
}

/// The list that a page was opened from: the query string of its address, or nothing.
fn here(visit: &Visit<'_>) -> String {
    let here = visit.parameter("_here").unwrap_or_default();
    if here.starts_with('?') { here } else { String::new() }
}

/// The query string of these conditions alone.
fn narrowed(conditions: &[String]) -> String {
    let mut query = String::new();
    add_conditions(conditions, &mut query);
    query.replacen('&', "?", 1)
}

/// A copy of a row gets a key of its own where the database makes one.
fn without_keys(relation: &Relation, mut row: Values) -> Values {
    for column in relation.key().filter(|column| column.generated || column.has_default) {
        row.remove(&*column.name);
    }
    row
}
