//! Where in a token the role stands: a path into its claims (RFC 9535, as far as PostgREST takes it).

use serde_json::Value;

use super::{Error, Registered};

/// `$.role`, `$.app.roles[0]`, `$["https://example.com/role"]`, `$.roles[?(@ == "web")]`.
#[derive(Debug)]
pub(super) struct RolePath {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
    /// The first text of an array that passes.
    Filter(Comparison, String),
}

#[derive(Clone, Copy, Debug)]
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

impl RolePath {
    /// Reads a path. What is not understood leads nowhere, so that such a token has no role.
    pub(super) fn parse(path: &str) -> Self {
        let mut steps = Vec::new();
        let mut rest = path.strip_prefix('$').unwrap_or(path);
        while !rest.is_empty() {
            let Some((step, after)) = step(rest) else {
                steps.push(Step::Index(usize::MAX));
                break;
            };
            steps.push(step);
            rest = after;
        }
        Self { steps }
    }

    /// The role in a payload.
    pub(super) fn of(&self, payload: &str, registered: &Registered<'_>) -> Result<Option<String>, Error> {
        if let [Step::Key(key)] = self.steps.as_slice()
            && key == "role"
        {
            return Ok(registered.role.clone());
        }
        let claims: Value = serde_json::from_str(payload).map_err(|_| Error::Claims)?;
        let mut at = &claims;
        for step in &self.steps {
            let next = match step {
                Step::Key(key) => at.get(key),
                Step::Index(index) => at.get(index),
                Step::Filter(comparison, text) => at.as_array().and_then(|values| {
                    values
                        .iter()
                        .find(|value| value.as_str().is_some_and(|value| comparison.holds(value, text)))
                }),
            };
            match next {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(at.as_str().map(str::to_owned))
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
    fn paths_lead_to_the_role() {
        let payload = r#"{"role":"top","app":{"roles":["web_a","b","c_web"],"a-b":"dash"},"https://x/role":"url"}"#;
        let registered = Registered::parse(payload).unwrap();
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
            ("$..", None),
        ] {
            let role = RolePath::parse(path).of(payload, &registered).unwrap();
            assert_eq!(role.as_deref(), expected, "{path}");
        }
    }
}
