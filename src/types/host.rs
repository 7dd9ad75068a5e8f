//! The host a request is addressed to.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::ser::{Serialize, Serializer};
use thiserror::Error;

/// A host name has at most 253 bytes in its text form (RFC 1035, section 2.3.4).
pub const MAX_HOST_LEN: usize = 253;

/// A label of a host name has at most 63 bytes (RFC 1035, section 2.3.4).
const MAX_LABEL_LEN: usize = 63;

/// Room for one normalised host, so that a request is routed without an allocation.
pub type HostBuffer = [u8; MAX_HOST_LEN];

/// Why a text is no host.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum HostError {
    /// No host at all, only a port or a dot.
    #[error("host is empty")]
    Empty,
    /// Not a name of letters, digits and hyphens in labels of 1 to 63 bytes, and no IP address.
    #[error("host is not a name of a-z, 0-9, hyphens and dots (write an international name as its xn-- form)")]
    Malformed,
    /// Longer than 253 bytes.
    #[error("host is longer than 253 bytes")]
    TooLong,
    /// The text after the colon is no port number.
    #[error("port is not a number from 0 to 65535")]
    Port,
    /// A port where only a host may stand (in configuration).
    #[error("host must be written without a port")]
    HasPort,
}

/// The host a request is addressed to: lower case, no port, no trailing dot.
///
/// Accepts what RFC 9110 section 7.2 and RFC 952 allow and no more: labels of letters, digits and inner hyphens, an
/// IPv4 address, or an IPv6 address in brackets. No `user@`, no percent-encoding, no non-ASCII.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Host(Arc<str>);

impl Host {
    /// The normalised text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Splits and normalises the authority of a request without allocating.
    ///
    /// Returns the normalised host, which lives in `buffer` or in `authority`, and the port if one was written.
    ///
    /// # Errors
    ///
    /// [`HostError`], except [`HostError::HasPort`].
    pub fn normalise<'a>(authority: &'a str, buffer: &'a mut HostBuffer) -> Result<(&'a str, Option<u16>), HostError> {
        if authority.starts_with('[') {
            return normalise_ipv6(authority, buffer);
        }
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, Some(parse_port(port)?)),
            None => (authority, None),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            return Err(HostError::Empty);
        }
        if name.len() > MAX_HOST_LEN {
            return Err(HostError::TooLong);
        }
        let mut label_len = 0;
        let mut upper_case = false;
        let mut previous = b'.';
        for byte in name.bytes() {
            match byte {
                b'.' if label_len == 0 || previous == b'-' => return Err(HostError::Malformed),
                b'.' => label_len = 0,
                b'-' if label_len == 0 => return Err(HostError::Malformed),
                b'a'..=b'z' | b'0'..=b'9' | b'-' => label_len += 1,
                b'A'..=b'Z' => {
                    upper_case = true;
                    label_len += 1;
                }
                _ => return Err(HostError::Malformed),
            }
            if label_len > MAX_LABEL_LEN {
                return Err(HostError::Malformed);
            }
            previous = byte;
        }
        if previous == b'-' || previous == b'.' {
            return Err(HostError::Malformed);
        }
        if !upper_case {
            return Ok((name, port));
        }
        let lower = &mut buffer[..name.len()];
        lower.copy_from_slice(name.as_bytes());
        lower.make_ascii_lowercase();
        // Only ASCII got this far, so the bytes are UTF-8.
        let lower = std::str::from_utf8(lower).map_err(|_| HostError::Malformed)?;
        Ok((lower, port))
    }
}

/// `[::1]:8000`: one text per address, as `std` prints it (RFC 5952), in its brackets.
fn normalise_ipv6<'a>(authority: &'a str, buffer: &'a mut HostBuffer) -> Result<(&'a str, Option<u16>), HostError> {
    use std::io::Write as _;

    let (address, rest) = authority[1..].split_once(']').ok_or(HostError::Malformed)?;
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(parse_port(port)?),
        None if rest.is_empty() => None,
        None => return Err(HostError::Malformed),
    };
    let address: Ipv6Addr = address.parse().map_err(|_| HostError::Malformed)?;
    let mut unused = &mut buffer[..];
    write!(unused, "[{address}]").map_err(|_| HostError::TooLong)?;
    let len = MAX_HOST_LEN - unused.len();
    let host = std::str::from_utf8(&buffer[..len]).map_err(|_| HostError::Malformed)?;
    Ok((host, port))
}

/// An empty port (`host:`) is allowed by RFC 3986 section 3.2.3, but nobody means it: refuse.
fn parse_port(text: &str) -> Result<u16, HostError> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HostError::Port);
    }
    text.parse().map_err(|_| HostError::Port)
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let mut buffer = [0; MAX_HOST_LEN];
        match Self::normalise(text, &mut buffer)? {
            (host, None) => Ok(Self(host.into())),
            (_, Some(_)) => Err(HostError::HasPort),
        }
    }
}

impl std::borrow::Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Host {
    /// By visitor, because `#[serde(try_from)]` inside a list reports the position of the list.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parse;
        impl Visitor<'_> for Parse {
            type Value = Host;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host name without port")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Host, E> {
                text.parse()
                    .map_err(|error| E::custom(format_args!("{error}: {text:?}")))
            }
        }
        deserializer.deserialize_str(Parse).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(authority: &str, expected: Result<(&str, Option<u16>), HostError>) {
        let mut buffer = [0; MAX_HOST_LEN];
        assert_eq!(Host::normalise(authority, &mut buffer), expected, "{authority:?}");
    }

    #[test]
    fn authorities_are_normalised() {
        check("cliente.todo.local", Ok(("cliente.todo.local", None)));
        check("Cliente.TODO.local.:8000", Ok(("cliente.todo.local", Some(8000))));
        check("127.0.0.1:80", Ok(("127.0.0.1", Some(80))));
        check("[::1]", Ok(("[::1]", None)));
        check("[0:0::1]:443", Ok(("[::1]", Some(443))));
        check("xn--bcher-kva.example", Ok(("xn--bcher-kva.example", None)));
    }

    #[test]
    fn hostile_authorities_are_refused() {
        check("", Err(HostError::Empty));
        check(".", Err(HostError::Empty));
        check(":80", Err(HostError::Empty));
        check("a.example.com:99999", Err(HostError::Port));
        check("a:", Err(HostError::Port));
        check("a:+80", Err(HostError::Port));
        check("a@b", Err(HostError::Malformed));
        check("a\tb", Err(HostError::Malformed));
        check("a b", Err(HostError::Malformed));
        check("a%00b", Err(HostError::Malformed));
        check("a..b", Err(HostError::Malformed));
        check("a..", Err(HostError::Malformed));
        check("-a.b", Err(HostError::Malformed));
        check("a-.b", Err(HostError::Malformed));
        check("a_b", Err(HostError::Malformed));
        check("bücher.example", Err(HostError::Malformed));
        check("\u{212a}elvin.example", Err(HostError::Malformed)); // KELVIN SIGN lower-cases to k in Unicode
        check("a\u{ff0e}b", Err(HostError::Malformed)); // FULLWIDTH FULL STOP
        check(&"a".repeat(64), Err(HostError::Malformed));
        check(&"a.".repeat(150), Err(HostError::TooLong));
        check("[::1", Err(HostError::Malformed));
        check("[::1]x", Err(HostError::Malformed));
        check("[fe80::1%eth0]", Err(HostError::Malformed));
    }

    #[test]
    fn configured_hosts_have_no_port() {
        assert_eq!("a.example:80".parse::<Host>(), Err(HostError::HasPort));
        assert_eq!("A.Example.".parse::<Host>().unwrap().as_str(), "a.example");
    }

    proptest! {
        #[test]
        fn normalising_never_panics_and_is_idempotent(authority in "\\PC{0,300}") {
            let mut buffer = [0; MAX_HOST_LEN];
            if let Ok((host, _)) = Host::normalise(&authority, &mut buffer) {
                let host = host.to_owned();
                let mut again = [0; MAX_HOST_LEN];
                prop_assert_eq!(Host::normalise(&host, &mut again), Ok((host.as_str(), None)));
            }
        }
    }
}
