//! Percent-encoding of UTF-8 and its decoding, once (RFC 3986, section 2.1).
//!
//! What a `+` means and what becomes of a `%` without two digits differs between the parts of a URL.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::string::FromUtf8Error;

/// Appends `text` with all but unreserved characters (RFC 3986, section 2.3) encoded.
pub(crate) fn encode(text: &str, out: &mut String) {
    let reserved = |byte: u8| !matches!(byte, b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(reserved) {
        let (plain, after) = rest.split_at(at);
        out.push_str(plain);
        let character = after.chars().next().map_or(0, char::len_utf8);
        let (encoded, after) = after.split_at(character);
        for byte in encoded.bytes() {
            // Writing to a `String` does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        rest = after;
    }
    out.push_str(rest);
}

/// A segment of a path: `+` is a plus. `None` if a `%` has no two digits behind it, or if what comes out is no UTF-8.
pub(crate) fn decode_segment(text: &str) -> Option<Cow<'_, str>> {
    let Some(first) = text.bytes().position(|byte| byte == b'%') else {
        return Some(Cow::Borrowed(text));
    };
    let (bytes, sound) = decode(text, first, b'+');
    if !sound {
        return None;
    }
    String::from_utf8(bytes).map(Cow::Owned).ok()
}

/// A part of a query string (WHATWG URL, "application/x-www-form-urlencoded"): `+` is a space, and a `%` without two
/// digits stands for itself.
///
/// # Errors
///
/// If what comes out is no UTF-8; the bytes are in the error.
pub(crate) fn decode_query(text: &str) -> Result<Cow<'_, str>, FromUtf8Error> {
    let Some(first) = text.bytes().position(|byte| matches!(byte, b'%' | b'+')) else {
        return Ok(Cow::Borrowed(text));
    };
    let (bytes, _) = decode(text, first, b' ');
    String::from_utf8(bytes).map(Cow::Owned)
}

/// The bytes that `text` stands for, and whether every `%` has its digits. Up to `first` it stands for itself.
fn decode(text: &str, first: usize, plus: u8) -> (Vec<u8>, bool) {
    let (plain, mut rest) = text.as_bytes().split_at(first);
    let mut bytes = Vec::with_capacity(text.len());
    bytes.extend_from_slice(plain);
    let mut sound = true;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'+' => plus,
            b'%' => match digits(after) {
                Some((byte, after)) => {
                    rest = after;
                    byte
                }
                None => {
                    sound = false;
                    b'%'
                }
            },
            _ => byte,
        });
    }
    (bytes, sound)
}

/// The byte that two hexadecimal digits stand for, and what is behind them.
fn digits(text: &[u8]) -> Option<(u8, &[u8])> {
    let (&[high, low], rest) = text.split_first_chunk()?;
    Some((hex(high)? << 4 | hex(low)?, rest))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_url_differ_in_plus_and_in_a_percent_without_digits() {
        for (text, segment, query) in [
            ("", Some(""), Some("")),
            ("a%20b", Some("a b"), Some("a b")),
            ("a+b", Some("a+b"), Some("a b")),
            ("%C3%a9+%2B", Some("é++"), Some("é +")),
            ("%2561", Some("%61"), Some("%61")),
            ("é%00", Some("é\0"), Some("é\0")),
            ("100%", None, Some("100%")),
            ("%4", None, Some("%4")),
            ("%4g%41", None, Some("%4gA")),
            ("%+1%%41", None, Some("% 1%A")),
            ("%é", None, Some("%é")),
            ("%ff", None, None),
            ("a%C3", None, None),
        ] {
            assert_eq!(decode_segment(text).as_deref(), segment, "{text:?}");
            assert_eq!(decode_query(text).ok().as_deref(), query, "{text:?}");
        }
    }

    #[test]
    fn what_stands_for_itself_is_borrowed() {
        assert!(matches!(decode_segment("a+b"), Some(Cow::Borrowed("a+b"))));
        assert!(matches!(decode_query("a.b"), Ok(Cow::Borrowed("a.b"))));
    }
}
