//! The byte stream under HTTP: gives back the bytes that chose the protocol, and gives up on a peer that takes none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;

/// A socket or TLS stream, with what HTTP libraries leave out: a limit on how long a write may be refused.
#[derive(Debug)]
pub(super) struct Transport<S> {
    stream: S,
    /// Read before the protocol was known; comes first.
    first: Bytes,
    activity: Arc<Activity>,
    write: Stall,
    // Apart from `write`: a plain socket's flush always succeeds, which says nothing about a write that is refused.
    flush: Stall,
}

impl<S> Transport<S> {
    pub(super) fn new(stream: S, first: Bytes, write_timeout: Duration, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            first,
            activity,
            write: Stall::new(write_timeout),
            flush: Stall::new(write_timeout),
        }
    }

    fn wrote(&mut self, polled: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.activity.wrote(*bytes);
        }
        self.write.watch(polled, cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Transport<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..length]);
            self.first.advance(length);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.flush.watch(polled, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.flush.watch(polled, cx)
    }
}

/// A wait that may not last. The timer exists only while waiting, so a peer that reads costs nothing.
#[derive(Debug)]
struct Stall {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    fn watch<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.sleep = None;
            return polled;
        }
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "peer takes no bytes"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn transport<S>(stream: S, first: &'static [u8]) -> Transport<S> {
        Transport::new(
            stream,
            Bytes::from_static(first),
            Duration::from_millis(30),
            Arc::default(),
        )
    }

    #[tokio::test]
    async fn first_bytes_come_first() {
        let (near, mut far) = duplex(64);
        far.write_all(b"def").await.unwrap();
        drop(far);
        let mut text = String::new();
        transport(near, b"abc").read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "abcdef");
    }

    #[tokio::test]
    async fn refused_write_fails_after_its_limit_although_flush_succeeds() {
        let (near, _far) = duplex(4);
        let mut transport = transport(near, b"");
        // `write_all` then `flush`, as HTTP does; the peer never reads.
        let error = async {
            transport.write_all(b"12345678").await?;
            transport.flush().await
        };
        assert_eq!(error.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn reader_that_reads_ends_the_wait() {
        let (near, mut far) = duplex(4);
        let mut transport = transport(near, b"");
        let mut cx = Context::from_waker(Waker::noop());
        let mut pinned = Pin::new(&mut transport);
        assert!(pinned.as_mut().poll_write(&mut cx, b"1234").is_ready());
        assert!(pinned.as_mut().poll_write(&mut cx, b"5678").is_pending());
        assert!(pinned.as_mut().poll_flush(&mut cx).is_ready());
        assert!(pinned.write.sleep.is_some(), "a flush is no progress");
        far.read_exact(&mut [0; 4]).await.unwrap();
        assert!(pinned.as_mut().poll_write(&mut cx, b"5678").is_ready());
        assert!(pinned.write.sleep.is_none());
    }
}
