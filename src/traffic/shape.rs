//! A request without its values, so that those that ask for the same are one.

use std::borrow::Cow;

use crate::percent::decode_query;

/// A shape is no longer, in bytes: ten of each tenant are kept.
const MOST: usize = 300;

/// What may stand before a value, but for `not.` and what is in parentheses (PostgREST, "Tables and Views: Operators").
const OPERATORS: [&str; 25] = [
    "eq",
    "neq",
    "gt",
    "gte",
    "lt",
    "lte",
    "like",
    "ilike",
    "match",
    "imatch",
    "isdistinct",
    "in",
    "is",
    "cs",
    "cd",
    "ov",
    "sl",
    "sr",
    "nxr",
    "nxl",
    "adj",
    "fts",
    "plfts",
    "phfts",
    "wfts",
];

/// Method, path, and what of the query string is no value: `GET /api/mylist?text=ilike&order=due.desc&limit`.
///
/// Names of parameters stay, percent-decoded, and operators of filters. `select`, `order`, `columns` and `on_conflict` name
/// columns only, so they stay as a whole. What is in a tree of `or` and `and` becomes `(…)`, and a parameter without `=`,
/// which may be anything, `…`. At most 300 bytes and an ellipsis come out, without control characters.
#[must_use]
pub fn shape(method: &str, path: &str, query: &str) -> String {
    let mut shape = String::with_capacity((method.len() + path.len() + query.len() + 2).min(2 * MOST));
    push(&mut shape, method);
    shape.push(' ');
    push(&mut shape, path);
    let mut before = '?';
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        // The rest would be cut off anyway.
        if shape.len() > MOST {
            break;
        }
        shape.push(before);
        before = '&';
        match parameter.split_once('=') {
            Some((name, value)) => push_parameter(&mut shape, &decoded(name), &decoded(value)),
            None => shape.push('…'),
        }
    }
    super::shorten(&mut shape, MOST);
    shape
}

fn push_parameter(shape: &mut String, name: &str, value: &str) {
    push(shape, name);
    let last = name.rsplit('.').next().unwrap_or(name);
    let kept = match last {
        "select" | "columns" | "on_conflict" if name == last => value,
        "order" => value,
        "or" | "and" => "(…)",
        "limit" | "offset" => return,
        _ => match operator(value) {
            Some(operator) => operator,
            None => return,
        },
    };
    shape.push('=');
    push(shape, kept);
}

/// What stands before a filter's value: `not.eq`, `like(any)`, `fts`. The language of a search is free text, so it goes.
fn operator(value: &str) -> Option<&str> {
    let rest = value.strip_prefix("not.").unwrap_or(value);
    let behind = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let word = &rest[..rest.len() - behind.len()];
    if !OPERATORS.contains(&word) || !behind.starts_with(['.', '(']) {
        return None;
    }
    let each = behind.starts_with("(any).") || behind.starts_with("(all).");
    let behind = if each { &behind["(any)".len()..] } else { behind };
    Some(&value[..value.len() - behind.len()])
}

/// What is no UTF-8 stays encoded.
fn decoded(text: &str) -> Cow<'_, str> {
    decode_query(text).unwrap_or(Cow::Borrowed(text))
}

/// Whoever reads it sees one line.
fn push(shape: &mut String, text: &str) {
    shape.extend(
        text.chars()
            .take(MOST + 1)
            .map(|c| if c.is_control() { '\u{fffd}' } else { c }),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &str) {
        let expected = format!("GET /api/mylist{expected}");
        assert_eq!(shape("GET", "/api/mylist", query), expected, "{query:?}");
    }

    #[test]
    fn names_and_operators_stay_and_values_go() {
        check("", "");
        check(
            "text=ilike.*milk*&order=due.desc&limit=5",
            "?text=ilike&order=due.desc&limit",
        );
        check(
            "select=id,place(name)&columns=a,b&on_conflict=id&offset=9",
            "?select=id,place(name)&columns=a,b&on_conflict=id&offset",
        );
        check(
            "id=not.in.(1,2)&a=like(any).{x,y}&b=fts(english).cat",
            "?id=not.in&a=like(any)&b=fts",
        );
        check(
            "or=(a.eq.1,b.eq.2)&place.not.and=(x.is.null)",
            "?or=(…)&place.not.and=(…)",
        );
        check(
            "mylist.order=due&mylist.limit=3&mylist.text=eq.x",
            "?mylist.order=due&mylist.limit&mylist.text=eq",
        );
        check("data-%3E%3Ekey=eq.x&a+b=gt.1", "?data->>key=eq&a b=gt");
    }

    #[test]
    fn what_is_no_filter_keeps_its_name_only() {
        check("a=1&b=&c=eq&d=eqx.1&e=secret.eq.1&f=EQ.1&g=not.x", "?a&b&c&d&e&f&g");
        check("token&&=x", "?…&");
        check("n=%ff&%ff=eq.1&x=a%0Ab", "?n&%ff=eq&x");
        check("order=a%0A%00b", "?order=a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn a_shape_is_short() {
        let long = shape("GET", &"é".repeat(1000), &"x=1&".repeat(1000));
        assert!(long.len() <= MOST + '…'.len_utf8(), "{}", long.len());
        assert!(long.ends_with('…'));
        let long = shape("GET", "/api/a", &format!("select={}", "b,".repeat(10_000)));
        assert!(long.len() <= MOST + '…'.len_utf8());
    }

    /// Letters that no name, operator or kept text of the test has.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "[A-Z0-9]{1,8}",
            "[A-Z0-9.,(){}\"* ]{1,12}",
            "%5[0-9]%20[A-Z]",
            "\\PC{0,4}SECRET\\PC{0,4}"
        ]
        .prop_map(|value| value.replace(['&', '='], "X"))
    }

    fn parameter() -> impl Strategy<Value = String> {
        let operator = proptest::sample::select(&OPERATORS[..]);
        let name = "[a-z_]{1,6}(\\.[a-z]{1,5}|->>[a-z]{1,4})?";
        (name, operator, value(), 0..8).prop_map(|(name, operator, value, kind)| {
            // A name of the dialect's own would keep the text behind it, by design.
            let name = format!("{name}_");
            match kind {
                0 => format!("{name}={operator}.{value}"),
                1 => format!("{name}=not.{operator}.{value}"),
                2 => format!("{name}={operator}(any).{{{value}}}"),
                3 => format!("{name}={operator}({value}).{value}"),
                4 => format!("{name}={value}"),
                5 => format!("{name}.or=({name}.{operator}.{value},not.and({name}.{operator}.{value}))"),
                6 => format!("limit={value}"),
                _ => value,
            }
        })
    }

    proptest! {
        #[test]
        fn no_value_survives(parameters in proptest::collection::vec(parameter(), 0..6)) {
            let query = parameters.join("&");
            let shape = shape("get", "/api/list", &query);
            let survived = shape.chars().find(|c| !c.is_ascii_lowercase() && !"/?&=_.->()…! ".contains(*c));
            prop_assert_eq!(survived, None, "{} of {}", shape, query);
        }

        #[test]
        fn anything_has_a_shape(method in "\\PC{0,8}", path in ".{0,40}", query in ".{0,80}") {
            let shape = shape(&method, &path, &query);
            prop_assert!(shape.len() <= MOST + '…'.len_utf8());
            prop_assert!(!shape.chars().any(char::is_control));
        }
    }
}
