//! One connection: from the first byte to the last response.
//!
//! A plain connection speaks HTTP/2 if it begins with the preface of HTTP/2 (prior knowledge, RFC 9113 section 3.3), else HTTP/1.1;
//! a TLS connection speaks what ALPN settled. There is no `Upgrade`. hyper's own builders are used, not the automatic one of
//! hyper-util, because that one waits for the first byte for ever.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::select;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, debug};

use super::activity::{Activity, Seen};
use super::heads::Heads;
use super::tls::{ALPN_HTTP2, CertificateStore};
use super::transport::Transport;
use super::{Answer, Body, ConnectionInfo, Limits, Shutdown};

/// What all connections of a listener have in common.
pub(super) struct Settings<A> {
    answer: Arc<A>,
    limits: Limits,
    tls: Option<Arc<CertificateStore>>,
    shutdown: Shutdown,
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
}

impl<A: Answer> Settings<A> {
    pub(super) fn new(answer: Arc<A>, limits: Limits, tls: Option<Arc<CertificateStore>>, shutdown: Shutdown) -> Self {
        let head_bytes = limits.head_bytes.max(Limits::LEAST_HEAD_BYTES);
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // hyper's clock also runs between requests, so it would be the idle timeout too: `Heads` has one for heads alone.
            .header_read_timeout(None::<Duration>)
            .max_buf_size(head_bytes as usize);
        if limits.headers != HYPERS_HEADERS {
            http1.max_headers(limits.headers);
        }
        let mut http2 = http2::Builder::new(Streams(shutdown.tasks().clone()));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(head_bytes)
            .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
            .max_local_error_reset_streams(MOST_LOCAL_RESETS)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout);
        Self {
            answer,
            limits: Limits { head_bytes, ..limits },
            tls,
            shutdown,
            http1,
            http2,
        }
    }

    /// Serves one accepted socket until it is closed. What goes wrong is the client's doing, or the network's: logged here, at debug.
    ///
    /// On `stop`, a connection that has not sent a byte is closed and a running request finishes; on `abort`, all is dropped.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, local: SocketAddr) {
        let served = async {
            match &self.tls {
                None => {
                    let info = ConnectionInfo { peer, local, tls: None };
                    self.speak(stream, info, None).await
                }
                // Boxed, or every plain connection would carry the room that TLS needs.
                Some(store) => Box::pin(self.handshake(stream, peer, local, store)).await,
            }
        };
        match self.shutdown.abort().run_until_cancelled(served).await {
            Some(Ok(())) => debug!("connection closed"),
            Some(Err(error)) => debug!(error = &error as &dyn std::error::Error, "connection failed"),
            None => debug!("connection dropped"),
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        store: &CertificateStore,
    ) -> Result<(), Error> {
        let accepted = timeout(self.limits.tls_handshake_timeout, store.accept(stream));
        let Some(accepted) = self.unless_stopped(accepted).await else {
            return Ok(());
        };
        let (stream, session) = accepted
            .map_err(|_| Error::HandshakeTimeout)?
            .map_err(Error::Handshake)?;
        Span::current().record("tls.sni", session.sni());
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_HTTP2) => Protocol::Http2,
            _ => Protocol::Http1,
        };
        let info = ConnectionInfo {
            peer,
            local,
            tls: Some(session),
        };
        // Boxed: the state of a TLS session is large, and each layer below would keep a copy of its room.
        self.speak(Box::new(stream), info, Some(protocol)).await
    }

    /// Waits for the first bytes and speaks HTTP: the version that was `agreed`, or else the one the bytes begin.
    async fn speak<S>(&self, mut stream: S, info: ConnectionInfo, agreed: Option<Protocol>) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let first = timeout(self.limits.first_byte_timeout, first_bytes(&mut stream));
        let Some(first) = self.unless_stopped(first).await else {
            return Ok(());
        };
        let Some(first) = first.map_err(|_| Error::FirstByteTimeout)?.map_err(Error::FirstByte)? else {
            return Ok(()); // connected and went away: a health check, or a browser that guessed wrong
        };
        let begun = if first == PREFACE {
            Protocol::Http2
        } else {
            Protocol::Http1
        };

        let info = Arc::new(info);
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request| {
            let answer = Arc::clone(&self.answer);
            let info = Arc::clone(&info);
            let most_headers = self.limits.headers;
            // Counted from here and not from the first poll: a stream that waits for its turn is not idle.
            let answering = activity.begin();
            async move {
                let mut response = reply(&*answer, request, &info, most_headers).await;
                response.body_mut().attend(answering);
                Ok::<_, Infallible>(response)
            }
        });
        let transport = Transport::new(stream, first, self.limits.write_timeout, Arc::clone(&activity));
        match (agreed.unwrap_or(begun), begun) {
            (Protocol::Http1, _) => {
                let heads = Heads::new(transport, self.limits.head_bytes, self.limits.head_timeout);
                let connection = self.http1.serve_connection(TokioIo::new(heads), service);
                self.drive(Box::pin(connection), http1::Connection::graceful_shutdown, &activity)
                    .await
            }
            (Protocol::Http2, Protocol::Http2) => {
                let connection = self.http2.serve_connection(TokioIo::new(transport), service);
                self.drive(Box::pin(connection), http2::Connection::graceful_shutdown, &activity)
                    .await
            }
            (Protocol::Http2, Protocol::Http1) => Err(Error::NoPreface),
        }
    }

    /// Polls a connection to its end, and begins that end when the program stops or the client has nothing more to ask.
    async fn drive<C>(
        &self,
        mut connection: Pin<Box<C>>,
        end: impl Fn(Pin<&mut C>),
        activity: &Activity,
    ) -> Result<(), Error>
    where
        C: Future<Output = hyper::Result<()>>,
    {
        // Two looks without anything in between make an idle connection, so that no request has to touch a timer.
        let look_every = self.limits.idle_timeout / 2;
        let least_bytes = (look_every.as_secs_f64() * Limits::SLOWEST_READER as f64) as u64;
        let mut look = pin!(sleep(look_every));
        let mut seen = Seen::default();
        let mut quiet_looks = 0;
        let mut ending = false;
        loop {
            select! {
                // The connection first: a request that has arrived when we are told to stop is still answered.
                biased;
                ended = connection.as_mut() => return ended.map_err(Error::Http),
                () = self.shutdown.stop().cancelled(), if !ending => {
                    ending = true;
                    end(connection.as_mut());
                }
                () = look.as_mut() => {
                    quiet_looks = if activity.is_quiet(&mut seen, least_bytes) { quiet_looks + 1 } else { 0 };
                    match quiet_looks {
                        0 | 1 => look.as_mut().reset(Instant::now() + look_every),
                        2 => {
                            debug!("connection idle");
                            ending = true;
                            end(connection.as_mut());
                            look.as_mut().reset(Instant::now() + CLOSE_TIMEOUT.min(look_every));
                        }
                        // The peer does not take its GOAWAY, or what is left of a response.
                        _ => return Ok(()),
                    }
                }
            }
        }
    }

    /// `None` when the program stops before `work` is done.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        select! {
            biased;
            done = work => Some(done),
            () = self.shutdown.stop().cancelled() => None,
        }
    }
}

/// Asks for the response, and adds what only the connection knows.
async fn reply<A: Answer>(
    answer: &A,
    request: Request<Incoming>,
    info: &ConnectionInfo,
    most_headers: usize,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    if head.version == Version::HTTP_2 {
        // hyper counts the headers of HTTP/1.1 only.
        if head.headers.len() > most_headers {
            let mut response = Response::new(Body::default());
            *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return response;
        }
    }
    let mut response = answer.answer(&head, body, info).await;
    // Nothing after a chunked body is read as a request, see `heads`.
    if head.version != Version::HTTP_2 && head.headers.contains_key(TRANSFER_ENCODING) {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Reads until the protocol is clear: the whole preface of HTTP/2, or anything that differs from it. `None` if the peer says nothing.
async fn first_bytes<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Bytes>> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    loop {
        match stream.read(&mut bytes[length..]).await? {
            0 if length == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
        if length == PREFACE.len() || !PREFACE.starts_with(&bytes[..length]) {
            return Ok(Some(Bytes::copy_from_slice(&bytes[..length])));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Runs the streams of HTTP/2 connections where a shutdown sees them. A stream ends when its connection does.
#[derive(Clone, Debug)]
struct Streams(TaskTracker);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream.in_current_span());
    }
}

/// Why a connection ended other than by being closed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no TLS handshake in time")]
    HandshakeTimeout,
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    #[error("no request in time")]
    FirstByteTimeout,
    #[error("connection lost before a request")]
    FirstByte(#[source] io::Error),
    #[error("ALPN chose h2, but the preface of HTTP/2 did not come")]
    NoPreface,
    #[error("HTTP failed")]
    Http(#[source] hyper::Error),
}

/// What hyper takes if nothing else is said. It has room for them on the stack then.
const HYPERS_HEADERS: usize = 100;
/// The preface of HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Streams reset before we have looked at them; one more is answered with ENHANCE_YOUR_CALM (CVE-2023-44487, "rapid reset").
const MOST_PENDING_RESETS: usize = 20;
/// Streams we had to reset for the client's errors (CVE-2025-8671, "MadeYouReset"). Good clients make a few when they cancel uploads.
const MOST_LOCAL_RESETS: usize = 256;
/// How long a peer may take to accept that an idle connection ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use http::request::Parts;
    use tokio::io::AsyncWriteExt;

    use super::super::support::{Probe, Serving, get, http1_over, read_to_close, soon, text};
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    fn short() -> Limits {
        Limits {
            first_byte_timeout: SHORT,
            head_timeout: SHORT,
            idle_timeout: SHORT,
            write_timeout: SHORT,
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn http1_with_keep_alive_and_http2_with_prior_knowledge_share_a_port() {
        let serving = Serving::start(Limits::default()).await;
        let mut http1 = serving.http1().await;
        for _ in 0..3 {
            soon(http1.ready()).await.unwrap();
            let response = soon(http1.send_request(get("/"))).await.unwrap();
            assert_eq!(text(response).await, (StatusCode::OK, "HTTP/1.1".to_owned()));
        }
        let mut http2 = serving.http2().await;
        for _ in 0..3 {
            let response = soon(http2.send_request(get("/"))).await.unwrap();
            assert_eq!(text(response).await, (StatusCode::OK, "HTTP/2.0".to_owned()));
        }
        assert_eq!(serving.requests(), 6);
    }

    #[tokio::test]
    async fn preface_in_pieces_is_http2_and_anything_else_http1() {
        let serving = Serving::start(Limits::default()).await;
        let mut stream = serving.connect().await;
        for piece in PREFACE.chunks(5) {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
        }
        // The server's SETTINGS are the first frame (RFC 9113 section 3.4).
        let mut frame = [0; 9];
        soon(stream.read_exact(&mut frame)).await.unwrap();
        assert_eq!(frame[3], 4);
        // `PRI`, but no preface.
        assert!(
            serving
                .raw("PRI / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                .await
                .contains("200 OK")
        );
    }

    #[tokio::test]
    async fn silent_client_is_closed_at_its_deadline() {
        let serving = Serving::start(Limits {
            first_byte_timeout: SHORT,
            ..Limits::default()
        })
        .await;
        let start = Instant::now();
        assert_eq!(serving.raw("").await, "");
        assert!(start.elapsed() >= SHORT);
        // Half a preface is no first byte.
        assert_eq!(serving.raw(&PREFACE[..20]).await, "");
    }

    #[tokio::test]
    async fn head_that_drips_is_closed_at_its_deadline() {
        let serving = Serving::start(Limits {
            head_timeout: SHORT,
            ..Limits::default()
        })
        .await;
        let (mut read, mut write) = serving.connect().await.into_split();
        let drip = async {
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\n".iter().chain([b'x'; 1_000_000].iter()) {
                if write.write_all(&[*byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        let closed = async {
            select! {
                () = drip => panic!("the server took it all"),
                received = read_to_close(&mut read) => received,
            }
        };
        assert_eq!(soon(closed).await, "");
        assert_eq!(serving.requests(), 0);
    }

    #[tokio::test]
    async fn header_beyond_the_limit_is_431_in_both_versions() {
        let serving = Serving::start(Limits::default()).await;
        let head = |headers: usize| {
            let mut head = "GET / HTTP/1.1\r\nConnection: close\r\n".to_owned();
            for n in 1..headers {
                write!(head, "X-{n}: 1\r\n").unwrap();
            }
            head + "\r\n"
        };
        assert!(serving.raw(head(100)).await.starts_with("HTTP/1.1 200"));
        assert!(serving.raw(head(101)).await.starts_with("HTTP/1.1 431"));
        let mut http2 = serving.http2().await;
        for (headers, status) in [
            (100, StatusCode::OK),
            (101, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        ] {
            let mut request = get("/");
            request.headers_mut().clear();
            for n in 0..headers {
                request.headers_mut().append("x", n.into());
            }
            assert_eq!(soon(http2.send_request(request)).await.unwrap().status(), status);
        }
        assert_eq!(serving.requests(), 2);
    }

    #[tokio::test]
    async fn head_beyond_its_limit_is_431_in_both_versions() {
        let limits = Limits {
            head_bytes: 16_384,
            ..Limits::default()
        };
        let serving = Serving::start(limits).await;
        let large = "x".repeat(64 * 1024);
        assert!(
            serving
                .raw(format!("GET / HTTP/1.1\r\nX: {large}\r\n\r\n"))
                .await
                .starts_with("HTTP/1.1 431")
        );
        assert!(
            serving
                .raw(format!("GET /{large} HTTP/1.1\r\n\r\n"))
                .await
                .starts_with("HTTP/1.1 431")
        );
        let mut http2 = serving.http2().await;
        let mut request = get("/");
        request
            .headers_mut()
            .insert("x", HeaderValue::from_str(&large[..17_000]).unwrap());
        let status = soon(http2.send_request(request)).await.unwrap().status();
        assert_eq!(status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(serving.requests(), 0);
    }

    #[tokio::test]
    async fn smuggling_is_400_and_nothing_after_it_is_a_request() {
        let serving = Serving::start(Limits::default()).await;
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked, identity",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: +5",
            "Content-Length: 5, 5",
            "X: a\n",
            "X: a\r\n folded",
            "X : a",
            "X: \0",
        ] {
            let answer = serving
                .raw(format!(
                    "POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
                ))
                .await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{lines:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{lines:?}: {answer}");
        }
        let chunked_in_http10 = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(serving.raw(chunked_in_http10).await.contains(" 400 "));
        // PROXY protocol, version 1 and 2: no peer is trusted with it.
        assert!(
            serving
                .raw("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\n\r\n")
                .await
                .contains(" 400 ")
        );
        assert!(
            serving
                .raw("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0cabcdefghijkl")
                .await
                .contains(" 400 ")
        );
        assert_eq!(serving.requests(), 0);
    }

    #[tokio::test]
    async fn chunked_body_is_read_and_its_connection_closed() {
        let serving = Serving::start(Limits::default()).await;
        let answer = serving
            .raw(
                "POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            )
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n5"), "{answer}");
        // A chunk size that overflows, an extension without end.
        for chunks in [
            "FFFFFFFFFFFFFFFFF\r\nx".to_owned(),
            format!("1;{}\r\nx", "x".repeat(1 << 20)),
        ] {
            serving
                .raw(format!(
                    "POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
                ))
                .await;
        }
        assert_eq!(serving.requests(), 3);
    }

    #[tokio::test]
    async fn pipelined_requests_are_answered_in_turn_and_bodies_are_not_requests() {
        let serving = Serving::start(Limits::default()).await;
        let inner = "GET /inner HTTP/1.1\r\n\r\n";
        let answer = serving
            .raw(format!(
                "POST /body HTTP/1.1\r\nContent-Length: {}\r\n\r\n{inner}\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n",
                inner.len()
            ))
            .await;
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
        assert_eq!(serving.requests(), 2);
    }

    #[tokio::test]
    async fn unread_body_closes_the_connection_after_the_response() {
        let serving = Serving::start(Limits::default()).await;
        let mut stream = serving.connect().await;
        stream
            .write_all(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nabc")
            .await
            .unwrap();
        let answer = read_to_close(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(serving.requests(), 1);
    }

    #[tokio::test]
    async fn idle_connection_is_closed_in_both_versions_and_a_busy_one_is_not() {
        let serving = Serving::start(short()).await;
        let mut busy = serving.http1().await;
        let held = busy.send_request(get("/hold"));
        let watch = async {
            Probe::wait(&serving.probe.held).await;
            let start = Instant::now();
            let mut idle = serving.connect().await;
            idle.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert!(read_to_close(&mut idle).await.ends_with("HTTP/1.1"));
            assert!(start.elapsed() >= SHORT);
            let mut idle = serving.http2().await;
            soon(idle.send_request(get("/"))).await.unwrap();
            soon(async {
                while idle.ready().await.is_ok() {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            serving.probe.release.add_permits(1);
        };
        let (held, ()) = tokio::join!(held, watch);
        assert_eq!(text(held.unwrap()).await.1, "held");
    }

    #[tokio::test]
    async fn reader_that_takes_nothing_is_dropped() {
        for preface in [false, true] {
            let serving = Serving::start(short()).await;
            let mut stream = serving.connect().await;
            if preface {
                // SETTINGS with INITIAL_WINDOW_SIZE 0, then GET /big as stream 1 (`:method GET`, `:scheme http`, `:path`, `:authority`).
                let mut bytes = PREFACE.to_vec();
                bytes.extend_from_slice(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
                let block = b"\x82\x86\x04\x04/big\x01\x01a";
                bytes.extend_from_slice(&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
                bytes.extend_from_slice(block);
                stream.write_all(&bytes).await.unwrap();
            } else {
                stream.write_all(b"GET /big HTTP/1.1\r\n\r\n").await.unwrap();
            }
            // Not a byte is read here. All tasks but the listener end when the connection is dropped.
            soon(async {
                while serving.requests() == 0 || serving.shutdown.tasks().len() > 1 {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            drop(stream);
        }
    }

    /// The error code of the last GOAWAY in these frames (RFC 9113 section 6.8).
    fn goaway(mut frames: &[u8]) -> Option<u32> {
        let mut code = None;
        while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = frames {
            let (payload, next) = rest.split_at(u32::from_be_bytes([0, *a, *b, *c]) as usize);
            if *kind == 7 {
                code = payload[4..].first_chunk().copied().map(u32::from_be_bytes);
            }
            frames = next;
        }
        code
    }

    #[tokio::test]
    async fn idle_http2_is_told_so_before_it_is_closed() {
        let serving = Serving::start(short()).await;
        let mut stream = serving.connect().await;
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        let mut answer = Vec::new();
        let _ = soon(stream.read_to_end(&mut answer)).await;
        assert_eq!(goaway(&answer), Some(0), "NO_ERROR");
    }

    #[tokio::test]
    async fn rapid_reset_is_answered_with_enhance_your_calm() {
        let serving = Serving::start(Limits::default()).await;
        let (mut read, mut write) = serving.connect().await.into_split();
        let mut bytes = PREFACE.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        let block = b"\x82\x86\x84\x01\x01a";
        for stream in (1..2000_u32).step_by(2) {
            bytes.extend_from_slice(&[0, 0, block.len() as u8, 1, 5]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(block);
            bytes.extend_from_slice(&[0, 0, 4, 3, 0]);
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, 8]);
        }
        let _ = write.write_all(&bytes).await;
        let mut answer = Vec::new();
        let _ = soon(read.read_to_end(&mut answer)).await;
        assert_eq!(goaway(&answer), Some(11), "ENHANCE_YOUR_CALM");
        assert!(serving.requests() < 100, "{}", serving.requests());
    }

    #[tokio::test]
    async fn client_that_goes_away_ends_its_request_in_both_versions() {
        let serving = Serving::start(Limits::default()).await;
        let mut stream = serving.connect().await;
        stream.write_all(b"GET /hold HTTP/1.1\r\n\r\n").await.unwrap();
        Probe::wait(&serving.probe.held).await;
        drop(stream);
        Probe::wait(&serving.probe.over).await;

        let mut http2 = serving.http2().await;
        {
            let mut request = pin!(http2.send_request(get("/hold")));
            select! {
                _ = request.as_mut() => panic!("answered"),
                () = Probe::wait(&serving.probe.held) => {}
            }
        }
        Probe::wait(&serving.probe.over).await;
        // The connection itself lives on.
        assert_eq!(
            soon(http2.send_request(get("/"))).await.unwrap().status(),
            StatusCode::OK
        );
    }

    #[tokio::test]
    async fn drain_lets_running_requests_finish_and_refuses_new_connections() {
        let serving = Serving::start(Limits::default()).await;
        let mut idle = serving.connect().await;
        idle.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let silent = serving.connect().await;
        let mut http1 = http1_over(serving.connect().await).await;
        let mut http2 = serving.http2().await;
        let requests = async { tokio::join!(http1.send_request(get("/hold")), http2.send_request(get("/hold"))) };
        let drain = async {
            Probe::wait(&serving.probe.held).await;
            Probe::wait(&serving.probe.held).await;
            let drain = serving.shutdown.drain(Duration::from_secs(20));
            let observe = async {
                // What has nothing to do is closed at once, answered or not.
                assert!(read_to_close(&mut idle).await.contains("200 OK"));
                let mut silent = silent;
                assert_eq!(read_to_close(&mut silent).await, "");
                let refused = async { while TcpStream::connect(serving.address).await.is_ok() {} };
                soon(refused).await;
                assert_eq!(serving.probe.over.available_permits(), 0);
                serving.probe.release.add_permits(2);
            };
            tokio::join!(drain, observe).0
        };
        let ((first, second), drained) = tokio::join!(requests, drain);
        assert_eq!(text(first.unwrap()).await.1, "held");
        assert_eq!(text(second.unwrap()).await.1, "held");
        assert!(drained);
    }

    #[tokio::test]
    async fn drain_reports_false_and_drops_requests_when_grace_is_over() {
        let serving = Serving::start(Limits::default()).await;
        let mut http1 = serving.http1().await;
        let mut http2 = serving.http2().await;
        let requests = async { tokio::join!(http1.send_request(get("/hold")), http2.send_request(get("/hold"))) };
        let drain = async {
            Probe::wait(&serving.probe.held).await;
            Probe::wait(&serving.probe.held).await;
            assert!(!serving.shutdown.drain(Duration::from_millis(50)).await);
            Probe::wait(&serving.probe.over).await;
            Probe::wait(&serving.probe.over).await;
            soon(serving.shutdown.tasks().wait()).await;
        };
        let ((first, second), ()) = tokio::join!(requests, drain);
        assert!(first.is_err() && second.is_err());
    }

    #[test]
    fn waiting_connection_is_small() {
        let limits = Limits::default();
        let probe = Arc::new(NoAnswer);
        let settings = Settings::new(probe, limits, None, Shutdown::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stream = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let bytes = size_of_val(&settings.serve(stream, address, address));
        assert!(bytes < 4096, "{bytes} bytes; 10,000 idle connections carry this");
    }

    struct NoAnswer;

    impl Answer for NoAnswer {
        async fn answer(&self, _: &Parts, _: Incoming, _: &ConnectionInfo) -> Response<Body> {
            Response::default()
        }
    }
}
