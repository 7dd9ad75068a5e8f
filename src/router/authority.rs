//! The authority of a request: the one place that says which host is meant.

use http::header::HOST;
use http::{HeaderMap, Uri, Version};

use crate::router::Error;
use crate::types::{Host, HostBuffer, HostError, MAX_HOST_LEN};

/// The text of the authority that a request addresses, not yet normalised: [`host`] does that.
///
/// - HTTP/1: exactly one `Host`; an absolute-form target must name the same host and port (RFC 9112, section 3.2, would
///   let the target win silently, which is how two servers in a row come to disagree about the tenant).
/// - HTTP/2: `:authority` or one `Host`; if both are sent they must name the same host and port.
///
/// # Errors
///
/// [`Error::MissingHost`], [`Error::RepeatedHost`], [`Error::AuthorityMismatch`], and [`Error::MalformedHost`] when a
/// header is not ASCII or when one of two texts to compare is no host.
pub fn authority<'a>(headers: &'a HeaderMap, uri: &'a Uri, version: Version) -> Result<&'a str, Error> {
    let header = single_host(headers)?;
    let target = uri.authority().map(http::uri::Authority::as_str);
    match (header, target) {
        (Some(header), None) => Ok(header),
        (Some(header), Some(target)) => {
            same(header, target)?;
            Ok(header)
        }
        (None, Some(target)) if version >= Version::HTTP_2 => Ok(target),
        (None, _) => Err(Error::MissingHost),
    }
}

/// The normalised host of `authority`, which lives in `buffer` or in `authority`.
///
/// # Errors
///
/// [`Error::MalformedHost`]; [`Error::UnknownHost`] for a port that is not in `ports`.
pub fn host<'a>(authority: &'a str, ports: &Ports, buffer: &'a mut HostBuffer) -> Result<&'a str, Error> {
    match Host::normalise(authority, buffer)? {
        (_, Some(port)) if !ports.contains(port) => Err(Error::UnknownHost),
        (host, _) => Ok(host),
    }
}

/// The ports that may stand in an authority: 80, 443, the listeners' own and the configured ones.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ports(Box<[u16]>);

impl Ports {
    /// 80, 443 and `others`.
    pub fn new(others: impl IntoIterator<Item = u16>) -> Self {
        let mut ports: Vec<u16> = others.into_iter().chain([80, 443]).collect();
        ports.sort_unstable();
        ports.dedup();
        Self(ports.into())
    }

    /// Whether `port` may stand in an authority.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

/// The only `Host` header, if there is one.
fn single_host(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => match host.to_str() {
            Ok(host) => Ok(Some(host)),
            Err(_) => Err(Error::MalformedHost(HostError::Malformed)),
        },
        (Some(_), Some(_)) => Err(Error::RepeatedHost),
    }
}

/// Compares what is meant, not how it is spelt: `A.example.` is `a.example`. Ports must be spelt out alike.
fn same(header: &str, target: &str) -> Result<(), Error> {
    let mut header_buffer = [0; MAX_HOST_LEN];
    let mut target_buffer = [0; MAX_HOST_LEN];
    let header = Host::normalise(header, &mut header_buffer)?;
    let target = Host::normalise(target, &mut target_buffer)?;
    if header == target {
        Ok(())
    } else {
        Err(Error::AuthorityMismatch)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    /// The whole way: from the request to the normalised host, for a listener on port 8000.
    fn route(version: Version, uri: &str, headers: &[(&str, &[u8])]) -> Result<String, Error> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        let uri: Uri = uri.parse().unwrap();
        let mut buffer = [0; MAX_HOST_LEN];
        let authority = authority(&map, &uri, version)?;
        host(authority, &Ports::new([8000]), &mut buffer).map(str::to_owned)
    }

    #[track_caller]
    fn check(version: Version, uri: &str, headers: &[(&str, &[u8])], expected: Result<&str, Error>) {
        assert_eq!(
            route(version, uri, headers),
            expected.map(str::to_owned),
            "{uri} {headers:?}"
        );
    }

    const H1: Version = Version::HTTP_11;
    const H2: Version = Version::HTTP_2;
    const MALFORMED: Result<&str, Error> = Err(Error::MalformedHost(HostError::Malformed));

    #[test]
    fn case_1_no_host() {
        check(H1, "/", &[], Err(Error::MissingHost));
        check(H1, "http://a/", &[], Err(Error::MissingHost));
        check(Version::HTTP_10, "/", &[], Err(Error::MissingHost));
        check(Version::HTTP_10, "http://a/", &[], Err(Error::MissingHost));
        check(Version::HTTP_10, "/", &[("host", b"a")], Ok("a"));
    }

    #[test]
    fn case_2_repeated_host() {
        for version in [H1, H2] {
            check(
                version,
                "/",
                &[("host", b"a"), ("host", b"a")],
                Err(Error::RepeatedHost),
            );
            check(
                version,
                "/",
                &[("host", b"a"), ("host", b"b")],
                Err(Error::RepeatedHost),
            );
        }
        check(
            H2,
            "http://a/",
            &[("host", b"a"), ("host", b"a")],
            Err(Error::RepeatedHost),
        );
    }

    #[test]
    fn case_3_absolute_form_of_another_host() {
        check(H1, "http://b/", &[("host", b"a")], Err(Error::AuthorityMismatch));
        check(H1, "http://a:8000/", &[("host", b"a")], Err(Error::AuthorityMismatch));
        check(H1, "http://b@a/", &[("host", b"a")], MALFORMED);
        check(H1, "http://a/", &[("host", b"b@a")], MALFORMED);
    }

    #[test]
    fn case_4_absolute_form_of_the_same_host() {
        check(H1, "http://a/", &[("host", b"a")], Ok("a"));
        check(H1, "http://A.:8000/x", &[("host", b"a:8000")], Ok("a"));
    }

    #[test]
    fn case_5_h2_authority_and_another_host() {
        check(H2, "https://a/", &[("host", b"b")], Err(Error::AuthorityMismatch));
        check(H2, "https://a/", &[("host", b"A")], Ok("a"));
    }

    /// A repeated `:authority` never gets here: h2 resets the stream.
    #[test]
    fn case_6_h2_with_only_one_of_both() {
        check(H2, "/", &[("host", b"a")], Ok("a"));
        check(H2, "https://a/", &[], Ok("a"));
        check(H2, "/", &[], Err(Error::MissingHost));
    }

    #[test]
    fn case_7_hostile_spellings() {
        check(H1, "/", &[("host", b"A.Example.COM.:443")], Ok("a.example.com"));
        check(H1, "/", &[("host", b"a.example.com:8000")], Ok("a.example.com"));
        check(H1, "/", &[("host", b"a.example.com:8443")], Err(Error::UnknownHost));
        let port = Err(Error::MalformedHost(HostError::Port));
        check(H1, "/", &[("host", b"a.example.com:99999")], port);
        check(H1, "/", &[("host", b"a@b")], MALFORMED);
        check(H1, "/", &[("host", b"a\tb")], MALFORMED);
        check(H1, "/", &[("host", b"a b")], MALFORMED);
        check(H1, "/", &[("host", b"a,b")], MALFORMED);
        check(H1, "/", &[("host", b"a%00b")], MALFORMED);
        check(H1, "/", &[("host", b"")], Err(Error::MalformedHost(HostError::Empty)));
        let long = "a.".repeat(150);
        let too_long = Err(Error::MalformedHost(HostError::TooLong));
        check(H1, "/", &[("host", long.as_bytes())], too_long);
        // An address is a host like any other, and no tenant's unless configured.
        check(H1, "/", &[("host", b"[::1]")], Ok("[::1]"));
        check(H1, "/", &[("host", "bücher.example".as_bytes())], MALFORMED);
    }

    #[test]
    fn case_8_look_alikes() {
        check(H1, "/", &[("host", "\u{212a}elvin.example".as_bytes())], MALFORMED);
        check(H1, "/", &[("host", "a\u{ff0e}example".as_bytes())], MALFORMED);
        // Cyrillic а: another name, and stays one.
        check(H1, "/", &[("host", b"xn--80a.example")], Ok("xn--80a.example"));
    }

    #[test]
    fn case_9_forwarded_headers_are_not_read() {
        let headers: &[(&str, &[u8])] = &[
            ("x-forwarded-host", b"b"),
            ("forwarded", b"host=b"),
            ("x-host", b"b"),
            ("x-original-host", b"b"),
        ];
        let with_host = [headers, &[("host", b"a")]].concat();
        check(H1, "/", &with_host, Ok("a"));
        check(H1, "/", headers, Err(Error::MissingHost));
        check(H2, "https://a/", headers, Ok("a"));
    }

    proptest! {
        #[test]
        fn no_header_panics(first in "[^\\x00-\\x08\\x0a-\\x1f\\x7f]{0,300}", uri in "(https?://[a-zA-Z0-9.:@\\[\\]-]{1,20})?/") {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(first.as_bytes()) {
                headers.append(HOST, value);
            }
            if let Ok(uri) = uri.parse::<Uri>() {
                for version in [Version::HTTP_10, H1, H2] {
                    let mut buffer = [0; MAX_HOST_LEN];
                    let _ = authority(&headers, &uri, version).and_then(|text| host(text, &Ports::new([]), &mut buffer).map(str::len));
                }
            }
        }
    }
}
