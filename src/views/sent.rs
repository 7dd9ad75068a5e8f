//! What a form of ours sends.

use super::grid::decoded;

/// What stands in a form that was sent. Names of columns begin with `=`, of boxes that say NULL with `!`, and `~` the mark of what was shown, and `?` says
/// that there was a box, which if it is not ticked says nothing.
#[derive(Clone, Debug, Default)]
pub struct Sent(Vec<(String, String)>);

impl Sent {
    /// Reads `application/x-www-form-urlencoded` (WHATWG URL, 5.1).
    #[must_use]
    pub fn parse(body: &str) -> Self {
        let pairs = body.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text| decoded(text).into_owned();
            (decoded(name), decoded(value))
        });
        Self(pairs.collect())
    }

    /// Of names and values.
    #[cfg(test)]
    pub(super) fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// The first value of this name; empty if there is none.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or_default()
    }

    /// All values of this name.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.0
            .iter()
            .filter(move |(given, _)| given == name)
            .map(|(_, value)| &**value)
    }

    /// All names and values, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| &**value)
    }

    /// What was written for a column, with lines that end as Postgres' do, and whether its box says NULL.
    pub(super) fn written(&self, column: &str) -> Option<(String, bool)> {
        let value = match self.find(&format!("={column}")) {
            Some(value) => lines_as_postgres(value),
            None => self.find(&format!("?{column}"))?.to_owned(),
        };
        let null = value.is_empty() && self.find(&format!("!{column}")).is_some();
        Some((value, null))
    }

    /// The mark of what was shown for a column.
    pub(super) fn shown(&self, column: &str) -> Option<&str> {
        self.find(&format!("~{column}"))
    }
}

/// Browsers send every end of a line in their own way.
pub(super) fn lines_as_postgres(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}
