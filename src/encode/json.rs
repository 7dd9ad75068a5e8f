//! The JSON array of objects, and JSON strings.

use std::sync::Arc;

use bytes::Bytes;

use super::{Encoding, Error, Refusal};

/// Builds one JSON array of objects, one object per row, in server order.
///
/// Rows come in as binary-format values; out comes UTF-8 without white space or a final newline. `int8` and `numeric`
/// stay JSON numbers with all their digits; SQL NULL is `null`; `json` and `jsonb` values are copied as they are.
///
/// # Examples
///
/// ```
/// use rowhouse::encode::{Column, Encoding, JsonRows};
///
/// let columns = [Column::new("id", Encoding::Int4), Column::new("title", Encoding::Text)];
/// let mut rows = JsonRows::new(columns.into(), 1024);
/// rows.row([Some(&7_i32.to_be_bytes()[..]), None])?;
/// assert_eq!(rows.finish(), r#"[{"id":7,"title":null}]"#);
/// # Ok::<(), rowhouse::encode::Error>(())
/// ```
// Not `Debug`: what it holds is row data, which is never logged.
pub struct JsonRows {
    columns: Arc<[Column]>,
    /// `[` and the rows so far; `finish` closes the array.
    out: Vec<u8>,
    rows: u64,
    /// Whether rows are values, not objects.
    bare: bool,
}

impl JsonRows {
    /// An empty array for rows of these columns, with room for `capacity` bytes before the first reallocation.
    pub fn new(columns: Arc<[Column]>, capacity: usize) -> Self {
        let mut out = Vec::with_capacity(capacity.max("[]".len()));
        out.push(b'[');
        Self {
            columns,
            out,
            rows: 0,
            bare: false,
        }
    }

    /// The same of values instead of objects: the only column's value stands for the row.
    pub fn values(columns: Arc<[Column]>, capacity: usize) -> Self {
        Self {
            bare: true,
            ..Self::new(columns, capacity)
        }
    }

    /// The row, or value, that stands alone, without the array around it; `null` if there is none.
    pub fn finish_single(self) -> Bytes {
        let out = Bytes::from(self.out);
        if self.rows == 0 {
            return Bytes::from_static(b"null");
        }
        out.slice("[".len()..)
    }

    /// Appends one row: a value per column, in the columns' order, `None` for SQL NULL.
    ///
    /// # Errors
    ///
    /// [`Error::Columns`] when there are more or fewer values than columns, [`Error::Malformed`] or [`Error::Utf8`]
    /// when a value is not what its column promises. Nothing of the row has been written then, and the next row may
    /// follow.
    pub fn row<'v>(&mut self, values: impl IntoIterator<Item = Option<&'v [u8]>>) -> Result<(), Error> {
        let before = self.out.len();
        let written = self.append(values);
        match written {
            Ok(()) => self.rows += 1,
            Err(_) => self.out.truncate(before),
        }
        written
    }

    /// Rows appended so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes [`finish`](Self::finish) would return now, so that a caller can stop at a limit.
    ///
    /// One row may take it far past the limit: a control character becomes six bytes, and a `numeric` of a few bytes
    /// may have 131,072 digits.
    #[expect(
        clippy::len_without_is_empty,
        reason = "never empty: an array of no rows is two bytes"
    )]
    pub fn len(&self) -> usize {
        self.out.len() + "]".len()
    }

    /// What is there so far. The rows that follow, and the end of the array, go on behind it; [`len`](Self::len) counts
    /// from here. There is room for `capacity` bytes of them.
    pub fn take(&mut self, capacity: usize) -> Vec<u8> {
        std::mem::replace(&mut self.out, Vec::with_capacity(capacity))
    }

    /// Closes the array.
    pub fn finish(mut self) -> Bytes {
        self.out.push(b']');
        Bytes::from(self.out)
    }

    /// Appends the row, or half of it when it fails: `row` cleans up.
    #[inline]
    fn append<'v>(&mut self, values: impl IntoIterator<Item = Option<&'v [u8]>>) -> Result<(), Error> {
        if self.rows > 0 {
            self.out.push(b',');
        }
        let start = self.out.len();
        let mut values = values.into_iter();
        for (index, column) in self.columns.iter().enumerate() {
            let Some(value) = values.next() else {
                return Err(Error::Columns {
                    expected: self.columns.len(),
                    found: index,
                });
            };
            if !self.bare {
                self.out.extend_from_slice(&column.key);
            }
            match value {
                None => self.out.extend_from_slice(b"null"),
                Some(value) => column
                    .encoding
                    .append(value, &mut self.out)
                    .map_err(|refusal| column.error(refusal, value))?,
            }
        }
        let surplus = values.count();
        if surplus > 0 {
            return Err(Error::Columns {
                expected: self.columns.len(),
                found: self.columns.len() + surplus,
            });
        }
        if self.bare {
            return Ok(());
        }
        // Every key starts with the comma that parts it from the column before: the first one opens the object instead.
        match self.out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// One column of a result: its name, escaped once, and how its values become JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// `,"name":`
    key: Box<[u8]>,
    encoding: Encoding,
}

impl Column {
    /// A column called `name` in the result, unescaped and unquoted here.
    pub fn new(name: &str, encoding: Encoding) -> Self {
        let mut key = Vec::with_capacity(name.len() + r#","":"#.len());
        key.push(b',');
        string(name, &mut key);
        key.push(b':');
        Self {
            key: key.into(),
            encoding,
        }
    }

    /// How its values become JSON.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    #[cold]
    fn error(&self, refusal: Refusal, value: &[u8]) -> Error {
        let name = self.key.strip_prefix(b",").and_then(|key| key.strip_suffix(b":"));
        let column = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
        match refusal {
            Refusal::Malformed => Error::Malformed {
                column,
                encoding: self.encoding,
                length: value.len(),
            },
            Refusal::Utf8 => Error::Utf8 { column },
        }
    }
}

/// Appends `text` as a JSON string literal, escaped as Postgres' `escape_json` does: the short escapes where JSON has
/// one, `\u00XX` for the other control characters, everything else as it is.
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (clean, dirty) = rest.split_at(clean_prefix(rest));
        out.extend_from_slice(clean);
        let Some((&byte, after)) = dirty.split_first() else {
            break;
        };
        escape(byte, out);
        rest = after;
    }
    out.push(b'"');
}

/// Length of the longest prefix that needs no escape. Most text needs none at all, so the length of the steps matters
/// more than the work in one: 16 bytes are one vector comparison.
#[inline]
fn clean_prefix(bytes: &[u8]) -> usize {
    let (steps, rest) = bytes.as_chunks::<16>();
    for (index, step) in steps.iter().enumerate() {
        // Without a branch per byte, or the compiler would not make it a vector.
        if step.iter().fold(false, |dirty, &byte| dirty | needs_escape(byte)) {
            return index * 16 + clean_prefix_by_words(step);
        }
    }
    steps.len() * 16 + clean_prefix_by_words(rest)
}

/// [`clean_prefix`] eight bytes at a time, for what is too short for a vector.
#[inline]
fn clean_prefix_by_words(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, &word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(word);
        // The top bit of every byte that needs an escape. A borrow may mark bytes above such a byte, so only the lowest
        // mark counts.
        let below = |word: u64, limit: u8| word.wrapping_sub(each_byte(limit)) & !word;
        let dirty = below(word, 0x20) | below(word ^ each_byte(b'"'), 1) | below(word ^ each_byte(b'\\'), 1);
        let marks = dirty & each_byte(0x80);
        if marks != 0 {
            return index * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let clean = rest.iter().position(|&byte| needs_escape(byte));
    words.len() * 8 + clean.unwrap_or(rest.len())
}

const fn each_byte(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Appends the escape of a byte that [`needs_escape`].
fn escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let [high, low] = super::types::hex(byte);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    const EVERY: [Encoding; 19] = [
        Encoding::Bool,
        Encoding::Int2,
        Encoding::Int4,
        Encoding::Int8,
        Encoding::Oid,
        Encoding::Float4,
        Encoding::Float8,
        Encoding::Numeric,
        Encoding::Text,
        Encoding::Bytea,
        Encoding::Uuid,
        Encoding::Date,
        Encoding::Time,
        Encoding::TimeTz,
        Encoding::Timestamp,
        Encoding::TimestampTz,
        Encoding::Interval,
        Encoding::Json,
        Encoding::Jsonb,
    ];

    fn two_columns() -> JsonRows {
        let columns = [Column::new("a", Encoding::Text), Column::new("b", Encoding::Int2)];
        JsonRows::new(columns.into(), 0)
    }

    #[test]
    fn no_rows_are_an_empty_array() {
        let rows = two_columns();
        assert_eq!((rows.rows(), rows.len()), (0, 2));
        assert_eq!(rows.finish(), "[]");
    }

    #[test]
    fn no_columns_are_empty_objects() {
        let mut rows = JsonRows::new([].into(), 0);
        assert_eq!(rows.row([]), Ok(()));
        assert_eq!(rows.row([]), Ok(()));
        assert_eq!(rows.finish(), "[{},{}]");
    }

    #[test]
    fn column_names_are_escaped() {
        let mut rows = JsonRows::new([Column::new("say \"é\"\n", Encoding::Bool)].into(), 0);
        assert_eq!(rows.row([None]), Ok(()));
        assert_eq!(rows.finish(), r#"[{"say \"é\"\n":null}]"#);
    }

    #[test]
    fn a_failed_row_leaves_nothing_behind() {
        let mut rows = two_columns();
        let malformed = Error::Malformed {
            column: "\"b\"".to_owned(),
            encoding: Encoding::Int2,
            length: 3,
        };
        assert_eq!(
            rows.row([Some(&b"first"[..]), Some(&[0, 0, 0])]),
            Err(malformed.clone())
        );
        assert_eq!(rows.row([Some(&b"second"[..]), Some(&[0, 2])]), Ok(()));
        assert_eq!(rows.row([Some(&b"third"[..]), Some(&[0, 0, 0])]), Err(malformed));
        assert_eq!(
            rows.row([Some(&b"\xff"[..]), None]),
            Err(Error::Utf8 {
                column: "\"a\"".to_owned()
            })
        );
        assert_eq!(
            rows.row([Some(&b"fourth"[..])]),
            Err(Error::Columns { expected: 2, found: 1 })
        );
        assert_eq!(rows.row([None; 4]), Err(Error::Columns { expected: 2, found: 4 }));
        assert_eq!((rows.rows(), rows.len()), (1, r#"[{"a":"second","b":2}]"#.len()));
        assert_eq!(rows.finish(), r#"[{"a":"second","b":2}]"#);
    }

    proptest! {
        #[test]
        fn strings_read_back(text in ".*|[\\x00-\\x7f]{0,80}|[ -~]{0,80}[\"\\\\\\x00-\\x20é]{0,3}[ -~]{0,20}") {
            let mut out = Vec::new();
            string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).ok(), Some(text));
        }

        #[test]
        fn any_bytes_leave_valid_json(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20),
        ) {
            for encoding in EVERY {
                // What Postgres calls JSON is copied as it is; only that no bytes make it panic is ours to keep.
                let trusted = matches!(encoding, Encoding::Json | Encoding::Jsonb);
                let mut rows = JsonRows::new([Column::new("v", encoding), Column::new("w", Encoding::Bool)].into(), 0);
                let good = values.iter().filter(|value| rows.row([Some(value.as_slice()), None]).is_ok()).count();
                let rows_counted = rows.rows();
                let json = rows.finish();
                prop_assert_eq!(rows_counted, good as u64);
                if !trusted {
                    let parsed: Vec<Value> = serde_json::from_slice(&json).expect("valid JSON");
                    prop_assert_eq!(parsed.len(), good);
                }
            }
        }

        /// Right lengths and plausible headers get further into the types than arbitrary bytes do.
        #[test]
        fn plausible_bytes_leave_valid_json(
            bytes in prop::collection::vec(any::<u8>(), 16),
            groups in prop::collection::vec(0..10_001_u16, 0..6),
            weight in -9..9_i16,
            sign in prop::sample::select(vec![0_u16, 0x4000, 0xC000, 0xD000, 0xF000, 1]),
            scale in 0..40_u16,
        ) {
            let header = [groups.len() as u16, weight.cast_unsigned(), sign, scale];
            let numeric: Vec<u8> = header.iter().chain(&groups).flat_map(|half| half.to_be_bytes()).collect();
            for encoding in EVERY.into_iter().filter(|encoding| !matches!(encoding, Encoding::Json | Encoding::Jsonb)) {
                let mut rows = JsonRows::new([Column::new("v", encoding)].into(), 0);
                let of_length = [1, 2, 4, 8, 12, 16].map(|length| &bytes[..length]);
                for value in of_length.into_iter().chain([numeric.as_slice()]) {
                    let _ = rows.row([Some(value)]);
                }
                let good = rows.rows();
                let json = rows.finish();
                let parsed: Vec<&RawValue> = serde_json::from_slice(&json).expect("valid JSON");
                prop_assert_eq!(parsed.len() as u64, good);
            }
        }
    }
}
