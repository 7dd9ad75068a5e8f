//! The JSON body of a write: checked and listed, never turned into values.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Error;
use super::percent::decode;

/// A JSON object, or an array of objects.
///
/// Postgres reads the text itself (`json_to_recordset`), so all this keeps is the text and the keys. Not `Debug`: it
/// is row data, which is never logged.
pub struct Body {
    /// A JSON array.
    text: String,
    /// The first object's keys, in its order, each once.
    keys: Vec<String>,
    /// Objects in the array.
    rows: usize,
    /// Whether all objects have the same keys.
    uniform: bool,
}

/// What a body is made one of rows from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyFormat {
    /// JSON.
    Json,
    /// CSV with a header.
    Csv,
    /// A form.
    Form,
}

impl Body {
    /// Reads a request's body.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] when it is not a JSON object or array, or nested deeper than 128; [`Error::Keys`] when an
    /// element of the array is not an object. Objects with different keys are an error only later, because `columns`
    /// may say which count.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = str::from_utf8(bytes).map_err(|_| Error::Json)?.trim();
        let shape: Shape = serde_json::from_str(text).map_err(|_| Error::Json)?;
        if depth(text) > MAX_DEPTH {
            return Err(Error::Json);
        }
        if shape.other {
            return Err(Error::Keys);
        }
        let text = if text.starts_with('[') {
            text.to_owned()
        } else {
            format!("[{text}]")
        };
        Ok(Self {
            text,
            keys: shape.keys,
            rows: shape.rows,
            uniform: shape.uniform,
        })
    }

    /// Reads a body of this format. Values of CSV and of forms are texts, which Postgres makes what their columns are;
    /// `NULL` in CSV is NULL.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), [`Error::Csv`].
    pub fn read(bytes: &[u8], format: BodyFormat) -> Result<Self, Error> {
        match format {
            BodyFormat::Json => Self::parse(bytes),
            BodyFormat::Csv => Self::csv(bytes),
            BodyFormat::Form => {
                let fields: BTreeMap<_, _> = Self::fields(bytes)?.into_iter().collect();
                Ok(Self {
                    text: serde_json::to_string(&[&fields]).map_err(|_| Error::Json)?,
                    keys: fields.into_keys().collect(),
                    rows: 1,
                    uniform: true,
                })
            }
        }
    }

    fn csv(bytes: &[u8]) -> Result<Self, Error> {
        Self::utf8(bytes)?;
        // Each quote has a second (RFC 4180); the reader would take what is cut off for the rest of a field.
        if bytes.iter().filter(|&&byte| byte == b'"').count() % 2 == 1 {
            return Err(Error::CsvQuotes);
        }
        let mut reader = csv::Reader::from_reader(bytes);
        let keys: Vec<String> = reader
            .headers()
            .map_err(|_| Error::Csv)?
            .iter()
            .map(str::to_owned)
            .collect();
        // Every row becomes an object with every key: a long header must not make a small body a large one. Written as it is
        // read, as many small rows would take many times their size otherwise.
        let per_row = keys.iter().map(String::len).sum::<usize>();
        let quoted = |text: &str| serde_json::to_string(text).map_err(|_| Error::Csv);
        let names = keys.iter().map(|key| quoted(key)).collect::<Result<Vec<_>, _>>()?;
        let mut text = String::with_capacity(bytes.len() * 2);
        let mut rows = 0_usize;
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(|_| Error::Csv)? {
            if per_row.saturating_mul(rows) > MAX_KEYS {
                return Err(Error::Csv);
            }
            text.push(if rows == 0 { '[' } else { ',' });
            for (at, (name, value)) in names.iter().zip(&record).enumerate() {
                text.push(if at == 0 { '{' } else { ',' });
                text.push_str(name);
                text.push(':');
                match value {
                    "NULL" => text.push_str("null"),
                    value => text.push_str(&quoted(value)?),
                }
            }
            text.push('}');
            rows += 1;
        }
        text.push_str(if rows == 0 { "[]" } else { "]" });
        Ok(Self {
            text,
            // Without a row there is nothing that they would have to fit.
            keys: if rows == 0 { Vec::new() } else { keys },
            rows,
            uniform: true,
        })
    }

    /// The fields of a form, in their order (WHATWG URL, 5.1).
    ///
    /// # Errors
    ///
    /// [`Error::Encoding`].
    pub fn fields(bytes: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let text = Self::utf8(bytes)?;
        let decoded = |text| decode(text).map(Cow::into_owned).map_err(|_| Error::Encoding);
        text.split('&')
            .filter(|field| !field.is_empty())
            .map(|field| field.split_once('=').unwrap_or((field, "")))
            .map(|(name, value)| Ok((decoded(name)?, decoded(value)?)))
            .collect()
    }

    /// A body that is text.
    ///
    /// # Errors
    ///
    /// [`Error::Encoding`].
    pub fn utf8(bytes: &[u8]) -> Result<&str, Error> {
        str::from_utf8(bytes).map_err(|_| Error::Encoding)
    }

    /// An object without fields, which a function without arguments is called with.
    #[must_use]
    pub fn empty_object() -> Self {
        Self {
            text: "[{}]".to_owned(),
            keys: Vec::new(),
            rows: 1,
            uniform: true,
        }
    }

    /// The body as a JSON array; an object has become an array of one.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys of every object.
    ///
    /// # Errors
    ///
    /// [`Error::Keys`] if they differ.
    pub fn keys(&self) -> Result<&[String], Error> {
        if self.uniform { Ok(&self.keys) } else { Err(Error::Keys) }
    }

    /// Objects in the body.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// How deep arrays and objects are nested in `text`, which is known to be JSON. Skipped values are not counted by
/// `serde_json`, which needs no stack for them; Postgres does, and answers too much of it with an internal error.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// What `Body` needs to know, gathered in one pass.
#[derive(Default)]
struct Shape {
    keys: Vec<String>,
    /// Key to the last row that had it, so that comparing costs no more than reading.
    seen: HashMap<String, usize>,
    rows: usize,
    uniform: bool,
    /// Something in the array is not an object.
    other: bool,
}

impl Shape {
    fn object<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        self.rows += 1;
        let mut matched = 0;
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<IgnoredAny>()?;
            match self.seen.get_mut(&key) {
                Some(row) if *row == self.rows => {}
                Some(row) => {
                    *row = self.rows;
                    matched += 1;
                }
                None if self.rows == 1 => {
                    self.seen.insert(key.clone(), 1);
                    self.keys.push(key);
                    matched += 1;
                }
                None => self.uniform = false,
            }
        }
        self.uniform &= matched == self.keys.len();
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shape = Self {
            uniform: true,
            ..Self::default()
        };
        deserializer.deserialize_any(TopLevel(shape))
    }
}

struct TopLevel(Shape);

impl<'de> Visitor<'de> for TopLevel {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<Shape, A::Error> {
        self.0.object(map)?;
        Ok(self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Shape, A::Error> {
        while elements.next_element_seed(Element(&mut self.0))?.is_some() {}
        Ok(self.0)
    }
}

/// One element of the array.
struct Element<'s>(&'s mut Shape);

impl<'de> serde::de::DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.object(map)
    }

    // Anything else is noted and read on, so that text that is not JSON is told apart from JSON that does not fit.
    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.0.other = true;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.other = true;
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.other = true;
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.other = true;
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.other = true;
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.0.other = true;
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.other = true;
        Ok(())
    }
}

/// Bytes of keys that CSV may become.
const MAX_KEYS: usize = 64 << 20;

/// As in `serde_json`, for what it does not skip.
const MAX_DEPTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn keys(body: &str) -> Result<Vec<String>, Error> {
        Body::parse(body.as_bytes())?.keys().map(<[String]>::to_vec)
    }

    #[test]
    fn keys_are_listed_in_order_and_once() {
        assert_eq!(keys(r#" {"b":1,"a":{"c":[]},"b":2} "#).unwrap(), ["b", "a"]);
        assert_eq!(keys(r#"[{"a":1,"b":2},{"b":1,"a":2,"b":3}]"#).unwrap(), ["a", "b"]);
        assert_eq!(keys("[]").unwrap(), [""; 0]);
        assert_eq!(Body::parse(b"[{},{}]").map(|body| body.rows()), Ok(2));
    }

    #[test]
    fn other_bodies_are_refused() {
        for body in ["", "x", "{\"a\":1", "1", "null", "\"a\"", "[{}] []", "[1,"] {
            assert_eq!(keys(body), Err(Error::Json), "{body}");
        }
        for body in [
            "[1]",
            "[{},null]",
            "[[]]",
            "[\"a\"]",
            r#"[{"a":1},{}]"#,
            r#"[{"a":1},{"b":1}]"#,
            r#"[{},{"b":1}]"#,
        ] {
            assert_eq!(keys(body), Err(Error::Keys), "{body}");
        }
        assert_eq!(Body::parse(b"\xff").err(), Some(Error::Json));
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |depth| format!(r#"{{"a]]":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        assert!(keys(&nested(127)).is_ok());
        assert_eq!(keys(&nested(128)), Err(Error::Json));
        assert_eq!(keys(&nested(1_000_000)), Err(Error::Json));
    }
}
