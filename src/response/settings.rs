//! What functions of the database say of the response: `response.headers`, `response.status`, `RAISE SQLSTATE 'PGRST'`.

use http::header::{CONNECTION, CONTENT_LENGTH, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::server::Body;
use crate::users::Cookie;

/// Changes a response as `response.headers` and `response.status` say; a header that is set replaces ours.
///
/// # Errors
///
/// [`Error::ResponseHeaders`] or [`Error::ResponseStatus`] if they are not of their form.
pub fn apply(headers: Option<&str>, status: Option<&str>, response: &mut Response<Body>) -> Result<(), Error> {
    if let Some(headers) = headers.filter(|text| !text.is_empty()) {
        let listed: Vec<serde_json::Map<String, Value>> =
            serde_json::from_str(headers).map_err(|_| Error::ResponseHeaders)?;
        let mut set = HeaderMap::new();
        for object in &listed {
            let mut fields = object.iter();
            let (Some((name, Value::String(value))), None) = (fields.next(), fields.next()) else {
                return Err(Error::ResponseHeaders);
            };
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Error::ResponseHeaders)?;
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Error::ResponseHeaders)?;
            // Sessions of the console are not for SQL to give.
            let cookie = object
                .values()
                .next()
                .and_then(Value::as_str)
                .and_then(|text| text.split('=').next());
            if name == SET_COOKIE && cookie.is_some_and(|name| Cookie::is_ours(name.trim())) {
                continue;
            }
            set.append(name, value);
        }
        for name in FRAMING {
            set.remove(name);
        }
        response.headers_mut().extend(set);
    }
    if let Some(status) = status.filter(|text| !text.is_empty()) {
        let status = status.parse().ok().and_then(final_status);
        *response.status_mut() = status.ok_or(Error::ResponseStatus)?;
    }
    Ok(())
}

/// How a message is framed, and what becomes of its connection, is not for SQL to say: with a length that is not the body's,
/// what follows would be taken for another answer (RFC 9110, 7.6.1; RFC 9112, section 6).
const FRAMING: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// The status of an answer, which SQL may choose. 1xx is none (RFC 9110, 15.2).
pub(super) fn final_status(code: u16) -> Option<StatusCode> {
    let status = StatusCode::from_u16(code).ok()?;
    (!status.is_informational()).then_some(status)
}

/// A response that a function raised.
#[derive(Debug)]
pub(super) struct Raised {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Message,
}

/// `MESSAGE` of `RAISE SQLSTATE 'PGRST'`.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) details: Option<String>,
    pub(super) hint: Option<String>,
}

/// `DETAIL` of the same.
#[derive(Debug, Deserialize)]
struct Detail {
    status: u16,
    headers: std::collections::BTreeMap<String, String>,
}

/// What is wrong with one: details, and what to do.
pub(super) struct Malformed {
    pub(super) details: String,
    pub(super) hint: &'static str,
}

/// Reads `MESSAGE` and `DETAIL` of `RAISE SQLSTATE 'PGRST'`.
pub(super) fn raised(message: &str, detail: Option<&str>) -> Result<Raised, Malformed> {
    const DETAIL_FORM: &str =
        "DETAIL must be a JSON object with obligatory keys: 'status', 'headers' and optional key: 'status_text'.";
    let Ok(body) = serde_json::from_str(message) else {
        return Err(Malformed {
            details: format!("Invalid JSON value for MESSAGE: '{message}'"),
            hint: "MESSAGE must be a JSON object with obligatory keys: 'code', 'message' and optional keys: 'details', \
                   'hint'.",
        });
    };
    let detail = detail.ok_or_else(|| Malformed {
        details: "DETAIL is missing in the RAISE statement".to_owned(),
        hint: DETAIL_FORM,
    })?;
    let malformed = || Malformed {
        details: format!("Invalid JSON value for DETAIL: '{detail}'"),
        hint: DETAIL_FORM,
    };
    let Detail { status, headers } = serde_json::from_str(detail).map_err(|_| malformed())?;
    let headers = headers.iter().filter_map(|(name, value)| {
        Some((
            HeaderName::from_bytes(name.as_bytes())
                .ok()
                .filter(|name| !FRAMING.contains(name))?,
            HeaderValue::from_bytes(value.as_bytes()).ok()?,
        ))
    });
    Ok(Raised {
        status: final_status(status).ok_or_else(malformed)?,
        headers: headers.collect(),
        body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_status_are_taken_over() {
        let mut response = Response::new(Body::default());
        response.headers_mut().insert("vary", HeaderValue::from_static("ours"));
        let headers = r#"[{"Set-Cookie": "a=1"}, {"Set-Cookie": "b=2"}, {"Vary": "theirs"}]"#;
        apply(Some(headers), Some("201"), &mut response).unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(response.headers()["vary"], "theirs");
        for headers in [
            "{}",
            "[{\"a\": 1}]",
            "[{}]",
            "[{\"a\":\"b\",\"c\":\"d\"}]",
            "x",
            "[{\"a b\":\"c\"}]",
        ] {
            assert!(
                matches!(apply(Some(headers), None, &mut response), Err(Error::ResponseHeaders)),
                "{headers}"
            );
        }
        assert!(matches!(
            apply(None, Some("x"), &mut response),
            Err(Error::ResponseStatus)
        ));
    }
}
