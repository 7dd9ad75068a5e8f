//! Where in a token's claims something stands: a path (RFC 9535, as far as PostgREST takes it).

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use thiserror::Error;

/// `$.role`, `$.app.roles[0]`, `$["https://example.com/role"]`, `$.roles[?(@ == "web")]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClaimPath {
    text: Box<str>,
    steps: Box<[Step]>,
}

/// Why a text is no path.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("it is no path into the claims of a token")]
pub struct ClaimPathError;

#[derive(Clone, Debug, Eq, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
    /// The first text of an array that passes.
    Filter(Comparison, String),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    StartsWith,
    EndsWith,
    Contains,
}

const COMPARISONS: [(&str, Comparison); 5] = [
    ("==^", Comparison::EndsWith),
    ("^==", Comparison::StartsWith),
    ("*==", Comparison::Contains),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
];

impl ClaimPath {
    /// Whether it is the claim of this name, and no more.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        matches!(&*self.steps, [Step::Key(key)] if *key == *name)
    }

    /// What stands there.
    #[must_use]
    pub fn find<'v>(&self, claims: &'v Value) -> Option<&'v Value> {
        self.steps.iter().try_fold(claims, |at, step| match step {
            Step::Key(key) => at.get(&**key),
            Step::Index(index) => at.get(index),
            Step::Filter(comparison, text) => at.as_array()?.iter().find(|value| {
                let value = value.as_str();
                value.is_some_and(|value| comparison.holds(value, text))
            }),
        })
    }
}

impl FromStr for ClaimPath {
    type Err = ClaimPathError;

    fn from_str(text: &str) -> Result<Self, ClaimPathError> {
        let mut steps = Vec::new();
        let mut rest = text.strip_prefix('$').unwrap_or(text);
        while !rest.is_empty() {
            let (step, after) = step(rest).ok_or(ClaimPathError)?;
            steps.push(step);
            rest = after;
        }
        if steps.is_empty() {
            return Err(ClaimPathError);
        }
        Ok(Self {
            text: text.into(),
            steps: steps.into(),
        })
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Comparison {
    fn holds(self, value: &str, text: &str) -> bool {
        match self {
            Self::Equal => value == text,
            Self::NotEqual => value != text,
            Self::StartsWith => value.starts_with(text),
            Self::EndsWith => value.ends_with(text),
            Self::Contains => value.contains(text),
        }
    }
}

/// The first step of a path, and what follows it.
fn step(path: &str) -> Option<(Step, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (key, rest) = quoted.split_once('"')?;
            return Some((Step::Key(key.to_owned()), rest));
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (key, rest) = rest.split_at(end);
        return (!key.is_empty()).then(|| (Step::Key(key.to_owned()), rest));
    }
    let inside = path.strip_prefix('[')?;
    if let Some(test) = inside.strip_prefix("?(@") {
        let test = test.trim_start();
        let (operator, comparison) = COMPARISONS.iter().find(|(operator, _)| test.starts_with(operator))?;
        let text = test[operator.len()..].trim_start().strip_prefix('"')?;
        let (text, rest) = text.split_once('"')?;
        return Some((
            Step::Filter(*comparison, text.to_owned()),
            rest.trim_start().strip_prefix(")]")?,
        ));
    }
    for quote in ['"', '\''] {
        if let Some(quoted) = inside.strip_prefix(quote) {
            let (key, rest) = quoted.split_once(quote)?;
            return Some((Step::Key(key.to_owned()), rest.strip_prefix(']')?));
        }
    }
    let (index, rest) = inside.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_claims() {
        let claims = serde_json::json!({
            "role": "top", "app": { "roles": ["web_a", "b", "c_web"], "a-b": "dash" }, "https://x/role": "url",
        });
        for (path, expected) in [
            ("$.role", Some("top")),
            (".role", Some("top")),
            ("$.app.roles[1]", Some("b")),
            ("$.app[\"a-b\"]", Some("dash")),
            (".\"https://x/role\"", Some("url")),
            ("$.app.roles[?(@ == \"b\")]", Some("b")),
            ("$.app.roles[?(@ ^== \"web\")]", Some("web_a")),
            ("$.app.roles[?(@ ==^ \"web\")]", Some("c_web")),
            ("$.app.roles[?(@ *== \"_\")]", Some("web_a")),
            ("$.app.roles[?(@ != \"web_a\")]", Some("b")),
            ("$.app.roles[9]", None),
            ("$.app.roles", None),
        ] {
            let path: ClaimPath = path.parse().unwrap();
            assert_eq!(path.find(&claims).and_then(Value::as_str), expected, "{path}");
        }
        for text in ["", "$", "role", "$..", "$..nonsense[", "$.a[x]", "$.a[?(@ ~ \"b\")]"] {
            assert_eq!(text.parse::<ClaimPath>(), Err(ClaimPathError), "{text}");
        }
    }
}
