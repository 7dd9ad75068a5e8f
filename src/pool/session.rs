//! One open connection of a tenant, and how a statement runs on it.
//!
//! This is the seam to the wire: a [`Call`] goes in, rows come out one by one, and whoever calls knows nothing else of
//! the driver behind it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::{Instant, timeout};
use tokio_postgres::error::SqlState;

use crate::wire::{Answer, Batch, CancelKey, Connection, DbError, Replies, Row, Status};

use super::call::{Access, Call, Done, End, Fold, Isolation, Rows, Step, Transaction, Types};
use super::error::Error;
use super::lock;

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

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Unrun {
    /// It was taken back from behind others, and nothing of it has run.
    Moved,
    /// It failed.
    Failed(Error),
}

impl From<Error> for Unrun {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// How long a batch is waited for.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    /// Behind others it is taken back after this time; not at all if there is none.
    behind_others: Option<Duration>,
    /// Is told once it takes that long itself.
    is_long: &'a (dyn Fn() + Sync),
    /// After this it is given up.
    limit: Duration,
}

impl<'a> Patience<'a> {
    pub(super) fn new(behind_others: Option<Duration>, is_long: &'a (dyn Fn() + Sync)) -> Self {
        Self {
            behind_others,
            is_long,
            limit: Duration::MAX,
        }
    }

    /// For who is alone.
    pub(super) fn alone() -> Self {
        Self::new(None, &|| {})
    }
}

/// One open connection of one tenant. It closes when dropped.
pub(super) struct Session {
    connection: Connection,
    statements: Mutex<Statements>,
    statement_timeout: Duration,
    opened: Instant,
    expires: Instant,
    idle_since: Instant,
    retired: AtomicBool,
}

/// What is prepared on a connection.
#[derive(Default)]
struct Statements {
    known: HashMap<Arc<str>, Arc<Statement>, foldhash::fast::RandomState>,
    /// How many were ever named.
    named: u32,
}

/// A prepared statement.
struct Statement {
    name: Box<str>,
    /// The types of its columns, once the server has told.
    types: OnceLock<Box<[u32]>>,
}

impl Session {
    pub(super) fn new(connection: Connection, statement_timeout: Duration, lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            connection,
            statements: Mutex::default(),
            statement_timeout,
            opened: now,
            expires: now + lifetime,
            idle_since: now,
            retired: AtomicBool::new(false),
        }
    }

    /// Whether another request may run on it.
    pub(super) fn is_usable(&self) -> bool {
        !self.is_retired() && !self.connection.is_closed() && Instant::now() < self.expires
    }

    /// Whether it is not to be used again.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Marks it as not to be used again.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn cancel_key(&self) -> CancelKey {
        self.connection.cancel_key()
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
        let whereabouts: Arc<str> = "SELECT pg_catalog.current_schema()::text, current_user::text".into();
        let call = Call {
            statement: Step {
                sql: &whereabouts,
                params: &[],
            },
            access: Access::Read { settings: &[] },
        };
        let take = Fold::new(Vec::new(), |found, row| *found = texts(row));
        let ran = self.run(&call, take, Patience::alone()).await;
        let (_, row) = ran.map_err(Error::of_alone)?;
        let mut row = row.state.into_iter();
        Ok((row.next().flatten(), row.next().flatten().unwrap_or_default()))
    }

    /// Runs `call` and hands its rows over until `rows` breaks, which comes back with what it has taken.
    ///
    /// If the future is dropped before it is done, the state of the connection is unknown: the lease closes it then.
    pub(super) async fn run<R: Rows>(
        &self,
        call: &Call<'_>,
        rows: R,
        patience: Patience<'_>,
    ) -> Result<(Done, R), Unrun> {
        let limit = call.statement_timeout().unwrap_or(self.statement_timeout);
        let patience = Patience {
            limit: limit.saturating_add(DEADLINE_SLACK),
            ..patience
        };
        let steps = self.run_once(call, rows, patience).await?;
        let outdated = steps.error.as_ref().is_some_and(is_outdated);
        if !outdated {
            return Ok(steps.outcome()?);
        }
        self.forget();
        if steps.ran() {
            // A function has forgotten them all (`DEALLOCATE ALL`). It must not run twice.
            return Ok(steps.outcome()?);
        }
        // A transaction was rolled back: prepare everything anew, once.
        Ok(self.run_once(call, steps.rows, patience).await?.outcome()?)
    }

    /// Runs `call`, all of it or up to its first error.
    async fn run_once<R: Rows>(&self, call: &Call<'_>, mut rows: R, patience: Patience<'_>) -> Result<Steps<R>, Unrun> {
        match &call.access {
            Access::Read { settings } => {
                let mut outgoing = Outgoing::new(self);
                let main = usize::from(!settings.is_empty());
                if main > 0 {
                    outgoing.configure(settings)?;
                }
                if outgoing.execute_main(&call.statement, &mut rows)?.is_break() {
                    return Ok(Steps::unfit(rows));
                }
                outgoing.batch.sync();
                outgoing.send(Steps::new(rows, main, main + 1), patience).await
            }
            Access::Transaction(transaction) => self.transact(&call.statement, transaction, rows, patience).await,
        }
    }

    async fn transact<R: Rows>(
        &self,
        main: &Step<'_>,
        transaction: &Transaction<'_>,
        mut rows: R,
        patience: Patience<'_>,
    ) -> Result<Steps<R>, Unrun> {
        let mut outgoing = Outgoing::new(self);
        outgoing.batch.query(&begin(transaction)).map_err(Error::lost)?;
        let mut preceding = 1;
        if !transaction.settings.is_empty() {
            outgoing.configure(transaction.settings)?;
            preceding += 1;
        }
        if transaction.writes && !self.knows(main.sql) {
            // It must not run before its columns are known to fit. It is prepared as the role that it will run as, which
            // may see schemas that the connection's does not.
            let opened = outgoing.prepare(main.sql, patience).await?;
            if let Some(error) = opened.error {
                self.end(ROLLBACK, None, patience).await?;
                return Ok(Steps::failed(rows, error));
            }
            outgoing = Outgoing::new(self);
            preceding = 0;
        }
        for step in transaction.before {
            outgoing.execute(step)?;
        }
        if outgoing.execute_main(main, &mut rows)?.is_break() {
            let begun = preceding == 0;
            if begun {
                self.end(ROLLBACK, None, patience).await?;
            }
            return Ok(Steps::unfit(rows));
        }
        for step in transaction.after {
            outgoing.execute(step)?;
        }
        outgoing.batch.sync();
        match transaction.end {
            End::Commit => outgoing.batch.query(COMMIT).map_err(Error::lost)?,
            End::CommitAfterRows => {}
            End::Rollback => {
                outgoing.batch.query(CHECK).map_err(Error::lost)?;
                outgoing.batch.query(ROLLBACK).map_err(Error::lost)?;
            }
        }
        let at = preceding + transaction.before.len();
        let mut steps = Steps::new(rows, at, at + 1 + transaction.after.len());
        steps.stays_open = transaction.end == End::CommitAfterRows;
        let mut steps = outgoing.send(steps, patience).await?;
        if transaction.end == End::CommitAfterRows && !self.is_retired() {
            let commits = steps.error.is_none() && !steps.done.stopped && steps.rows.finish(&steps.done).is_continue();
            let end = if commits { COMMIT } else { ROLLBACK };
            steps.error = self.end(end, steps.error, patience).await?;
        }
        Ok(steps)
    }

    /// Ends a transaction. Gives back the first error that there was.
    async fn end(&self, sql: &str, before: Option<DbError>, patience: Patience<'_>) -> Result<Option<DbError>, Unrun> {
        let mut batch = Batch::new();
        batch.query(sql).map_err(Error::lost)?;
        let ended = self.answered(batch, Steps::nothing(), patience).await?;
        Ok(before.or(ended.error))
    }

    /// Sends a batch and waits for all of the answer, or until no more of it is wanted.
    async fn answered<R: Rows>(
        &self,
        batch: Batch,
        steps: Steps<R>,
        patience: Patience<'_>,
    ) -> Result<Steps<R>, Unrun> {
        let mut sent = self.connection.send(&batch, steps);
        let first = patience.behind_others.unwrap_or(patience.limit).min(patience.limit);
        let mut answer = timeout(first, &mut sent).await;
        if answer.is_err() && first < patience.limit {
            if !sent.is_first() {
                // What it would have answered is passed over when it comes.
                return Err(Unrun::Moved);
            }
            (patience.is_long)();
            answer = timeout(patience.limit - first, &mut sent).await;
        }
        let Ok(answer) = answer else {
            self.retire();
            return Err(Error::Deadline(patience.limit).into());
        };
        match answer {
            Ok((Answer::Whole(status), mut steps)) => {
                if status != Status::Idle && !steps.stays_open {
                    // Nobody comes into another's transaction.
                    self.retire();
                }
                steps.done.took = sent.took();
                Ok(steps)
            }
            Ok((Answer::Stopped, steps)) => {
                // The server is still at it: nobody else may run on this connection.
                self.retire();
                Ok(steps)
            }
            Err(error) => {
                self.retire();
                Err(Error::of_connection(error).into())
            }
        }
    }

    fn knows(&self, sql: &Arc<str>) -> bool {
        lock(&self.statements).known.contains_key(sql)
    }

    /// Forgets all prepared statements, here and on the server.
    fn forget(&self) {
        let forgotten = std::mem::take(&mut lock(&self.statements).known);
        let mut batch = Batch::new();
        for statement in forgotten.values() {
            // A name of ours has no NUL.
            let _infallible = batch.close(&statement.name);
        }
        batch.sync();
        // The answer is not waited for: whatever is sent from now on comes after it.
        drop(self.connection.send(&batch, Steps::nothing()));
    }
}

/// One batch for a session, and the statements that are new to it.
struct Outgoing<'s> {
    session: &'s Session,
    batch: Batch,
    fresh: SmallVec<[(Arc<str>, Arc<Statement>); 2]>,
    /// Which of them is the one whose rows are wanted.
    main: Option<usize>,
}

impl<'s> Outgoing<'s> {
    fn new(session: &'s Session) -> Self {
        Self {
            session,
            batch: Batch::new(),
            fresh: SmallVec::new(),
            main: None,
        }
    }

    fn execute(&mut self, step: &Step<'_>) -> Result<Arc<Statement>, Error> {
        let statement = self.statement(step.sql)?;
        self.batch
            .execute(&statement.name, step.params.iter().map(Option::as_deref))
            .map_err(Error::lost)?;
        Ok(statement)
    }

    fn configure(&mut self, settings: &[(&str, &str)]) -> Result<(), Error> {
        let statement = self.statement(&configure(settings.len()))?;
        let params = settings.iter().flat_map(|(name, value)| [Some(*name), Some(*value)]);
        self.batch.execute(&statement.name, params).map_err(Error::lost)
    }

    /// The statement whose rows are wanted. Breaks if its columns are known, and not those that `rows` takes.
    fn execute_main(&mut self, step: &Step<'_>, rows: &mut impl Rows) -> Result<ControlFlow<()>, Error> {
        let before = self.fresh.len();
        let statement = self.execute(step)?;
        self.main = (self.fresh.len() > before).then_some(before);
        Ok(match statement.types.get() {
            Some(types) => rows.columns(Types(types)),
            None => ControlFlow::Continue(()),
        })
    }

    /// Sends what there is so far, with `sql` to be prepared behind it.
    async fn prepare(mut self, sql: &Arc<str>, patience: Patience<'_>) -> Result<Steps<Ignore>, Unrun> {
        self.statement(sql)?;
        self.batch.sync();
        let mut steps = Steps::nothing();
        steps.stays_open = true;
        self.send(steps, patience).await
    }

    /// The prepared statement of `sql`, which the batch prepares if the session does not know it.
    fn statement(&mut self, sql: &Arc<str>) -> Result<Arc<Statement>, Error> {
        let fresh = self.fresh.iter().find(|(text, _)| text == sql);
        if let Some((_, statement)) = fresh {
            return Ok(Arc::clone(statement));
        }
        let mut statements = lock(&self.session.statements);
        if let Some(statement) = statements.known.get(sql) {
            return Ok(Arc::clone(statement));
        }
        statements.named += 1;
        let statement = Arc::new(Statement {
            name: format!("s{}", statements.named).into(),
            types: OnceLock::new(),
        });
        drop(statements);
        self.batch.prepare(&statement.name, sql).map_err(Error::lost)?;
        self.fresh.push((Arc::clone(sql), Arc::clone(&statement)));
        Ok(statement)
    }

    /// Sends it, and remembers what was prepared.
    async fn send<R: Rows>(self, mut steps: Steps<R>, patience: Patience<'_>) -> Result<Steps<R>, Unrun> {
        steps.main_description = self.main;
        let mut steps = self.session.answered(self.batch, steps, patience).await?;
        for ((sql, statement), types) in self.fresh.into_iter().zip(steps.descriptions.drain(..)) {
            let _set_once = statement.types.set(types);
            if lock(&self.session.statements).known.len() >= STATEMENTS_MAX {
                self.session.forget();
            }
            lock(&self.session.statements).known.insert(sql, statement);
        }
        Ok(steps)
    }
}

/// Takes the answer to a batch: the rows of one of its statements, and the first row of each behind that.
struct Steps<R> {
    rows: R,
    /// Statements that are done.
    at: usize,
    /// Which of them has the rows that are wanted.
    main: usize,
    /// Up to which of them first rows are wanted.
    end: usize,
    /// Which of the descriptions is that of the statement whose rows are wanted.
    main_description: Option<usize>,
    /// Whether the transaction goes on behind it.
    stays_open: bool,
    /// The columns of what was prepared.
    descriptions: SmallVec<[Box<[u32]>; 2]>,
    done: Done,
    error: Option<DbError>,
}

impl<R: Rows> Steps<R> {
    fn new(rows: R, main: usize, end: usize) -> Self {
        Self {
            rows,
            at: 0,
            main,
            end,
            main_description: None,
            stays_open: false,
            descriptions: SmallVec::new(),
            done: Done::default(),
            error: None,
        }
    }

    /// Nothing ran, because the columns are not those that were expected.
    fn unfit(rows: R) -> Self {
        let mut steps = Self::new(rows, 0, 0);
        steps.done.stopped = true;
        steps
    }

    /// Nothing ran, because of `error`.
    fn failed(rows: R, error: DbError) -> Self {
        let mut steps = Self::new(rows, 0, 0);
        steps.error = Some(error);
        steps
    }

    /// Whether the statement itself has run.
    fn ran(&self) -> bool {
        self.at > self.main
    }

    /// Whether one of those behind it runs, and has had no row.
    fn wants_first_row(&self) -> bool {
        self.ran() && self.at < self.end && self.done.after.len() < self.at - self.main
    }

    fn outcome(self) -> Result<(Done, R), Error> {
        match self.error {
            Some(error) => Err(Error::Database(Box::new(error))),
            None => Ok((self.done, self.rows)),
        }
    }
}

impl Steps<Ignore> {
    /// Nothing but an error is of interest.
    fn nothing() -> Self {
        Self::new(Ignore, usize::MAX, usize::MAX)
    }
}

impl<R: Rows> Replies for Steps<R> {
    fn columns(&mut self, types: &[u32]) {
        if self.main_description == Some(self.descriptions.len()) && self.rows.columns(Types(types)).is_break() {
            self.done.stopped = true;
        }
        self.descriptions.push(types.into());
    }

    fn row(&mut self, row: Row<'_>) -> ControlFlow<()> {
        if self.at == self.main {
            // Columns that do not fit are of a read, and read to its end: the connection stays good.
            if !self.done.stopped && self.rows.row(row).is_break() {
                self.done.stopped = true;
                return ControlFlow::Break(());
            }
        } else if self.wants_first_row() {
            self.done.after.push(texts(row));
        }
        ControlFlow::Continue(())
    }

    fn complete(&mut self, affected: u64) {
        if self.at == self.main {
            self.done.affected = affected;
        } else if self.wants_first_row() {
            self.done.after.push(Vec::new());
        }
        self.at += 1;
    }

    fn failed(&mut self, error: DbError) {
        self.error.get_or_insert(error);
    }
}

/// The values of a row whose columns are all of type `text`.
fn texts(row: Row<'_>) -> Vec<Option<String>> {
    row.values()
        .map(|value| value.map(|value| String::from_utf8_lossy(value).into_owned()))
        .collect()
}

/// Takes no row.
struct Ignore;

impl Rows for Ignore {
    fn row(&mut self, _: Row<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// The statement that sets so many settings. Most requests set as many as others did.
fn configure(settings: usize) -> Arc<str> {
    static TEXTS: [OnceLock<Arc<str>>; 32] = [const { OnceLock::new() }; 32];
    let text = || {
        let calls: Vec<String> = (0..settings)
            .map(|n| format!("pg_catalog.set_config(${}, ${}, true)", 2 * n + 1, 2 * n + 2))
            .collect();
        format!("SELECT {}", calls.join(", ")).into()
    };
    match TEXTS.get(settings) {
        Some(known) => Arc::clone(known.get_or_init(text)),
        None => text(),
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
    of_statement && error.context().is_none()
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
