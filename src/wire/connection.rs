//! The side of a connection that requests hold.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::batch::Batch;
use super::error::Error;
use super::reply::{Answer, Replies, Status};

/// One open connection. When it is dropped, the driver waits for what is in flight, says goodbye and closes the socket.
pub struct Connection {
    shared: Arc<Shared>,
    cancel_key: CancelKey,
}

/// What a request to cancel names: the connection that it is about.
#[derive(Clone, Copy)]
pub struct CancelKey {
    pub(super) process_id: i32,
    pub(super) secret: i32,
}

/// Tells whether a connection that was dropped is over, without keeping it.
pub struct Watch(Weak<Shared>);

impl Watch {
    /// Whether it was dropped and its driver has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// A batch on its way: ready when all of it is answered, or when its [`Replies`] wants no more. They come back with it,
/// unless the connection is lost.
///
/// If it is dropped before that, the server goes on; what it answers is passed over. One that has paused holds its connection
/// up until that is dropped as well.
#[must_use = "what came back is known when it is awaited"]
pub struct Sent<R> {
    exchange: Arc<Exchange<Option<R>>>,
}

/// One batch and who takes the answer.
pub(super) struct Exchange<R: ?Sized> {
    waker: AtomicWaker,
    /// `WAITING`, or how it ended.
    outcome: AtomicU8,
    /// Nobody waits any more.
    abandoned: AtomicBool,
    /// Everything that was sent before it is answered.
    first: AtomicBool,
    /// For how long it was the first, in microseconds.
    took: AtomicU32,
    /// Why it was not answered.
    failure: Mutex<Option<Error>>,
    replies: Mutex<R>,
}

const WAITING: u8 = 0;
const LOST: u8 = 1;
const IDLE: u8 = 2;
const TRANSACTION: u8 = 3;
const FAILED: u8 = 4;
const STOPPED: u8 = 5;
const PAUSED: u8 = 6;

/// What the driver and the requests have in common. Held by [`Connection`] and the driver alone: [`Watch`] counts on that.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) outbox: Mutex<Outbox>,
    pub(super) driver: AtomicWaker,
    /// Batches that were answered.
    pub(super) answered: AtomicU64,
}

/// What the driver has not taken yet.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) bytes: BytesMut,
    pub(super) exchanges: VecDeque<InFlight>,
    /// What may take longest of all that was sent, if that is more than the driver's patience.
    pub(super) longest: Duration,
    /// No more will be sent.
    pub(super) finished: bool,
    /// The driver has ended.
    pub(super) lost: Option<Error>,
}

/// A batch that waits for its answer.
pub(super) struct InFlight {
    pub(super) exchange: Arc<Exchange<dyn Replies>>,
    /// Synchronisation points that are not answered yet.
    pub(super) points: u32,
    pub(super) sent: Instant,
}

/// What is left behind by a panic is not worse than what any error leaves.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, cancel_key: CancelKey) -> Self {
        Self { shared, cancel_key }
    }

    /// Sends `batch` behind all that was sent before. `replies` takes what comes back.
    pub fn send<R: Replies>(&self, batch: &Batch, replies: R) -> Sent<R> {
        let exchange = Arc::new(Exchange::new(Some(replies)));
        let (bytes, points) = batch.parts();
        debug_assert!(points > 0, "a batch ends in a synchronisation point");
        let mut outbox = lock(&self.shared.outbox);
        if let Some(error) = &outbox.lost {
            exchange.lose(error.clone());
        } else {
            outbox.bytes.extend_from_slice(bytes);
            outbox.exchanges.push_back(InFlight {
                exchange: Arc::clone(&exchange) as Arc<Exchange<dyn Replies>>,
                points,
                sent: Instant::now(),
            });
        }
        drop(outbox);
        self.shared.driver.wake();
        Sent { exchange }
    }

    /// Has the driver wait so long for what is in flight when the connection is dropped, if that is more than
    /// [`PATIENCE`](super::PATIENCE): before the server is done with it, its slot is not free.
    pub fn outlast(&self, limit: Duration) {
        let mut outbox = lock(&self.shared.outbox);
        outbox.longest = outbox.longest.max(limit);
    }

    /// Goes on with a batch that has paused: `replies` takes what comes back from here on.
    pub fn resume<R: Replies>(&self, sent: &Sent<R>, replies: R) {
        *sent.exchange.replies() = Some(replies);
        sent.exchange.resume();
        self.shared.driver.wake();
    }

    /// Whether nothing can be sent any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.shared.outbox).lost.is_some()
    }

    /// How many batches were answered so far: what is in flight gets on as long as it grows.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// What a request to cancel names.
    #[must_use]
    pub fn cancel_key(&self) -> CancelKey {
        self.cancel_key
    }

    /// For who has to know when it is over.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Arc::downgrade(&self.shared))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        lock(&self.shared.outbox).finished = true;
        self.shared.driver.wake();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("process_id", &self.cancel_key.process_id)
            .finish_non_exhaustive()
    }
}

impl<R> Exchange<R> {
    fn new(replies: R) -> Self {
        Self {
            waker: AtomicWaker::new(),
            outcome: AtomicU8::new(WAITING),
            abandoned: AtomicBool::new(false),
            first: AtomicBool::new(false),
            took: AtomicU32::new(0),
            failure: Mutex::new(None),
            replies: Mutex::new(replies),
        }
    }
}

impl<R: ?Sized> Exchange<R> {
    pub(super) fn replies(&self) -> MutexGuard<'_, R> {
        lock(&self.replies)
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Nothing stands before it any more.
    pub(super) fn begin(&self) {
        self.first.store(true, Ordering::Relaxed);
    }

    pub(super) fn finish(&self, status: Status, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.took.store(took, Ordering::Relaxed);
        self.end(match status {
            Status::Idle => IDLE,
            Status::Transaction => TRANSACTION,
            Status::Failed => FAILED,
        });
    }

    pub(super) fn stop(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
        self.end(STOPPED);
    }

    pub(super) fn pause(&self) {
        self.end(PAUSED);
    }

    /// Whether it has paused, and somebody will resume it.
    pub(super) fn is_paused(&self) -> bool {
        self.outcome.load(Ordering::Acquire) == PAUSED && !self.is_abandoned()
    }

    fn resume(&self) {
        // Else the connection was lost meanwhile.
        let _paused = self.turn(PAUSED, WAITING);
    }

    pub(super) fn lose(&self, error: Error) {
        *lock(&self.failure) = Some(error);
        if !self.turn(PAUSED, LOST) {
            self.end(LOST);
        }
    }

    /// The first end is the one that is told.
    fn end(&self, outcome: u8) {
        if self.turn(WAITING, outcome) {
            self.waker.wake();
        }
    }

    fn turn(&self, from: u8, to: u8) -> bool {
        self.outcome
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }
}

impl<R> Sent<R> {
    /// Whether everything that was sent before it is answered: if it is not, what runs now is others'.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.exchange.first.load(Ordering::Relaxed)
    }

    /// For how long it was the first, once it is answered.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.exchange.took.load(Ordering::Relaxed).into())
    }
}

impl<R> Future for Sent<R> {
    type Output = Result<(Answer, R), Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let exchange = &*self.exchange;
        if exchange.outcome.load(Ordering::Acquire) == WAITING {
            exchange.waker.register(context.waker());
        }
        let answer = match exchange.outcome.load(Ordering::Acquire) {
            WAITING => return Poll::Pending,
            IDLE => Answer::Whole(Status::Idle),
            TRANSACTION => Answer::Whole(Status::Transaction),
            FAILED => Answer::Whole(Status::Failed),
            STOPPED => Answer::Stopped,
            PAUSED => Answer::Paused,
            _ => return Poll::Ready(Err(lock(&exchange.failure).take().unwrap_or(Error::Closed))),
        };
        // None only if it is polled once more after it was ready.
        let replies = exchange.replies().take().ok_or(Error::Closed);
        Poll::Ready(replies.map(|replies| (answer, replies)))
    }
}

impl<R> Drop for Sent<R> {
    fn drop(&mut self) {
        self.exchange.abandoned.store(true, Ordering::Relaxed);
    }
}

impl<R> fmt::Debug for Sent<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sent").finish_non_exhaustive()
    }
}
