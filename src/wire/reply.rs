//! What comes back, message by message.

use std::fmt;
use std::ops::ControlFlow;

use super::error::{DbError, Error};

/// Who takes what the server answers to one batch. Called by the task that drives the socket, in the order of the
/// messages: it must not block, and others' answers wait while it works.
pub trait Replies: Send + 'static {
    /// The types of a statement's columns, by OID: the answer to its being described. None if it has no rows.
    fn columns(&mut self, types: &[u32]);

    /// One row of the statement that runs. To break is to want no more for now, or at all.
    fn row(&mut self, row: Row<'_>) -> ControlFlow<Halt>;

    /// A statement is done: how many rows it read or changed, as the server counts them.
    fn complete(&mut self, affected: u64);

    /// A statement failed: what is left before the next synchronisation point is skipped.
    fn failed(&mut self, error: DbError);
}

/// Once they are taken back, what still comes is passed over.
impl<R: Replies> Replies for Option<R> {
    fn columns(&mut self, types: &[u32]) {
        if let Some(replies) = self {
            replies.columns(types);
        }
    }

    fn row(&mut self, row: Row<'_>) -> ControlFlow<Halt> {
        self.as_mut()
            .map_or(ControlFlow::Continue(()), |replies| replies.row(row))
    }

    fn complete(&mut self, affected: u64) {
        if let Some(replies) = self {
            replies.complete(affected);
        }
    }

    fn failed(&mut self, error: DbError) {
        if let Some(replies) = self {
            replies.failed(error);
        }
    }
}

impl<R: Replies + ?Sized> Replies for Box<R> {
    fn columns(&mut self, types: &[u32]) {
        (**self).columns(types);
    }

    fn row(&mut self, row: Row<'_>) -> ControlFlow<Halt> {
        (**self).row(row)
    }

    fn complete(&mut self, affected: u64) {
        (**self).complete(affected);
    }

    fn failed(&mut self, error: DbError) {
        (**self).failed(error);
    }
}

/// Why no more rows are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Halt {
    /// Nothing more of the batch is: what still comes is passed over.
    Stop,
    /// The next row is wanted once the batch is resumed. Until then nothing is read from the socket, so that the server has
    /// to wait as well, and so has every batch behind this one.
    Pause,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// All of it is answered.
    Whole(Status),
    /// [`Replies::row`] wanted to pause: [`Connection::resume`](super::Connection::resume) goes on.
    Paused,
    /// [`Replies::row`] wanted no more; the server may still be at it.
    Stopped,
}

/// What the session is in, as the server says at a synchronisation point (manual, 55.7, `ReadyForQuery`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// In no transaction.
    Idle,
    /// In a transaction.
    Transaction,
    /// In a transaction that failed.
    Failed,
}

/// One row, its values in the binary row format.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    columns: usize,
    values: &'a [u8],
}

impl<'a> Row<'a> {
    /// The values in column order; none for NULL.
    pub fn values(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let mut rest = self.values;
        (0..self.columns).map(move |_| {
            // `parse` has seen that they are all there.
            let (length, after) = rest.split_first_chunk().unwrap_or((&[0xff; 4], &[]));
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = after;
                return None;
            };
            let (value, after) = after.split_at_checked(length).unwrap_or_default();
            rest = after;
            Some(value)
        })
    }

    /// The row of a `DataRow`, which is whole.
    pub(super) fn parse(mut body: Body<'a>) -> Result<Self, Error> {
        let columns = usize::from(body.short()?);
        let row = Self {
            columns,
            values: body.0,
        };
        for _ in 0..columns {
            if let Ok(length) = usize::try_from(body.long()?) {
                body.skip(length)?;
            }
        }
        Ok(row)
    }
}

impl fmt::Debug for Row<'_> {
    /// The number of columns only: rows are never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Row").field("columns", &self.columns).finish()
    }
}

/// What is in a message, taken from its beginning.
#[derive(Clone, Copy)]
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    pub(super) fn short(&mut self) -> Result<u16, Error> {
        self.chunk().map(u16::from_be_bytes)
    }

    pub(super) fn long(&mut self) -> Result<i32, Error> {
        self.chunk().map(i32::from_be_bytes)
    }

    /// A text that ends in a NUL.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Error> {
        let Some(end) = self.0.iter().position(|byte| *byte == 0) else {
            return Err(SHORT);
        };
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(text)
    }

    pub(super) fn skip(&mut self, length: usize) -> Result<(), Error> {
        let Some(rest) = self.0.get(length..) else {
            return Err(SHORT);
        };
        self.0 = rest;
        Ok(())
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        // Not `ok_or`: an error that is made for nothing has to be dropped, for each value of each row.
        let Some((chunk, rest)) = self.0.split_first_chunk() else {
            return Err(SHORT);
        };
        self.0 = rest;
        Ok(*chunk)
    }
}

const SHORT: Error = Error::Protocol("a message is shorter than what it should hold");

/// The longest message that is taken. Postgres sends values up to 1 GiB, but no answer here may be that long.
const MAX_MESSAGE: usize = 256 << 20;

/// The first message of `bytes`: its tag, its body and its whole length. None if it is not whole yet.
pub(super) fn message(bytes: &[u8]) -> Result<Option<(u8, Body<'_>, usize)>, Error> {
    let Some((tag, mut rest)) = bytes.split_first().map(|(tag, rest)| (*tag, Body(rest))) else {
        return Ok(None);
    };
    let Ok(length) = rest.long() else {
        return Ok(None);
    };
    // It counts itself, but not the tag.
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let Some(length) = length else {
        return Err(Error::Protocol("a message of negative length"));
    };
    if length > MAX_MESSAGE {
        return Err(Error::Protocol("a message of more than 256 MiB"));
    }
    Ok(rest.0.get(..length).map(|body| (tag, Body(body), 1 + 4 + length)))
}

/// The OIDs of the columns of a `RowDescription`.
pub(super) fn types(mut body: Body<'_>, types: &mut Vec<u32>) -> Result<(), Error> {
    types.clear();
    for _ in 0..body.short()? {
        body.text()?;
        // The table and the column's number.
        body.skip(4 + 2)?;
        types.push(body.long()?.cast_unsigned());
        // The type's size and modifier, and the format.
        body.skip(2 + 4 + 2)?;
    }
    Ok(())
}

/// The rows of a `CommandComplete`: the number that it ends in, as in `SELECT 5` or `INSERT 0 1`.
pub(super) fn affected(mut body: Body<'_>) -> Result<u64, Error> {
    let tag = body.text()?;
    let digits = tag.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = &tag[tag.len() - digits..];
    Ok(digits.iter().fold(0, |number: u64, digit| {
        number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    }))
}

/// What values are read by, and sent by (manual, 55.2.7): a server says at startup what these are, and once more if they
/// change.
pub(super) const SETTINGS: [(&str, &str); 3] = [
    ENCODING,
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
];

/// The one of them that makes an answer another while it is on its way.
pub(super) const ENCODING: (&str, &str) = ("client_encoding", "UTF8");

/// Whether a `ParameterStatus` is as these want it, if it is about one of them.
pub(super) fn setting(mut body: Body<'_>, settings: &[(&'static str, &'static str)]) -> Result<(), Error> {
    let (name, value) = (body.text()?, body.text()?);
    let of = settings.iter().find(|(known, _)| known.as_bytes() == name);
    match of {
        Some((name, wanted)) if value != wanted.as_bytes() => Err(Error::Setting {
            name,
            value: String::from_utf8_lossy(value).into(),
            wanted,
        }),
        _ => Ok(()),
    }
}

/// The status of a `ReadyForQuery`.
pub(super) fn status(mut body: Body<'_>) -> Result<Status, Error> {
    match body.byte()? {
        b'I' => Ok(Status::Idle),
        b'T' => Ok(Status::Transaction),
        b'E' => Ok(Status::Failed),
        _ => Err(Error::Protocol("an unknown transaction status")),
    }
}
