//! Where a request comes from: whose it is, and which page sent it.

use std::net::IpAddr;

use http::HeaderName;
use http::header::ORIGIN;
use http::request::Parts;
use ipnet::IpNet;

use crate::service::asked::texts;
use crate::service::{Asking, host};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Client {
    pub(super) address: IpAddr,
    pub(super) scheme: &'static str,
}

impl Client {
    /// The client of a request: the other end of its socket, or if that is a trusted proxy, whoever that says. Of the
    /// addresses in `X-Forwarded-For` the last counts that is no such proxy itself: what stands before it, anybody may have
    /// written.
    pub(super) fn of(asking: Asking<'_>, trusted: &[IpNet]) -> Self {
        let mut client = Self {
            address: asking.peer,
            scheme: asking.scheme,
        };
        let trusts = |address: &IpAddr| {
            let address = address.to_canonical();
            trusted.iter().any(|network| network.contains(&address))
        };
        if !trusts(&client.address) {
            return client;
        }
        let headers = &asking.head.headers;
        let listed: Vec<&str> = texts(headers, &FORWARDED_FOR)
            .flat_map(|value| value.split(','))
            .collect();
        for address in listed.iter().rev() {
            // What is no address was written by nobody who is trusted.
            let Ok(address) = address.trim().parse() else { break };
            client.address = address;
            if !trusts(&address) {
                break;
            }
        }
        let scheme = texts(headers, &FORWARDED_PROTO)
            .flat_map(|value| value.split(','))
            .last();
        match scheme.map(str::trim) {
            Some("https") => client.scheme = "https",
            Some("http") => client.scheme = "http",
            _ => {}
        }
        client
    }
}

/// Whether a request that changes something comes from a page of this host, as far as the browser says: every browser of
/// today does, and who is none has no cookie that others could use.
pub(super) fn is_of_this_host(head: &Parts) -> bool {
    let text = |name: &HeaderName| head.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if text(&FETCH_SITE).is_some_and(|site| !["same-origin", "none"].contains(&site)) {
        return false;
    }
    // The scheme may be another behind a proxy that ends TLS.
    text(&ORIGIN).is_none_or(|origin| {
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        authority.eq_ignore_ascii_case(host(head))
    })
}

/// Whether a page of another host loads this as a part of itself. It could not read it, but could tell how long it takes.
pub(super) fn is_embedded_elsewhere(head: &Parts) -> bool {
    let is = |name: &HeaderName, values: &[&str]| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| values.contains(&value))
    };
    is(&FETCH_SITE, &["cross-site", "same-site"]) && !is(&FETCH_MODE, &["navigate"])
}
