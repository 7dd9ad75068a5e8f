//! Answers that are sent while their rows still come.
//!
//! An answer that grows past [`WHOLE_MOST`] gets its head, and what there is goes out while a task of its own takes the
//! rest from the database: a piece, then, once there is room for it, the next. Without room, nothing is read from the
//! connection, and Postgres waits. What has gone out cannot be taken back, so an answer that fails now breaks off.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span, debug, info, warn};

use crate::error::Error;
use crate::metrics::Metrics;
use crate::pool::{Begun, Done, Running};
use crate::server::{Body, Feed};
use crate::tenant::Tenant;

use super::collect::Collector;

/// An answer of no more bytes is sent when all of it is there: with its length and its range of rows, and without holding
/// a connection while the client reads. What takes no longer than a lane allows for is hardly ever larger.
pub(super) const WHOLE_MOST: usize = 2 << 20;

/// Bytes of a piece: enough that its way costs little beside what is in it.
pub(super) const PIECE: usize = 256 << 10;

/// Bytes of one answer that may wait for its client in any case.
const OWN_MOST: usize = 1 << 20;

/// Bytes that may wait for their clients besides, of all answers together. They set connections free earlier: an answer
/// that finds room here is taken from Postgres as fast as that makes it.
const SHARED_MOST: usize = 24 << 20;

/// A client that takes less than a piece in this time, while there is no room, is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all streamed answers have in common.
#[derive(Clone, Debug)]
pub struct Streams {
    shared: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// One answer that has begun.
pub(super) struct Streaming {
    pub(super) tenant: Arc<Tenant>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) began: Instant,
    /// Whether code of the tenant's runs, which may want to say something of the response.
    pub(super) tells: bool,
}

impl Streams {
    /// `tasks` runs what takes rows while they are sent.
    #[must_use]
    pub fn new(tasks: TaskTracker) -> Self {
        Self {
            shared: Arc::new(Semaphore::new(SHARED_MOST)),
            tasks,
        }
    }

    /// The body of an answer that begins with `first` and goes on with what is `running`. What is logged of it is in `span`.
    pub(super) fn begin(
        &self,
        span: Span,
        streaming: Streaming,
        first: Vec<u8>,
        running: Box<Running<Box<Collector>>>,
    ) -> Body {
        let (feed, body) = Body::in_pieces();
        let room = Room::new(Arc::clone(&self.shared));
        let task = streaming.run(feed, room, first, running);
        self.tasks.spawn(task.instrument(span));
        body
    }
}

impl Streaming {
    async fn run(self, feed: Feed, room: Room, first: Vec<u8>, running: Box<Running<Box<Collector>>>) {
        let traffic = self.tenant.traffic(&self.metrics);
        match self.pass_on(&feed, &room, first, running).await {
            Ok(()) => {
                feed.end();
                traffic.answered(http::StatusCode::OK, self.began.elapsed());
            }
            Err(broken) => {
                broken.log();
                traffic.broken(self.began.elapsed());
            }
        }
    }

    /// Hands over what there is, piece by piece. When it fails, or is dropped, the statement is stopped with it.
    async fn pass_on(
        &self,
        feed: &Feed,
        room: &Room,
        first: Vec<u8>,
        mut running: Box<Running<Box<Collector>>>,
    ) -> Result<(), Broken> {
        let mut piece = first;
        loop {
            let mut bytes = Bytes::from(piece);
            while !bytes.is_empty() {
                let part = bytes.split_to(bytes.len().min(PIECE));
                let taken = select! {
                    biased;
                    taken = room.take(part.len(), running.deadline()) => taken.ok_or(Broken::TooSlow)?,
                    () = feed.closed() => return Err(Broken::Left),
                };
                feed.piece(Bytes::from_owner(Waiting { part, _room: taken }));
            }
            let begun = select! {
                biased;
                begun = running.go_on() => begun.map_err(Error::from)?,
                () = feed.closed() => return Err(Broken::Left),
            };
            match begun {
                Begun::Running(more) => running = more,
                Begun::Whole(done, collector) => {
                    // It holds no connection any more, so it waits for no room either.
                    feed.piece(self.last(done, collector)?);
                    return Ok(());
                }
            }
            piece = running.rows().piece();
        }
    }

    fn last(&self, mut done: Done, mut collector: Box<Collector>) -> Result<Bytes, Broken> {
        if let Some(failure) = collector.failure.take() {
            return Err(failure.into());
        }
        let told = if self.tells { done.after.pop() } else { None };
        if told.into_iter().flatten().flatten().any(|text| !text.is_empty()) {
            return Err(Broken::ToldTooLate);
        }
        Ok(collector.last())
    }
}

/// Why an answer breaks off.
#[derive(Debug)]
enum Broken {
    Failed(Error),
    /// The client has gone.
    Left,
    /// The client does not take what there is.
    TooSlow,
    /// Code of the tenant's has set status or headers of the response while its rows were read.
    ToldTooLate,
}

impl Broken {
    fn log(&self) {
        match self {
            Self::Failed(error) => {
                error.log();
                info!("answer broken off");
            }
            Self::Left => debug!("client left amid the answer"),
            Self::TooSlow => info!("answer broken off: the client reads too slowly"),
            Self::ToldTooLate => {
                warn!("answer broken off: response.headers or response.status were set amid its rows");
            }
        }
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Room for what waits for its client.
struct Room {
    own: Arc<Semaphore>,
    shared: Arc<Semaphore>,
}

/// A part of a piece, and its room until it is written.
struct Waiting {
    part: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.part
    }
}

impl Room {
    fn new(shared: Arc<Semaphore>) -> Self {
        Self {
            own: Arc::new(Semaphore::new(OWN_MOST)),
            shared,
        }
    }

    /// Room for so many bytes, which is at most a piece. None if there is none within [`PATIENCE`], or until `deadline`.
    async fn take(&self, bytes: usize, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        let both = [&self.own, &self.shared];
        let free = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(bytes).ok();
        if let Some(taken) = both.into_iter().find_map(free) {
            return Some(taken);
        }
        let [own, shared] = both.map(|room| Arc::clone(room).acquire_many_owned(bytes));
        let (mut own, mut shared) = (pin!(own), pin!(shared));
        select! {
            biased;
            taken = &mut own => taken.ok(),
            taken = &mut shared => taken.ok(),
            () = sleep_until(deadline.min(Instant::now() + PATIENCE)) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn room_is_an_answers_own_and_then_everybodys() {
        let shared = Arc::new(Semaphore::new(2 * PIECE));
        let (one, two) = (Room::new(Arc::clone(&shared)), Room::new(shared));
        let later = Instant::now() + Duration::from_secs(3600);
        let mut taken = Vec::new();
        for _ in 0..OWN_MOST / PIECE + 2 {
            taken.push(one.take(PIECE, later).await.unwrap());
        }
        let asked = Instant::now();
        assert!(one.take(PIECE, later).await.is_none(), "all of it is taken");
        assert_eq!(asked.elapsed(), PATIENCE);
        assert!(two.take(PIECE, later).await.is_some(), "another's own is not");
        let soon = Instant::now() + Duration::from_secs(1);
        assert!(one.take(PIECE, soon).await.is_none());
        assert!(
            Instant::now() < soon + Duration::from_millis(5),
            "no longer than its deadline"
        );
        let (waited, ()) = tokio::join!(one.take(PIECE, later), async { drop(taken.pop()) });
        assert!(waited.is_some());
    }
}
