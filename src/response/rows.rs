//! Rows as a response: status and headers as the dialect has them.

use bytes::Bytes;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};

use crate::server::Body;

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The answer to a read: `rows` rows from number `offset` on, already encoded.
#[must_use]
pub fn read(body: Bytes, rows: u64, offset: u64) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
        .headers_mut()
        .insert(CONTENT_RANGE, content_range(rows, offset));
    response
}

/// What was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Written {
    /// By POST, or by PUT where nothing was.
    Inserted,
    /// By POST with a `resolution`, nothing new.
    Merged,
    /// By PUT, what was there.
    Replaced,
    /// By PATCH.
    Updated,
    /// By DELETE.
    Deleted,
}

/// The answer to a write: with its rows if they were asked for.
#[must_use]
pub fn written(what: Written, rows: Option<(Bytes, u64)>, applied: Option<&str>) -> Response<Body> {
    let count = rows.as_ref().map(|(_, count)| *count);
    let status = match (what, &rows) {
        (Written::Inserted, _) => StatusCode::CREATED,
        (Written::Merged, _) => StatusCode::OK,
        (Written::Replaced | Written::Updated | Written::Deleted, Some(_)) => StatusCode::OK,
        (Written::Replaced | Written::Updated | Written::Deleted, None) => StatusCode::NO_CONTENT,
    };
    let has_body = rows.is_some();
    let mut response = Response::new(Body::new(rows.map(|(body, _)| body).unwrap_or_default()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if has_body {
        headers.insert(CONTENT_TYPE, JSON);
    }
    let range = match what {
        Written::Updated => count.map_or(HeaderValue::from_static("*/*"), |count| content_range(count, 0)),
        Written::Inserted | Written::Merged | Written::Replaced | Written::Deleted => HeaderValue::from_static("*/*"),
    };
    headers.insert(CONTENT_RANGE, range);
    if let Some(applied) = applied.and_then(|applied| HeaderValue::from_str(applied).ok()) {
        headers.insert(PREFERENCE_APPLIED, applied);
    }
    response
}

/// `0-14/*`, or `*/*` for nothing (the dialect; the form is RFC 9110, section 14.4).
fn content_range(rows: u64, offset: u64) -> HeaderValue {
    if rows == 0 {
        return HeaderValue::from_static("*/*");
    }
    let last = offset.saturating_add(rows - 1);
    HeaderValue::from_str(&format!("{offset}-{last}/*")).unwrap_or(HeaderValue::from_static("*/*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_counts_from_the_offset() {
        assert_eq!(content_range(0, 5), "*/*");
        assert_eq!(content_range(1, 0), "0-0/*");
        assert_eq!(content_range(15, 30), "30-44/*");
    }
}
