//! Calls whose rows are taken piece by piece. While nobody takes them, nothing is read from the connection's socket, and
//! the server waits.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::wire::Sent;

use super::call::{Done, Rows};
use super::error::Error;
use super::lease::Lease;
use super::session::{Steps, Unrun};

/// A call that is done, or whose rows have paused.
pub enum Begun<R> {
    /// It is done.
    Whole(Done, R),
    /// There is more of it.
    Running(Box<Running<R>>),
}

impl<R: Rows> Begun<R> {
    /// Goes on until it is done.
    ///
    /// # Errors
    ///
    /// Those of [`Running::go_on`].
    pub async fn whole(mut self) -> Result<(Done, R), Error> {
        loop {
            match self {
                Self::Whole(done, rows) => return Ok((done, rows)),
                Self::Running(running) => self = running.go_on().await?,
            }
        }
    }
}

/// A call whose rows have paused. It holds its connection; dropping it stops the statement and closes that.
pub struct Running<R> {
    paused: Box<Paused<R>>,
    lease: Lease,
    limit: Duration,
    deadline: Instant,
}

impl<R: Rows> Running<R> {
    /// `limit` is how long it may take since it `began`.
    pub(super) fn new(paused: Box<Paused<R>>, lease: Lease, began: Instant, limit: Duration) -> Self {
        let deadline = began.checked_add(limit).unwrap_or_else(|| began + FOR_EVER);
        Self {
            paused,
            lease,
            limit,
            deadline,
        }
    }

    /// Who takes the rows, with what there is of them.
    pub fn rows(&mut self) -> &mut R {
        &mut self.paused.steps.rows
    }

    /// When it is given up: as long after its beginning as any other call.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Goes on until the rows pause once more, or end.
    ///
    /// Dropping the future is dropping the call.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] with what Postgres said, [`Error::Lost`] if the connection broke, [`Error::Deadline`].
    pub async fn go_on(self: Box<Self>) -> Result<Begun<R>, Error> {
        let Paused { steps, mut sent } = *self.paused;
        let Some(session) = self.lease.session() else {
            return Err(Error::Draining); // only after `finish`, which takes the lease
        };
        session.resume(&sent, steps);
        let Ok(answer) = timeout_at(self.deadline, &mut sent).await else {
            return Err(Error::Deadline(self.limit));
        };
        match session.settled(answer, sent)?.outcome() {
            Ok(Ran::Paused(paused)) => Ok(Begun::Running(Box::new(Self { paused, ..*self }))),
            Ok(Ran::Whole(done, rows)) => {
                self.lease.finish_answered();
                Ok(Begun::Whole(done, rows))
            }
            Err(unrun) => {
                self.lease.finish_answered();
                Err(Error::of_alone(unrun))
            }
        }
    }
}

impl<R> fmt::Debug for Running<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("lease", &self.lease)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<R> fmt::Debug for Begun<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(done, _) => f.debug_tuple("Whole").field(done).finish_non_exhaustive(),
            Self::Running(running) => f.debug_tuple("Running").field(running).finish(),
        }
    }
}

/// The same on a session.
pub(super) enum Ran<R> {
    Whole(Done, R),
    Paused(Box<Paused<R>>),
}

pub(super) struct Paused<R> {
    steps: Box<Steps<R>>,
    sent: Sent<Box<Steps<R>>>,
}

impl<R> Paused<R> {
    pub(super) fn new(steps: Box<Steps<R>>, sent: Sent<Box<Steps<R>>>) -> Self {
        Self { steps, sent }
    }
}

impl<R> Ran<R> {
    /// Of rows that were not told to be alone.
    pub(super) fn whole(self) -> Result<(Done, R), Unrun> {
        match self {
            Self::Whole(done, rows) => Ok((done, rows)),
            Self::Paused(_) => Err(Error::Draining.into()), // only who is alone pauses
        }
    }
}

/// A deadline where there is none.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 86_400);
