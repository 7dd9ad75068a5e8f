//! The `Prefer` header (RFC 7240).

/// What the client would like. Preferences that are not built are ignored, as the RFC allows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Preferences {
    /// `resolution=…`, if it was sent.
    pub resolution: Option<Resolution>,
    /// `return=…`, if it was sent.
    pub returning: Option<Return>,
}

/// What becomes of a row of a POST whose key is there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Resolution {
    /// It updates the one that is there.
    MergeDuplicates,
    /// It is left out.
    IgnoreDuplicates,
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
            match preference.trim() {
                "return=minimal" => _ = preferences.returning.get_or_insert(Return::Minimal),
                "return=headers-only" => _ = preferences.returning.get_or_insert(Return::HeadersOnly),
                "return=representation" => _ = preferences.returning.get_or_insert(Return::Representation),
                "resolution=merge-duplicates" => {
                    preferences.resolution.get_or_insert(Resolution::MergeDuplicates);
                }
                "resolution=ignore-duplicates" => {
                    preferences.resolution.get_or_insert(Resolution::IgnoreDuplicates);
                }
                _ => {}
            }
        }
        preferences
    }

    /// The value of `Preference-Applied`, if anything was honoured.
    #[must_use]
    pub fn applied(&self) -> Option<String> {
        let resolution = self.resolution.map(|resolution| match resolution {
            Resolution::MergeDuplicates => "resolution=merge-duplicates",
            Resolution::IgnoreDuplicates => "resolution=ignore-duplicates",
        });
        let returning = self.returning.map(|returning| match returning {
            Return::Minimal => "return=minimal",
            Return::HeadersOnly => "return=headers-only",
            Return::Representation => "return=representation",
        });
        let applied: Vec<&str> = resolution.into_iter().chain(returning).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
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
        let headers = [
            "return=minimal,resolution=merge-duplicates",
            "resolution=ignore-duplicates",
        ];
        let preferences = Preferences::parse(headers.into_iter());
        assert_eq!(
            preferences.applied().as_deref(),
            Some("resolution=merge-duplicates, return=minimal")
        );
    }
}
