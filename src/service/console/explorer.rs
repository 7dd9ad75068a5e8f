//! What programs can ask of a tenant: examples that work when they are pasted, and requests that can be tried.

use std::time::Duration;

use http::{Method, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::catalog::{Column, Relation};
use crate::error::Error;
use crate::pages::Kind;
use crate::pages::console::{AllOfApi, Answer, ApiColumn, ApiPage, Example, Operation, Part, Try};
use crate::pages::words::Words;
use crate::percent::encode;
use crate::response;
use crate::response::Problem;
use crate::server::Body;
use crate::views;
use crate::views::Sent;

use super::data::path_of;
use super::{Ask, Room, Service, Visit, host, refused};

/// Bytes that are shown of an answer.
const MOST_SHOWN: usize = 64 << 10;

/// The headers of an answer that tell something of the dialect.
const TELLING: [&str; 6] = [
    "content-type",
    "content-range",
    "content-location",
    "location",
    "preference-applied",
    "server-timing",
];

impl Service {
    /// `/admin/api/` and `/admin/api/{relation}`.
    pub(super) async fn api_page(
        &self,
        visit: &Visit<'_>,
        name: Option<&str>,
        body: Incoming,
    ) -> Result<Response<Body>, Error> {
        let Some(name) = name else {
            return self.all_of_api(visit).await;
        };
        if !visit.is_post() {
            return self.relation_page(visit, name).await;
        }
        let sent = self.form(body, usize::MAX).await?;
        // Who is not signed in has nothing that another site could use.
        if visit
            .session
            .as_ref()
            .is_some_and(|session| !session.token.has_form_key(sent.get("_key")))
        {
            return Ok(refused(visit));
        }
        let room = self.room(visit).await?;
        let (relation, _) = room.relation(name)?;
        let attempt = self.attempt(visit, relation, &sent).await?;
        Ok(page(visit, &room, relation, attempt))
    }

    /// The page of a relation, for whoever may ask the API.
    pub(in crate::service) async fn relation_page(
        &self,
        visit: &Visit<'_>,
        name: &str,
    ) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let (relation, _) = room.relation(name)?;
        let attempt = Try {
            user: user(visit),
            method: "GET",
            query: "select=*&limit=5",
            body: "",
            prefer: "",
            answer: None,
        };
        Ok(page(visit, &room, relation, attempt))
    }

    async fn attempt<'s>(&self, visit: &'s Visit<'_>, relation: &Relation, sent: &'s Sent) -> Result<Try<'s>, Error> {
        let method = match sent.get("method") {
            "POST" => Method::POST,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => Method::GET,
        };
        let typed = sent.get("query").trim().trim_start_matches('?');
        // As browsers send what is typed into their address: what cannot stand there is encoded.
        let mut query = String::from(if typed.is_empty() { "" } else { "?" });
        for character in typed.chars() {
            let mut buffer = [0; 4];
            match character {
                ' ' | '"' | '<' | '>' | '`' | '{' | '}' | '|' | '\\' | '^' | '#' | '\u{80}'.. => {
                    encode(character.encode_utf8(&mut buffer), &mut query)
                }
                _ => query.push(character),
            }
        }
        let began = Instant::now();
        let answered = |status: String, body: String| Answer {
            status,
            headers: Vec::new(),
            body,
            milliseconds: milliseconds(began.elapsed()),
        };
        let tried = |answer| Try {
            user: user(visit),
            method: sent.get("method"),
            query: sent.get("query"),
            body: sent.get("body"),
            prefer: sent.get("prefer"),
            answer: Some(answer),
        };
        // Of the API they concern every row; here that is a slip, as the example above has no filter.
        if [Method::PATCH, Method::DELETE].contains(&method) && !has_filter(relation, &query) {
            let words = visit.words;
            return Ok(tried(answered(
                words.api_not_sent.to_owned(),
                words.api_needs_filter.to_owned(),
            )));
        }
        let ask = Ask {
            method,
            prefer: sent.get("prefer").trim(),
            body: sent.get("body").to_owned().into(),
            ..Ask::get(&relation.name, &query)
        };
        let answer = match self.reply(visit, ask).await {
            Ok(reply) => {
                let headers = TELLING.iter().filter_map(|name| {
                    let value = reply.headers.get(*name)?.to_str().ok()?;
                    Some(((*name).to_owned(), value.to_owned()))
                });
                Answer {
                    status: reply.status.to_string(),
                    headers: headers.collect(),
                    body: shown(&reply.body),
                    milliseconds: milliseconds(began.elapsed()),
                }
            }
            Err(error) => {
                let problem = Problem::from(&error);
                answered(problem.status.to_string(), problem.message)
            }
        };
        Ok(tried(answer))
    }

    /// All that can be asked, as the OpenAPI document tells it.
    async fn all_of_api(&self, visit: &Visit<'_>) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let ask = Ask {
            accept: "application/openapi+json",
            ..Ask::get("", "")
        };
        let reply = self.reply(visit, ask).await?;
        let document: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let mut operations = Vec::new();
        let paths = document.get("paths").and_then(serde_json::Value::as_object);
        for (path, verbs) in paths.into_iter().flatten() {
            let verbs = verbs.as_object().into_iter().flatten();
            for (method, operation) in verbs.filter(|(method, _)| *method != "parameters") {
                operations.push(self::operation(&room, path, method, operation));
            }
        }
        let relations = room.navigation(visit.tenant);
        let page = AllOfApi {
            frame: visit.frame(&relations, Part::Api, ""),
            base: format!("{}://{}/api", visit.client.scheme, host(visit.head())),
            operations,
            problem: (!reply.is_good()).then(|| reply.said().text()),
        };
        Ok(response::console(StatusCode::OK, page.render()))
    }
}

/// Whether a query string narrows which rows of a relation it is about: by a column of its own, or by logic. What filters
/// embedded rows does not, nor what is no filter at all.
fn has_filter(relation: &Relation, query: &str) -> bool {
    let mut names = query
        .trim_start_matches('?')
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| views::grid::decoded(name));
    names.any(|name| {
        let column = name.split("->").next().unwrap_or_default().trim_matches('"');
        ["and", "or", "not.and", "not.or"].contains(&&*name) || relation.field(column).is_some()
    })
}

fn user<'v>(visit: &'v Visit<'_>) -> &'v str {
    visit
        .session
        .as_ref()
        .map(|session| &*session.user.name)
        .unwrap_or_default()
}

fn operation(room: &Room, path: &str, method: &str, operation: &serde_json::Value) -> Operation {
    let text = |name: &str| {
        operation
            .get(name)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    let parameters = operation.get("parameters").and_then(serde_json::Value::as_array);
    let name = |parameter: &serde_json::Value| {
        if let Some(reference) = parameter.get("$ref").and_then(serde_json::Value::as_str) {
            let last = reference.rsplit('/').next().unwrap_or_default();
            return Some(last.rsplit('.').next().unwrap_or_default().to_owned());
        }
        Some(parameter.get("name")?.as_str()?.to_owned())
    };
    let relation = room.catalog().relation(path.trim_start_matches('/'));
    Operation {
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        summary: match text("summary") {
            "" => text("description").to_owned(),
            summary => summary.to_owned(),
        },
        parameters: parameters.into_iter().flatten().filter_map(name).collect(),
        href: relation.map(|relation| format!("/admin/api/{}", path_of(&relation.name))),
    }
}

fn page(visit: &Visit<'_>, room: &Room, relation: &Relation, attempt: Try<'_>) -> Response<Body> {
    let words = visit.words;
    let relations = room.navigation(visit.tenant);
    let mut embeds: Vec<&str> = relation
        .relationships
        .iter()
        .filter_map(|relationship| room.catalog().relations().get(relationship.target))
        .map(|target| &*target.name)
        .filter(|target| room.relation(target).is_ok_and(|(_, rights)| rights.select))
        .collect();
    embeds.sort_unstable();
    embeds.dedup();
    let mut methods = vec!["GET", "HEAD"];
    methods.extend(relation.insertable.then_some("POST"));
    methods.extend(relation.updatable.then_some("PATCH"));
    methods.extend((relation.insertable && !relation.primary_key.is_empty()).then_some("PUT"));
    methods.extend(relation.deletable.then_some("DELETE"));
    let url = format!("{}://{}/api", visit.client.scheme, host(visit.head()));
    let page = ApiPage {
        frame: visit.frame(&relations, Part::Api, &relation.name),
        name: &relation.name,
        scope: views::scope(relation.scope, visit.tenant),
        comment: relation.comment.as_deref(),
        columns: relation
            .columns
            .iter()
            .map(|column| ApiColumn {
                name: &column.name,
                type_name: &column.type_name,
                notes: notes(relation, column, words),
                comment: column.comment.as_deref(),
            })
            .collect(),
        embeds,
        methods,
        reads: reads(&url, relation),
        writes: if relation.insertable {
            writes(&url, relation)
        } else {
            Vec::new()
        },
        attempt,
    };
    response::console(StatusCode::OK, page.render())
}

fn notes(relation: &Relation, column: &Column, words: &Words) -> String {
    let mut notes: Vec<String> = Vec::new();
    if relation.key().any(|key| key.name == column.name) {
        notes.push(words.key.to_owned());
    }
    if column.generated {
        notes.push(words.generated.to_owned());
    } else if let Some(default) = &column.default {
        notes.push(format!("= {default}"));
    } else if column.not_null && !column.has_default {
        notes.push(words.required.to_owned());
    }
    if !column.labels.is_empty() {
        notes.push(column.labels.join(" | "));
    }
    notes.join(" · ")
}

/// A column that an example can filter by, with what; of the kind that a reader understands first.
fn example_filter(relation: &Relation) -> Option<(&Column, &'static str, &'static str)> {
    let of = |wanted: Kind| {
        relation
            .columns
            .iter()
            .find(|column| views::kind(column) == wanted && column.labels.is_empty())
    };
    of(Kind::Boolean)
        .map(|column| (column, "is", "false"))
        .or_else(|| of(Kind::Text).map(|column| (column, "ilike", "*a*")))
        .or_else(|| of(Kind::Number).map(|column| (column, "gt", "0")))
}

fn reads(url: &str, relation: &Relation) -> Vec<Example> {
    let path = path_of(&relation.name);
    let name = &relation.name;
    let filter = example_filter(relation);
    let order = relation.key().next().or_else(|| relation.columns.first());
    let order = order.map(|column| &*column.name).unwrap_or_default();
    let query = match filter {
        Some((column, operator, value)) => format!(
            "?{}={operator}.{value}&order={}&limit=10",
            path_of(&column.name),
            path_of(order)
        ),
        None => format!("?order={}&limit=10", path_of(order)),
    };
    let script = match filter {
        Some((column, "is", _)) => format!("\n  .is('{}', false)", column.name),
        Some((column, operator, value)) => format!("\n  .{operator}('{}', '{}')", column.name, value.replace('*', "%")),
        None => String::new(),
    };
    let parameters = match filter {
        Some((column, operator, value)) => format!("\"{}\": \"{operator}.{value}\", ", column.name),
        None => String::new(),
    };
    vec![
        Example {
            language: "curl",
            code: format!("curl '{url}/{path}{query}'"),
        },
        Example {
            language: "postgrest-js",
            code: format!(
                "import {{ PostgrestClient }} from '@supabase/postgrest-js'\n\nconst api = new PostgrestClient('{url}')\n\
                 const {{ data, error }} = await api.from('{name}')\n  .select('*'){script}\n  .order('{order}')\n  .limit(10)"
            ),
        },
        Example {
            language: "Python",
            code: format!(
                "import requests\n\nrows = requests.get(\n    \"{url}/{path}\",\n    params={{{parameters}\"order\": \"{order}\", \"limit\": 10}},\n).json()"
            ),
        },
    ]
}

fn writes(url: &str, relation: &Relation) -> Vec<Example> {
    let path = path_of(&relation.name);
    let mut row = serde_json::Map::new();
    // What must be there, or else the first that can be.
    let wanted = relation
        .columns
        .iter()
        .filter(|column| !column.generated && column.not_null && !column.has_default);
    for column in wanted {
        row.insert(column.name.to_string(), example_value(column));
    }
    if row.is_empty()
        && let Some(column) = relation.columns.iter().find(|column| !column.generated)
    {
        row.insert(column.name.to_string(), example_value(column));
    }
    let row = serde_json::Value::Object(row);
    // Of the values above only one is written otherwise there.
    let python = row.to_string().replace(":false", ":False");
    let name = &relation.name;
    vec![
        Example {
            language: "curl",
            code: format!(
                "curl '{url}/{path}' -H \"Authorization: Bearer $TOKEN\" \\\n  -H 'Content-Type: application/json' -H 'Prefer: return=representation' \\\n  -d '{}'",
                row.to_string().replace('\'', "'\\''")
            ),
        },
        Example {
            language: "postgrest-js",
            code: format!(
                "const api = new PostgrestClient('{url}', {{ headers: {{ Authorization: `Bearer ${{TOKEN}}` }} }})\n\
                 const {{ data, error }} = await api.from('{name}').insert({row}).select()"
            ),
        },
        Example {
            language: "Python",
            code: format!(
                "rows = requests.post(\n    \"{url}/{path}\",\n    json={python},\n    headers={{\"Authorization\": f\"Bearer {{TOKEN}}\", \"Prefer\": \"return=representation\"}},\n).json()"
            ),
        },
    ]
}

fn example_value(column: &Column) -> serde_json::Value {
    if let Some(label) = column.labels.first() {
        return serde_json::Value::from(&**label);
    }
    match views::kind(column) {
        Kind::Boolean => false.into(),
        Kind::Number => 1.into(),
        Kind::Json => serde_json::json!({}),
        Kind::Array => serde_json::json!([]),
        Kind::Date => "2026-11-28".into(),
        Kind::Timestamp => "2026-11-28T09:30:00Z".into(),
        Kind::Text => "text".into(),
        Kind::Other => "…".into(),
    }
}

/// A body for people: JSON indented, and not too much.
fn shown(body: &[u8]) -> String {
    if body.len() > MOST_SHOWN {
        return format!("{}…", String::from_utf8_lossy(&body[..MOST_SHOWN]));
    }
    match serde_json::from_slice::<&serde_json::value::RawValue>(body) {
        Ok(json) => crate::pages::cell::indent(json.get()),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
