//! HTML pages and their stylesheet as responses.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::pages;
use crate::server::Body;

/// Nothing may run, nothing may frame us, nothing comes from elsewhere (CSP level 3).
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// The same for the console, whose one script is ours and asks nobody but us.
const CONSOLE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'",
);

/// A page of the console.
#[must_use]
pub fn console(status: StatusCode, page: String) -> Response<Body> {
    let mut response = html(status, page);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, CONSOLE_POLICY);
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), SAME_ORIGIN);
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), SAME_ORIGIN);
    response
}

const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// Something to be kept as a file: nothing in it runs, even if a browser shows it.
#[must_use]
pub fn file(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// JSON for our own script.
#[must_use]
pub fn json(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = file(Body::new(body));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// A page.
#[must_use]
pub fn html(status: StatusCode, page: String) -> Response<Body> {
    let mut response = Response::new(Body::new(page.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A file of our own, whose path changes with its content: it may be kept for ever. None if there is no such.
#[must_use]
pub fn asset(path: &str) -> Option<Response<Body>> {
    let (content, content_type) = match path {
        path if path == pages::style_path() => (pages::STYLE, "text/css; charset=utf-8"),
        path if path == pages::console::style_path() => (pages::console::STYLE, "text/css; charset=utf-8"),
        path if path == pages::console::script_path() => (pages::console::SCRIPT, "text/javascript; charset=utf-8"),
        _ => return None,
    };
    let mut response = Response::new(Body::new(Bytes::from_static(content.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Some(response)
}
