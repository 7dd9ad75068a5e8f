//! Result rows to JSON, straight from the binary row format.
//!
//! Pure: no tokio, no sockets, no clock. A caller maps every column's type OID to an [`Encoding`] once per statement,
//! makes a [`Column`] of it, and then feeds each row's raw values to [`JsonRows`]. What comes out is, byte for byte,
//! what `row_to_json` prints for the row in a session with `TimeZone` UTC, `DateStyle` ISO, `IntervalStyle` postgres,
//! `bytea_output` hex and `client_encoding` UTF8. The binary format depends on none of the first four, so the session
//! may set them as it likes, except that columns the planner wraps in `to_json` follow the session.
//!
//! A type is here only when `tests/it/encode.rs` compares it with a real server.

mod datetime;
mod float;
mod json;
mod numeric;
mod types;

pub use json::{Column, JsonRows, string};
pub use types::Encoding;

/// Why a row could not be encoded. The row is not in the output then; the rows before it are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The row is not of this result: the statement's columns changed under a cached plan, or the caller mixed two up.
    #[error("a row of {found} values for a result of {expected} columns")]
    Columns {
        /// Columns the result has.
        expected: usize,
        /// Values the row has.
        found: usize,
    },
    /// The bytes are not the binary format of the column's type: wrong length, unknown version, out of range.
    #[error("column {column}: {length} bytes that are not a binary {encoding:?}")]
    Malformed {
        /// The column, as JSON sees it: quoted and escaped.
        column: String,
        /// What the column was taken for.
        encoding: Encoding,
        /// Length of the value in bytes. The value itself is row data, which is never logged.
        length: usize,
    },
    /// The text is not UTF-8: the database is `SQL_ASCII`, or the session's `client_encoding` is not UTF8.
    #[error("column {column}: text that is not UTF-8")]
    Utf8 {
        /// The column, as JSON sees it: quoted and escaped.
        column: String,
    },
}

/// Why one value was refused, before the column is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Malformed,
    Utf8,
}

/// The value as an array, or a refusal when its length differs.
fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Refusal> {
    value.try_into().map_err(|_| Refusal::Malformed)
}
