//! The side of a connection that owns the socket.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::io::poll_read_buf;

use super::connection::{InFlight, Shared, lock};
use super::error::{DbError, Error};
use super::reply::{self, Body, Halt, Row, Status};

/// Drives the socket of one connection: sends what requests ask for, and hands them what comes back. It ends when the
/// [`Connection`](super::Connection) was dropped and the socket is closed, or with the error that ended it.
///
/// Dropped before that, everybody who waits is told that the connection is lost.
#[must_use = "nothing is sent or received unless it is polled"]
pub struct Driver<S> {
    socket: S,
    shared: Arc<Shared>,
    out: BytesMut,
    received: BytesMut,
    in_flight: VecDeque<InFlight>,
    /// For the columns of a description, again and again.
    types: Vec<u32>,
    /// What the server said before it closed.
    farewell: Option<DbError>,
    /// When the last batch was answered.
    answered: Instant,
    /// The first of those in flight has paused: what is received stays where it is, and nothing more is read.
    paused: bool,
    phase: Phase,
    /// For as long the server may still answer what nobody waits for any more.
    patience: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Phase {
    Open,
    /// `Terminate` is on its way.
    Leaving,
}

/// A server that does not answer what is in flight is not waited for longer than this once the connection was dropped, unless
/// that may take longer ([`Connection::outlast`](super::Connection::outlast)). What ran there was asked to stop.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is read at once. Larger messages grow the buffer.
const BUFFER: usize = 16 << 10;

/// What each buffer has while nothing is in flight: there may be thousands of connections that wait for their tenant's next
/// request.
const IDLE_BUFFER: usize = 512;

impl<S: AsyncRead + AsyncWrite + Unpin> Driver<S> {
    pub(super) fn new(socket: S, shared: Arc<Shared>, received: BytesMut) -> Self {
        Self {
            socket,
            shared,
            out: BytesMut::new(),
            received,
            in_flight: VecDeque::new(),
            types: Vec::new(),
            farewell: None,
            answered: Instant::now(),
            paused: false,
            phase: Phase::Open,
            patience: None,
        }
    }

    fn drive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            self.collect(context);
            // What does not go out now goes out when the socket says so; it can be read meanwhile.
            self.write(context)?;
            if self.phase == Phase::Leaving && self.out.is_empty() {
                return Pin::new(&mut self.socket).poll_shutdown(context).map_err(Error::io);
            }
            if self.in_flight.is_empty() {
                self.slim();
            }
            if self.paused {
                // Who resumes it, or drops the connection, wakes us.
                if self.in_flight.front().is_some_and(|first| first.exchange.is_paused()) {
                    return Poll::Pending;
                }
                self.paused = false;
                self.dispatch()?;
                continue;
            }
            ready!(self.read(context))?;
        }
    }

    /// Gives memory back that the next batch will ask for again.
    fn slim(&mut self) {
        for buffer in [&mut self.out, &mut self.received] {
            if buffer.is_empty() && buffer.capacity() > IDLE_BUFFER {
                spare::put(std::mem::take(buffer));
            }
        }
    }

    /// Takes what requests have put into the outbox.
    fn collect(&mut self, context: &mut Context<'_>) {
        self.shared.driver.register(context.waker());
        let mut outbox = lock(&self.shared.outbox);
        if self.out.is_empty() {
            std::mem::swap(&mut self.out, &mut outbox.bytes);
        } else {
            self.out.extend_from_slice(&outbox.bytes);
            outbox.bytes.clear();
        }
        if let (true, Some(first)) = (self.in_flight.is_empty(), outbox.exchanges.front()) {
            first.exchange.begin();
        }
        self.in_flight.append(&mut outbox.exchanges);
        let finished = outbox.finished && self.phase == Phase::Open;
        let limit = outbox.longest.max(PATIENCE);
        drop(outbox);
        if finished && self.in_flight.is_empty() {
            frontend::terminate(&mut self.out);
            self.phase = Phase::Leaving;
        } else if finished {
            let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(limit)));
            if patience.as_mut().poll(context).is_ready() {
                self.out.clear();
                self.phase = Phase::Leaving;
            }
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.socket).poll_write(context, &self.out) {
                Poll::Ready(Ok(0)) => return Err(Error::io(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => self.out.advance(written),
                Poll::Ready(Err(error)) => return Err(self.ended(Error::io(error))),
                Poll::Pending => break,
            }
        }
        // What a socket keeps for later must go, too: TLS encrypts more than the system takes at once.
        match Pin::new(&mut self.socket).poll_flush(context) {
            Poll::Ready(Err(error)) => Err(self.ended(Error::io(error))),
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
        }
    }

    /// Reads once and hands over every message that is whole.
    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.in_flight.is_empty() {
            self.received.reserve(IDLE_BUFFER);
        } else if self.received.is_empty() && self.received.capacity() < BUFFER {
            self.received = spare::take();
        } else {
            self.received.reserve(BUFFER);
        }
        match ready!(poll_read_buf(Pin::new(&mut self.socket), context, &mut self.received)) {
            Ok(0) => return Poll::Ready(Err(self.ended(Error::Closed))),
            Ok(_) => {}
            Err(error) => return Poll::Ready(Err(self.ended(Error::io(error)))),
        }
        Poll::Ready(self.dispatch())
    }

    fn dispatch(&mut self) -> Result<(), Error> {
        let mut read = 0;
        while !self.paused
            && let Some((tag, body, length)) = reply::message(&self.received[read..])?
        {
            read += length;
            let Some(current) = self.in_flight.front_mut() else {
                if tag == b'E' {
                    self.farewell = Some(DbError::parse(body)?);
                } else if tag == b'S' {
                    reply::setting(body, &[reply::ENCODING])?;
                } else if !is_asynchronous(tag) {
                    return Err(Error::Protocol("an answer that nobody asked for"));
                }
                continue;
            };
            match answer(current, tag, body, &mut self.types, &mut self.farewell)? {
                After::Next => {}
                After::Pause => self.paused = true,
                After::End(status) => {
                    let now = Instant::now();
                    let took = now - self.answered.max(current.sent);
                    self.answered = now;
                    current.exchange.finish(status, took);
                    self.shared.answered.fetch_add(1, Ordering::Relaxed);
                    self.in_flight.pop_front();
                    if let Some(next) = self.in_flight.front() {
                        next.exchange.begin();
                    }
                }
            }
        }
        self.received.advance(read);
        Ok(())
    }

    /// What the server said, if it said why, instead of what it looks like from here.
    fn ended(&mut self, error: Error) -> Error {
        match self.farewell.take() {
            Some(said) => Error::Server(Arc::new(said)),
            None => error,
        }
    }
}

/// The read buffers of connections that have nothing to read, for those of the same thread that have.
mod spare {
    use std::cell::RefCell;

    use super::{BUFFER, BytesMut};

    /// So many are kept: connections that are read from by turns need one.
    const MOST: usize = 4;

    thread_local! {
        static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn take() -> BytesMut {
        let spare = BUFFERS.with_borrow_mut(Vec::pop);
        spare.unwrap_or_else(|| BytesMut::with_capacity(BUFFER))
    }

    pub(super) fn put(mut buffer: BytesMut) {
        if buffer.capacity() < BUFFER / 2 {
            return;
        }
        buffer.clear();
        // What was read from its beginning counts again.
        buffer.reserve(BUFFER);
        BUFFERS.with_borrow_mut(|buffers| {
            // One that has grown is not worth its memory.
            if buffers.len() < MOST && buffer.capacity() <= 2 * BUFFER {
                buffers.push(buffer);
            }
        });
    }
}

/// What is to be done after a message.
enum After {
    /// To hand the next one over.
    Next,
    /// To wait until the batch is resumed.
    Pause,
    /// It was the batch's last.
    End(Status),
}

/// Hands one message over.
fn answer(
    current: &mut InFlight,
    tag: u8,
    body: Body<'_>,
    types: &mut Vec<u32>,
    farewell: &mut Option<DbError>,
) -> Result<After, Error> {
    let wanted = !current.exchange.is_abandoned();
    match tag {
        b'D' if wanted => {
            let row = Row::parse(body)?;
            let taken = current.exchange.replies().row(row);
            match taken {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(Halt::Stop) => current.exchange.stop(),
                ControlFlow::Break(Halt::Pause) => {
                    current.exchange.pause();
                    return Ok(After::Pause);
                }
            }
        }
        b'D' => {}
        b'T' | b'n' => {
            types.clear();
            if tag == b'T' {
                reply::types(body, types)?;
            }
            current.exchange.replies().columns(types);
        }
        b'C' => current.exchange.replies().complete(reply::affected(body)?),
        b'I' => current.exchange.replies().complete(0),
        b'E' => {
            let error = DbError::parse(body)?;
            if error.severity() == "ERROR" {
                current.exchange.replies().failed(error);
            } else {
                // FATAL, PANIC: the end of the connection follows.
                *farewell = Some(error);
            }
        }
        b'Z' => {
            let status = reply::status(body)?;
            current.points -= 1;
            if current.points == 0 {
                return Ok(After::End(status));
            }
        }
        // ParseComplete, BindComplete, CloseComplete, ParameterDescription: nothing that was not known.
        b'1' | b'2' | b'3' | b't' => {}
        // What has come in another encoding is not what it looks like.
        b'S' => reply::setting(body, &[reply::ENCODING])?,
        _ if is_asynchronous(tag) => {}
        _ => return Err(Error::Protocol("an answer to something else than was asked")),
    }
    Ok(After::Next)
}

/// NoticeResponse, NotificationResponse: they come at any time, as ParameterStatus does (manual, 55.2.7).
fn is_asynchronous(tag: u8) -> bool {
    matches!(tag, b'N' | b'A')
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Driver<S> {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.drive(context));
        if let Err(error) = &result {
            self.lose(error);
        }
        Poll::Ready(result)
    }
}

impl<S> Driver<S> {
    /// Tells everybody that nothing comes any more.
    fn lose(&mut self, error: &Error) {
        let mut outbox = lock(&self.shared.outbox);
        outbox.lost.get_or_insert_with(|| error.clone());
        self.in_flight.append(&mut outbox.exchanges);
        outbox.bytes = BytesMut::new();
        drop(outbox);
        for lost in self.in_flight.drain(..) {
            lost.exchange.lose(error.clone());
        }
    }
}

impl<S> Drop for Driver<S> {
    fn drop(&mut self) {
        self.lose(&Error::Closed);
    }
}
