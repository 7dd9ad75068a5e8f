//! Rows from a file: looked at first, stored as a whole or not at all.
//!
//! To look at them is to store them and undo it, so what the database would say then, it says now.

use std::collections::HashMap;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;

use crate::catalog::Relation;
use crate::error::Error;
use crate::pages::console::{Import, Part, Preview};
use crate::pages::words::{Words, fill};
use crate::response;
use crate::server::Body;
use crate::views::form::{Sent, text_of};

use super::data::path_of;
use super::{Ask, FORM_KEY, Reply, Service, Visit, refused, see_other};

/// The most bytes of a file.
const MOST: usize = 32 << 20;

/// Files at once: each may be held several times over.
static FILES: Semaphore = Semaphore::const_new(2);

/// Rows that are shown.
const SHOWN: usize = 10;

/// The row that does not fit is looked for among so many.
const SEARCHED: usize = 100_000;

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
        let (relation, _) = room.relation(name)?;
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
        let Ok(_permit) = FILES.acquire().await else {
            return Err(Error::BodyBroken); // it is never closed
        };
        let head = visit.head();
        let type_of = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|given| given.to_str().ok())
            .unwrap_or_default();
        let scripted = !type_of.starts_with("application/x-www-form-urlencoded");
        let body = self.body(body, MOST).await?;
        if scripted {
            let key = head.headers.get(FORM_KEY).and_then(|key| key.to_str().ok());
            if !session.token.has_form_key(key.unwrap_or_default()) {
                return Ok(refused(visit));
            }
            let run = visit.parameter("run").is_some();
            let file = File::read(type_of.starts_with("application/json"), body, words);
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
        let file = File::read(page.json, Bytes::copy_from_slice(text.as_bytes()), words);
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
        let unknown = file.columns.iter().find(|column| relation.column(column).is_none());
        if let Some(unknown) = unknown {
            preview.problem = Some(fill(words.import_unknown, &[unknown]));
            return Ok(Err(preview));
        }
        let reply = self.insert(visit, relation, &file, file.rows.len(), run).await?;
        if reply.is_good() {
            return Ok(if run { Ok(file.rows.len()) } else { Err(preview) });
        }
        let said = reply.said();
        let mut problem = said.text();
        // What is wrong with a value, or with a row, is wrong with a certain one.
        let of_row = ["22", "23"].iter().any(|class| said.code.starts_with(class));
        if of_row && (2..=SEARCHED).contains(&file.rows.len()) {
            let number = self.first_wrong(visit, relation, &file).await?;
            problem = format!("{} {problem}", fill(words.import_row, &[&number.to_string()]));
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
            body: file.beginning(rows),
            ..Ask::get(&relation.name, "")
        };
        self.reply(visit, ask).await
    }
}

impl File {
    /// Reads the text of a file as far as its rows and columns.
    fn read(json: bool, bytes: Bytes, words: &Words) -> Result<Self, String> {
        // What spreadsheets write in front.
        let bytes = if bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.slice(3..)
        } else {
            bytes
        };
        if json {
            Self::read_json(bytes, words)
        } else {
            Self::read_csv(bytes)
        }
    }

    fn read_json(bytes: Bytes, words: &Words) -> Result<Self, String> {
        let wrong = |error: serde_json::Error| fill(words.no_json, &[&error.to_string()]);
        let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
        let mut columns: Vec<String> = Vec::new();
        let mut shown: Vec<HashMap<String, &RawValue>> = Vec::new();
        let mut rows = Vec::with_capacity(items.len());
        for item in items {
            let object: HashMap<String, &RawValue> = serde_json::from_str(item.get()).map_err(wrong)?;
            for name in object.keys() {
                if !columns.contains(name) {
                    columns.push(name.clone());
                }
            }
            // An item is a part of the text that it was read from.
            let begin = (item.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            rows.push((begin, begin + item.get().len()));
            if shown.len() < SHOWN {
                shown.push(object);
            }
        }
        columns.sort_unstable();
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

    fn read_csv(bytes: Bytes) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().from_reader(&bytes[..]);
        let columns = reader
            .headers()
            .map_err(|error| error.to_string())?
            .iter()
            .map(str::to_owned)
            .collect();
        let mut rows = Vec::new();
        let mut shown: Vec<Vec<String>> = Vec::new();
        let mut record = csv::StringRecord::new();
        let mut begin = position(&reader);
        while reader.read_record(&mut record).map_err(|error| error.to_string())? {
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

fn position(reader: &csv::Reader<&[u8]>) -> usize {
    usize::try_from(reader.position().byte()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::words::ENGLISH;

    fn read(json: bool, text: &str) -> Result<File, String> {
        File::read(json, Bytes::copy_from_slice(text.as_bytes()), &ENGLISH)
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
        assert_eq!(read(false, "a,b").unwrap().rows.len(), 0);
    }
}
