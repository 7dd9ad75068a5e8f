//! Rows from a file: looked at first, stored as a whole or not at all.
//!
//! To look at them is to store them and undo it, so what the database would say then, it says now.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::catalog::Relation;
use crate::error::Error;
use crate::pages::console::{Import, Part, Preview};
use crate::pages::words::{Words, fill};
use crate::response;
use crate::server::Body;
use crate::views::form::{Sent, text_of};

use super::data::path_of;
use super::{Ask, FORM_KEY, Reply, Service, Visit, refused, see_other};

/// The most bytes of a file, and the most rows.
const MOST: usize = 32 << 20;
const MOST_ROWS: usize = 200_000;

/// A file has to be here by then.
const UPLOAD: Duration = Duration::from_secs(120);

/// Files that are worked on at once: each may be held several times over.
static FILES: Semaphore = Semaphore::const_new(2);

/// The longest wait for that.
const TURN: Duration = Duration::from_secs(10);

/// Rows that are shown.
const SHOWN: usize = 10;

/// The row that does not fit is looked for among so many, and for so long.
const SEARCHED: usize = 20_000;
const SEARCH: Duration = Duration::from_secs(10);

/// Where the script goes on.
const NEXT: HeaderName = HeaderName::from_static("x-rowhouse-next");

/// What a file holds.
struct File {
    json: bool,
    bytes: Bytes,
    columns: Vec<String>,
    /// Where each row begins and ends; of CSV the line of names is in front of the first.
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
                    let next = format!("/admin/data/{}?done=imported&n={count}", path_of(name));
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
                "/admin/data/{}?done=imported&n={count}",
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
            if let Ok(number) = timeout(SEARCH, self.first_wrong(visit, relation, &file)).await {
                problem = format!("{} {problem}", fill(words.import_row, &[&number?.to_string()]));
            }
        }
        preview.problem = Some(problem);
        Ok(Err(preview))
    }

    /// The number of the first row that does not fit, from 1: the smallest beginning of the file that is refused ends
    /// with it.
    async fn first_wrong(&self, visit: &Visit<'_>, relation: &Relation, file: &File) -> Result<usize, Error> {
        let (mut good, mut bad) = (0, file.rows.len());
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            if self.insert(visit, relation, file, middle, false).await?.is_good() {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Ok(bad)
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
        let ask = Ask {
            method: Method::POST,
            content_type: if file.json { "application/json" } else { "text/csv" },
            prefer: if kept {
                "return=minimal, missing=default"
            } else {
                "return=minimal, missing=default, tx=rollback"
            },
            undone: !kept,
            body: file.beginning(rows),
            ..Ask::get(&relation.name, "")
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
        let columns: Vec<Box<str>> = relation.columns.iter().map(|column| column.name.clone()).collect();
        let reading = spawn_blocking(move || Self::parse(json, bytes, &columns, words));
        reading.await.map_err(|_| Error::BodyBroken)
    }

    fn parse(json: bool, bytes: Bytes, known: &[Box<str>], words: &Words) -> Result<Self, String> {
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

    fn parse_json(bytes: Bytes, known: &[Box<str>], words: &Words) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| fill(words.no_json, &[&error.to_string()]);
        let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
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
            json: true,
            shown: shown.collect(),
            columns,
            rows,
            bytes,
        })
    }

    fn parse_csv(bytes: Bytes, known: &[Box<str>], words: &Words) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().from_reader(&bytes[..]);
        let headers = reader.headers().map_err(|error| error.to_string())?;
        let columns: Vec<String> = headers.iter().map(str::to_owned).collect();
        for name in &columns {
            is_known(name, known, words)?;
        }
        let mut rows = Vec::new();
        let mut shown: Vec<Vec<String>> = Vec::new();
        let mut record = csv::StringRecord::new();
        let mut begin = position(&reader);
        while reader.read_record(&mut record).map_err(|error| error.to_string())? {
            if rows.len() >= MOST_ROWS {
                return Err(fill(words.import_too_many, &[&MOST_ROWS.to_string()]));
            }
            let end = position(&reader);
            rows.push((begin, end));
            begin = end;
            if shown.len() < SHOWN {
                shown.push(record.iter().map(str::to_owned).collect());
            }
        }
        Ok(Self {
            json: false,
            columns,
            rows,
            shown,
            bytes,
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
        if !self.json {
            return self.bytes.slice(..end);
        }
        let begin = self.rows.first().map_or(end, |(begin, _)| *begin);
        let mut list = Vec::with_capacity(end - begin + 2);
        list.push(b'[');
        list.extend_from_slice(&self.bytes[begin..end]);
        list.push(b']');
        list.into()
    }
}

/// Whether a column of the file is one of the relation's: the first that is not ends the reading.
fn is_known(name: &str, known: &[Box<str>], words: &Words) -> Result<(), String> {
    if known.iter().any(|known| **known == *name) {
        return Ok(());
    }
    let name: String = name.chars().take(100).collect();
    Err(fill(words.import_unknown, &[&name]))
}

fn position(reader: &csv::Reader<&[u8]>) -> usize {
    usize::try_from(reader.position().byte()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::ENGLISH;

    fn read(json: bool, text: &str) -> Result<File, String> {
        let known = ["a", "b"].map(Box::from);
        File::parse(json, Bytes::copy_from_slice(text.as_bytes()), &known, &ENGLISH)
    }

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_beginning_of_a_file_is_a_file() {
        let csv = read(false, "\u{feff}a,b\r\n1,\"x\r\ny\"\r\n2,z\n3,w").unwrap();
        assert_eq!(
            (csv.columns.as_slice(), csv.rows.len()),
            (["a".to_owned(), "b".to_owned()].as_slice(), 3)
        );
        assert_eq!(csv.shown[0], ["1", "x\r\ny"]);
        assert_eq!(text(&csv.beginning(1)).trim_end(), "a,b\r\n1,\"x\r\ny\"");
        assert_eq!(text(&csv.beginning(2)).trim_end(), "a,b\r\n1,\"x\r\ny\"\r\n2,z");
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
        assert_eq!(read(false, "a,b").unwrap().rows.len(), 0);
    }
}
