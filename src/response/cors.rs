//! Cross-origin requests (the Fetch standard, 3.2).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response};

use crate::server::Body;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD");

/// Headers that any request may carry.
const SIMPLE: &str = "Accept, Accept-Language, Content-Language";

const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Content-Encoding, Content-Location, Content-Range, Content-Type, Date, Location, Server, Transfer-Encoding, Range-Unit",
);

/// A day: what is allowed hardly ever changes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// The answer to a browser that asks whether a page may make a request; `None` for any other request. `origins` are those
/// whose pages may; all if it is empty.
#[must_use]
pub fn preflight(method: &Method, headers: &HeaderMap, origins: &[Box<str>]) -> Option<Response<Body>> {
    let asks = method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let origin = headers.get(ORIGIN).filter(|_| asks)?;
    let mut response = Response::new(Body::default());
    let answer = response.headers_mut();
    if !allow(Some(origin), origins, answer) {
        return Some(response);
    }
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    answer.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    let asked = headers
        .get(ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|value| value.to_str().ok());
    let listed = match asked {
        Some(asked) => format!("Authorization, {asked}, {SIMPLE}"),
        None => format!("Authorization, {SIMPLE}"),
    };
    if let Ok(listed) = HeaderValue::from_str(&listed) {
        answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, listed);
    }
    Some(response)
}

/// Lets the page of `origin`, which made the request, read the answer, if it may.
pub fn expose(origin: Option<&HeaderValue>, origins: &[Box<str>], answer: &mut HeaderMap) {
    if allow(origin, origins, answer) {
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Whether it may. Where not every page may, what a page gets is not for a cache to give to others (the Fetch standard,
/// "CORS protocol and HTTP caches"), also if no page asked.
fn allow(origin: Option<&HeaderValue>, origins: &[Box<str>], answer: &mut HeaderMap) -> bool {
    if !origins.is_empty() {
        answer.append(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin else {
        return false;
    };
    if origins.is_empty() {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        return true;
    }
    let allowed = origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
    if allowed {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    allowed
}

/// The answer to `OPTIONS`: what may be done.
#[must_use]
pub fn options(allowed: &str, origins: &[Box<str>]) -> Response<Body> {
    let mut response = Response::new(Body::default());
    if origins.is_empty() {
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}
