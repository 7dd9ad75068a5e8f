//! The `Prefer` header (RFC 7240).

/// What the client would like. What is not known is ignored, unless it also sends `handling=strict`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Preferences {
    /// `resolution=…`.
    pub resolution: Option<Resolution>,
    /// `missing=…`.
    pub missing: Option<Missing>,
    /// `return=…`.
    pub returning: Option<Return>,
    /// `count=…`.
    pub count: Option<Count>,
    /// `tx=…`, where it may be said.
    pub transaction: Option<TransactionEnd>,
    /// `handling=…`.
    pub handling: Option<Handling>,
    /// `timezone=…`.
    pub timezone: Option<String>,
    /// `max-affected=…`.
    pub max_affected: Option<u64>,
    /// What is not known.
    pub unknown: Vec<String>,
}

/// What becomes of a row of a POST whose key is there already.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Resolution {
    /// It updates the one that is there.
    MergeDuplicates,
    /// It is left out.
    IgnoreDuplicates,
}

/// What a column gets that a row of the body leaves out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Missing {
    /// Its default.
    Default,
    /// NULL.
    Null,
}

/// How the number of all rows is found.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Count {
    /// They are counted.
    Exact,
    /// The planner's guess.
    Planned,
    /// Counted if there are few, otherwise the planner's guess.
    Estimated,
}

/// What a write answers with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Return {
    /// Nothing, the default.
    Minimal,
    /// Nothing but the new row's `Location`.
    HeadersOnly,
    /// The rows.
    Representation,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TransactionEnd {
    /// It stays.
    Commit,
    /// It is undone.
    Rollback,
}

/// What becomes of preferences that are not known.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Handling {
    /// They are refused.
    Strict,
    /// They are ignored.
    Lenient,
}

/// Which preferences a kind of request honours, besides those that all do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Honoured {
    /// `resolution`.
    pub resolution: bool,
    /// `missing`.
    pub missing: bool,
    /// `return`.
    pub returning: bool,
    /// `max-affected`.
    pub max_affected: bool,
}

const RESOLUTIONS: [(&str, Resolution); 2] = [
    ("resolution=merge-duplicates", Resolution::MergeDuplicates),
    ("resolution=ignore-duplicates", Resolution::IgnoreDuplicates),
];
const MISSING: [(&str, Missing); 2] = [("missing=default", Missing::Default), ("missing=null", Missing::Null)];
const RETURNS: [(&str, Return); 3] = [
    ("return=minimal", Return::Minimal),
    ("return=headers-only", Return::HeadersOnly),
    ("return=representation", Return::Representation),
];
const COUNTS: [(&str, Count); 3] = [
    ("count=exact", Count::Exact),
    ("count=planned", Count::Planned),
    ("count=estimated", Count::Estimated),
];
const TRANSACTIONS: [(&str, TransactionEnd); 2] = [
    ("tx=commit", TransactionEnd::Commit),
    ("tx=rollback", TransactionEnd::Rollback),
];
const HANDLINGS: [(&str, Handling); 2] = [
    ("handling=strict", Handling::Strict),
    ("handling=lenient", Handling::Lenient),
];

impl Preferences {
    /// Reads the values of all `Prefer` headers. Of two that contradict each other the first counts (RFC 7240, 2). `tx` is
    /// read only where the client may decide.
    pub fn parse<'v>(values: impl Iterator<Item = &'v str>, decides_transaction: bool) -> Self {
        let mut preferences = Self::default();
        for preference in values.flat_map(|value| value.split(',')).map(str::trim) {
            if preference.is_empty() {
                continue;
            }
            let mut ignored = None;
            let transaction = if decides_transaction {
                &mut preferences.transaction
            } else {
                &mut ignored
            };
            let known = set(&mut preferences.resolution, &RESOLUTIONS, preference)
                || set(&mut preferences.missing, &MISSING, preference)
                || set(&mut preferences.returning, &RETURNS, preference)
                || set(&mut preferences.count, &COUNTS, preference)
                || set(transaction, &TRANSACTIONS, preference)
                || set(&mut preferences.handling, &HANDLINGS, preference);
            if known {
                continue;
            }
            if let Some(zone) = preference.strip_prefix("timezone=") {
                preferences.timezone.get_or_insert_with(|| zone.to_owned());
            } else if let Some(number) = preference.strip_prefix("max-affected=") {
                match number.parse() {
                    Ok(number) => _ = preferences.max_affected.get_or_insert(number),
                    // Who insists on a bound must not go without one.
                    Err(_) => preferences.unknown.push(preference.to_owned()),
                }
            } else {
                preferences.unknown.push(preference.to_owned());
            }
        }
        preferences
    }

    /// Whether what is not known is refused.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.handling == Some(Handling::Strict)
    }

    /// The most rows that may be changed, if the client insists.
    #[must_use]
    pub fn most_affected(&self) -> Option<u64> {
        self.max_affected.filter(|_| self.is_strict())
    }

    /// The value of `Preference-Applied`, if anything was honoured. The order is PostgREST's.
    #[must_use]
    pub fn applied(&self, honoured: Honoured) -> Option<String> {
        let resolution = self.resolution.filter(|_| honoured.resolution);
        let missing = self.missing.filter(|_| honoured.missing);
        let returning = self.returning.filter(|_| honoured.returning);
        let most = self.most_affected().filter(|_| honoured.max_affected);
        let applied: Vec<String> = [
            text(&RESOLUTIONS, resolution),
            text(&MISSING, missing),
            text(&RETURNS, returning),
            text(&COUNTS, self.count),
            text(&TRANSACTIONS, self.transaction),
            text(&HANDLINGS, self.handling),
            self.timezone.as_ref().map(|zone| format!("timezone={zone}")),
            most.map(|most| format!("max-affected={most}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

fn set<T: Copy>(slot: &mut Option<T>, known: &[(&str, T)], preference: &str) -> bool {
    match known.iter().find(|(text, _)| *text == preference) {
        Some((_, value)) => {
            slot.get_or_insert(*value);
            true
        }
        None => false,
    }
}

fn text<T: Copy + PartialEq>(known: &[(&str, T)], value: Option<T>) -> Option<String> {
    let value = value?;
    known
        .iter()
        .find(|(_, other)| *other == value)
        .map(|(text, _)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Honoured = Honoured {
        resolution: true,
        missing: true,
        returning: true,
        max_affected: true,
    };

    #[test]
    fn the_first_of_two_counts_and_unknown_ones_are_kept() {
        let headers = ["count=exact, return=representation", "return=minimal, odd"];
        let preferences = Preferences::parse(headers.into_iter(), false);
        assert_eq!(preferences.returning, Some(Return::Representation));
        assert_eq!(preferences.unknown, ["odd"]);
        assert_eq!(
            preferences.applied(ALL).as_deref(),
            Some("return=representation, count=exact")
        );
        let nothing = Preferences::parse(["return=all"].into_iter(), false);
        assert_eq!(nothing.applied(ALL), None);
    }

    #[test]
    fn they_are_applied_in_a_fixed_order_and_as_far_as_the_request_honours_them() {
        let all = "max-affected=5, timezone=UTC,handling=strict,tx=rollback,count=planned, return=minimal,\
                   missing=default ,resolution=merge-duplicates";
        let preferences = Preferences::parse([all].into_iter(), true);
        let expected = "resolution=merge-duplicates, missing=default, return=minimal, count=planned, tx=rollback, \
                        handling=strict, timezone=UTC, max-affected=5";
        assert_eq!(preferences.applied(ALL).as_deref(), Some(expected));
        let expected = "count=planned, tx=rollback, handling=strict, timezone=UTC";
        assert_eq!(preferences.applied(Honoured::default()).as_deref(), Some(expected));
        assert_eq!(preferences.most_affected(), Some(5));
        let lenient = Preferences::parse(["max-affected=5, tx=rollback"].into_iter(), false);
        assert_eq!((lenient.most_affected(), lenient.transaction), (None, None));
        assert!(lenient.unknown.is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in ".*") {
            let _ = Preferences::parse([&*text].into_iter(), true);
        }
    }
}
