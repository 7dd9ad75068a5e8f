//! HTTP/1.1 request heads, held back until they are whole and checked.
//!
//! hyper's parser forgives what servers in a chain may read differently: a bare LF ends a line, and of `Content-Length` and
//! `Transfer-Encoding` the first is dropped without a word. That is how requests are smuggled (RFC 9112 section 11.2), and once
//! hyper has parsed a head nothing shows it any more. So each head is checked here first, byte by byte, and hyper is given a head only when
//! it is whole. It also never parses a slow head twice, and a head has a deadline of its own, apart from the idle time before it.
//!
//! To find the next head the length of the body must be known. A `Content-Length` tells; a chunked body does not, and rather than
//! parse chunks twice, a connection that carried one is closed after its response: [`Heads`] then passes bytes on unread.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream whose reader sees only checked heads and their bodies.
#[derive(Debug)]
pub(super) struct Heads<S> {
    stream: S,
    /// Read from the stream, not yet passed on.
    buffer: BytesMut,
    /// So many bytes of `buffer` may be passed on.
    checked: usize,
    /// How far `buffer` has been searched for the end of a head.
    searched: usize,
    next: Next,
    most_head_bytes: usize,
    head_timeout: Duration,
    /// Runs while a head has begun and is not whole.
    deadline: Option<Pin<Box<Sleep>>>,
    linger: Option<Linger>,
}

impl<S> Heads<S> {
    /// Heads of at most `most_head_bytes`; longer ones are passed on as they are, for hyper to answer with 431.
    pub(super) fn new(stream: S, most_head_bytes: u32, head_timeout: Duration) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            checked: 0,
            searched: 0,
            next: Next::Head,
            most_head_bytes: most_head_bytes as usize,
            head_timeout,
            deadline: None,
            linger: None,
        }
    }

    /// Looks at the buffer for a head: true when some of it may now be passed on.
    fn check(&mut self) -> bool {
        // An empty line or two before the request line is no error (RFC 9112 section 2.2).
        while self.searched == 0 && self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
            self.deadline = None;
        }
        match end_of_head(&self.buffer, &mut self.searched) {
            Ok(Some(end)) => match framing(&self.buffer[..end]) {
                Ok(next) => self.pass(end, next),
                Err(Malformed) => self.refuse(),
            },
            Ok(None) if self.buffer.len() >= self.most_head_bytes => self.pass(self.buffer.len(), Next::Unread),
            Ok(None) => return false,
            Err(Malformed) => self.refuse(),
        }
        true
    }

    fn pass(&mut self, bytes: usize, next: Next) {
        self.checked = bytes;
        self.searched = 0;
        self.next = next;
        self.deadline = None;
    }

    fn refuse(&mut self) {
        self.buffer.clear();
        self.buffer.extend_from_slice(NO_REQUEST);
        self.pass(NO_REQUEST.len(), Next::Nothing);
    }
}

impl<S: AsyncRead + Unpin> Heads<S> {
    /// Reads some bytes of a head; `Ready(0)` at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        if Pin::new(&mut self.stream).poll_read(cx, &mut read)?.is_ready() {
            self.buffer.extend_from_slice(read.filled());
            return Poll::Ready(Ok(read.filled().len()));
        }
        // The first byte of a head starts the clock. Before it the connection is idle, which is limited elsewhere.
        if !self.buffer.is_empty() {
            let limit = self.head_timeout;
            let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "request head took too long",
            )));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heads<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.checked > 0 {
                let bytes = this.checked.min(out.remaining());
                out.put_slice(&this.buffer[..bytes]);
                this.buffer.advance(bytes);
                this.checked -= bytes;
                if this.buffer.is_empty() {
                    // An idle connection keeps no buffer.
                    this.buffer = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            match this.next {
                Next::Head => {
                    if !this.buffer.is_empty() && this.check() {
                        continue;
                    }
                    if ready!(this.poll_fill(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Next::Body(0) => this.next = Next::Head,
                Next::Body(left) if !this.buffer.is_empty() => {
                    let bytes = this.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    this.checked = bytes;
                    this.next = Next::Body(left - bytes as u64);
                }
                Next::Body(left) => {
                    let most = out.remaining().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let mut part = ReadBuf::new(out.initialize_unfilled_to(most));
                    ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
                    let bytes = part.filled().len();
                    out.advance(bytes);
                    this.next = Next::Body(left - bytes as u64);
                    return Poll::Ready(Ok(()));
                }
                Next::Unread if !this.buffer.is_empty() => this.checked = this.buffer.len(),
                Next::Unread => return Pin::new(&mut this.stream).poll_read(cx, out),
                Next::Nothing => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Heads<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says goodbye, then reads a little of what the client is still sending: closing a socket with unread bytes makes the kernel
    /// send a reset, and the client would lose the very response that says why (RFC 9112 section 9.6).
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if matches!(this.next, Next::Head | Next::Body(0)) && this.buffer.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this.linger.get_or_insert_with(|| Linger {
            left: LINGER_BYTES,
            deadline: Box::pin(sleep(LINGER_TIMEOUT)),
        });
        while linger.left > 0 {
            let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut read = ReadBuf::uninit(&mut space);
            match Pin::new(&mut this.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    linger.left = linger.left.saturating_sub(read.filled().len());
                }
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(linger.deadline.as_mut().poll(cx));
                    break;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Head,
    /// A body with so many bytes left.
    Body(u64),
    /// A chunked body, or a head that is too long: nothing after it is a request.
    Unread,
    /// The head was malformed: the client has no more to say.
    Nothing,
}

/// The wait for a client to stop sending after we have.
#[derive(Debug)]
struct Linger {
    left: usize,
    deadline: Pin<Box<Sleep>>,
}

/// A head that different servers may read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// Finds the empty line that ends a head, and refuses NUL, and CR or LF without the other, wherever they stand (RFC 9112 section 2.2).
///
/// `searched` says how far earlier calls came on the same bytes; the answer is the length of the head, `None` when it is not whole.
fn end_of_head(bytes: &[u8], searched: &mut usize) -> Result<Option<usize>, Malformed> {
    while let Some(offset) = bytes[*searched..]
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n' | 0))
    {
        let at = *searched + offset;
        match (bytes[at], bytes.get(at + 1)) {
            // `searched` stays before the CR, which is looked at again with what follows.
            (b'\r', None) => {
                *searched = at;
                return Ok(None);
            }
            (b'\r', Some(b'\n')) => *searched = at + 2,
            _ => return Err(Malformed),
        }
        if bytes[..at].ends_with(b"\r\n") {
            return Ok(Some(at + 2));
        }
    }
    *searched = bytes.len();
    Ok(None)
}

/// How the body after this head is framed (RFC 9112 section 6.3), where only one reading is possible. The rest of the grammar is hyper's.
fn framing(head: &[u8]) -> Result<Next, Malformed> {
    let mut length = None;
    let mut chunked = false;
    // The request line is the first; the final empty line gives two empty parts.
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(Malformed); // a folded line
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue; // the final empty line, or something hyper refuses
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if length.replace(decimal(value).ok_or(Malformed)?).is_some() {
                return Err(Malformed);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed);
            }
            chunked = true;
        }
    }
    match (length, chunked) {
        (None, false) => Ok(Next::Head),
        (Some(length), false) => Ok(Next::Body(length)),
        (None, true) => Ok(Next::Unread),
        (Some(_), true) => Err(Malformed),
    }
}

/// Digits only: `str::parse` would take `+5`.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// What hyper is given in place of a malformed head. It is no request either, so hyper answers 400 and closes.
const NO_REQUEST: &[u8] = b"\0";
/// One read of a head: most are under 1 KiB.
const READ_BYTES: usize = 4096;
/// As nginx' `lingering_close`, but with its patience cut short: a client reads its answer or does not.
const LINGER_BYTES: usize = 64 * 1024;
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[track_caller]
    fn check(head: &str, expected: Result<Next, Malformed>) {
        let mut searched = 0;
        let found = end_of_head(head.as_bytes(), &mut searched).and_then(|end| {
            assert_eq!(end, Some(head.len()), "{head:?}");
            framing(head.as_bytes())
        });
        assert_eq!(found, expected, "{head:?}");
    }

    #[test]
    fn heads_with_one_reading_pass() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(Next::Head));
        check("GET / HTTP/1.0\r\n\r\n", Ok(Next::Head));
        check("POST / HTTP/1.1\r\ncontent-LENGTH:5\r\n\r\n", Ok(Next::Body(5)));
        check("POST / HTTP/1.1\r\nContent-Length: \t05 \r\n\r\n", Ok(Next::Body(5)));
        check(
            "POST / HTTP/1.1\r\nTransfer-Encoding:  Chunked\r\n\r\n",
            Ok(Next::Unread),
        );
        check(
            "POST / HTTP/1.1\r\nX-Content-Length: 5\r\nX: a: b\r\n\r\n",
            Ok(Next::Head),
        );
    }

    #[test]
    fn heads_with_two_readings_are_malformed() {
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding:",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5, 5",
            "Content-Length: 5 5",
            "Content-Length:",
            "Content-Length: 18446744073709551616",
            "X: a\r\n b",
            "X: a\r\n\tb",
        ] {
            check(
                &format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"),
                Err(Malformed),
            );
        }
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
        ] {
            check(head, Err(Malformed));
        }
    }

    /// Reads all of `sent`, which arrives in pieces of `piece` bytes, through `Heads`.
    async fn through(sent: &'static [u8], piece: usize) -> Vec<u8> {
        let (near, mut far) = duplex(piece);
        let mut heads = Heads::new(near, 16_384, Duration::from_secs(10));
        let mut received = Vec::new();
        let send = async {
            // Fails when the reader has heard enough.
            let _ = far.write_all(sent).await;
            drop(far);
        };
        let receive = async {
            heads.read_to_end(&mut received).await.unwrap();
            drop(heads);
        };
        tokio::join!(send, receive);
        received
    }

    #[tokio::test]
    async fn whole_heads_and_bodies_arrive_unchanged_however_they_are_cut() {
        let sent = b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\n\r\n\n\0 b c \r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\nPOST /c HTTP/1.1\r\n\
            Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET\n\n";
        for piece in 1..sent.len() {
            let received = through(sent, piece).await;
            // The second head follows two empty lines, which are dropped.
            let expected = String::from_utf8_lossy(sent).replace("c \r\n\r\nGET", "c GET");
            assert_eq!(String::from_utf8_lossy(&received), expected, "pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn nothing_after_a_malformed_head_is_passed_on() {
        for piece in 1..64 {
            let sent = b"GET / HTTP/1.1\r\nHost: a\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n";
            assert_eq!(through(sent, piece).await, NO_REQUEST, "pieces of {piece}");
        }
    }

    #[tokio::test]
    async fn head_that_is_not_whole_is_never_passed_on() {
        assert_eq!(through(b"GET / HTTP/1.1\r\nHost: a\r\n", 7).await, b"");
    }

    #[tokio::test]
    async fn slow_head_fails_at_its_deadline_however_it_drips() {
        let (near, mut far) = duplex(64);
        let mut heads = Heads::new(near, 16_384, Duration::from_millis(100));
        let drip = async {
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\n".iter().cycle() {
                if far.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let read = async {
            let error = heads.read(&mut [0; 64]).await.unwrap_err();
            drop(heads);
            error.kind()
        };
        let ((), kind) = tokio::join!(drip, read);
        assert_eq!(kind, io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn idle_time_is_not_head_time_and_keeps_no_buffer() {
        let (near, mut far) = duplex(64);
        let mut heads = Heads::new(near, 16_384, Duration::from_millis(10));
        let idle = async {
            sleep(Duration::from_millis(50)).await;
            far.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        };
        let mut text = [0; 64];
        let (length, ()) = tokio::join!(heads.read(&mut text), idle);
        assert_eq!(&text[..length.unwrap()], b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(heads.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn refused_client_may_finish_sending_and_an_idle_one_is_closed_at_once() {
        let (near, mut far) = duplex(64);
        let mut heads = Heads::new(near, 16_384, Duration::from_secs(10));
        far.write_all(b"\n").await.unwrap();
        assert_eq!(heads.read(&mut [0; 64]).await.unwrap(), NO_REQUEST.len());
        let close = async {
            heads.shutdown().await.unwrap();
            drop(heads);
        };
        let send = async {
            let sent = far.write_all(&[b'x'; 10_000]).await;
            drop(far);
            sent
        };
        let ((), sent) = tokio::join!(close, send);
        sent.unwrap();

        let (near, _far) = duplex(64);
        let mut heads = Heads::new(near, 16_384, Duration::from_secs(10));
        let mut shutdown = std::pin::pin!(heads.shutdown());
        let polled = shutdown
            .as_mut()
            .poll(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_ready());
    }
}
