//! What runs for one request, how it runs, and who takes what comes of it.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

pub use crate::wire::Row;

/// A statement and its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The text, with `$1` … for the parameters. Prepared once per connection, so that it should be one of few.
    pub sql: &'a Arc<str>,
    /// The parameters in Postgres' text format; the server infers their types as for literals.
    pub params: &'a [Option<Cow<'a, str>>],
}

/// What runs for one request.
#[derive(Debug)]
pub struct Call<'a> {
    /// The statement whose rows are wanted.
    pub statement: Step<'a>,
    /// How it runs.
    pub access: Access<'a>,
}

impl Call<'_> {
    /// Whether it changes nothing, so that it may run twice.
    pub(super) fn only_reads(&self) -> bool {
        match &self.access {
            Access::Read { .. } => true,
            Access::Transaction(transaction) => !transaction.writes,
        }
    }

    /// Whether it leaves as one batch, whatever comes of it, so that others may run before and behind it on the same
    /// connection.
    pub(super) fn is_one_batch(&self) -> bool {
        match &self.access {
            Access::Read { .. } => true,
            Access::Transaction(transaction) => !transaction.writes && transaction.end == End::Commit,
        }
    }

    /// The `statement_timeout` that its settings say, if they do.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        statement_timeout(match &self.access {
            Access::Read { settings } => settings,
            Access::Transaction(transaction) => transaction.settings,
        })
    }
}

/// How a statement runs.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// By itself and read-only: a tenant's connections are opened with `default_transaction_read_only = on`. For what runs
    /// no code of the tenant's own; nothing is reset after it.
    Read {
        /// Settings that hold for it alone: `set_config(name, value, true)`, in this order. They and the statement are one
        /// transaction, because nothing parts them (manual, 55.2.3.3).
        settings: &'a [(&'a str, &'a str)],
    },
    /// In a transaction of its own.
    Transaction(Transaction<'a>),
}

/// A transaction around a statement. All of it leaves in one go, but for a write that is new to the connection.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// Whether it may write.
    pub writes: bool,
    /// Its isolation level, if it is not the server's default.
    pub isolation: Option<Isolation>,
    /// Settings that hold for this transaction alone: `set_config(name, value, true)`, in this order.
    pub settings: &'a [(&'a str, &'a str)],
    /// What runs before the statement, in this order; its rows are not looked at.
    pub before: &'a [Step<'a>],
    /// What runs after it, each for one row of text.
    pub after: &'a [Step<'a>],
    /// How it ends.
    pub end: End,
}

/// A transaction's isolation level (manual, 13.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// All statements see what was committed before the first.
    RepeatableRead,
    /// As if no other transaction ran at the same time.
    Serializable,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// `COMMIT` leaves with the rest: one round trip.
    Commit,
    /// It commits once the last row was taken, unless [`Rows::finish`] says no: one round trip more.
    CommitAfterRows,
    /// It is undone, deferred constraints having been checked.
    Rollback,
}

/// Who takes the rows of a statement.
pub trait Rows: Send + 'static {
    /// Is told the types of the columns before the first row; to break is to want none. What writes has not run then.
    fn columns(&mut self, _types: Types<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Takes one row; to break is to want no more of them, or whatever else [`wish`](Self::wish) says.
    fn row(&mut self, row: Row<'_>) -> ControlFlow<()>;

    /// Is told, before the first row, that nobody else uses the connection.
    fn alone(&mut self) {}

    /// What it wants after it has broken.
    fn wish(&self) -> Wish {
        Wish::Nothing
    }

    /// Is told that there are no more; to break is to have the transaction undone, if it ends with
    /// [`End::CommitAfterRows`].
    fn finish(&mut self, _done: &Done) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Moved as a pointer, from where it is made to where rows come and back.
impl<R: Rows + ?Sized> Rows for Box<R> {
    fn columns(&mut self, types: Types<'_>) -> ControlFlow<()> {
        (**self).columns(types)
    }

    fn row(&mut self, row: Row<'_>) -> ControlFlow<()> {
        (**self).row(row)
    }

    fn alone(&mut self) {
        (**self).alone();
    }

    fn wish(&self) -> Wish {
        (**self).wish()
    }

    fn finish(&mut self, done: &Done) -> ControlFlow<()> {
        (**self).finish(done)
    }
}

/// What is wanted after a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wish {
    /// No more rows.
    Nothing,
    /// All rows once more, from the first, on a connection that nobody else uses. For a read, and who is not told to be
    /// [`alone`](Rows::alone).
    Alone,
    /// The rest later: until then the server waits. Only for who is told to be alone.
    Later,
}

/// Takes all rows into a state, by a function.
#[derive(Debug)]
pub struct Fold<T, F> {
    /// What the rows came to.
    pub state: T,
    take: F,
}

impl<T, F: FnMut(&mut T, Row<'_>)> Fold<T, F> {
    /// No row yet.
    pub fn new(state: T, take: F) -> Self {
        Self { state, take }
    }
}

impl<T: Send + 'static, F: FnMut(&mut T, Row<'_>) + Send + 'static> Rows for Fold<T, F> {
    fn row(&mut self, row: Row<'_>) -> ControlFlow<()> {
        (self.take)(&mut self.state, row);
        ControlFlow::Continue(())
    }
}

/// What a statement came to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Done {
    /// Rows that it read or changed, as Postgres counts them.
    pub affected: u64,
    /// Whether the caller stopped taking rows; then nothing was committed, unless the commit was pipelined.
    pub stopped: bool,
    /// The first row of each statement that ran after it.
    pub after: Vec<Vec<Option<String>>>,
    /// For how long the connection worked on it.
    pub took: Duration,
}

/// The types of a statement's columns, as Postgres described them when it was prepared.
#[derive(Clone, Copy, Debug)]
pub struct Types<'a>(pub(super) &'a [u32]);

impl Types<'_> {
    /// Their OIDs in column order; for a domain that of the type below it.
    pub fn oids(self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }
}

/// The `statement_timeout` that holds in a transaction with these settings, if they say one: without a unit in milliseconds,
/// and 0 for none (manual, 19.1.1 and 19.11.1).
fn statement_timeout(settings: &[(&str, &str)]) -> Option<Duration> {
    let set = settings
        .iter()
        .rev()
        .find(|(name, _)| name.eq_ignore_ascii_case("statement_timeout"));
    let text = set?.1.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let seconds = match unit {
        "us" => 1e-6,
        "" | "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    let seconds = number.trim().parse::<f64>().ok()? * seconds;
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Some(Duration::MAX),
        limit => limit.ok(),
    }
}
