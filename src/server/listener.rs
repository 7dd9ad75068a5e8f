//! Accepts connections of one address, as many as its limit allows.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tracing::field::Empty;
use tracing::{Instrument, debug, debug_span, info, warn};

use super::connection::Settings;
use super::tls::CertificateStore;
use super::{Answer, Limits, Shutdown};

/// A bound address. Clients that connect wait in the kernel's queue until [`Listener::serve`] runs.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local: SocketAddr,
    limits: Limits,
    tls: Option<Arc<CertificateStore>>,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one. Speaks plain HTTP unless [`Listener::with_tls`] follows.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] when the address is taken, not ours, or not allowed to this user.
    pub async fn bind(address: SocketAddr, limits: Limits) -> Result<Self, Error> {
        let bound = async {
            let socket = TcpListener::bind(address).await?;
            Ok((socket.local_addr()?, socket))
        };
        let (local, socket) = bound.await.map_err(|source| Error::Bind { address, source })?;
        Ok(Self {
            socket,
            local,
            limits,
            tls: None,
        })
    }

    /// Speaks TLS with these certificates, and nothing else.
    #[must_use]
    pub fn with_tls(self, certificates: Arc<CertificateStore>) -> Self {
        Self {
            tls: Some(certificates),
            ..self
        }
    }

    /// The address bound, with its real port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Accepts until `shutdown` stops; each connection is a task on [`Shutdown::tasks`], where this future belongs too.
    ///
    /// Dropping the future closes the address; connections go on until `shutdown` ends them.
    pub async fn serve<A: Answer>(self, answer: Arc<A>, shutdown: Shutdown) {
        let slots = Arc::new(Semaphore::new(self.limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
        let settings = Arc::new(Settings::new(answer, self.limits, self.tls, shutdown.clone()));
        info!(server.address = %self.local, "listening");
        let mut last_warning = None;
        loop {
            let accepted = select! {
                () = shutdown.stop().cancelled() => break,
                accepted = accept(&self.socket, &slots, &mut last_warning) => accepted,
            };
            match accepted {
                Ok((stream, peer, slot)) => {
                    let settings = Arc::clone(&settings);
                    let local = self.local;
                    let connection = async move {
                        settings.serve(stream, peer, local).await;
                        drop(slot);
                    };
                    let span = debug_span!("connection", client.address = %peer, tls.sni = Empty);
                    shutdown.tasks().spawn(connection.instrument(span));
                }
                // The client gave up while it waited: the next one is none the worse.
                Err(error) if is_of_the_client(&error) => debug!(%error, "accept failed"),
                // Out of file descriptors, usually: pause, or the loop burns a core.
                Err(error) => {
                    warn!(%error, "accept failed");
                    select! {
                        () = shutdown.stop().cancelled() => break,
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
    }
}

/// Accepts one connection once there is a slot for it. Cancel safe: a slot that was taken is given back.
async fn accept(
    socket: &TcpListener,
    slots: &Arc<Semaphore>,
    last_warning: &mut Option<Instant>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = match Arc::clone(slots).try_acquire_owned() {
        Ok(slot) => slot,
        Err(_) => {
            // At the limit this happens for every connection.
            if last_warning.is_none_or(|last| last.elapsed() >= WARN_EVERY) {
                warn!("connection limit reached, accepting again when one closes");
                *last_warning = Some(Instant::now());
            }
            // The semaphore is never closed, so this cannot fail.
            Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?
        }
    };
    let (stream, peer) = socket.accept().await?;
    // Responses are written whole: waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY not set");
    }
    Ok((stream, peer, slot))
}

fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Long enough to stay off the CPU, short enough that no client notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often the log says that the limit is reached.
const WARN_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::support::{Authority, Serving, read_to_close, soon};
    use super::*;

    #[tokio::test]
    async fn connection_beyond_the_limit_waits_until_one_closes() {
        let serving = Serving::start(Limits {
            connections: 2,
            ..Limits::default()
        })
        .await;
        let request = b"GET / HTTP/1.1\r\n\r\n";
        let mut first = serving.connect().await;
        let mut second = serving.connect().await;
        for stream in [&mut first, &mut second] {
            stream.write_all(request).await.unwrap();
            soon(stream.read_exact(&mut [0; 12])).await.unwrap();
        }
        // The kernel takes it, we do not.
        let mut third = serving.connect().await;
        third.write_all(request).await.unwrap();
        let mut status = [0; 12];
        let early = tokio::time::timeout(Duration::from_millis(100), third.read_exact(&mut status)).await;
        assert!(early.is_err());
        assert_eq!(serving.requests(), 2);
        drop(first);
        soon(third.read_exact(&mut status)).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn limit_does_not_keep_the_listener_from_stopping() {
        let serving = Serving::start(Limits {
            connections: 1,
            ..Limits::default()
        })
        .await;
        let mut only = serving.connect().await;
        only.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        soon(only.read_exact(&mut [0; 12])).await.unwrap();
        assert!(serving.shutdown.drain(Duration::from_secs(20)).await);
    }

    #[tokio::test]
    async fn slow_tls_hello_does_not_keep_others_from_being_accepted_and_is_closed_at_its_deadline() {
        let authority = Authority::new(&["a.localhost"]);
        let certificates = CertificateStore::new([authority.certificate()]).unwrap();
        let limits = Limits {
            tls_handshake_timeout: Duration::from_secs(1),
            ..Limits::default()
        };
        let serving = Serving::start_tls(limits, Arc::new(certificates)).await;
        let mut slow = Vec::new();
        for _ in 0..20 {
            let mut stream = serving.connect().await;
            stream.write_all(b"\x16\x03\x01").await.unwrap();
            slow.push(stream);
        }
        let start = Instant::now();
        let mut quick = serving.tls(&authority, "a.localhost", &["http/1.1"]).await.unwrap();
        quick.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        soon(quick.read_exact(&mut [0; 12])).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
        for mut stream in slow {
            assert_eq!(read_to_close(&mut stream).await, "");
        }
    }

    #[tokio::test]
    async fn address_in_use_is_an_error_that_names_it() {
        let serving = Serving::start(Limits::default()).await;
        let error = Listener::bind(serving.address, Limits::default()).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with(&format!("cannot listen on {}: ", serving.address)),
            "{error}"
        );
    }
}
