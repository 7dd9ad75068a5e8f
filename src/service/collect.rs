//! The rows of a statement, as they come, to the body of an answer.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use crate::encode::{Column, Encoding, JsonRows};
use crate::error::Error;
use crate::pool::{Done, Row, Rows as TakesRows, Types, Wish};
use crate::query::Plan;
use crate::query::plan::Rows;

use super::stream::{PIECE, WHOLE_MOST};

/// Takes the rows of a plan's statement.
pub(super) struct Collector {
    kind: Rows,
    columns: Arc<[Column]>,
    tells_total: bool,
    tells_created: bool,
    json: JsonRows,
    /// Everything that is not encoded here.
    out: Vec<u8>,
    /// Bytes of `texts`.
    size: usize,
    /// Rows of [`Rows::Text`], unless they become CSV.
    pub(super) texts: Vec<Vec<Option<String>>>,
    csv: bool,
    limit: usize,
    /// How many bytes it takes before it asks what next: all that it may, or what is sent whole, or a piece.
    mark: usize,
    alone: bool,
    wish: Wish,
    checks: Checks,
    pub(super) count: u64,
    pub(super) total: Option<u64>,
    pub(super) created: u64,
    pub(super) failure: Option<Error>,
}

/// What must hold for a transaction to be committed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checks {
    /// There is one row.
    pub(super) singular: bool,
    /// There are no more rows than this.
    pub(super) most: Option<u64>,
}

impl Collector {
    /// For an answer of no more than `limit` bytes.
    pub(super) fn new(plan: &Plan, csv: bool, limit: usize, checks: Checks) -> Self {
        let columns = Arc::clone(&plan.columns);
        let room = plan.room.bytes().max(ROOM);
        Self {
            kind: plan.rows,
            json: match plan.rows {
                Rows::Objects => JsonRows::new(Arc::clone(&columns), room),
                Rows::Values => JsonRows::values(Arc::clone(&columns), room),
                _ => JsonRows::new(Arc::clone(&columns), 0),
            },
            columns,
            tells_total: plan.tells_total,
            tells_created: plan.tells_created,
            out: Vec::new(),
            size: 0,
            texts: Vec::new(),
            csv,
            limit,
            mark: limit,
            alone: false,
            wish: Wish::Nothing,
            checks,
            count: 0,
            total: None,
            created: 0,
            failure: None,
        }
    }

    /// The same, but that it pauses when there is more than is sent whole.
    pub(super) fn streaming(mut self) -> Self {
        self.mark = WHOLE_MOST;
        self
    }

    /// The beginning of the list, after it has paused for the first time.
    pub(super) fn first(&mut self, plan: &Plan) -> Vec<u8> {
        let mut begun = self.piece();
        if self.kind == Rows::Whole {
            // A list begins with a bracket where others have a comma.
            begun.splice(..1, [b'[']);
        }
        if self.csv {
            let mut head = Vec::new();
            csv_line(names(plan), &mut head);
            begun.splice(..0, head);
        }
        begun
    }

    /// What there is more of it, after it has paused again.
    pub(super) fn piece(&mut self) -> Vec<u8> {
        self.mark = PIECE;
        self.wish = Wish::Nothing;
        match self.kind {
            Rows::Objects | Rows::Values => self.json.take(PIECE_ROOM),
            _ => std::mem::replace(&mut self.out, Vec::with_capacity(PIECE_ROOM)),
        }
    }

    /// What is left of it at its end.
    pub(super) fn last(self) -> Bytes {
        match self.kind {
            Rows::Objects | Rows::Values => self.json.finish(),
            Rows::Whole => {
                let mut rest = self.out;
                rest.push(b']');
                rest.into()
            }
            _ => self.out.into(),
        }
    }

    /// The body of what `plan` came to; a single row without the list around it if it is to stand alone.
    pub(super) fn body(self, plan: &Plan, alone: bool) -> Bytes {
        if matches!(self.kind, Rows::Objects | Rows::Values) {
            plan.room.learn(self.json.len());
        }
        match self.kind {
            Rows::Objects | Rows::Values if alone => self.json.finish_single(),
            Rows::Objects | Rows::Values => self.json.finish(),
            Rows::Whole if alone => match self.out.len() {
                0 => Bytes::from_static(b"null"),
                _ => Bytes::from(self.out).slice(1..),
            },
            Rows::Whole => {
                let mut list = self.out;
                match list.first_mut() {
                    Some(first) => *first = b'[',
                    None => list.push(b'['),
                }
                list.push(b']');
                Bytes::from(list)
            }
            Rows::Text if self.csv => {
                let mut document = Vec::with_capacity(self.out.len() + 64);
                // Without a row there is nothing to head.
                if self.count > 0 {
                    csv_line(names(plan), &mut document);
                }
                if self.out.is_empty() {
                    document.push(b'\n');
                }
                document.extend_from_slice(&self.out);
                Bytes::from(document)
            }
            Rows::Text | Rows::Document | Rows::Number | Rows::Lines | Rows::Nothing => Bytes::from(self.out),
        }
    }

    fn take(&mut self, row: Row<'_>) -> Result<ControlFlow<()>, Error> {
        match self.kind {
            Rows::Objects | Rows::Values | Rows::Text | Rows::Whole => {
                let width = if self.kind == Rows::Whole {
                    1
                } else {
                    self.columns.len()
                };
                if !self.extras(row, width) {
                    return Ok(ControlFlow::Continue(()));
                }
                self.count += 1;
                match self.kind {
                    Rows::Whole => {
                        self.out.push(b',');
                        self.out
                            .extend_from_slice(row.values().next().flatten().unwrap_or(b"null"));
                    }
                    Rows::Text if self.csv => {
                        self.out.push(b'\n');
                        let values = row.values().take(width);
                        csv_line(
                            values.map(|value| value.and_then(|v| std::str::from_utf8(v).ok())),
                            &mut self.out,
                        );
                    }
                    Rows::Text => {
                        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                        self.size += row.values().take(width).flatten().map(<[u8]>::len).sum::<usize>();
                        self.texts
                            .push(row.values().take(width).map(|value| value.map(text)).collect());
                    }
                    _ => self.json.row(row.values().take(width))?,
                }
            }
            Rows::Document => {
                let mut values = row.values();
                self.out = values.next().flatten().unwrap_or_default().to_vec();
                self.count = number(values.next().flatten());
                self.total = self.tells_total.then(|| number(values.next().flatten()));
            }
            Rows::Number => {
                let mut values = row.values();
                self.count = number(values.next().flatten());
                self.total = self.tells_total.then(|| number(values.next().flatten()));
                if self.tells_created {
                    self.created = number(values.next().flatten());
                }
            }
            Rows::Lines => {
                self.count += 1;
                self.out
                    .extend_from_slice(row.values().next().flatten().unwrap_or_default());
                self.out.push(b'\n');
            }
            Rows::Nothing => {
                self.count += 1;
                if self.tells_created && row.values().next().flatten() == Some(&[1]) {
                    self.created += 1;
                }
            }
        }
        let held = self.out.len().max(self.json.len()).max(self.size);
        if held > self.mark {
            return self.full(held);
        }
        Ok(ControlFlow::Continue(()))
    }

    /// It holds what it may hold for now, or more.
    #[cold]
    fn full(&mut self, held: usize) -> Result<ControlFlow<()>, Error> {
        if held > self.limit {
            return Err(Error::ResponseTooLarge { limit: self.limit });
        }
        self.wish = if self.alone { Wish::Later } else { Wish::Alone };
        // For who has it go on without taking anything.
        self.mark = self.limit;
        Ok(ControlFlow::Break(()))
    }

    /// What stands behind the columns of a row; whether there is a row at all.
    fn extras(&mut self, row: Row<'_>, width: usize) -> bool {
        if self.tells_created && row.values().nth(width).flatten() == Some(&[1]) {
            self.created += 1;
        }
        if !self.tells_total {
            return true;
        }
        let mut values = row.values().skip(width);
        let present = values.next().flatten() == Some(&[1]);
        self.total = Some(number(values.next().flatten()));
        present
    }
}

impl TakesRows for Collector {
    /// The plan's encodings were made of what the catalog said: a value of another type would come out as a wrong one.
    fn columns(&mut self, types: Types<'_>) -> ControlFlow<()> {
        if !matches!(self.kind, Rows::Objects | Rows::Values) {
            return ControlFlow::Continue(());
        }
        let mut types = types.oids();
        let fits = |column: &Column| types.next().and_then(Encoding::of_type) == Some(column.encoding());
        if self.columns.iter().all(fits) {
            return ControlFlow::Continue(());
        }
        self.failure = Some(Error::Outdated);
        ControlFlow::Break(())
    }

    fn row(&mut self, row: Row<'_>) -> ControlFlow<()> {
        match self.take(row) {
            Ok(flow) => flow,
            Err(error) => {
                self.failure = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn alone(&mut self) {
        self.alone = true;
    }

    fn wish(&self) -> Wish {
        self.wish
    }

    fn finish(&mut self, done: &Done) -> ControlFlow<()> {
        if self.kind == Rows::Nothing {
            self.count = self.count.max(done.affected);
        }
        self.failure = self.checks.failed(self.count);
        match self.failure {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }
}

impl Checks {
    /// Whether something has to be known before the transaction may be committed.
    pub(super) fn are_any(self) -> bool {
        self.singular || self.most.is_some()
    }

    pub(super) fn failed(self, count: u64) -> Option<Error> {
        match self.most {
            _ if self.singular && count != 1 => Some(Error::NotSingular(count)),
            Some(most) if count > most => Some(Error::TooManyAffected(count)),
            _ => None,
        }
    }
}

/// Room for one row or two, before anything is known of a plan's answers.
const ROOM: usize = 512;

/// Room for a piece, and for the row that makes it one.
const PIECE_ROOM: usize = PIECE + PIECE / 8;

fn names(plan: &Plan) -> impl Iterator<Item = Option<&str>> {
    plan.output_columns.iter().map(|column| Some(&*column.name))
}

/// A `bigint` that counts something.
fn number(value: Option<&[u8]>) -> u64 {
    let bytes = value.and_then(|value| value.try_into().ok());
    bytes.map_or(0, |bytes| u64::try_from(i64::from_be_bytes(bytes)).unwrap_or(0))
}

/// One line without its end (RFC 4180). NULL is nothing, and so an empty text is quoted.
fn csv_line<'v>(values: impl Iterator<Item = Option<&'v str>>, out: &mut Vec<u8>) {
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let Some(value) = value else { continue };
        let plain = |byte: u8| !matches!(byte, b'"' | b',' | b'(' | b')' | b'\\') && !byte.is_ascii_whitespace();
        if !value.is_empty() && value.bytes().all(plain) {
            out.extend_from_slice(value.as_bytes());
            continue;
        }
        out.push(b'"');
        for byte in value.bytes() {
            if byte == b'"' {
                out.push(b'"');
            }
            out.push(byte);
        }
        out.push(b'"');
    }
}
