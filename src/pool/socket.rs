//! The socket under a connection to Postgres: Unix or TCP, and closed only when the server has closed it too.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_postgres::config::Host;

/// A server that does not close its side after `Terminate` is not waited for longer than this.
const FAREWELL: Duration = Duration::from_secs(5);

/// One socket.
///
/// `poll_shutdown` reads until the server's end of file. A backend leaves `pg_stat_activity` before its process closes
/// the socket, so whoever waits for the shutdown knows that the backend is gone: a slot given back after that can
/// never make the server hold one connection too many.
pub(super) struct Socket {
    stream: Stream,
    farewell: Option<Pin<Box<Sleep>>>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects to the first of the endpoint's hosts that answers.
    pub(super) async fn connect(endpoint: &tokio_postgres::Config) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the cluster's url names no host");
        for (index, host) in endpoint.get_hosts().iter().enumerate() {
            let ports = endpoint.get_ports();
            let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
            match Stream::connect(host, port).await {
                Ok(stream) => return Ok(Self { stream, farewell: None }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Stream {
    async fn connect(host: &Host, port: u16) -> io::Result<Self> {
        match host {
            Host::Tcp(name) => {
                let stream = TcpStream::connect((name.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                keep_alive(&stream)?;
                Ok(Self::Tcp(stream))
            }
            Host::Unix(directory) => {
                let path: &Path = directory;
                Ok(Self::Unix(
                    UnixStream::connect(path.join(format!(".s.PGSQL.{port}"))).await?,
                ))
            }
        }
    }
}

/// Has the system notice within half a minute that the other side is gone without a word: a host that lost its power, a
/// firewall that forgot. Else a connection that waits for an answer would keep its slot for hours.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    // Probes are sent only while nothing else is on its way: this is for what was sent and never acknowledged.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    Ok(())
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_none() {
            // A socket that the server has reset is as closed as one can be.
            let closed = match &mut self.stream {
                Stream::Tcp(stream) => ready!(Pin::new(stream).poll_shutdown(cx)),
                Stream::Unix(stream) => ready!(Pin::new(stream).poll_shutdown(cx)),
            };
            if closed.is_err() {
                return Poll::Ready(Ok(()));
            }
            self.farewell = Some(Box::pin(sleep(FAREWELL)));
        }
        let mut scratch = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match self.as_mut().poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        match &mut self.farewell {
            Some(farewell) => farewell.as_mut().poll(cx).map(Ok),
            None => Poll::Ready(Ok(())),
        }
    }
}
