//! One open connection of a tenant, and how a statement runs on it.
//!
//! This is the seam to the wire: a [`Call`] goes in, rows come out one by one, and whoever calls knows nothing else of
//! the driver behind it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::{join, join_all, join5};
use futures_util::{TryStreamExt, pin_mut};
use tokio::time::{Instant, timeout};
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type};
use tokio_postgres::{CancelToken, Client, Statement};

use super::error::Error;

/// Statements kept prepared per connection. Past it the oldest knowledge is worth less than the memory: start over.
const STATEMENTS_MAX: usize = 128;

/// The edge waits this much longer than `statement_timeout` before it gives a statement up.
const DEADLINE_SLACK: Duration = Duration::from_millis(250);

/// What a tenant's functions may have set for the session (`set_config(…, false)`) would hold for whoever comes next, with
/// or without a token: so it goes back to what the startup message said. `RESET ALL` leaves the role alone (manual, RESET).
const COMMIT: &str = "COMMIT; RESET ROLE; RESET ALL";
const ROLLBACK: &str = "ROLLBACK; RESET ROLE; RESET ALL";

/// What a transaction that is undone would have failed at, had it been committed.
const CHECK: &str = "SET CONSTRAINTS ALL IMMEDIATE";

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

/// How a statement runs.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// By itself and read-only: a tenant's connections are opened with `default_transaction_read_only = on`. For what runs
    /// no code of the tenant's own; nothing is reset after it.
    Read,
    /// In a transaction of its own.
    Transaction(Transaction<'a>),
}

/// A transaction around a statement. All of it leaves in one go, but for statements that are new to the connection.
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
pub trait Rows: Send {
    /// Is told the types of the columns before anything runs; to break is to have nothing run.
    fn columns(&mut self, _types: Types<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Takes one row; to break is to want no more of them.
    fn row(&mut self, row: Row<'_>) -> ControlFlow<()>;

    /// Is told that there are no more; to break is to have the transaction undone, if it ends with
    /// [`End::CommitAfterRows`].
    fn finish(&mut self, _done: &Done) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(Row<'_>) -> ControlFlow<()> + Send> Rows for F {
    fn row(&mut self, row: Row<'_>) -> ControlFlow<()> {
        self(row)
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
}

/// The types of a statement's columns, as Postgres described them when it was prepared.
#[derive(Clone, Copy, Debug)]
pub struct Types<'a>(&'a [tokio_postgres::Column]);

impl Types<'_> {
    /// Their OIDs in column order; for a domain that of the type below it.
    pub fn oids(self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|column| column.type_().oid())
    }
}

/// One row, its values in the binary row format.
#[derive(Clone, Copy)]
pub struct Row<'a>(&'a tokio_postgres::Row);

impl<'a> Row<'a> {
    /// The values in column order; none for NULL.
    pub fn values(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        // `Raw` takes every type and never fails, so that an error cannot hide behind a NULL here.
        (0..self.0.len()).map(move |index| {
            self.0
                .try_get::<_, Option<Raw<'a>>>(index)
                .ok()
                .flatten()
                .map(|raw| raw.0)
        })
    }
}

impl std::fmt::Debug for Row<'_> {
    /// The number of columns only: rows are never logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row").field("columns", &self.0.len()).finish()
    }
}

impl Done {
    fn stopped() -> Self {
        Self {
            stopped: true,
            ..Self::default()
        }
    }
}

/// One open connection of one tenant. It closes when dropped.
pub(super) struct Session {
    client: Client,
    statements: HashMap<Arc<str>, Statement>,
    statement_timeout: Duration,
    opened: Instant,
    expires: Instant,
    idle_since: Instant,
    retired: bool,
}

impl Session {
    pub(super) fn new(client: Client, statement_timeout: Duration, lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            client,
            statements: HashMap::new(),
            statement_timeout,
            opened: now,
            expires: now + lifetime,
            idle_since: now,
            retired: false,
        }
    }

    /// Whether another request may run on it.
    pub(super) fn is_usable(&self) -> bool {
        !self.retired && !self.client.is_closed() && Instant::now() < self.expires
    }

    /// Marks it as not to be used again.
    pub(super) fn retire(&mut self) {
        self.retired = true;
    }

    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(super) fn idle(&self) -> Duration {
        self.idle_since.elapsed()
    }

    pub(super) fn set_idle(&mut self) {
        self.idle_since = Instant::now();
    }

    /// `current_schema()` and `current_user`, asked in one round trip.
    pub(super) async fn whereabouts(&self) -> Result<(Option<String>, String), Error> {
        let asking = self
            .client
            .query_typed("SELECT pg_catalog.current_schema()::text, current_user::text", &[]);
        let rows = timeout(self.statement_timeout, asking)
            .await
            .map_err(|_| Error::Deadline(self.statement_timeout))?
            .map_err(Error::of_statement)?;
        Ok(match rows.first() {
            Some(row) => (row.get(0), row.get(1)),
            None => (None, String::new()),
        })
    }

    /// Runs `call` and hands over its rows until `rows` breaks.
    ///
    /// If the future is dropped before it is done, the state of the connection is unknown: the lease closes it then.
    pub(super) async fn run(&mut self, call: &Call<'_>, rows: &mut dyn Rows) -> Result<Done, Error> {
        let set = match &call.access {
            Access::Read => None,
            Access::Transaction(transaction) => statement_timeout(transaction.settings),
        };
        let limit = set.unwrap_or(self.statement_timeout).saturating_add(DEADLINE_SLACK);
        match timeout(limit, self.run_unlimited(call, rows)).await {
            Ok(done) => done,
            Err(_) => {
                self.retire();
                Err(Error::Deadline(limit))
            }
        }
    }

    async fn run_unlimited(&mut self, call: &Call<'_>, rows: &mut dyn Rows) -> Result<Done, Error> {
        let mut ran = false;
        match self.run_once(call, rows, &mut ran).await {
            Err(Error::Database(error)) if is_outdated(&error) => {
                self.statements.clear();
                if ran {
                    // A function has forgotten them all (`DEALLOCATE ALL`). It must not run twice.
                    return Err(Error::Database(error));
                }
                // A transaction was rolled back: prepare everything anew, once.
                self.run_once(call, rows, &mut ran).await
            }
            result => result,
        }
    }

    /// Sets `ran` once the statement itself has run.
    async fn run_once(&mut self, call: &Call<'_>, rows: &mut dyn Rows, ran: &mut bool) -> Result<Done, Error> {
        match &call.access {
            Access::Read => {
                let statement = self.prepared(call.statement.sql).await?;
                if rows.columns(Types(statement.columns())).is_break() {
                    return Ok(Done::stopped());
                }
                execute(&self.client, &statement, call.statement.params, rows).await
            }
            Access::Transaction(transaction) => self.transact(&call.statement, transaction, rows, ran).await,
        }
    }

    async fn transact(
        &mut self,
        main: &Step<'_>,
        transaction: &Transaction<'_>,
        rows: &mut dyn Rows,
        ran: &mut bool,
    ) -> Result<Done, Error> {
        let begin = begin(transaction);
        let configure = self.configure(transaction.settings).await?;
        let steps: Vec<&Step<'_>> = transaction
            .before
            .iter()
            .chain([main])
            .chain(transaction.after)
            .collect();
        let known: Option<Vec<Statement>> = steps
            .iter()
            .map(|step| self.statements.get(step.sql).cloned())
            .collect();
        let opened = known.is_none();
        let statements = match known {
            Some(statements) => statements,
            // What is new is prepared as the role that it will run as, which may see schemas that the connection's does not.
            None => match self.open(&begin, configure.as_ref(), &steps).await {
                Ok(statements) => statements,
                Err(error) => {
                    batch(&self.client, ROLLBACK).await?;
                    return Err(error);
                }
            },
        };
        let client = &self.client;
        let (before, statements) = statements.split_at(transaction.before.len());
        let Some((statement, after)) = statements.split_first() else {
            return Ok(Done::default());
        };
        if rows.columns(Types(statement.columns())).is_break() {
            if opened {
                batch(client, ROLLBACK).await?;
            }
            return Ok(Done::stopped());
        }

        // Polled in order, so sent in order; the driver writes them out together. What fails makes all that follow fail,
        // and COMMIT then rolls back.
        let opening = async {
            if opened {
                return Ok(());
            }
            let configured = async {
                match &configure {
                    Some((statement, params)) => execute(client, statement, params, &mut ignore).await.map(drop),
                    None => Ok(()),
                }
            };
            let (begun, configured) = join(batch(client, &begin), configured).await;
            begun.and(configured)
        };
        let preparing = async {
            let steps = transaction.before.iter().zip(before);
            let run = steps
                .map(async |(step, statement)| execute(client, statement, step.params, &mut ignore).await.map(drop));
            join_all(run).await.into_iter().collect::<Result<(), _>>()
        };
        let executing = execute(client, statement, main.params, rows);
        let following = join_all(
            transaction
                .after
                .iter()
                .zip(after)
                .map(|(step, statement)| first_row(client, statement, step.params)),
        );
        let ending = async {
            match transaction.end {
                End::Commit => batch(client, COMMIT).await,
                End::CommitAfterRows => Ok(()),
                End::Rollback => batch(client, CHECK).await,
            }
        };
        let (opening, preparing, executing, following, ending) =
            join5(opening, preparing, executing, following, ending).await;
        *ran = executing.is_ok();
        let outcome = opening.and(preparing).and(executing).and_then(|done| {
            Ok(Done {
                after: following.into_iter().collect::<Result<_, _>>()?,
                ..done
            })
        });
        match transaction.end {
            End::Commit => {
                let done = outcome?;
                ending?;
                Ok(done)
            }
            End::CommitAfterRows => match outcome {
                Ok(done) if !done.stopped && rows.finish(&done).is_continue() => {
                    batch(client, COMMIT).await?;
                    Ok(done)
                }
                outcome => {
                    batch(client, ROLLBACK).await?;
                    outcome
                }
            },
            End::Rollback => {
                batch(client, ROLLBACK).await?;
                let done = outcome?;
                ending?;
                Ok(done)
            }
        }
    }

    /// Begins a transaction, becomes who it is for, and prepares what is new: the statements of all steps.
    async fn open(
        &mut self,
        begin: &str,
        configure: Option<&(Statement, Vec<Option<Cow<'_, str>>>)>,
        steps: &[&Step<'_>],
    ) -> Result<Vec<Statement>, Error> {
        let configured = async {
            match configure {
                Some((statement, params)) => execute(&self.client, statement, params, &mut ignore).await.map(drop),
                None => Ok(()),
            }
        };
        let (begun, configured) = join(batch(&self.client, begin), configured).await;
        begun.and(configured)?;
        let mut statements = Vec::new();
        for step in steps {
            statements.push(self.prepared(step.sql).await?);
        }
        Ok(statements)
    }

    /// The statement that sets `settings`, and its parameters.
    async fn configure<'a>(
        &mut self,
        settings: &[(&'a str, &'a str)],
    ) -> Result<Option<(Statement, Vec<Option<Cow<'a, str>>>)>, Error> {
        if settings.is_empty() {
            return Ok(None);
        }
        let calls: Vec<String> = (0..settings.len())
            .map(|n| format!("pg_catalog.set_config(${}, ${}, true)", 2 * n + 1, 2 * n + 2))
            .collect();
        let sql: Arc<str> = format!("SELECT {}", calls.join(", ")).into();
        let statement = self.prepared(&sql).await?;
        let params = settings
            .iter()
            .flat_map(|(name, value)| [*name, *value])
            .map(|text| Some(Cow::Borrowed(text)));
        Ok(Some((statement, params.collect())))
    }

    /// The prepared statement of `sql`: one round trip the first time, none after.
    async fn prepared(&mut self, sql: &Arc<str>) -> Result<Statement, Error> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await.map_err(Error::of_statement)?;
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        self.statements.insert(Arc::clone(sql), statement.clone());
        Ok(statement)
    }
}

/// Whether it says that a prepared statement is gone, or that a table has changed so that its columns would be of other types
/// (`cached plan must not change result type`). Both are found out before anything of the statement runs; what a function
/// found out within, Postgres gives a context.
fn is_outdated(error: &DbError) -> bool {
    let of_statement = match *error.code() {
        SqlState::INVALID_SQL_STATEMENT_NAME => true,
        SqlState::FEATURE_NOT_SUPPORTED => error.routine() == Some("RevalidateCachedQuery"),
        _ => false,
    };
    of_statement && error.where_().is_none()
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

/// How a transaction begins.
fn begin(transaction: &Transaction<'_>) -> String {
    let isolation = match transaction.isolation {
        None => "",
        Some(Isolation::ReadCommitted) => " ISOLATION LEVEL READ COMMITTED",
        Some(Isolation::RepeatableRead) => " ISOLATION LEVEL REPEATABLE READ",
        Some(Isolation::Serializable) => " ISOLATION LEVEL SERIALIZABLE",
    };
    let access = if transaction.writes {
        " READ WRITE"
    } else {
        " READ ONLY"
    };
    format!("BEGIN{isolation}{access}")
}

fn ignore(_: Row<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A statement without rows or parameters.
async fn batch(client: &Client, sql: &str) -> Result<(), Error> {
    client.batch_execute(sql).await.map_err(Error::of_statement)
}

/// Sends a prepared statement and takes its rows.
async fn execute(
    client: &Client,
    statement: &Statement,
    params: &[Option<Cow<'_, str>>],
    rows: &mut dyn Rows,
) -> Result<Done, Error> {
    let params = params.iter().map(|param| Text(param.as_deref()));
    let stream = client.query_raw(statement, params).await.map_err(Error::of_statement)?;
    pin_mut!(stream);
    while let Some(row) = stream.try_next().await.map_err(Error::of_statement)? {
        if rows.row(Row(&row)).is_break() {
            return Ok(Done::stopped());
        }
    }
    Ok(Done {
        affected: stream.rows_affected().unwrap_or(0),
        ..Done::default()
    })
}

/// Sends a prepared statement and takes its first row as text.
async fn first_row(
    client: &Client,
    statement: &Statement,
    params: &[Option<Cow<'_, str>>],
) -> Result<Vec<Option<String>>, Error> {
    let mut first = None;
    let mut take = |row: Row<'_>| {
        first.get_or_insert_with(|| {
            row.values()
                .map(|value| value.map(|value| String::from_utf8_lossy(value).into_owned()))
                .collect()
        });
        ControlFlow::Continue(())
    };
    execute(client, statement, params, &mut take).await?;
    Ok(first.unwrap_or_default())
}

/// A parameter in the text format: Postgres parses it as it would a literal.
#[derive(Debug)]
struct Text<'a>(Option<&'a str>);

impl ToSql for Text<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

/// A value's bytes as they came.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
