//! Sockets: listeners, TLS, HTTP/1.1 and HTTP/2 connections, and their orderly end. Knows no SQL and no tenants.
//!
//! [`Listener`] accepts, `connection` speaks HTTP and hands each request to an [`Answer`], [`tls`] chooses the certificate by SNI,
//! and [`shutdown`] ends all of it within a grace period. Every wait for a client has a limit, and all limits stand in [`Limits`].
//!
//! What this module leaves to the `Answer`: the rules of `Host` and `:authority` (RFC 9112 section 3.2, RFC 9113 section 8.3.1),
//! methods, the size of a request body and how long it may take. A body that nobody reads closes its connection, by hyper.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::request::Parts;
use hyper::body::Incoming;

pub use body::{Body, Broken, Feed};
pub use listener::{Error as ListenerError, Listener};
pub use shutdown::{Shutdown, Signal, Signals};

mod activity;
mod body;
mod connection;
mod heads;
mod listener;
pub mod shutdown;
#[cfg(test)]
mod support;
pub mod throwaway;
pub mod tls;
mod transport;

/// Turns one request into one response; the only thing this module asks of the program above it.
pub trait Answer: Send + Sync + 'static {
    /// Answers the request with this head and body, which arrived on `connection`.
    ///
    /// There is no error: whatever went wrong has a status. The future is dropped when the client goes away (an HTTP/1.1
    /// connection that closes, an HTTP/2 stream that is reset), and when a shutdown runs out of grace. So is the body.
    fn answer(
        &self,
        head: &Parts,
        body: Incoming,
        connection: &ConnectionInfo,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// What is known of the connection a request arrived on.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The other end of the socket: the client, or the proxy in front of us.
    pub peer: SocketAddr,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// The TLS session; `None` on a plain listener.
    pub tls: Option<Arc<tls::Session>>,
}

/// How much, and how long, a client may take. One value per listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections of one listener. At the limit nothing is accepted until one closes. Default: 10,000.
    pub connections: usize,
    /// From accept to the end of the TLS handshake. Default: 5 s.
    pub tls_handshake_timeout: Duration,
    /// From accept (or the end of the TLS handshake) to the first byte of a request, or the whole preface of HTTP/2. Default: 5 s.
    pub first_byte_timeout: Duration,
    /// From the first byte of an HTTP/1.1 request head to its last. Default: 10 s.
    pub head_timeout: Duration,
    /// A connection is closed when it answered nothing, and sent less than [`Limits::SLOWEST_READER`], for this long or at most half
    /// as long again. For HTTP/2 that is a GOAWAY. Default: 60 s.
    pub idle_timeout: Duration,
    /// Longest time the socket may refuse all bytes of a response. Default: 30 s.
    pub write_timeout: Duration,
    /// Header lines of one request; one more is a 431. Default: 100.
    pub headers: usize,
    /// Bytes of an HTTP/1.1 request head, or of an HTTP/2 header list; more is a 431. At least 8,192. Default: 65,536: lists of
    /// keys in a query string are long.
    pub head_bytes: u32,
    /// HTTP/2 streams open at the same time on one connection. Default: 64.
    pub streams: u32,
    /// An HTTP/2 connection is pinged this often. Default: 30 s.
    pub ping_interval: Duration,
    /// An HTTP/2 connection that has not answered a ping for this long is closed. Default: 10 s.
    pub ping_timeout: Duration,
}

impl Limits {
    /// Bytes per second below which a client that reads a response counts as idle.
    pub const SLOWEST_READER: u64 = 500;

    /// Smallest `head_bytes`: hyper's buffer cannot be smaller.
    const LEAST_HEAD_BYTES: u32 = 8_192;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            tls_handshake_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            headers: 100,
            head_bytes: 65_536,
            streams: 64,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(10),
        }
    }
}
