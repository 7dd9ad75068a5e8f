//! Query strings and their parts, percent-encoded, and what is told of one that cannot be decoded.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::percent::{decode_query, encode};

use super::Error;
use super::text::syntax;

/// The path of a relation with the query string that it was asked with, the parameters sorted by name: the same for all
/// that ask the same.
#[must_use]
pub fn location(relation: &str, query_string: &str) -> String {
    let pairs = query_string
        .split('&')
        .filter_map(|parameter| parameter.split_once('='));
    let decoded = pairs.filter_map(|(name, value)| Some((decode(name).ok()?, decode(value).ok()?)));
    let mut parameters: SmallVec<[_; 4]> = decoded.collect();
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    let mut text = String::with_capacity("/api/?".len() + relation.len() + query_string.len());
    text.push_str("/api/");
    encode(relation, &mut text);
    for (at, (name, value)) in parameters.iter().enumerate() {
        text.push(if at == 0 { '?' } else { '&' });
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// `column=eq.value`, percent-encoded: the filter that finds a row by its key.
#[must_use]
pub fn key_filter(column: &str, value: Option<&str>) -> String {
    let mut text = String::new();
    encode(column, &mut text);
    match value {
        Some(value) => {
            text.push_str("=eq.");
            encode(value, &mut text);
        }
        None => text.push_str("=is.null"),
    }
    text
}

/// A name as a segment of a path.
#[must_use]
pub fn encoded(name: &str) -> String {
    let mut text = String::new();
    encode(name, &mut text);
    text
}

/// A part of a query string, decoded.
pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, Error> {
    decode_query(text).map_err(|error| {
        let read = error.utf8_error().valid_up_to();
        syntax("query string", text, read, "it is not UTF-8 when decoded")
    })
}
