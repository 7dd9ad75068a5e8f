//! Rows from a file: looked at first, stored as a whole or not at all.
//!
//! To look at them is to store them and undo it, so what the database would say then, it says now.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::catalog::{Column, Relation};
use crate::error::Error;
use crate::pages::console::{Import, Part, Preview};
use crate::pages::words::{Words, fill};
use crate::pages::{Kind, quoted};
use crate::percent::encode;
use crate::response;
use crate::server::Body;
use crate::views;
use crate::views::Sent;
use crate::views::form::{Said, text_of};

use super::data::path_of;
use super::{Ask, FORM_KEY, Reply, Service, Visit, refused, see_other};

/// The most bytes of a file, and the most rows.
const MOST: usize = 32 << 20;
const MOST_ROWS: usize = 200_000;

/// A file has to be here by then.
const UPLOAD: Duration = Duration::from_secs(120);

/// Files that are worked on at once: each may be held several times over.
static FILES: Semaphore = Semaphore::const_new(2);

/// Files that are on their way or wait for that: all may be as large as a file can be.
static UPLOADS: Semaphore = Semaphore::const_new(8);

/// The longest wait for that.
const TURN: Duration = Duration::from_secs(10);

/// Rows that are shown.
const SHOWN: usize = 10;

/// The row that does not fit is looked for among so many, and for so long.
const SEARCHED: usize = 20_000;
const SEARCH: Duration = Duration::from_secs(10);

/// Where the script goes on.
const NEXT: HeaderName = HeaderName::from_static("x-rowhouse-next");

/// What a file holds, as JSON: CSV has become that.
struct File {
    bytes: Bytes,
    columns: Vec<String>,
    /// Where each row begins and ends.
    rows: Vec<(usize, usize)>,
    /// The first rows, as they are shown.
    shown: Vec<Vec<String>>,
}

impl Service {
    /// The form that takes a file, and what it was sent with.
    pub(super) async fn import(
        &self,
        visit: &Visit<'_>,
        name: &str,
        body: Option<Incoming>,
    ) -> Result<Response<Body>, Error> {
        let room = self.room(visit).await?;
        let (relation, rights) = room.relation(name)?;
        let words = visit.words;
        let mut page = Import {
            frame: visit.frame(&[], Part::Data, name),
            name,
            json: false,
            text: "",
            preview: None,
            problem: None,
            columns: relation
                .columns
                .iter()
                .filter(|column| !column.generated)
                .map(|column| &*column.name)
                .collect(),
        };
        let relations = room.navigation(visit.tenant);
        page.frame.relations = &relations;
        let (Some(body), Some(session)) = (body, &visit.session) else {
            return Ok(response::console(StatusCode::OK, page.render()));
        };
        if !rights.insert {
            return Err(Error::ImportNotPermitted);
        }
        let head = visit.head();
        let type_of = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|given| given.to_str().ok())
            .unwrap_or_default();
        let scripted = !type_of.starts_with("application/x-www-form-urlencoded");
        let key = head.headers.get(FORM_KEY).and_then(|key| key.to_str().ok());
        if scripted && !session.token.has_form_key(key.unwrap_or_default()) {
            return Ok(refused(visit));
        }
        // Before its turn, or who sends slowly would hold up all others.
        let Ok(_upload) = UPLOADS.try_acquire() else {
            return Err(Error::ImportsBusy);
        };
        let limit = if scripted { MOST } else { self.max_body };
        let body = timeout(UPLOAD, self.body(body, limit))
            .await
            .map_err(|_| Error::BodyTimeout(UPLOAD))??;
        let turn = timeout(TURN, FILES.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Error::ImportsBusy);
        };
        if scripted {
            let run = visit.parameter("run").is_some();
            let json = type_of.starts_with("application/json");
            let file = File::read(json, body, relation, words).await?;
            return match self.try_file(visit, relation, file, run).await? {
                Ok(count) => {
                    let mut response = response::html(StatusCode::OK, String::new());
                    let next = format!("/admin/data/{}?_done=imported&_n={count}", path_of(name));
                    if let Ok(next) = HeaderValue::from_str(&next) {
                        response.headers_mut().insert(NEXT, next);
                    }
                    Ok(response)
                }
                Err(preview) => Ok(response::html(StatusCode::OK, preview.render_part())),
            };
        }
        let sent = Sent::parse(&String::from_utf8_lossy(&body));
        if !session.token.has_form_key(sent.get("_key")) {
            return Ok(refused(visit));
        }
        let text = sent.get("text");
        (page.json, page.text) = (sent.get("format") == "json", text);
        if text.trim().is_empty() {
            page.problem = Some(words.import_no_file.to_owned());
            return Ok(response::console(StatusCode::BAD_REQUEST, page.render()));
        }
        let text = Bytes::copy_from_slice(text.as_bytes());
        let file = File::read(page.json, text, relation, words).await?;
        match self.try_file(visit, relation, file, sent.get("do") == "run").await? {
            Ok(count) => Ok(see_other(&format!(
                "/admin/data/{}?_done=imported&_n={count}",
                path_of(name)
            ))),
            Err(preview) => {
                page.preview = Some(preview);
                Ok(response::console(StatusCode::OK, page.render()))
            }
        }
    }

    /// Stores the rows of a file, or says what would become of them.
    async fn try_file(
        &self,
        visit: &Visit<'_>,
        relation: &Relation,
        file: Result<File, String>,
        run: bool,
    ) -> Result<Result<usize, Preview>, Error> {
        let words = visit.words;
        let mut preview = Preview {
            words,
            columns: Vec::new(),
            rows: Vec::new(),
            total: 0,
            problem: None,
        };
        let file = match file {
            Ok(file) => file,
            Err(problem) => {
                preview.problem = Some(problem);
                return Ok(Err(preview));
            }
        };
        preview.total = file.rows.len();
        preview.columns.clone_from(&file.columns);
        preview.rows.clone_from(&file.shown);
        let reply = self.insert(visit, relation, &file, file.rows.len(), run).await?;
        if reply.is_good() {
            return Ok(if run { Ok(file.rows.len()) } else { Err(preview) });
        }
        let said = reply.said();
        let mut problem = said.text();
        // What is wrong with a value, or with a row, is wrong with a certain one.
        let of_row = ["22", "23"].iter().any(|class| said.code.starts_with(class));
        if of_row && (2..=SEARCHED).contains(&file.rows.len()) {
            // That it takes too long is no reason not to say what is wrong.
            if let Ok(found) = timeout(SEARCH, self.first_wrong(visit, relation, &file)).await
                && let Some((number, said)) = found?
            {
                let number = fill(words.import_row, &[&number.to_string()]);
                problem = format!("{number} {}", said.text());
            }
        }
        preview.problem = Some(problem);
        Ok(Err(preview))
    }

    /// The number of the first row that does not fit, from 1, and what is wrong with it: the smallest beginning of the file
    /// that is refused ends with it. None if nothing is refused any more.
    async fn first_wrong(
        &self,
        visit: &Visit<'_>,
        relation: &Relation,
        file: &File,
    ) -> Result<Option<(usize, Said)>, Error> {
        let (mut good, mut bad) = (0, file.rows.len() + 1);
        let mut last = None;
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            let reply = self.insert(visit, relation, file, middle, false).await?;
            if reply.is_good() {
                good = middle;
            } else {
                bad = middle;
                last = Some(reply.said());
            }
        }
        Ok(last.map(|said| (bad, said)))
    }

    /// Stores the first rows of a file; undone unless it shall be `kept`.
    async fn insert(
        &self,
        visit: &Visit<'_>,
        relation: &Relation,
        file: &File,
        rows: usize,
        kept: bool,
    ) -> Result<Reply, Error> {
        // What the database makes itself, it makes anew: an export holds that as well.
        let is_made = |name: &String| relation.column(name).is_some_and(|(_, column)| column.generated);
        let names = file.columns.iter().filter(|name| !is_made(name));
        let names: Vec<String> = names.map(|name| quoted(name)).collect();
        let mut query = String::from("?columns=");
        encode(&names.join(","), &mut query);
        let ask = Ask {
            method: Method::POST,
            // Objects need not have the same keys: what one lacks is its column's default.
            prefer: if kept {
                "return=minimal, missing=default"
            } else {
                "return=minimal, missing=default, tx=rollback"
            },
            undone: !kept,
            body: file.beginning(rows),
            ..Ask::get(&relation.name, &query)
        };
        self.reply(visit, ask).await
    }
}

impl File {
    /// Reads the text of a file as far as its rows and columns, on a thread where that may take its time. What is wrong with
    /// it is for the reader.
    async fn read(
        json: bool,
        bytes: Bytes,
        relation: &Relation,
        words: &'static Words,
    ) -> Result<Result<Self, String>, Error> {
        let columns: Vec<Known> = relation.columns.iter().map(Known::of).collect();
        let reading = spawn_blocking(move || Self::parse(json, bytes, &columns, words));
        reading.await.map_err(|_| Error::BodyBroken)
    }

    fn parse(json: bool, bytes: Bytes, known: &[Known], words: &Words) -> Result<Self, String> {
        // What spreadsheets write in front.
        let bytes = if bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.slice(3..)
        } else {
            bytes
        };
        if json {
            Self::parse_json(bytes, known, words)
        } else {
            Self::parse_csv(bytes, known, words)
        }
    }

    fn parse_json(bytes: Bytes, known: &[Known], words: &Words) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| fill(words.no_json, &[&error.to_string()]);
        let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
        if items.is_empty() {
            return Err(words.import_empty.to_owned());
        }
        if items.len() > MOST_ROWS {
            return Err(fill(words.import_too_many, &[&MOST_ROWS.to_string()]));
        }
        let mut columns = BTreeSet::new();
        let mut shown: Vec<HashMap<String, &RawValue>> = Vec::new();
        let mut rows = Vec::with_capacity(items.len());
        for item in items {
            let object: HashMap<String, &RawValue> = serde_json::from_str(item.get()).map_err(wrong)?;
            for name in object.keys().filter(|name| !columns.contains(*name)) {
                is_known(name, known, words)?;
            }
            columns.extend(object.keys().cloned());
            // An item is a part of the text that it was read from.
            let begin = (item.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            rows.push((begin, begin + item.get().len()));
            if shown.len() < SHOWN {
                shown.push(object);
            }
        }
        let columns: Vec<String> = columns.into_iter().collect();
        let value = |row: &HashMap<String, &RawValue>, column: &String| {
            row.get(column).and_then(|raw| text_of(raw)).unwrap_or_default()
        };
        let shown = shown
            .iter()
            .map(|row| columns.iter().map(|column| value(row, column)).collect());
        Ok(Self {
            shown: shown.collect(),
            columns,
            rows,
            bytes,
        })
    }

    /// A field that is empty is NULL where its column permits that, and so is one that says NULL; else it is what it says.
    fn parse_csv(bytes: Bytes, known: &[Known], words: &Words) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().from_reader(&bytes[..]);
        let headers = reader.headers().map_err(|error| error.to_string())?;
        let mut columns: Vec<String> = Vec::new();
        let mut kinds: Vec<&Known> = Vec::new();
        let mut names = Vec::new();
        for name in headers {
            kinds.push(is_known(name, known, words)?);
            names.push(serde_json::to_string(name).map_err(|error| error.to_string())?);
            if columns.iter().any(|column| column == name) {
                return Err(fill(words.import_twice, &[name]));
            }
            columns.push(name.to_owned());
        }
        let mut text = String::from("[");
        let mut rows = Vec::new();
        let mut shown: Vec<Vec<String>> = Vec::new();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| error.to_string())? {
            if rows.len() >= MOST_ROWS {
                return Err(fill(words.import_too_many, &[&MOST_ROWS.to_string()]));
            }
            if !rows.is_empty() {
                text.push(',');
            }
            let begin = text.len();
            for (at, ((name, kind), value)) in names.iter().zip(&kinds).zip(&record).enumerate() {
                text.push(if at == 0 { '{' } else { ',' });
                text.push_str(name);
                text.push(':');
                let null = value == "NULL" || (value.is_empty() && (kind.nullable || !kind.text));
                match () {
                    () if null => text.push_str("null"),
                    // JSON is taken as it is; what is none, Postgres says so.
                    () if kind.json && serde_json::from_str::<IgnoredAny>(value).is_ok() => text.push_str(value),
                    () => text.push_str(&serde_json::to_string(value).map_err(|error| error.to_string())?),
                }
            }
            text.push('}');
            rows.push((begin, text.len()));
            if shown.len() < SHOWN {
                shown.push(record.iter().map(str::to_owned).collect());
            }
        }
        if rows.is_empty() {
            return Err(words.import_empty.to_owned());
        }
        text.push(']');
        Ok(Self {
            columns,
            rows,
            shown,
            bytes: text.into(),
        })
    }

    /// The first rows alone.
    fn beginning(&self, rows: usize) -> Bytes {
        if rows == self.rows.len() {
            return self.bytes.clone();
        }
        let end = rows
            .checked_sub(1)
            .and_then(|last| self.rows.get(last))
            .map_or(0, |(_, end)| *end);
        let begin = self.rows.first().map_or(end, |(begin, _)| *begin);
        let mut list = Vec::with_capacity(end - begin + 2);
        list.push(b'[');
        list.extend_from_slice(&self.bytes[begin..end]);
        list.push(b']');
        list.into()
    }
}

/// A column of the relation, as far as a file is concerned.
struct Known {
    name: Box<str>,
    nullable: bool,
    text: bool,
    json: bool,
}

impl Known {
    fn of(column: &Column) -> Self {
        let kind = views::kind(column);
        Self {
            name: column.name.clone(),
            nullable: !column.not_null,
            text: kind == Kind::Text,
            json: kind == Kind::Json,
        }
    }
}

/// The column of the relation that one of the file is: the first that is none ends the reading.
fn is_known<'k>(name: &str, known: &'k [Known], words: &Words) -> Result<&'k Known, String> {
    let found = known.iter().find(|known| *known.name == *name);
    found.ok_or_else(|| {
        let name: String = name.chars().take(100).collect();
        fill(words.import_unknown, &[&name])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::ENGLISH;

    fn read(json: bool, text: &str) -> Result<File, String> {
        let known = |name: &str, nullable, text, json| Known {
            name: name.into(),
            nullable,
            text,
            json,
        };
        let known = [
            known("a", true, false, false),
            known("b", false, true, false),
            known("j", true, false, true),
        ];
        File::parse(json, Bytes::copy_from_slice(text.as_bytes()), &known, &ENGLISH)
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_beginning_of_a_file_is_a_file() {
        let csv = read(false, "\u{feff}a,b\r\n1,\"x\r\ny\"\r\n,z\nNULL,").unwrap();
        assert_eq!(csv.columns, ["a", "b"]);
        assert_eq!(csv.shown[0], ["1", "x\r\ny"]);
        assert_eq!(text(&csv.beginning(1)), r#"[{"a":"1","b":"x\r\ny"}]"#);
        assert_eq!(
            text(&csv.beginning(3)),
            r#"[{"a":"1","b":"x\r\ny"},{"a":null,"b":"z"},{"a":null,"b":""}]"#
        );
        let json = read(true, " [ {\"b\": [1, 2], \"a\": \"}\"} , {\"a\": null}\n]").unwrap();
        assert_eq!(json.columns, ["a", "b"]);
        assert_eq!(json.shown, [["}", "[1, 2]"], ["", ""]]);
        assert_eq!(text(&json.beginning(1)), "[{\"b\": [1, 2], \"a\": \"}\"}]");
        assert_eq!(
            text(&json.beginning(2)),
            " [ {\"b\": [1, 2], \"a\": \"}\"} , {\"a\": null}\n]"
        );
    }

    #[test]
    fn json_in_csv_stays_json() {
        let csv = read(false, "b,j\nx,\"{\"\"n\"\": 1.10}\"\ny,no json\nz,").unwrap();
        let expected = r#"[{"b":"x","j":{"n": 1.10}},{"b":"y","j":"no json"},{"b":"z","j":null}]"#;
        assert_eq!(text(&csv.beginning(3)), expected);
    }

    #[test]
    fn what_is_no_file_is_told() {
        assert!(read(true, "{}").is_err());
        assert!(read(true, "[1]").is_err());
        assert!(read(true, "").is_err());
        assert!(read(false, "a,b\n1").is_err());
        assert_eq!(read(false, "a,c\n1,2").err().unwrap(), "There is no column c.");
        assert_eq!(
            read(true, r#"[{"a":1},{"d":1}]"#).err().unwrap(),
            "There is no column d."
        );
        for empty in [read(false, "a,b"), read(false, ""), read(true, "[]")] {
            assert_eq!(empty.err().unwrap(), "There are no rows in it.");
        }
        assert_eq!(read(false, "a,a\n1,2").err().unwrap(), "The column a stands twice.");
    }
}
