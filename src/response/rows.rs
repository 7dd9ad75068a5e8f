//! Rows as a response: status and headers as the dialect has them.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, VARY, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::server::Body;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");

/// What was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Rows were read, or a function called that returns some.
    Read,
    /// It was told how rows would be read or changed.
    Explained,
    /// A function was called that returns nothing.
    Called,
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

/// An answer from the database.
#[derive(Debug)]
pub struct Data<'a> {
    /// What was done.
    pub action: Action,
    /// The body, if there is to be one; for HEAD it is empty.
    pub body: Option<Bytes>,
    /// Its media type, with a charset where it has one.
    pub content_type: Cow<'static, str>,
    /// The rows that were read or changed, if all of them are here.
    pub count: Option<u64>,
    /// All rows there are, or were changed, if that was asked for.
    pub total: Option<u64>,
    /// The rows before the first.
    pub offset: u64,
    /// The value of `Preference-Applied`.
    pub applied: Option<String>,
    /// The schema that was chosen, if there are several.
    pub profile: Option<&'a str>,
    /// The path and query that the body is of.
    pub content_location: Option<String>,
    /// Where the new row is.
    pub location: Option<String>,
    /// Names that will not do for ever: old and new.
    pub legacy_names: &'a [(String, String)],
}

impl Data<'_> {
    /// As HTTP.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let status = self.status();
        let range = self.range();
        let mut headers = HeaderMap::with_capacity(HEADERS);
        if self.body.is_some() {
            insert(&mut headers, CONTENT_TYPE, self.content_type);
            if let Some(profile) = self.profile {
                insert(&mut headers, CONTENT_PROFILE, profile.to_owned());
            }
        }
        for (name, value) in [
            (CONTENT_RANGE, range),
            (CONTENT_LOCATION, self.content_location),
            (LOCATION, self.location),
            (PREFERENCE_APPLIED, self.applied),
        ] {
            if let Some(value) = value {
                insert(&mut headers, name, value);
            }
        }
        for (old, new) in self.legacy_names {
            // The agent is the dialect's version, which its clients know.
            let warning = format!(
                "299 PostgRESTv16 \"Embedded resource was referenced by relation name even though it has an alias. This \
                 is deprecated and will stop working in a future release. Update `{old}` to `{new}` in query string \
                 filters, orders or limits.\""
            );
            insert(&mut headers, WARNING, warning);
        }
        headers.insert(VARY, HeaderValue::from_static("Accept, Prefer, Range"));
        if self.profile.is_some() {
            headers.append(VARY, HeaderValue::from_static("Accept-Profile"));
        }
        let mut response = Response::new(Body::new(self.body.unwrap_or_default()));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn status(&self) -> StatusCode {
        match self.action {
            Action::Read => match self.total {
                Some(total) if self.count.is_some_and(|count| count < total) => StatusCode::PARTIAL_CONTENT,
                _ => StatusCode::OK,
            },
            Action::Explained => StatusCode::OK,
            Action::Called => StatusCode::NO_CONTENT,
            Action::Inserted => StatusCode::CREATED,
            Action::Merged => StatusCode::OK,
            Action::Replaced | Action::Updated | Action::Deleted if self.body.is_some() => StatusCode::OK,
            Action::Replaced | Action::Updated | Action::Deleted => StatusCode::NO_CONTENT,
        }
    }

    fn range(&self) -> Option<String> {
        let rows = match self.action {
            Action::Read | Action::Called | Action::Updated => self.count?,
            Action::Inserted | Action::Merged | Action::Deleted => 0,
            Action::Explained | Action::Replaced => return None,
        };
        Some(content_range(rows, self.offset, self.total))
    }
}

/// A document of its own.
#[must_use]
pub fn document(body: Bytes, content_type: Cow<'static, str>, profile: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    insert(response.headers_mut(), CONTENT_TYPE, content_type);
    if let Some(profile) = profile {
        insert(response.headers_mut(), CONTENT_PROFILE, profile.to_owned());
    }
    response
}

/// `0-14/20`, `0-14/*`, or `*/*` for nothing (the dialect; the form is RFC 9110, section 14.4).
fn content_range(rows: u64, offset: u64, total: Option<u64>) -> String {
    let mut text = String::with_capacity("0-0/*".len());
    if rows == 0 || total == Some(0) {
        text.push('*');
    } else {
        text.push_str(itoa::Buffer::new().format(offset));
        text.push('-');
        text.push_str(itoa::Buffer::new().format(offset.saturating_add(rows - 1)));
    }
    text.push('/');
    match total {
        Some(total) => text.push_str(itoa::Buffer::new().format(total)),
        None => text.push('*'),
    }
    text
}

/// Room for the headers of an answer, those that are added to it later among them.
const HEADERS: usize = 8;

/// A header whose text no header can hold is left out.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: impl Into<Cow<'static, str>>) {
    let value = match value.into() {
        Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
        Cow::Owned(text) => Bytes::from(text),
    };
    // Bytes beyond ASCII are allowed, if opaque (RFC 9110, 5.5).
    if let Ok(value) = HeaderValue::from_maybe_shared(value) {
        headers.append(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_counts_from_the_offset() {
        assert_eq!(content_range(0, 5, None), "*/*");
        assert_eq!(content_range(0, 5, Some(3)), "*/3");
        assert_eq!(content_range(1, 0, None), "0-0/*");
        assert_eq!(content_range(15, 30, Some(50)), "30-44/50");
    }
}
