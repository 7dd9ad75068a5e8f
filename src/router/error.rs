//! Why a request addresses nothing that is served.

use thiserror::Error;

use crate::types::HostError;

/// Why a request addresses nothing that is served.
///
/// No message names the host: whoever asks learns nothing about which hosts exist.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Error {
    /// Neither a `Host` header nor, in HTTP/2, an `:authority`; also HTTP/1.0 without `Host`.
    #[error("request names no host")]
    MissingHost,
    /// More than one `Host` header, even if they say the same.
    #[error("request has more than one Host header")]
    RepeatedHost,
    /// The authority of the request target and the `Host` header differ.
    #[error("request target and Host header name different hosts")]
    AuthorityMismatch,
    /// The authority is no host.
    #[error("Host is malformed: {0}")]
    MalformedHost(#[from] HostError),
    /// A host that no tenant has, or a port that is not served.
    #[error("no such host")]
    UnknownHost,
    /// The host is served, but not over this connection: the certificate shown for its SNI does not cover the host.
    #[error("host is not served over this connection")]
    Misdirected,
    /// The path is nested too deep or is no percent-encoded UTF-8 (`PGRST125` in the dialect).
    #[error("Invalid path specified in request URL")]
    InvalidPath,
}
