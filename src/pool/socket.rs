//! The socket under a connection to Postgres: Unix, TCP or TLS, and closed only when the server has closed it too; if whoever
//! has it drops it before, that is left to its [`Berth`].

use std::convert::Infallible;
use std::future::{Ready, poll_fn, ready};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, TlsConnect};
use tokio_rustls::client::TlsStream;
use tokio_util::task::TaskTracker;

use super::budget::Slot;
use super::tls;
use super::tls::Tls;

/// A server that does not close its side after `Terminate` is not waited for longer than this.
const FAREWELL: Duration = Duration::from_secs(5);

/// One socket, encrypted already if it is to be.
///
/// `poll_shutdown` reads until the server's end of file. A backend leaves `pg_stat_activity` before its process closes
/// the socket, so whoever waits for the shutdown knows that the backend is gone: a slot given back after that can
/// never make the server hold one connection too many.
pub(super) struct Socket {
    /// None once it is closed, or left to the berth.
    stream: Option<Stream>,
    farewell: Option<Farewell>,
    berth: Option<oneshot::Sender<Stream>>,
    /// How many bytes may still be read.
    allowance: u64,
}

/// The slot of a connection, with the socket that it is for. The slot comes back when the server has closed the socket,
/// whoever has dropped that, and when: a login that was given up has a backend, too, until the server knows.
pub(super) struct Berth {
    slot: Option<Slot>,
    socket: Option<oneshot::Receiver<Stream>>,
    closing: Option<Socket>,
    tasks: TaskTracker,
}

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    #[cfg(test)]
    Played(tokio::io::DuplexStream),
}

/// What is left of a socket that is being closed.
struct Farewell {
    limit: Pin<Box<Sleep>>,
    /// Whether our side is closed, and only the server's end of file is waited for.
    said: bool,
}

impl Socket {
    /// Connects to the first of the endpoint's hosts that answers, and with `tls` agrees on it if that is TCP.
    pub(super) async fn connect(endpoint: &tokio_postgres::Config, tls: Option<&Tls>) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(stream) = super::simulation::socket() {
            return Ok(Self::new(Stream::Played(stream?)));
        }
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the cluster's url names no host");
        for (index, host) in endpoint.get_hosts().iter().enumerate() {
            let ports = endpoint.get_ports();
            let port = ports.get(index).or_else(|| ports.first()).copied().unwrap_or(5432);
            match Stream::connect(host, port, tls).await {
                Ok(stream) => return Ok(Self::new(stream)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Ends with an error when so much has been read.
    pub(super) fn up_to(mut self, allowance: u64) -> Self {
        self.allowance = allowance;
        self
    }

    fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            farewell: None,
            berth: None,
            allowance: u64::MAX,
        }
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// What ties an authentication to this connection, if it is encrypted (RFC 5929, `tls-server-end-point`).
    pub(super) fn server_end_point(&self) -> Option<Vec<u8>> {
        match &self.stream {
            Some(Stream::Tls(stream)) => tls::server_end_point(stream),
            _ => None,
        }
    }
}

impl Stream {
    async fn connect(host: &Host, port: u16, tls: Option<&Tls>) -> io::Result<Self> {
        match host {
            Host::Tcp(name) => {
                let mut stream = TcpStream::connect((name.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                keep_alive(&stream)?;
                match tls {
                    Some(tls) if tls.is_spoken(&mut stream).await? => {
                        Ok(Self::Tls(Box::new(tls.handshake(stream, name).await?)))
                    }
                    _ => Ok(Self::Tcp(stream)),
                }
            }
            Host::Unix(directory) => {
                let path: &Path = directory;
                Ok(Self::Unix(
                    UnixStream::connect(path.join(format!(".s.PGSQL.{port}"))).await?,
                ))
            }
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(test)]
            Self::Played(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Reads what nobody wants any more. Below TLS, because its end may come before that of the socket.
    fn poll_rest(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.get_mut().0).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(test)]
            Self::Played(stream) => Pin::new(stream).poll_read(cx, buffer),
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
        let before = buffer.filled().len();
        let result = match self.stream()? {
            Stream::Tcp(stream) => ready!(Pin::new(stream).poll_read(cx, buffer)),
            Stream::Tls(stream) => match ready!(Pin::new(stream).poll_read(cx, buffer)) {
                // Postgres ends without the alert that says so. Nothing is lost by it: a message knows its length, and
                // to end without being asked is an error in any case.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
                result => result,
            },
            Stream::Unix(stream) => ready!(Pin::new(stream).poll_read(cx, buffer)),
            #[cfg(test)]
            Stream::Played(stream) => ready!(Pin::new(stream).poll_read(cx, buffer)),
        };
        let read = buffer.filled().len() - before;
        let left = u64::try_from(read)
            .ok()
            .and_then(|read| self.allowance.checked_sub(read));
        self.allowance = left.ok_or_else(|| io::Error::other("the server says more than can be of use"))?;
        Poll::Ready(result)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.stream()? {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(test)]
            Stream::Played(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.stream()? {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(test)]
            Stream::Played(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_close(cx));
        self.stream = None;
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stream, farewell, .. } = self;
        let Some(stream) = stream else {
            return Poll::Ready(());
        };
        let farewell = farewell.get_or_insert_with(|| Farewell {
            limit: Box::pin(sleep(FAREWELL)),
            said: false,
        });
        if farewell.limit.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !farewell.said {
            // A socket that the server has reset is as closed as one can be.
            if ready!(stream.poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            farewell.said = true;
        }
        let mut scratch = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(stream.poll_rest(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(stream), Some(berth)) = (self.stream.take(), self.berth.take()) {
            let _nobody_cares = berth.send(stream);
        }
    }
}

impl Berth {
    /// For no socket yet. `tasks` runs what waits for one to be closed.
    pub(super) fn new(slot: Slot, tasks: TaskTracker) -> Self {
        Self {
            slot: Some(slot),
            socket: None,
            closing: None,
            tasks,
        }
    }

    /// It is for this one from now on.
    pub(super) fn takes(&mut self, socket: &mut Socket) {
        let (berth, dropped) = oneshot::channel();
        socket.berth = Some(berth);
        self.socket = Some(dropped);
    }

    /// Closes the socket, which was dropped, if it is not. Dropping the future leaves the rest to the berth's own end.
    pub(super) async fn clear(&mut self) {
        self.closing = self.left();
        if let Some(socket) = &mut self.closing {
            poll_fn(|context| socket.poll_close(context)).await;
        }
        self.closing = None;
    }

    /// The socket, if it was dropped without being closed.
    fn left(&mut self) -> Option<Socket> {
        let dropped = self.socket.take().and_then(|mut socket| socket.try_recv().ok());
        self.closing.take().or_else(|| dropped.map(Socket::new))
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        // Without a runtime everything ends.
        if let (Some(mut socket), Ok(_)) = (self.left(), Handle::try_current()) {
            let slot = self.slot.take();
            self.tasks.spawn(async move {
                poll_fn(|context| socket.poll_close(context)).await;
                drop(slot);
            });
        }
    }
}

/// For the other client: it is told that TLS is to begin at once, and given what there is, encrypted or not.
pub(super) struct AsItIs;

impl TlsConnect<Socket> for AsItIs {
    type Stream = Socket;
    type Error = Infallible;
    type Future = Ready<Result<Socket, Infallible>>;

    fn connect(self, socket: Socket) -> Self::Future {
        ready(Ok(socket))
    }
}

impl tokio_postgres::tls::TlsStream for Socket {
    fn channel_binding(&self) -> ChannelBinding {
        self.server_end_point()
            .map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}
