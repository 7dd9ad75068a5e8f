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

use crate::wire::{self, Answer, Batch, CancelKey, Connection, DbError, Halt, Replies, Row, Sent, Status, Watch};

use super::call::{Access, Call, Done, End, Fold, Isolation, Rows, Step, Transaction, Types, Wish};
use super::error::Error;
use super::shared::Identity;
use super::stream::{Paused, Ran};
use super::{lock, secret};

/// Statements kept prepared per connection, and on one that tenants share. Past it the oldest knowledge is worth less than
/// the memory: start over.
const STATEMENTS_MAX: usize = 128;
const STATEMENTS_MAX_SHARED: usize = 2048;

/// Statements that are the same for whoever a connection is.
const COMMON: u64 = 0;

/// The edge waits this much longer than `statement_timeout` before it gives a statement up.
pub(super) const DEADLINE_SLACK: Duration = Duration::from_millis(250);

/// What a tenant's functions may have set for the session (`set_config(…, false)`) would hold for whoever comes next, with
/// or without a token: so it goes back to what the startup message said. `RESET ALL` leaves the role alone (manual, RESET).
const COMMIT: &str = "COMMIT; RESET ROLE; RESET ALL";
const ROLLBACK: &str = "ROLLBACK; RESET ROLE; RESET ALL";

/// What a transaction that is undone would have failed at, had it been committed.
const CHECK: &str = "SET CONSTRAINTS ALL IMMEDIATE";

/// A call on its way to a connection.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub(super) call: &'a Call<'a>,
    /// Who the connection becomes for it, if it is a shared one.
    pub(super) guise: Option<Guise<'a>>,
    pub(super) patience: Patience<'a>,
}

/// A tenant on a shared connection.
#[derive(Clone, Copy)]
pub(super) struct Guise<'a> {
    pub(super) identity: &'a Identity,
    /// Sets its statements apart from others'.
    pub(super) number: u64,
    /// Whether the statement means the same for all tenants: then it is planned before the connection becomes this one.
    pub(super) alike: bool,
}

impl Guise<'_> {
    /// Whose statement it runs.
    fn owner(self) -> u64 {
        if self.alike { COMMON } else { self.number }
    }
}

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Unrun {
    /// It was taken back from behind others, and nothing of it has run.
    Moved,
    /// The shared connection did not come out in the tenant's schema, and no row was taken. On a connection of the tenant's
    /// own it will be clear why.
    Elsewhere,
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
    /// Behind others that do not get on for this time it is taken back; not at all if there is none.
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

/// A statement's text, and whose it is: [`COMMON`], or the number of a tenant.
type Key = (u64, Arc<str>);

/// What is prepared on a connection.
#[derive(Default)]
struct Statements {
    known: HashMap<Key, Arc<Statement>, foldhash::fast::RandomState>,
    /// How many were ever named.
    named: u32,
    /// In their names, so that SQL that makes statements of its own does not make one of theirs.
    secret: u64,
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
            statements: Mutex::new(Statements {
                secret: secret(),
                ..Statements::default()
            }),
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

    /// For who has to know when its connection is over.
    pub(super) fn watch(&self) -> Watch {
        self.connection.watch()
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

    /// `current_schema()` and `current_user`, asked in one round trip. Where no schema of the search path exists, Postgres
    /// would make one for temporary tables to answer, which a role need not be allowed to: that is no schema, too.
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
        let order = Order {
            call: &call,
            guise: None,
            patience: Patience::alone(),
        };
        let ran = self.run(order, take).await;
        let (_, row) = ran.and_then(Ran::whole).map_err(Error::of_alone)?;
        let mut row = row.state.into_iter();
        Ok((row.next().flatten(), row.next().flatten().unwrap_or_default()))
    }

    /// Runs a call and hands its rows over until `rows` breaks, which comes back with what it has taken, and with what there
    /// is left of the call if it has only paused.
    ///
    /// If the future is dropped before it is done, the state of the connection is unknown: the lease closes it then.
    pub(super) async fn run<R: Rows>(&self, order: Order<'_>, rows: R) -> Result<Ran<R>, Unrun> {
        let of_guise = order.guise.map(|guise| guise.identity.statement_timeout);
        let limit = match order.guise {
            // What it may take is Postgres' to say. Planning it the first time is not part of that.
            Some(guise) if guise.alike => of_guise,
            _ => order.call.statement_timeout().or(of_guise),
        };
        let order = Order {
            patience: Patience {
                limit: limit.unwrap_or(self.statement_timeout).saturating_add(DEADLINE_SLACK),
                ..order.patience
            },
            ..order
        };
        let steps = self.run_once(order, rows).await?;
        let outdated = steps.error.as_ref().is_some_and(is_outdated);
        if !outdated {
            return steps.outcome();
        }
        self.forget(order.guise.map(Guise::owner));
        if steps.ran() {
            // A function has forgotten them all (`DEALLOCATE ALL`). It must not run twice.
            return steps.outcome();
        }
        // A transaction was rolled back: prepare everything anew, once.
        Box::pin(self.run_once(order, steps.rows)).await?.outcome()
    }

    /// Runs a call, all of it or up to its first error.
    async fn run_once<R: Rows>(&self, order: Order<'_>, mut rows: R) -> Result<Box<Steps<R>>, Unrun> {
        let Order { call, guise, patience } = order;
        match (&call.access, guise) {
            (Access::Read { settings }, None) => {
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
            (Access::Read { settings }, Some(guise)) => {
                let mut outgoing = Outgoing::new(self);
                let becomes = if guise.alike {
                    let statement = outgoing.main(&call.statement)?;
                    outgoing.bind(PORTAL, &statement, &call.statement)?;
                    let becomes = outgoing.become_tenant(guise.identity, settings)?;
                    outgoing.batch.run(PORTAL).map_err(Error::lost)?;
                    becomes
                } else {
                    let becomes = outgoing.become_tenant(guise.identity, settings)?;
                    outgoing.owner = guise.owner();
                    if outgoing.execute_main(&call.statement, &mut rows)?.is_break() {
                        return Ok(Steps::unfit(rows));
                    }
                    becomes
                };
                outgoing.batch.sync();
                let mut steps = Steps::new(rows, 1, 2);
                steps.becomes = Some(becomes);
                outgoing.send(steps, patience).await
            }
            (Access::Transaction(transaction), _) => {
                // Boxed, or every read would carry the room that a transaction needs.
                Box::pin(self.transact(&call.statement, transaction, rows, patience)).await
            }
        }
    }

    async fn transact<R: Rows>(
        &self,
        main: &Step<'_>,
        transaction: &Transaction<'_>,
        mut rows: R,
        patience: Patience<'_>,
    ) -> Result<Box<Steps<R>>, Unrun> {
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
        steps: Box<Steps<R>>,
        patience: Patience<'_>,
    ) -> Result<Box<Steps<R>>, Unrun> {
        if patience.limit > wire::PATIENCE {
            self.connection.outlast(patience.limit);
        }
        let mut sent = self.connection.send(&batch, steps);
        let mut left = patience.limit;
        let mut first = patience.behind_others.unwrap_or(left).min(left);
        let answer = loop {
            let before = self.connection.answered();
            let answer = timeout(first, &mut sent).await;
            left -= first;
            if answer.is_ok() || left.is_zero() {
                break answer;
            }
            if sent.is_first() {
                (patience.is_long)();
                first = left;
            } else if self.connection.answered() == before {
                // Somebody in front holds all others up. What this one would have answered is passed over when it comes.
                return Err(Unrun::Moved);
            } else {
                first = first.min(left);
            }
        };
        let Ok(answer) = answer else {
            self.retire();
            return Err(Error::Deadline(patience.limit).into());
        };
        Ok(self.settled(answer, sent)?)
    }

    /// What an answer says of this connection.
    pub(super) fn settled<R: Rows>(
        &self,
        answer: Result<(Answer, Box<Steps<R>>), wire::Error>,
        sent: Sent<Box<Steps<R>>>,
    ) -> Result<Box<Steps<R>>, Error> {
        match answer {
            Ok((Answer::Whole(status), mut steps)) => {
                if status != Status::Idle && !steps.stays_open {
                    // Nobody comes into another's transaction.
                    self.retire();
                }
                steps.done.took = sent.took();
                Ok(steps)
            }
            Ok((Answer::Paused, mut steps)) => {
                steps.left = Some(sent);
                Ok(steps)
            }
            Ok((Answer::Stopped, steps)) => {
                // The server is still at it: nobody else may run on this connection.
                self.retire();
                Ok(steps)
            }
            Err(error) => {
                self.retire();
                Err(Error::of_connection(error))
            }
        }
    }

    /// Goes on with what has paused.
    pub(super) fn resume<R: Rows>(&self, sent: &Sent<Box<Steps<R>>>, steps: Box<Steps<R>>) {
        self.connection.resume(sent, steps);
    }

    fn knows(&self, sql: &Arc<str>) -> bool {
        lock(&self.statements).known.contains_key(&(COMMON, Arc::clone(sql)))
    }

    /// Forgets all prepared statements, or those of one owner, here and on the server.
    fn forget(&self, owner: Option<u64>) {
        let mut batch = Batch::new();
        lock(&self.statements).known.retain(|(of, _), statement| {
            let goes = owner.is_none_or(|owner| owner == *of);
            if goes {
                // A name of ours has no NUL.
                let _infallible = batch.close(&statement.name);
            }
            !goes
        });
        batch.sync();
        // The answer is not waited for: whatever is sent from now on comes after it.
        drop(self.connection.send(&batch, Steps::nothing()));
    }
}

/// The only portal that has a name.
const PORTAL: &str = "p";

/// One batch for a session, and the statements that are new to it.
struct Outgoing<'s> {
    session: &'s Session,
    batch: Batch,
    /// Whose statements follow.
    owner: u64,
    fresh: SmallVec<[(Key, Arc<Statement>); 2]>,
    /// Which of them is the one whose rows are wanted.
    main: Option<usize>,
}

impl<'s> Outgoing<'s> {
    fn new(session: &'s Session) -> Self {
        Self {
            session,
            batch: Batch::new(),
            owner: COMMON,
            fresh: SmallVec::new(),
            main: None,
        }
    }

    fn execute(&mut self, step: &Step<'_>) -> Result<Arc<Statement>, Error> {
        let statement = self.statement(step.sql)?;
        self.bind("", &statement, step)?;
        self.batch.run("").map_err(Error::lost)?;
        Ok(statement)
    }

    fn bind(&mut self, portal: &str, statement: &Statement, step: &Step<'_>) -> Result<(), Error> {
        let params = step.params.iter().map(Option::as_deref);
        self.batch.bind(portal, &statement.name, params).map_err(Error::lost)
    }

    fn configure(&mut self, settings: &[(&str, &str)]) -> Result<(), Error> {
        let statement = self.statement(&configure(settings.len()))?;
        let params = settings.iter().flat_map(|(name, value)| [Some(*name), Some(*value)]);
        self.batch.execute(&statement.name, params).map_err(Error::lost)
    }

    /// Has a shared connection become a tenant's until the end of the transaction, with settings of the call's own. It
    /// says where it has come out.
    fn become_tenant(&mut self, identity: &Identity, own: &[(&str, &str)]) -> Result<Becomes, Error> {
        let before = identity.before(own);
        let settings = before.len() + own.len();
        let statement = self.statement(&become_tenant(settings))?;
        // With a search path of its own, a call names its schema wherever it means it.
        let searches = own.iter().any(|(name, _)| *name == "search_path");
        let params = before.flat_map(|(name, value)| [Some(name), Some(value)]);
        let params = params.chain(own.iter().flat_map(|(name, value)| [Some(*name), Some(*value)]));
        self.batch.execute(&statement.name, params).map_err(Error::lost)?;
        Ok(Becomes {
            column: settings,
            schema: (!searches).then(|| Arc::clone(&identity.schema)),
            own_role: !own.iter().any(|(name, _)| *name == "role"),
            elsewhere: false,
        })
    }

    /// The statement whose rows are wanted.
    fn main(&mut self, step: &Step<'_>) -> Result<Arc<Statement>, Error> {
        let before = self.fresh.len();
        let statement = self.statement(step.sql)?;
        self.main = (self.fresh.len() > before).then_some(before);
        Ok(statement)
    }

    /// The same, run. Breaks if its columns are known and not those that are wanted.
    fn execute_main(&mut self, step: &Step<'_>, rows: &mut impl Rows) -> Result<ControlFlow<()>, Error> {
        let statement = self.main(step)?;
        self.bind("", &statement, step)?;
        self.batch.run("").map_err(Error::lost)?;
        Ok(match statement.types.get() {
            Some(types) => rows.columns(Types(types)),
            None => ControlFlow::Continue(()),
        })
    }

    /// Sends what there is so far, with `sql` to be prepared behind it.
    async fn prepare(mut self, sql: &Arc<str>, patience: Patience<'_>) -> Result<Box<Steps<Ignore>>, Unrun> {
        self.statement(sql)?;
        self.batch.sync();
        let mut steps = Steps::nothing();
        steps.stays_open = true;
        self.send(steps, patience).await
    }

    /// The prepared statement of `sql`, which the batch prepares if the session does not know it.
    fn statement(&mut self, sql: &Arc<str>) -> Result<Arc<Statement>, Error> {
        let key = (self.owner, Arc::clone(sql));
        let fresh = self.fresh.iter().find(|(fresh, _)| *fresh == key);
        if let Some((_, statement)) = fresh {
            return Ok(Arc::clone(statement));
        }
        let mut statements = lock(&self.session.statements);
        if let Some(statement) = statements.known.get(&key) {
            return Ok(Arc::clone(statement));
        }
        statements.named += 1;
        let statement = Arc::new(Statement {
            name: format!("s{}_{:x}", statements.named, statements.secret).into(),
            types: OnceLock::new(),
        });
        drop(statements);
        self.batch.prepare(&statement.name, sql).map_err(Error::lost)?;
        self.fresh.push((key, Arc::clone(&statement)));
        Ok(statement)
    }

    /// Sends it, and remembers what was prepared.
    async fn send<R: Rows>(self, mut steps: Box<Steps<R>>, patience: Patience<'_>) -> Result<Box<Steps<R>>, Unrun> {
        steps.main_description = self.main;
        let most = if steps.becomes.is_some() {
            STATEMENTS_MAX_SHARED
        } else {
            STATEMENTS_MAX
        };
        let mut steps = self.session.answered(self.batch, steps, patience).await?;
        for ((key, statement), types) in self.fresh.into_iter().zip(steps.descriptions.drain(..)) {
            let _set_once = statement.types.set(types);
            if lock(&self.session.statements).known.len() >= most {
                self.session.forget(None);
            }
            lock(&self.session.statements).known.insert(key, statement);
        }
        Ok(steps)
    }
}

/// Where a shared connection has to come out when it becomes a tenant's.
struct Becomes {
    /// The column that says it.
    column: usize,
    /// The tenant's schema; none if any will do.
    schema: Option<Arc<str>>,
    /// Whether the role is the tenant's own, and not one that a token names.
    own_role: bool,
    /// Whether it has come out in another.
    elsewhere: bool,
}

/// Takes the answer to a batch: the rows of one of its statements, and the first row of each behind that.
pub(super) struct Steps<R> {
    pub(super) rows: R,
    /// Where the rest comes from, if it has paused.
    left: Option<Sent<Box<Self>>>,
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
    /// What the first statement has to say, on a shared connection.
    becomes: Option<Becomes>,
    /// The columns of what was prepared.
    descriptions: SmallVec<[Box<[u32]>; 2]>,
    done: Done,
    error: Option<DbError>,
}

impl<R: Rows> Steps<R> {
    /// Boxed, because it goes from hand to hand: to the driver of the connection and back.
    fn new(rows: R, main: usize, end: usize) -> Box<Self> {
        Box::new(Self {
            rows,
            left: None,
            at: 0,
            main,
            end,
            main_description: None,
            stays_open: false,
            becomes: None,
            descriptions: SmallVec::new(),
            done: Done::default(),
            error: None,
        })
    }

    /// Nothing ran, because the columns are not those that were expected.
    fn unfit(rows: R) -> Box<Self> {
        let mut steps = Self::new(rows, 0, 0);
        steps.done.stopped = true;
        steps
    }

    /// Nothing ran, because of `error`.
    fn failed(rows: R, error: DbError) -> Box<Self> {
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

    pub(super) fn outcome(mut self: Box<Self>) -> Result<Ran<R>, Unrun> {
        if self.elsewhere() {
            return Err(Unrun::Elsewhere);
        }
        match (self.error.take(), self.left.take()) {
            (Some(error), _) => Err(Error::Database(Box::new(error)).into()),
            (None, Some(sent)) => Ok(Ran::Paused(Box::new(Paused::new(self, sent)))),
            (None, None) => {
                let Self { done, rows, .. } = *self;
                Ok(Ran::Whole(done, rows))
            }
        }
    }

    /// Whether a shared connection has come out in another schema than the tenant's.
    fn elsewhere(&self) -> bool {
        self.becomes.as_ref().is_some_and(|becomes| becomes.elsewhere)
    }
}

impl Steps<Ignore> {
    /// Nothing but an error is of interest.
    fn nothing() -> Box<Self> {
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

    fn row(&mut self, row: Row<'_>) -> ControlFlow<Halt> {
        if self.at == self.main {
            // Columns that do not fit are of a read, and read to its end: the connection stays good. So is what was found
            // elsewhere.
            if !self.done.stopped && !self.elsewhere() && self.rows.row(row).is_break() {
                if self.rows.wish() == Wish::Later {
                    return ControlFlow::Break(Halt::Pause);
                }
                self.done.stopped = true;
                return ControlFlow::Break(Halt::Stop);
            }
        } else if self.wants_first_row() {
            self.done.after.push(texts(row));
        } else if let (0, Some(becomes)) = (self.at, &mut self.becomes) {
            // A schema that is not there is passed over without a word: what comes would be of another.
            let found = row.values().nth(becomes.column).flatten();
            let wanted = becomes.schema.as_deref().map(str::as_bytes);
            becomes.elsewhere = wanted.is_some_and(|wanted| found != Some(wanted));
        }
        ControlFlow::Continue(())
    }

    fn complete(&mut self, affected: u64) {
        if self.error.is_some() {
            // What was to run has not: this is the end of its transaction.
            return;
        }
        if self.at == self.main {
            self.done.affected = affected;
        } else if self.wants_first_row() {
            self.done.after.push(Vec::new());
        }
        self.at += 1;
    }

    fn failed(&mut self, error: DbError) {
        if let (0, Some(becomes)) = (self.at, &mut self.becomes) {
            // It cannot become the tenant: it may not take its role on, or there is no schema (`whereabouts`); or there is no
            // such role.
            becomes.elsewhere = match *error.code() {
                SqlState::INSUFFICIENT_PRIVILEGE => true,
                SqlState::INVALID_PARAMETER_VALUE => becomes.own_role,
                _ => becomes.elsewhere,
            };
        }
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
    let text = || format!("SELECT {}", set_config(settings)).into();
    match TEXTS.get(settings) {
        Some(known) => Arc::clone(known.get_or_init(text)),
        None => text(),
    }
}

/// The statement that sets so many settings, and says the schema where names are found first then.
fn become_tenant(settings: usize) -> Arc<str> {
    static TEXTS: [OnceLock<Arc<str>>; 32] = [const { OnceLock::new() }; 32];
    let text = || format!("SELECT {}, pg_catalog.current_schema()::text", set_config(settings)).into();
    match TEXTS.get(settings) {
        Some(known) => Arc::clone(known.get_or_init(text)),
        None => text(),
    }
}

/// So many settings, whose names and values are the parameters.
fn set_config(settings: usize) -> String {
    let calls: Vec<String> = (0..settings)
        .map(|n| format!("pg_catalog.set_config(${}, ${}, true)", 2 * n + 1, 2 * n + 2))
        .collect();
    calls.join(", ")
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
