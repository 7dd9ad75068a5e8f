//! The `Prefer` header (RFC 7240).

/// What the client would like. Preferences that are not built are ignored, as the RFC allows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Preferences {
    /// `return=…`, if it was sent.
    pub returning: Option<Return>,
}

/// What a write answers with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Return {
    /// Nothing, the default.
    Minimal,
    /// Nothing but the new row's `Location`.
    HeadersOnly,
    /// The rows.
    Representation,
}

impl Preferences {
    /// Reads the values of all `Prefer` headers. Of two that contradict each other the first counts (RFC 7240, 2).
    pub fn parse<'v>(values: impl Iterator<Item = &'v str>) -> Self {
        let mut preferences = Self::default();
        for preference in values.flat_map(|value| value.split(',')) {
            let returning = match preference.trim() {
                "return=minimal" => Return::Minimal,
                "return=headers-only" => Return::HeadersOnly,
                "return=representation" => Return::Representation,
                _ => continue,
            };
            preferences.returning.get_or_insert(returning);
        }
        preferences
    }

    /// The value of `Preference-Applied`, if anything was honoured.
    #[must_use]
    pub fn applied(&self) -> Option<String> {
        let returning = match self.returning? {
            Return::Minimal => "return=minimal",
            Return::HeadersOnly => "return=headers-only",
            Return::Representation => "return=representation",
        };
        Some(returning.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_counts_and_unknown_ones_are_ignored() {
        let headers = ["count=exact, return=representation", "return=minimal"];
        let preferences = Preferences::parse(headers.into_iter());
        assert_eq!(preferences.returning, Some(Return::Representation));
        assert_eq!(preferences.applied().as_deref(), Some("return=representation"));
        assert_eq!(Preferences::parse(["return=all"].into_iter()).applied(), None);
    }
}
